//! The graph of stages: who reads whose outputs, and an order to run them in. Knows nothing of what a stage does: it is a
//! name, and a position in the file.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};

use petgraph::csr::Csr;
use petgraph::visit::{Dfs, Visitable};

use crate::StageName;

/// Position of a stage in the file, counted from 0. Means nothing in another pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageId(usize);

impl StageId {
    /// The position of that index.
    #[must_use]
    pub fn at(index: usize) -> Self {
        Self(index)
    }

    /// The position as an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// The stages of a pipeline and the edges between them, free of cycles.
#[derive(Debug, Clone)]
pub struct Graph {
    /// From each stage to those that it reads from.
    dependencies: Edges,
    /// From each stage to those that read from it.
    dependents: Edges,
    order: Vec<StageId>,
}

/// Edges between positions in the file, in compressed rows: sorted neighbours of every stage, one list after the other.
type Edges = Csr<(), (), petgraph::Directed, usize>;

/// The edges in `pairs` (from, to) between `count` stages.
fn edges(count: usize, pairs: impl Iterator<Item = (StageId, StageId)>) -> Edges {
    let mut pairs: Vec<(usize, usize)> = pairs.map(|(from, to)| (from.index(), to.index())).collect();
    pairs.sort_unstable();
    pairs.dedup();
    // One edge at a time would take a time quadratic in their number.
    #[expect(clippy::expect_used, reason = "sorted, and without duplicates, just above")]
    let mut edges = Edges::from_sorted_edges(&pairs).expect("sorted edges");
    while edges.node_count() < count {
        edges.add_node(());
    }
    edges
}

/// The stages that edges lead to from one, in the order of the file.
fn neighbours(edges: &Edges, stage: StageId) -> impl ExactSizeIterator<Item = StageId> + '_ {
    edges.neighbors_slice(stage.index()).iter().copied().map(StageId::at)
}

/// Stages that wait for each other: each reads an output of the next, and the last one of the first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stages wait for each other: {}", self.path())]
pub struct Cycle(pub Vec<StageName>);

impl Cycle {
    /// The loop in one line: `a → b → a`.
    #[must_use]
    pub fn path(&self) -> String {
        let names = self.0.iter().chain(self.0.first());
        names.map(StageName::as_str).collect::<Vec<_>>().join(" → ")
    }
}

impl Graph {
    /// The graph of stages in the order of the file and of pairs (reader, producer). Pairs that name other stages
    /// are left out.
    ///
    /// # Errors
    /// When stages wait for each other.
    pub fn new<'a>(
        stages: impl IntoIterator<Item = &'a StageName>,
        reads: impl IntoIterator<Item = (&'a StageName, &'a StageName)>,
    ) -> Result<Self, Cycle> {
        let names: Vec<&StageName> = stages.into_iter().collect();
        let ids: HashMap<&StageName, StageId> =
            names.iter().enumerate().map(|(index, name)| (*name, StageId::at(index))).collect();
        let reads =
            reads.into_iter().filter_map(|(reader, producer)| Some((*ids.get(reader)?, *ids.get(producer)?)));
        let pairs: Vec<(StageId, StageId)> = reads.collect();
        let dependencies = edges(names.len(), pairs.iter().copied());
        let dependents = edges(names.len(), pairs.iter().map(|&(reader, producer)| (producer, reader)));
        let order = topological_order(&dependencies, &dependents);
        if order.len() < names.len() {
            let sorted: BTreeSet<StageId> = order.into_iter().collect();
            let cycle = shortest_cycle(&dependencies, &sorted);
            return Err(Cycle(cycle.into_iter().map(|id| names[id.index()].clone()).collect()));
        }
        Ok(Self { dependencies, dependents, order })
    }

    /// All stages, each after those it reads from; the order of the file decides where that leaves a choice.
    #[must_use]
    pub fn order(&self) -> &[StageId] {
        &self.order
    }

    /// The stages that `stage` reads from directly, in the order of the file.
    #[must_use]
    pub fn dependencies(&self, stage: StageId) -> impl ExactSizeIterator<Item = StageId> + '_ {
        neighbours(&self.dependencies, stage)
    }

    /// The stages that read directly from `stage`, in the order of the file.
    #[must_use]
    pub fn dependents(&self, stage: StageId) -> impl ExactSizeIterator<Item = StageId> + '_ {
        neighbours(&self.dependents, stage)
    }

    /// `stages` and all that they depend on, directly or not.
    #[must_use]
    pub fn with_upstream(&self, stages: impl IntoIterator<Item = StageId>) -> BTreeSet<StageId> {
        reached(&self.dependencies, stages)
    }

    /// `stages` and all that depend on them, directly or not.
    #[must_use]
    pub fn with_downstream(&self, stages: impl IntoIterator<Item = StageId>) -> BTreeSet<StageId> {
        reached(&self.dependents, stages)
    }
}

/// `stages` and all that edges lead to from them.
fn reached(edges: &Edges, stages: impl IntoIterator<Item = StageId>) -> BTreeSet<StageId> {
    let stages = stages.into_iter().map(StageId::index).collect();
    let mut walk = Dfs::from_parts(stages, edges.visit_map());
    std::iter::from_fn(|| walk.next(edges)).map(StageId::at).collect()
}

