//! Operators without weights that no integer convolution or matrix product is near: rounding their operands would cost
//! conversions and accuracy, and save nothing.

use std::collections::BTreeMap;

use onnx::Graph;

use crate::plan::{Role, has_weight};

/// Makes integer operators floats where no tensor connects them, over other integer operators, with one that has weights.
pub(crate) fn to_floats(graph: &Graph, roles: &mut [Role]) {
    let connects = |role: &Role| matches!(role, Role::Integer | Role::Passes | Role::Merged { .. });
    let mut islands = Islands((0..roles.len()).collect());
    let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, (node, role)) in graph.nodes.iter().zip(roles.iter()).enumerate() {
        if !connects(role) {
            continue;
        }
        for input in &node.inputs {
            if let Some(maker) = makers.get(input.as_str()) {
                islands.join(*maker, index);
            }
        }
        makers.extend(node.outputs.iter().map(|output| (output.as_str(), index)));
    }
    let mut weighty = vec![false; roles.len()];
    for (index, (node, role)) in graph.nodes.iter().zip(roles.iter()).enumerate() {
        if *role == Role::Integer && (has_weight(graph, node) || node.is("MatMul")) {
            weighty[islands.of(index)] = true;
        }
    }
    for (index, role) in roles.iter_mut().enumerate() {
        if *role == Role::Integer && !weighty[islands.of(index)] {
            *role = Role::Float("no convolution or matrix product beside it computes in integers".into());
        }
    }
}

/// By node, another one of its island; the first one names it.
struct Islands(Vec<usize>);

impl Islands {
    fn of(&self, node: usize) -> usize {
        let mut at = node;
        while self.0[at] != at {
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        self.0[one.max(other)] = one.min(other);
    }
}
