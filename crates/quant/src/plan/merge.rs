//! Which nodes the rounding of the outcome before them makes superfluous: what cuts values off, because 8 bits do, and what multiplies
//! them by one constant, because that is a scale.

use std::collections::BTreeMap;

use onnx::{Graph, Node};

use super::{Bounds, Planner, Role};

/// What a merged node does.
#[derive(Debug, Clone, Copy)]
enum Effect {
    /// Values beyond become the nearest that is not.
    Cut(Bounds),
    /// Values are multiplied by a positive number.
    Scale(f32),
}

/// By how much a scale may change: what is beyond might leave the range of floats.
const SCALES: std::ops::RangeInclusive<f32> = 1e-6..=1e6;

impl Planner<'_> {
    /// Merges each node that alone consumes an integer operator's outcome and does nothing that rounding cannot.
    pub(super) fn merge(&mut self) {
        let mut producers: BTreeMap<String, usize> = BTreeMap::new();
        let mut merged = Vec::new();
        for (index, node, role) in self.nodes() {
            let Some(output) = node.output(0).map(str::to_owned) else { continue };
            let found = effect(self.graph, node, role).and_then(|(operand, effect)| {
                let input = node.input(operand)?;
                let alone = self.consumers.get(input).is_some_and(|consumers| consumers.len() == 1);
                let into = producers.get(input).copied()?;
                (alone && !self.graph.is_output(input)).then_some((input.to_owned(), into, effect))
            });
            if let Some((input, into, effect)) = found {
                merged.push((index, into, input, output.clone(), effect));
                producers.insert(output, into);
            } else if *role == Role::Integer {
                producers.insert(output, index);
            }
        }
        self.outcomes = producers.iter().map(|(output, &index)| (index, output.clone())).collect();
        for (index, into, input, output, effect) in merged {
            let before = self.bounds.get(&input).copied().unwrap_or(Bounds::NONE);
            let factor = self.factors.get(&input).copied().unwrap_or(1.0);
            let (bounds, factor) = match effect {
                Effect::Cut(cut) => {
                    (Bounds { low: before.low.max(cut.low), high: before.high.min(cut.high) }, factor)
                }
                Effect::Scale(scale) => {
                    (Bounds { low: before.low * scale, high: before.high * scale }, factor * scale)
                }
            };
            self.bounds.insert(output.clone(), bounds);
            self.factors.insert(output.clone(), factor);
            self.outcomes.insert(into, output);
            if let Some(role) = self.roles.get_mut(index) {
                *role = Role::Merged { into };
            }
        }
    }
}

/// Which operand of a node is its only activation, and what the node does to it; `None` for what no rounding can do.
fn effect(graph: &Graph, node: &Node, role: &Role) -> Option<(usize, Effect)> {
    match role {
        Role::Float(reason) if !reason.starts_with("excluded") => {
            Some((0, Effect::Cut(clip_bounds(graph, node)?)))
        }
        Role::Integer if node.is("Mul") => {
            let constant = (0..2).find(|operand| graph.constant(node, *operand).is_some())?;
            let tensor = graph.constant(node, constant)?;
            let factor = tensor.as_single_f32().filter(|factor| SCALES.contains(factor))?;
            (tensor.shape().len() <= 1).then_some((1 - constant, Effect::Scale(factor)))
        }
        _ => None,
    }
}

/// What a `Relu` or `Clip` lets through, if its bounds are constant and zero is between them.
fn clip_bounds(graph: &Graph, node: &Node) -> Option<Bounds> {
    let bound = |index, default| match node.input(index) {
        None => Some(default),
        Some(_) => graph.constant(node, index)?.as_single_f32(),
    };
    let bounds = match node.op.as_str() {
        "Relu" => Bounds { low: 0.0, high: f32::INFINITY },
        "Clip" => Bounds { low: bound(1, f32::NEG_INFINITY)?, high: bound(2, f32::INFINITY)? },
        _ => return None,
    };
    (bounds.low <= 0.0 && bounds.high > 0.0).then_some(bounds)
}
