//! Opset 11 for graphs of 7 to 10: operators that took attributes where they take inputs since, and those that have another name
//! (<https://github.com/onnx/onnx/blob/main/docs/Changelog.md>).

use onnx::{Attribute, Data, Graph, Names, Node, Tensor};

use crate::error::QuantError;

/// The oldest opset that is raised: before it, operators broadcast as attributes say.
pub(super) const OLDEST: i64 = 7;

/// Rewrites a graph of opset `from`, 7 or newer, so that it means the same in 11 and 12.
///
/// # Errors
/// [`QuantError::Opset`] for an operator that no later opset has.
pub(super) fn raise(graph: &mut Graph, names: &mut Names, from: i64) -> Result<(), QuantError> {
    let mut nodes = std::mem::take(&mut graph.nodes);
    for node in &mut nodes {
        node.bodies_mut().try_for_each(|body| raise(body, names, from))?;
        if !node.is_onnx() {
            continue;
        }
        let mut add = |node: &Node, what: &str, tensor: Tensor| {
            let name = names.fresh(&format!("{}_{what}", node.label()));
            graph.initializers.insert(name.clone(), tensor);
            name
        };
        match node.op.as_str() {
            "Clip" if from < 11 => {
                let bounds = ["min", "max"].map(|what| match node.attributes.remove(what) {
                    Some(Attribute::Float(bound)) => add(node, what, Tensor::scalar_f32(bound)),
                    _ => String::new(),
                });
                node.inputs.extend(bounds);
            }
            "Pad" if from < 11 => {
                let pads = taken(node, "pads").unwrap_or_default();
                let pads = add(node, "pads", Tensor::vector(Data::I64(pads)));
                let value = node.float("value", 0.0);
                node.attributes.remove("value");
                let value = add(node, "value", Tensor::scalar_f32(value));
                node.inputs.extend([pads, value]);
            }
            "Slice" if from < 10 => {
                let parts = ["starts", "ends", "axes"].map(|what| match taken(node, what) {
                    Some(values) => add(node, what, Tensor::vector(Data::I64(values))),
                    None => String::new(),
                });
                node.inputs.extend(parts);
            }
            "TopK" if from < 10 => {
                let count = add(node, "k", Tensor::vector(Data::I64(vec![node.int("k", 1)])));
                node.attributes.remove("k");
                node.inputs.push(count);
            }
            "Upsample" | "Resize" if from < 11 => {
                if let Some(Attribute::Floats(scales)) = node.attributes.remove("scales") {
                    let scales = add(node, "scales", Tensor::vector(Data::F32(scales)));
                    node.inputs.push(scales);
                }
                node.op = "Resize".into();
                // Which region is looked at is asked of another mode alone; an empty one is none.
                let region = add(node, "region", Tensor::vector(Data::F32(Vec::new())));
                node.inputs.insert(1, region);
                let text = |text: &str| Attribute::Text(text.into());
                node.attributes.insert("coordinate_transformation_mode".into(), text("asymmetric"));
                if node.text("mode") != Some("linear") {
                    node.attributes.insert("nearest_mode".into(), text("floor"));
                }
            }
            "Scatter" => node.op = "ScatterElements".into(),
            // What it does while training is not asked for any more.
            "Dropout" => drop(node.attributes.remove("ratio")),
            "BatchNormalization" if node.int("spatial", 1) != 0 => drop(node.attributes.remove("spatial")),
            "BatchNormalization" | "Scan" if from < 9 => {
                return Err(QuantError::Opset {
                    opset: from,
                    reason: format!(
                        "{} (`{}`) means something that later ones have no word for; export it with 13",
                        node.op,
                        node.label()
                    ),
                });
            }
            _ => {}
        }
    }
    graph.nodes = nodes;
    Ok(())
}

/// An attribute of integers, which goes.
fn taken(node: &mut Node, name: &str) -> Option<Vec<i64>> {
    match node.attributes.remove(name) {
        Some(Attribute::Ints(values)) => Some(values),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raised(node: Node, from: i64) -> (Graph, Node) {
        let mut graph = Graph { nodes: vec![node], ..Graph::default() };
        let mut names = graph.names();
        raise(&mut graph, &mut names, from).unwrap();
        let node = graph.nodes[0].clone();
        (graph, node)
    }

    fn ints(graph: &Graph, node: &Node, index: usize) -> Vec<i64> {
        graph.constant(node, index).unwrap().as_i64().unwrap().to_vec()
    }

    #[test]
    fn attributes_become_inputs() {
        let clip = Node::new("Clip", ["x"], ["y"]).with("max", Attribute::Float(6.0));
        let (graph, node) = raised(clip, 7);
        assert!(node.input(1).is_none() && node.attributes.is_empty());
        assert_eq!(graph.constant(&node, 2).unwrap().as_single_f32(), Some(6.0));
        let pad = Node::new("Pad", ["x"], ["y"]).with("pads", Attribute::Ints(vec![1, 2]));
        let (graph, node) = raised(pad, 10);
        assert_eq!(ints(&graph, &node, 1), [1, 2]);
        let slice = Node::new("Slice", ["x"], ["y"])
            .with("starts", Attribute::Ints(vec![1]))
            .with("ends", Attribute::Ints(vec![9]));
        let (graph, node) = raised(slice, 9);
        assert_eq!((ints(&graph, &node, 1), ints(&graph, &node, 2)), (vec![1], vec![9]));
        let (graph, node) = raised(Node::new("TopK", ["x"], ["y"]).with("k", Attribute::Int(3)), 7);
        assert_eq!(ints(&graph, &node, 1), [3]);
    }

    #[test]
    fn what_was_larger_is_as_large_and_looks_at_the_same_places() {
        let scales = Attribute::Floats(vec![1.0, 1.0, 2.0, 2.0]);
        let by_attribute = Node::new("Upsample", ["x"], ["y"]).with("scales", scales);
        for (node, from) in [
            (by_attribute, 7),
            (Node::new("Upsample", ["x", "scales"], ["y"]), 9),
            (Node::new("Resize", ["x", "scales"], ["y"]), 10),
        ] {
            let (graph, node) = raised(node, from);
            assert_eq!((node.op.as_str(), node.inputs.len()), ("Resize", 3));
            assert!(graph.constant(&node, 1).unwrap().data().is_empty());
            assert_eq!(node.text("coordinate_transformation_mode"), Some("asymmetric"));
            assert_eq!(node.text("nearest_mode"), Some("floor"));
        }
    }

    #[test]
    fn what_no_later_opset_can_say_is_refused() {
        let node = Node::new("BatchNormalization", ["x"], ["y"]).with("spatial", Attribute::Int(0));
        let mut graph = Graph { nodes: vec![node], ..Graph::default() };
        let mut names = graph.names();
        let error = raise(&mut graph, &mut names, 7).unwrap_err().to_string();
        assert!(error.contains("BatchNormalization (`y`)"), "{error}");
    }
}
