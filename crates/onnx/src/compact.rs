//! Making a model's file smaller without changing an output bit: what only people read goes away.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Attribute, Model, Node};
use crate::names::Names;
use crate::tensor::Tensor;

impl Model {
    /// The same model with equal initializers shared, attributes that say the default left out, nodes without
    /// names, and inner tensors renamed so that the most frequent have the shortest names. Inputs, outputs and
    /// metadata keep theirs.
    #[must_use]
    pub fn compacted(&self) -> Self {
        let mut model = self.clone();
        share_initializers(&mut model);
        for node in &mut model.graph.nodes {
            node.name.clear();
            drop_default_attributes(node);
            while node.inputs.last().is_some_and(String::is_empty) {
                node.inputs.pop();
            }
        }
        model.graph.hints.clear();
        model.graph.remove_unused();
        rename(&mut model);
        model
    }
}

fn share_initializers(model: &mut Model) {
    let graph = &mut model.graph;
    let captured: BTreeSet<String> = graph.captured().into_iter().map(str::to_owned).collect();
    let mut first: BTreeMap<(i32, &[usize], Vec<u8>), &str> = BTreeMap::new();
    let mut same = BTreeMap::new();
    for (name, tensor) in &graph.initializers {
        let key = (tensor.element().code(), tensor.shape(), tensor.data().to_bytes());
        let kept = first.entry(key).or_insert(name);
        let is_fixed = || captured.contains(name) || graph.outputs.iter().any(|value| value.name == *name);
        if *kept != name && !is_fixed() {
            same.insert(name.clone(), (*kept).to_owned());
        }
    }
    for name in graph.nodes.iter_mut().flat_map(|node| &mut node.inputs) {
        if let Some(kept) = same.get(name) {
            name.clone_from(kept);
        }
    }
}

/// Leaves out attributes that ONNX gives the same value when they are absent.
fn drop_default_attributes(node: &mut Node) {
    if !node.is_onnx() {
        return;
    }
    let op = node.op.clone();
    node.attributes.retain(|name, value| {
        let all = |values: &[i64], default: i64| values.iter().all(|&value| value == default);
        match (op.as_str(), name.as_str(), value) {
            ("Conv" | "ConvInteger", "kernel_shape", _) => false,
            ("Conv" | "ConvInteger", "group", Attribute::Int(value)) => *value != 1,
            (
                "Conv" | "ConvInteger" | "MaxPool" | "AveragePool",
                "dilations" | "strides",
                Attribute::Ints(values),
            ) => !all(values, 1),
            ("Conv" | "ConvInteger" | "MaxPool" | "AveragePool", "pads", Attribute::Ints(values)) => {
                !all(values, 0)
            }
            ("Conv" | "ConvInteger" | "MaxPool" | "AveragePool", "auto_pad", Attribute::Text(value)) => {
                value != "NOTSET"
            }
            ("MaxPool" | "AveragePool", "ceil_mode", Attribute::Int(value)) => *value != 0,
            ("Gemm", "transA" | "transB", Attribute::Int(value)) => *value != 0,
            ("Gemm", "alpha" | "beta", Attribute::Float(value)) => value.to_bits() != 1.0_f32.to_bits(),
            ("Flatten" | "QuantizeLinear" | "DequantizeLinear", "axis", Attribute::Int(value)) => *value != 1,
            _ => true,
        }
    });
}

fn rename(model: &mut Model) {
    let graph = &mut model.graph;
    // Bodies keep their names, and what they take from around them keeps its.
    let mut within = BTreeSet::new();
    graph.nodes.iter().flat_map(Node::bodies).for_each(|body| body.collect_names(&mut within));
    let fixed = |name: &str| {
        within.contains(name) || graph.inputs.iter().chain(&graph.outputs).any(|value| value.name == name)
    };
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &graph.nodes {
        for name in node.inputs.iter().chain(&node.outputs).filter(|name| !name.is_empty() && !fixed(name)) {
            *uses.entry(name).or_default() += 1;
        }
    }
    for name in graph.initializers.keys().filter(|name| !fixed(name)) {
        *uses.entry(name).or_default() += 1;
    }
    let mut by_use: Vec<_> = uses.into_iter().collect();
    by_use.sort_by_key(|&(name, count)| (Reverse(count), name));
    let values = graph.inputs.iter().chain(&graph.outputs).map(|value| value.name.as_str());
    let mut names = Names::new(values.chain(within.iter().copied()).map(str::to_owned));
    let short: BTreeMap<String, String> =
        by_use.into_iter().map(|(name, _)| (name.to_owned(), names.short())).collect();
    for node in &mut graph.nodes {
        for name in node.inputs.iter_mut().chain(&mut node.outputs) {
            if let Some(new) = short.get(name) {
                name.clone_from(new);
            }
        }
    }
    let initializers: BTreeMap<String, Tensor> = std::mem::take(&mut graph.initializers);
    graph.initializers = initializers
        .into_iter()
        .map(|(name, tensor)| (short.get(&name).cloned().unwrap_or(name), tensor))
        .collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Value;
    use crate::tensor::{Data, ElementType};

    fn sample() -> Model {
        let mut model = Model::new(13);
        let value = |name: &str| Value { name: name.into(), element: ElementType::F32, shape: None };
        model.graph.inputs = vec![value("input")];
        model.graph.outputs = vec![value("output")];
        let weight = Tensor::new(vec![1, 1, 1, 1], Data::F32(vec![2.0])).unwrap();
        for name in ["first.weight", "second.weight"] {
            model.graph.initializers.insert(name.into(), weight.clone());
        }
        let conv = |inputs: [&str; 3], output: &str| {
            Node::new("Conv", inputs, [output])
                .named("a conv")
                .with("group", Attribute::Int(1))
                .with("kernel_shape", Attribute::Ints(vec![1, 1]))
                .with("strides", Attribute::Ints(vec![1, 2]))
                .with("pads", Attribute::Ints(vec![0; 4]))
        };
        model.graph.nodes = vec![
            conv(["input", "first.weight", ""], "middle"),
            conv(["middle", "second.weight", ""], "output"),
        ];
        model
    }

    #[test]
    fn what_is_said_twice_or_by_default_goes() {
        let compact = sample().compacted();
        compact.graph.check().unwrap();
        assert_eq!(compact.graph.initializers.keys().collect::<Vec<_>>(), ["a"]);
        let [first, second] = compact.graph.nodes.as_slice() else { panic!() };
        assert_eq!(
            (first.inputs.clone(), first.outputs.clone()),
            (vec!["input".into(), "a".into()], vec!["b".into()])
        );
        assert_eq!(second.outputs, ["output"]);
        assert_eq!(first.attributes.keys().collect::<Vec<_>>(), ["strides"]);
        assert!(first.name.is_empty());
        assert!(compact.to_bytes().len() < sample().to_bytes().len());
    }

    #[test]
    fn compacting_twice_changes_nothing_more() {
        let once = sample().compacted();
        assert_eq!(once.compacted().to_bytes(), once.to_bytes());
    }
}
