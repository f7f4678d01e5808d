//! The graph of stages: who reads whose outputs, and an order to run them in. Knows nothing of what a stage does: it is a
//! name, and a position in the file.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};

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
    /// Whom each stage reads from.
    dependencies: Edges,
    /// Who reads from each stage.
    dependents: Edges,
    order: Vec<StageId>,
}

/// Sorted neighbours of every stage, one list after the other.
#[derive(Debug, Clone)]
struct Edges {
    /// Where the list of each stage ends; it begins where that of the stage before ends.
    ends: Vec<usize>,
    neighbours: Vec<StageId>,
}

impl Edges {
    /// The edges in `pairs` (from, to), which are sorted and without duplicates.
    fn new(count: usize, pairs: &[(StageId, StageId)]) -> Self {
        let mut ends = vec![0; count];
        for (from, _) in pairs {
            ends[from.index()] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            sum += *end;
            *end = sum;
        }
        Self { ends, neighbours: pairs.iter().map(|(_, to)| *to).collect() }
    }

    fn of(&self, stage: StageId) -> &[StageId] {
        let index = stage.index();
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.neighbours[start..self.ends[index]]
    }
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
        let mut pairs: Vec<(StageId, StageId)> = reads.collect();
        pairs.sort_unstable();
        pairs.dedup();
        let dependencies = Edges::new(names.len(), &pairs);
        for (reader, producer) in &mut pairs {
            std::mem::swap(reader, producer);
        }
        pairs.sort_unstable();
        let dependents = Edges::new(names.len(), &pairs);
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
    pub fn dependencies(&self, stage: StageId) -> &[StageId] {
        self.dependencies.of(stage)
    }

    /// The stages that read directly from `stage`, in the order of the file.
    #[must_use]
    pub fn dependents(&self, stage: StageId) -> &[StageId] {
        self.dependents.of(stage)
    }

    /// `stages` and all that they depend on, directly or not.
    #[must_use]
    pub fn with_upstream(&self, stages: impl IntoIterator<Item = StageId>) -> BTreeSet<StageId> {
        let mut reached = BTreeSet::new();
        let mut waiting: Vec<StageId> = stages.into_iter().collect();
        while let Some(stage) = waiting.pop() {
            if reached.insert(stage) {
                waiting.extend(self.dependencies(stage));
            }
        }
        reached
    }
}

/// Kahn's algorithm with a heap, so that the earliest stage of the file comes first. Stages on or behind a cycle are
/// missing.
fn topological_order(dependencies: &Edges, dependents: &Edges) -> Vec<StageId> {
    let count = dependencies.ends.len();
    let mut open: Vec<usize> = (0..count).map(|index| dependencies.of(StageId::at(index)).len()).collect();
    let ready = (0..count).map(StageId::at).filter(|stage| open[stage.index()] == 0);
    let mut ready: BinaryHeap<Reverse<StageId>> = ready.map(Reverse).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(Reverse(stage)) = ready.pop() {
        order.push(stage);
        for reader in dependents.of(stage) {
            let open = &mut open[reader.index()];
            *open -= 1;
            if *open == 0 {
                ready.push(Reverse(*reader));
            }
        }
    }
    order
}

/// The shortest cycle through the earliest stage that is on one, each stage followed by one that it reads from.
fn shortest_cycle(dependencies: &Edges, sorted: &BTreeSet<StageId>) -> Vec<StageId> {
    let all = (0..dependencies.ends.len()).map(StageId::at);
    for start in all.filter(|stage| !sorted.contains(stage)) {
        let mut came_from: BTreeMap<StageId, StageId> = BTreeMap::new();
        let mut waiting = VecDeque::from([start]);
        while let Some(stage) = waiting.pop_front() {
            for producer in dependencies.of(stage) {
                if *producer == start {
                    let mut path = vec![stage];
                    let mut at = stage;
                    while let Some(&before) = came_from.get(&at) {
                        path.push(before);
                        at = before;
                    }
                    path.reverse();
                    return path;
                }
                if !came_from.contains_key(producer) {
                    came_from.insert(*producer, stage);
                    waiting.push_back(*producer);
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

    fn numbers<'a>(stages: impl IntoIterator<Item = &'a StageId>) -> Vec<usize> {
        stages.into_iter().map(|stage| stage.index()).collect()
    }

    #[test]
    fn the_order_respects_reads_then_the_file() {
        let graph = graph("bench train download other", "bench<train train<download").unwrap();
        assert_eq!(numbers(graph.order()), [2, 1, 0, 3]);
    }

    #[test]
    fn neighbours_and_reach() {
        let graph = graph("d t e q b", "t<d e<t q<e b<q b<e b<t").unwrap();
        let [d, t, e, _, b] = [0, 1, 2, 3, 4].map(StageId::at);
        assert_eq!(numbers(graph.dependencies(b)), [1, 2, 3]);
        assert_eq!(numbers(graph.dependents(t)), [2, 4]);
        assert!(graph.dependencies(d).is_empty());
        assert_eq!(numbers(&graph.with_upstream([e])), [0, 1, 2]);
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
                        prop_assert!(graph.dependencies(id(reader)).contains(&id(producer)));
                        prop_assert!(graph.dependents(id(producer)).contains(&id(reader)));
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
