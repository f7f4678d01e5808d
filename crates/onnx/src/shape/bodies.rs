//! What operators of control flow (`If`, `Loop`, `Scan`) make of their bodies' shapes.

use std::collections::BTreeMap;

use super::{Shapes, type_of};
use crate::error::Error;
use crate::graph::{Graph, Node};
use crate::tensor::{Dim, TensorType};

/// The types of `node`'s outputs, as far as they are known.
pub(super) fn infer(shapes: &Shapes, node: &Node) -> Result<Vec<Option<TensorType>>, Error> {
    // Of what a loop makes, only the type of elements is the body's: sizes may change from turn to turn.
    let elements = |outcome: Option<TensorType>| outcome.map(|known| TensorType { shape: None, ..known });
    let mut bodies = node.bodies().map(|body| outcomes(shapes, node, body));
    match (node.op.as_str(), bodies.next().transpose()?, bodies.next().transpose()?) {
        ("If", Some(one), Some(other)) => Ok(one.into_iter().zip(other).map(either).collect()),
        // The first is whether it goes on.
        ("Loop", Some(body), None) => Ok(body.into_iter().skip(1).map(elements).collect()),
        ("Scan", Some(body), None) => Ok(body.into_iter().map(elements).collect()),
        _ => Ok(Vec::new()),
    }
}

/// The types of a body's outputs. Its inputs have the element types of the node's, in this order.
fn outcomes(shapes: &Shapes, node: &Node, body: &Graph) -> Result<Vec<Option<TensorType>>, Error> {
    let mut around = shapes.clone();
    for (value, given) in body.inputs.iter().zip(&node.inputs) {
        if let Some(element) = shapes.element(given) {
            around.types.insert(value.name.clone(), TensorType { element, shape: None });
        }
    }
    let inferred = Shapes::within(&around, body, &BTreeMap::new())?;
    let outcome = |value| {
        let said = Some(type_of(value)).filter(|known| *known != TensorType::NOTHING);
        TensorType::filled(inferred.get(&value.name).cloned(), said.as_ref())
    };
    Ok(body.outputs.iter().map(outcome).collect())
}

/// What is the same whichever of two branches is taken.
fn either((one, other): (Option<TensorType>, Option<TensorType>)) -> Option<TensorType> {
    let (one, other) = (one?, other?);
    let same = |(one, other): (&Dim, &Dim)| if one == other { one.clone() } else { Dim::Unknown };
    let shape = match (one.shape, other.shape) {
        (Some(one), Some(other)) if one.len() == other.len() => {
            Some(one.iter().zip(&other).map(same).collect())
        }
        _ => None,
    };
    (one.element == other.element).then_some(TensorType { element: one.element, shape })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Attribute, Value};
    use crate::tensor::ElementType;

    fn body(nodes: Vec<Node>, outputs: &[&str]) -> Attribute {
        let untyped =
            |name: &&str| Value { name: (*name).into(), element: ElementType::Other(0), shape: None };
        let outputs = outputs.iter().map(untyped).collect();
        Attribute::Graph(Box::new(Graph { nodes, outputs, ..Graph::default() }))
    }

    fn known(node: Node) -> Option<TensorType> {
        let value = |name: &str, element, shape| Value { name: name.into(), element, shape };
        let graph = Graph {
            inputs: vec![
                value("x", ElementType::F32, Some(vec![Dim::Named("n".into()), Dim::Known(4)])),
                value("c", ElementType::Bool, Some(vec![])),
            ],
            nodes: vec![node],
            ..Graph::default()
        };
        Shapes::infer(&graph).unwrap().get("y").cloned()
    }

    #[test]
    fn branches_give_what_they_have_in_common() {
        let of = |other: Node| {
            let node = Node::new("If", ["c"], ["y"])
                .with("then_branch", body(vec![Node::new("Relu", ["x"], ["a"])], &["a"]))
                .with("else_branch", body(vec![other], &["b"]));
            known(node)
        };
        let dims = Some(vec![Dim::Named("n".into()), Dim::Known(4)]);
        assert_eq!(of(Node::new("Neg", ["x"], ["b"])).unwrap().shape, dims);
        assert_eq!(of(Node::new("Transpose", ["x"], ["b"])).unwrap().shape, Some(vec![Dim::Unknown; 2]));
        assert_eq!(of(Node::new("Shape", ["x"], ["b"])), None, "of another type");
    }

    #[test]
    fn a_loop_gives_elements_of_the_type_that_its_body_gives() {
        let body = body(vec![Node::new("Relu", ["x"], ["a"])], &["c", "a"]);
        let known = known(Node::new("Loop", ["", "c", "x"], ["y"]).with("body", body)).unwrap();
        assert_eq!(known, TensorType { element: ElementType::F32, shape: None });
    }
}
