//! The graph of stages: who reads whose outputs, and an order to run them in. Knows nothing of what a stage does.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::spec::{Input, Pipeline, StageName};

/// The stages of a pipeline and the edges between them, free of cycles.
#[derive(Debug, Clone)]
pub struct Graph {
    /// An edge leads from the stage that produces to the stage that reads. Nodes are in the order of the file.
    edges: DiGraph<StageName, ()>,
    index: BTreeMap<StageName, NodeIndex>,
    order: Vec<StageName>,
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
    /// The graph of a pipeline.
    ///
    /// # Errors
    /// When stages wait for each other.
    pub fn new(pipeline: &Pipeline) -> Result<Self, Cycle> {
        let reads = pipeline.stages.values().flat_map(|stage| {
            stage.inputs.values().filter_map(|input| match input {
                Input::Output { stage: from, .. } => Some((stage.name.clone(), from.clone())),
                Input::Path(_) => None,
            })
        });
        Self::from_reads(pipeline.stages.keys().cloned(), reads)
    }

    /// The graph of stages in the order of the file and of pairs (reader, producer). Pairs that name other stages
    /// are left out.
    ///
    /// # Errors
    /// When stages wait for each other.
    pub(crate) fn from_reads(
        stages: impl IntoIterator<Item = StageName>,
        reads: impl IntoIterator<Item = (StageName, StageName)>,
    ) -> Result<Self, Cycle> {
        let mut edges = DiGraph::new();
        let mut index = BTreeMap::new();
        for name in stages {
            index.entry(name.clone()).or_insert_with(|| edges.add_node(name));
        }
        for (reader, producer) in reads {
            if let (Some(&reader), Some(&producer)) = (index.get(&reader), index.get(&producer)) {
                edges.update_edge(producer, reader, ());
            }
        }
        let order = topological_order(&edges);
        if order.len() < edges.node_count() {
            let sorted: BTreeSet<NodeIndex> = order.into_iter().collect();
            return Err(Cycle(names(&edges, shortest_cycle(&edges, &sorted))));
        }
        let order = names(&edges, order);
        Ok(Self { edges, index, order })
    }

    /// All stages, each after those it reads from; the order of the file decides where that leaves a choice.
    #[must_use]
    pub fn order(&self) -> &[StageName] {
        &self.order
    }

    /// The stages that `stage` reads from directly, in the order of the file. Empty for a stage it does not know.
    #[must_use]
    pub fn dependencies(&self, stage: &StageName) -> Vec<&StageName> {
        self.neighbours(stage, Direction::Incoming)
    }

    /// The stages that read directly from `stage`, in the order of the file. Empty for a stage it does not know.
    #[must_use]
    pub fn dependents(&self, stage: &StageName) -> Vec<&StageName> {
        self.neighbours(stage, Direction::Outgoing)
    }

    /// `stages` and all that they depend on, directly or not.
    #[must_use]
    pub fn with_upstream(&self, stages: &[StageName]) -> BTreeSet<StageName> {
        self.reach(stages, Direction::Incoming)
    }

    /// `stages` and all that depend on them, directly or not.
    #[must_use]
    pub fn with_downstream(&self, stages: &[StageName]) -> BTreeSet<StageName> {
        self.reach(stages, Direction::Outgoing)
    }

    fn neighbours(&self, stage: &StageName, direction: Direction) -> Vec<&StageName> {
        let Some(&node) = self.index.get(stage) else { return Vec::new() };
        let found: BTreeSet<NodeIndex> = self.edges.neighbors_directed(node, direction).collect();
        found.into_iter().filter_map(|node| self.edges.node_weight(node)).collect()
    }

    fn reach(&self, stages: &[StageName], direction: Direction) -> BTreeSet<StageName> {
        let mut reached = BTreeSet::new();
        let mut waiting: Vec<&StageName> =
            stages.iter().filter(|stage| self.index.contains_key(*stage)).collect();
        while let Some(stage) = waiting.pop() {
            if reached.insert(stage.clone()) {
                waiting.extend(self.neighbours(stage, direction));
            }
        }
        reached
    }
}