/// Kahn's algorithm with a heap, so that the earliest stage of the file comes first. Stages on or behind a cycle are
/// missing.
fn topological_order(dependencies: &Edges, dependents: &Edges) -> Vec<StageId> {
    let count = dependencies.node_count();
    let mut open: Vec<usize> = (0..count).map(|index| dependencies.out_degree(index)).collect();
    let ready = (0..count).map(StageId::at).filter(|stage| open[stage.index()] == 0);
    let mut ready: BinaryHeap<Reverse<StageId>> = ready.map(Reverse).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(Reverse(stage)) = ready.pop() {
        order.push(stage);
        for reader in neighbours(dependents, stage) {
            let open = &mut open[reader.index()];
            *open -= 1;
            if *open == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    order
}

/// The shortest cycle through the earliest stage that is on one, each stage followed by one that it reads from.
fn shortest_cycle(dependencies: &Edges, sorted: &BTreeSet<StageId>) -> Vec<StageId> {
    let all = (0..dependencies.node_count()).map(StageId::at);
    for start in all.filter(|stage| !sorted.contains(stage)) {
        let mut came_from: BTreeMap<StageId, StageId> = BTreeMap::new();
        let mut waiting = VecDeque::from([start]);
        while let Some(stage) = waiting.pop_front() {
            for producer in neighbours(dependencies, stage) {
                if producer == start {
                    let mut path = vec![stage];
                    let mut at = stage;
                    while let Some(&before) = came_from.get(&at) {
                        path.push(before);
                        at = before;
                    }
                    path.reverse();
                    return path;
                }
                if let Entry::Vacant(unseen) = came_from.entry(producer) {
                    unseen.insert(stage);
                    waiting.push_back(producer);
                }
            }
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> StageName {
        StageName::try_from(text.to_string()).unwrap()
    }

    /// `reads` as `reader<producer`.
    fn graph(stages: &str, reads: &str) -> Result<Graph, Cycle> {
        let stages: Vec<StageName> = stages.split_whitespace().map(name).collect();
        let pairs = reads.split_whitespace().map(|pair| {
            let (reader, producer) = pair.split_once('<').unwrap();
            (name(reader), name(producer))
        });
        let pairs: Vec<(StageName, StageName)> = pairs.collect();
        Graph::new(&stages, pairs.iter().map(|(reader, producer)| (reader, producer)))
    }

    fn numbers(stages: impl IntoIterator<Item = StageId>) -> Vec<usize> {
        stages.into_iter().map(StageId::index).collect()
    }

    #[test]
    fn the_order_respects_reads_then_the_file() {
        let graph = graph("bench train download other", "bench<train train<download").unwrap();
        assert_eq!(numbers(graph.order().iter().copied()), [2, 1, 0, 3]);
    }

    #[test]
    fn neighbours_and_reach() {
        let graph = graph("d t e q b", "t<d e<t q<e b<q b<e b<t").unwrap();
        let [d, t, e, _, b] = [0, 1, 2, 3, 4].map(StageId::at);
        assert_eq!(numbers(graph.dependencies(b)), [1, 2, 3]);
        assert_eq!(numbers(graph.dependents(t)), [2, 4]);
        assert_eq!(graph.dependencies(d).count(), 0);
        assert_eq!(numbers(graph.with_upstream([e])), [0, 1, 2]);
        assert_eq!(numbers(graph.with_downstream(graph.with_upstream([e]))), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_cycle_is_named_whole_and_nothing_else() {
        let cycle = graph("free a b c behind", "a<b b<c c<a behind<a").unwrap_err();
        assert_eq!(cycle.path(), "a → b → c → a");
        assert_eq!(cycle.to_string(), "stages wait for each other: a → b → c → a");
        assert_eq!(graph("a", "a<a").unwrap_err().path(), "a → a");
    }

    proptest! {
        #[test]
        fn every_stage_comes_after_what_it_reads(
            count in 1_usize..12,
            pairs in proptest::collection::vec((0_usize..12, 0_usize..12), 0..40),
        ) {
            let stages: Vec<StageName> = (0..count).map(|i| name(&format!("s{i}"))).collect();
            let reads: Vec<(&StageName, &StageName)> = pairs
                .iter()
                .filter_map(|&(reader, producer)| Some((stages.get(reader)?, stages.get(producer)?)))
                .collect();
            match Graph::new(&stages, reads.iter().copied()) {
                Ok(graph) => {
                    let position = |stage: &StageName| {
                        graph.order().iter().position(|id| &stages[id.index()] == stage).unwrap()
                    };
                    prop_assert_eq!(graph.order().len(), count);
                    for (reader, producer) in &reads {
                        prop_assert!(position(producer) < position(reader));
                        let id = |stage: &StageName| StageId::at(stages.iter().position(|s| s == stage).unwrap());
                        prop_assert!(graph.dependencies(id(reader)).any(|stage| stage == id(producer)));
                        prop_assert!(graph.dependents(id(producer)).any(|stage| stage == id(reader)));
                    }
                }
                Err(Cycle(loop_)) => {
                    prop_assert!(!loop_.is_empty());
                    for (reader, producer) in loop_.iter().zip(loop_.iter().cycle().skip(1)) {
                        prop_assert!(reads.contains(&(reader, producer)));
                    }
                }
            }
        }
    }
}
