//! Models that compute in 16-bit floats (IEEE 754 binary16), taken to 32 bits: processors have few operators of 16 bits, and
//! integers are made of 32-bit floats. Inputs and outputs stay as they are.

use std::collections::BTreeMap;

use crate::graph::{Attribute, Graph, Model, Node};
use crate::proto::data_type::{FLOAT, FLOAT16};
use crate::tensor::{Data, ElementType, Tensor};

impl Model {
    /// The model computing in 32-bit floats wherever it computes in 16; `None` where it does so nowhere. Inputs and outputs keep
    /// their types: they are cast.
    #[must_use]
    pub fn widened(&self) -> Option<Self> {
        let values = self.graph.inputs.iter().chain(&self.graph.outputs);
        let mut found =
            values.map(|value| value.element).chain(elements(&self.graph)).any(|it| it == ElementType::F16);
        self.graph.each_node(&mut |node| {
            let is_half = |value: &Attribute| matches!(value, Attribute::Tensor(it) if it.element() == ElementType::F16);
            found |= node.attributes.values().any(is_half) || gives_halves(node);
            found |= node.bodies().flat_map(elements).any(|it| it == ElementType::F16);
        });
        if !found {
            return None;
        }
        let mut model = self.clone();
        let graph = &mut model.graph;
        let (inputs, outputs) = (graph.inputs.clone(), graph.outputs.clone());
        widen(graph);
        let mut names = graph.names();
        let mut casts = Vec::new();
        let cast = |from: &str, to: &str, code: i32| {
            Node::new("Cast", [from], [to]).with("to", Attribute::Int(i64::from(code)))
        };
        let constants = &graph.initializers;
        let taken: Vec<_> = inputs
            .iter()
            .filter(|value| value.element == ElementType::F16 && !constants.contains_key(&value.name))
            .map(|value| value.name.clone())
            .collect();
        let given =
            outputs.iter().filter(|value| value.element == ElementType::F16 && !taken.contains(&value.name));
        let given: Vec<_> = given.map(|value| value.name.clone()).collect();
        let mut renamed = BTreeMap::new();
        for name in &taken {
            let wide = names.fresh(&format!("{name}_wide"));
            casts.push(cast(name, &wide, FLOAT));
            renamed.insert(name.clone(), wide);
        }
        for name in given {
            let wide = names.fresh(&format!("{name}_wide"));
            graph.nodes.push(cast(&wide, &name, FLOAT16));
            renamed.insert(name, wide);
        }
        let own = graph.nodes.len() - (renamed.len() - taken.len());
        for node in graph.nodes.iter_mut().take(own) {
            rename_uses(node, &renamed);
            for output in &mut node.outputs {
                if let Some(wide) = renamed.get(output) {
                    output.clone_from(wide);
                }
            }
        }
        graph.nodes.splice(0..0, casts);
        for (name, wide) in renamed {
            if let Some(known) = graph.hints.remove(&name) {
                graph.hints.insert(wide, known);
            }
        }
        // A constant is no cast's to make.
        graph.inputs = inputs;
        for value in &mut graph.inputs {
            if value.element == ElementType::F16 && graph.initializers.contains_key(&value.name) {
                value.element = ElementType::F32;
            }
        }
        graph.outputs = outputs;
        Some(model)
    }
}

fn elements(graph: &Graph) -> impl Iterator<Item = ElementType> {
    graph.initializers.values().map(Tensor::element)
}

/// Whether an attribute of the node says that it gives 16-bit floats.
fn gives_halves(node: &Node) -> bool {
    ["to", "dtype"].iter().any(|name| node.int(name, 0) == i64::from(FLOAT16))
}

/// Makes all 16-bit floats in the graph and in the bodies of its nodes 32-bit ones.
fn widen(graph: &mut Graph) {
    for value in graph.inputs.iter_mut().chain(&mut graph.outputs) {
        value.element = wide(value.element);
    }
    for known in graph.hints.values_mut() {
        known.element = wide(known.element);
    }
    for tensor in graph.initializers.values_mut() {
        widen_tensor(tensor);
    }
    for node in &mut graph.nodes {
        let gives_halves = gives_halves(node);
        for (name, value) in &mut node.attributes {
            match value {
                Attribute::Tensor(tensor) => widen_tensor(tensor),
                Attribute::Graph(body) => widen(body),
                Attribute::Int(code) if gives_halves && (name == "to" || name == "dtype") => {
                    *code = i64::from(FLOAT);
                }
                _ => {}
            }
        }
    }
}