/// Kahn's algorithm with a heap, so that the earliest stage of the file comes first. Nodes on or behind a cycle are
/// missing.
fn topological_order(edges: &DiGraph<StageName, ()>) -> Vec<NodeIndex> {
    let mut open: BTreeMap<NodeIndex, usize> = edges
        .node_indices()
        .map(|node| (node, edges.neighbors_directed(node, Direction::Incoming).count()))
        .collect();
    let mut ready: BinaryHeap<Reverse<NodeIndex>> =
        open.iter().filter(|(_, count)| **count == 0).map(|(node, _)| Reverse(*node)).collect();
    let mut order = Vec::with_capacity(open.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for reader in edges.neighbors(node) {
            if let Some(count) = open.get_mut(&reader) {
                *count -= 1;
                if *count == 0 {
                    ready.push(Reverse(reader));
                }
            }
        }
    }
    order
}

/// The shortest cycle through the earliest node that is on one, each node followed by one that it reads from.
fn shortest_cycle(edges: &DiGraph<StageName, ()>, sorted: &BTreeSet<NodeIndex>) -> Vec<NodeIndex> {
    for start in edges.node_indices().filter(|node| !sorted.contains(node)) {
        let mut came_from: BTreeMap<NodeIndex, NodeIndex> = BTreeMap::new();
        let mut waiting = VecDeque::from([start]);
        while let Some(node) = waiting.pop_front() {
            for producer in edges.neighbors_directed(node, Direction::Incoming) {
                if producer == start {
                    let mut path = vec![node];
                    let mut at = node;
                    while let Some(&before) = came_from.get(&at) {
                        path.push(before);
                        at = before;
                    }
                    path.reverse();
                    return path;
                }
                if let Entry::Vacant(entry) = came_from.entry(producer) {
                    entry.insert(node);
                    waiting.push_back(producer);
                }
            }
        }
    }
    Vec::new()
}

fn names(edges: &DiGraph<StageName, ()>, nodes: Vec<NodeIndex>) -> Vec<StageName> {
    nodes.into_iter().filter_map(|node| edges.node_weight(node).cloned()).collect()
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
        let pairs = reads.split_whitespace().map(|pair| {
            let (reader, producer) = pair.split_once('<').unwrap();
            (name(reader), name(producer))
        });
        Graph::from_reads(stages.split_whitespace().map(name), pairs)
    }

    fn texts<'a>(names: impl IntoIterator<Item = &'a StageName>) -> String {
        names.into_iter().map(StageName::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_order_respects_reads_then_the_file() {
        let graph = graph("bench train download other", "bench<train train<download").unwrap();
        assert_eq!(texts(graph.order()), "download train bench other");
    }

    #[test]
    fn neighbours_and_reach() {
        let graph = graph("d t e q b", "t<d e<t q<e b<q b<e b<t").unwrap();
        assert_eq!(texts(graph.dependencies(&name("b"))), "t e q");
        assert_eq!(texts(graph.dependents(&name("t"))), "e b");
        assert_eq!(texts(&graph.with_upstream(&[name("e")])), "d e t");
        assert_eq!(texts(&graph.with_downstream(&[name("q")])), "b q");
        assert!(graph.dependencies(&name("nobody")).is_empty());
        assert!(graph.with_upstream(&[name("nobody")]).is_empty());
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
            let reads: Vec<_> = pairs
                .iter()
                .filter(|(reader, producer)| *reader < count && *producer < count)
                .map(|&(reader, producer)| (stages[reader].clone(), stages[producer].clone()))
                .collect();
            match Graph::from_reads(stages.clone(), reads.clone()) {
                Ok(graph) => {
                    let position = |stage: &StageName| graph.order().iter().position(|s| s == stage).unwrap();
                    prop_assert_eq!(graph.order().len(), count);
                    for (reader, producer) in &reads {
                        prop_assert!(position(producer) < position(reader));
                    }
                }
                Err(Cycle(loop_)) => {
                    prop_assert!(!loop_.is_empty());
                    for (reader, producer) in loop_.iter().zip(loop_.iter().cycle().skip(1)) {
                        prop_assert!(reads.contains(&(reader.clone(), producer.clone())));
                    }
                }
            }
        }
    }
}
