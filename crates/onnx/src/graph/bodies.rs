//! Graphs within graphs: what nodes of control flow execute, and what that takes from around it.

use std::collections::BTreeSet;

use super::{Attribute, Graph, Node};

impl Node {
    /// The graphs that it executes, as operators of control flow do.
    pub fn bodies(&self) -> impl Iterator<Item = &Graph> {
        self.attributes.values().filter_map(|value| match value {
            Attribute::Graph(body) => Some(&**body),
            _ => None,
        })
    }

    /// As [`Node::bodies`], to change them.
    pub fn bodies_mut(&mut self) -> impl Iterator<Item = &mut Graph> {
        self.attributes.values_mut().filter_map(|value| match value {
            Attribute::Graph(body) => Some(&mut **body),
            _ => None,
        })
    }

    /// All tensors that it consumes, each as often as it does so: its inputs, and what its bodies take from around it.
    pub fn uses(&self) -> impl Iterator<Item = &str> {
        let captured = self.bodies().flat_map(Graph::captures);
        self.inputs.iter().map(String::as_str).filter(|name| !name.is_empty()).chain(captured)
    }
}

impl Graph {
    pub(crate) fn collect_names<'a>(&'a self, all: &mut BTreeSet<&'a str>) {
        all.extend(self.inputs.iter().chain(&self.outputs).map(|value| value.name.as_str()));
        all.extend(self.initializers.keys().map(String::as_str));
        for node in &self.nodes {
            all.extend(node.inputs.iter().chain(&node.outputs).map(String::as_str));
            node.bodies().for_each(|body| body.collect_names(all));
        }
    }

    /// The tensors that a body takes from around it.
    #[must_use]
    pub fn captures(&self) -> BTreeSet<&str> {
        let own = self.inputs.iter().map(|value| value.name.as_str());
        let own = own.chain(self.initializers.keys().map(String::as_str));
        let made = self.nodes.iter().flat_map(|node| &node.outputs).map(String::as_str);
        let own: BTreeSet<&str> = own.chain(made).collect();
        let used = self.nodes.iter().flat_map(Node::uses);
        used.chain(self.outputs.iter().map(|value| value.name.as_str()))
            .filter(|name| !own.contains(name))
            .collect()
    }

    /// The tensors that bodies of its nodes take from it: nothing else knows how they are called there.
    #[must_use]
    pub fn captured(&self) -> BTreeSet<&str> {
        self.nodes.iter().flat_map(Node::bodies).flat_map(Graph::captures).collect()
    }

    /// All nodes, those of bodies behind the one that executes them.
    pub fn each_node<'a>(&'a self, take: &mut dyn FnMut(&'a Node)) {
        for node in &self.nodes {
            take(node);
            node.bodies().for_each(|body| body.each_node(take));
        }
    }
}