fn wide(element: ElementType) -> ElementType {
    if element == ElementType::F16 { ElementType::F32 } else { element }
}

fn widen_tensor(tensor: &mut Tensor) {
    let Data::Other { code: FLOAT16, bytes, .. } = tensor.data() else { return };
    let (halves, _) = bytes.as_chunks::<2>();
    let values = halves.iter().map(|half| single(u16::from_le_bytes(*half))).collect();
    if let Some(wide) = Tensor::new(tensor.shape().to_vec(), Data::F32(values)) {
        *tensor = wide;
    }
}

/// The value of a 16-bit float (IEEE 754 binary16), which 32 bits hold exactly.
fn single(bits: u16) -> f32 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f32.powi(exponent - 15),
    }
}

/// Gives what the node and its bodies take from around them other names.
fn rename_uses(node: &mut Node, renamed: &BTreeMap<String, String>) {
    for input in &mut node.inputs {
        if let Some(wide) = renamed.get(input) {
            input.clone_from(wide);
        }
    }
    for body in node.bodies_mut() {
        let captured = body.captures();
        let captured = renamed.iter().filter(|(name, _)| captured.contains(name.as_str()));
        let captured: BTreeMap<_, _> = captured.map(|(name, wide)| (name.clone(), wide.clone())).collect();
        body.nodes.iter_mut().for_each(|node| rename_uses(node, &captured));
        for output in &mut body.outputs {
            if let Some(wide) = captured.get(&output.name) {
                output.name.clone_from(wide);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::graph::Value;

    fn halves(values: &[u16]) -> Tensor {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor::vector(Data::Other { code: FLOAT16, width: NonZeroUsize::new(2).unwrap(), bytes })
    }

    #[test]
    fn halves_become_floats_between_inputs_and_outputs_that_stay() {
        let mut model = Model::new(17);
        let value = |name: &str| Value { name: name.into(), element: ElementType::F16, shape: None };
        let body = Graph {
            nodes: vec![Node::new("Mul", ["x", "y"], ["z"])],
            outputs: vec![value("z")],
            ..Graph::default()
        };
        (model.graph.inputs, model.graph.outputs) = (vec![value("x")], vec![value("y"), value("w")]);
        model.graph.initializers.insert("c".into(), halves(&[0x3c00, 0xc000, 0x0001, 0x7bff]));
        model.graph.nodes = vec![
            Node::new("Add", ["x", "c"], ["y"]),
            Node::new("Cast", ["y"], ["t"]).with("to", Attribute::Int(i64::from(FLOAT16))),
            Node::new("If", ["t"], ["w"]).with("then_branch", Attribute::Graph(Box::new(body))),
        ];
        let wide = model.widened().unwrap().graph;
        wide.check().unwrap();
        assert!(wide.inputs.iter().chain(&wide.outputs).all(|value| value.element == ElementType::F16));
        assert_eq!(wide.initializers["c"].as_f32(), Some(&[1.0, -2.0, 2_f32.powi(-24), 65504.0][..]));
        let ops: Vec<_> = wide.nodes.iter().map(|node| (node.op.as_str(), node.int("to", 0))).collect();
        let floats = i64::from(FLOAT);
        let cast = |to| ("Cast", to);
        let back = i64::from(FLOAT16);
        assert_eq!(ops, [cast(floats), ("Add", 0), cast(floats), ("If", 0), cast(back), cast(back)]);
        assert_eq!(wide.captured().into_iter().collect::<Vec<_>>(), ["x_wide", "y_wide"]);
        assert_eq!(wide.nodes[3].bodies().next().unwrap().outputs[0].element, ElementType::F32);
    }

    #[test]
    fn a_model_without_halves_is_left_alone() {
        let mut model = Model::new(17);
        model.graph.initializers.insert("c".into(), Tensor::scalar_f32(1.0));
        assert_eq!(model.widened(), None);
    }
}
