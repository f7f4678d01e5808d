//! Gelu as exporters write it out: `x · (1 + erf(x / √2)) / 2`, or with `tanh` of a polynomial. It becomes one operator, which ONNX
//! Runtime computes in floats: rounding something within would leave it in pieces, each with conversions around it.

use std::collections::{BTreeMap, BTreeSet};

use onnx::{Attribute, Graph, Model, Node, Shapes};

use crate::error::QuantError;
use crate::forms::follows_integers;

/// The opset that has it under this name.
const AS_OPERATOR: i64 = 20;

/// Where ONNX Runtime has it for older ones.
const DOMAIN: &str = "com.microsoft";

/// Most nodes from `x` to what `erf` or `tanh` is taken of.
const MOST_BEFORE: usize = 8;

/// Makes one operator of each behind what may compute in integers.
///
/// # Errors
/// An [`onnx::Error`] for a graph that contradicts itself.
pub(crate) fn join(model: &mut Model) -> Result<(), QuantError> {
    let opset = model.opset();
    let shapes = Shapes::infer(&model.graph)?;
    while let Some(found) = find(&model.graph) {
        let graph = &mut model.graph;
        let mut gelu = Node::new("Gelu", [found.x.as_str()], [found.output.as_str()]);
        if opset >= AS_OPERATOR {
            if found.is_polynomial {
                gelu = gelu.with("approximate", Attribute::Text("tanh".into()));
            }
        } else {
            gelu.op = if found.is_polynomial { "FastGelu" } else { "Gelu" }.into();
            gelu.domain = DOMAIN.into();
            model.opsets.entry(DOMAIN.into()).or_insert(1);
        }
        // Of another domain no rule knows what it gives.
        if let Some(known) = shapes.get(&found.x) {
            graph.hints.insert(found.output.clone(), known.clone());
        }
        // The last takes its place, behind all that is read.
        if let Some(last) = found.parts.last().and_then(|last| graph.nodes.get_mut(*last)) {
            *last = gelu.named(&last.name);
        }
        for part in found.parts.iter().rev().skip(1) {
            graph.nodes.remove(*part);
        }
        graph.remove_unused();
    }
    Ok(())
}

/// One that is written out.
#[derive(Debug, PartialEq)]
struct Found {
    /// All of its nodes, ascending.
    parts: BTreeSet<usize>,
    x: String,
    output: String,
    /// Whether it is made with `tanh`.
    is_polynomial: bool,
}

fn find(graph: &Graph) -> Option<Found> {
    let site = Site { graph, producers: graph.producers(), consumers: graph.consumers() };
    let centres = graph.nodes.iter().enumerate().filter(|(_, node)| node.is("Erf") || node.is("Tanh"));
    centres.filter_map(|(index, node)| site.around(index, node)).find(|found| {
        let reader = Node::new("Gelu", [found.x.as_str()], [""]);
        follows_integers(graph, &reader) && site.is_closed(found) && site.has_its_constants(found)
    })
}

struct Site<'g> {
    graph: &'g Graph,
    producers: BTreeMap<&'g str, usize>,
    consumers: BTreeMap<&'g str, Vec<usize>>,
}

impl<'g> Site<'g> {
    /// What looks like the Gelu whose `Erf` or `Tanh` is this.
    fn around(&self, index: usize, node: &'g Node) -> Option<Found> {
        let (plus, sum) = self.reader(node.output(0)?, "Add")?;
        self.constant(sum)?;
        let (times, product) = self.reader(sum.output(0)?, "Mul")?;
        let other = product.inputs.iter().find(|name| Some(name.as_str()) != sum.output(0))?;
        let mut parts = BTreeSet::from([index, plus, times]);
        // Half of it may be taken before or behind.
        let halved = self.producers.get(other.as_str()).and_then(|maker| {
            let half = self.graph.nodes.get(*maker).filter(|node| node.is("Mul"))?;
            Some((*maker, half.input(1 - self.constant(half)?)?))
        });
        let input = node.input(0)?;
        let x = match halved.and_then(|(half, x)| Some((half, x, self.between(x, input)?))) {
            Some((half, x, before)) => {
                parts.insert(half);
                parts.extend(before);
                x
            }
            None => {
                parts.extend(self.between(other, input)?);
                other
            }
        };
        let mut output = product.output(0)?;
        if let Some((half, scaled)) = self.reader(output, "Mul")
            && self.constant(scaled).is_some()
            && x == other
        {
            parts.insert(half);
            output = scaled.output(0)?;
        }
        let is_polynomial = node.is("Tanh");
        Some(Found { parts, x: x.into(), output: output.into(), is_polynomial })
    }

    /// The one node that reads `tensor`, if it is this operator.
    fn reader(&self, tensor: &str, op: &str) -> Option<(usize, &'g Node)> {
        let [index] = self.consumers.get(tensor)?.as_slice() else { return None };
        let node = self.graph.nodes.get(*index).filter(|node| node.is(op))?;
        (!self.graph.is_output(tensor)).then_some((*index, node))
    }

    /// Which of two operands is a constant.
    fn constant(&self, node: &Node) -> Option<usize> {
        (0..2).find(|operand| self.graph.constant(node, *operand).is_some())
    }

    /// The nodes that make `tensor` of `x` and constants.
    fn between(&self, x: &str, tensor: &'g str) -> Option<BTreeSet<usize>> {
        let (mut parts, mut open) = (BTreeSet::new(), vec![tensor]);
        while let Some(tensor) = open.pop() {
            if tensor == x || self.graph.initializers.contains_key(tensor) {
                continue;
            }
            let index = *self.producers.get(tensor)?;
            let node = self.graph.nodes.get(index)?;
            let is_arithmetic = ["Add", "Mul", "Pow"].iter().any(|op| node.is(op));
            if !is_arithmetic || parts.len() >= MOST_BEFORE {
                return None;
            }
            if parts.insert(index) {
                open.extend(node.inputs.iter().map(String::as_str));
            }
        }
        Some(parts)
    }

    /// Whether nothing else reads what lies within.
    fn is_closed(&self, found: &Found) -> bool {
        let inner = found.parts.iter().filter_map(|part| self.graph.nodes.get(*part)?.output(0));
        inner.filter(|tensor| *tensor != found.output).all(|tensor| {
            let readers = self.consumers.get(tensor);
            !self.graph.is_output(tensor)
                && readers.is_some_and(|readers| readers.iter().all(|reader| found.parts.contains(reader)))
        })
    }

    /// Whether it has the constants of the function, whatever their order.
    fn has_its_constants(&self, found: &Found) -> bool {
        let nodes = found.parts.iter().filter_map(|part| self.graph.nodes.get(*part));
        let constants =
            nodes.flat_map(|node| node.inputs.iter().filter_map(|name| self.graph.initializers.get(name)));
        let values: Option<Vec<f32>> = constants.map(onnx::Tensor::as_single_f32).collect();
        let Some(mut values) = values else { return false };
        // A cube is written with its exponent, or as a product.
        values.retain(|value| !found.is_polynomial || value.to_bits() != 3.0_f32.to_bits());
        values.sort_by(f32::total_cmp);
        let wanted = match found.is_polynomial {
            true => &[0.044_715, 0.5, 0.797_884_6, 1.0][..],
            false => &[0.5, std::f32::consts::FRAC_1_SQRT_2, 1.0],
        };
        let near = |(value, wanted): (&f32, &f32)| (value - wanted).abs() < 1e-3 * wanted;
        values.len() == wanted.len() && values.iter().zip(wanted).all(near)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onnx::{Data, Tensor};

    /// A convolution, and what is behind it.
    fn joined(opset: i64, nodes: &[(&str, [&str; 2], &str)]) -> Model {
        let node = |(op, inputs, output): &(&str, [&str; 2], &str)| {
            Node::new(op, inputs.iter().copied().filter(|name| !name.is_empty()), [*output])
        };
        let mut model = Model::new(opset);
        let conv = Node::new("Conv", ["input", "w"], ["x"]);
        model.graph.nodes = [conv].into_iter().chain(nodes.iter().map(node)).collect();
        let value =
            |name: &str| onnx::Value { name: name.into(), element: onnx::ElementType::F32, shape: None };
        (model.graph.inputs, model.graph.outputs) = (vec![value("input")], vec![value("y")]);
        let weight = Tensor::new(vec![1, 1, 1, 1], Data::F32(vec![1.0])).unwrap();
        model.graph.initializers.insert("w".into(), weight);
        for (name, value) in [
            ("half", 0.5),
            ("one", 1.0),
            ("root", std::f32::consts::FRAC_1_SQRT_2),
            ("three", 3.0),
            ("little", 0.044_715),
            ("pi", 0.797_884_6),
        ] {
            model.graph.initializers.insert(name.into(), Tensor::scalar_f32(value));
        }
        join(&mut model).unwrap();
        model.graph.check().unwrap();
        model
    }

    fn ops(model: &Model) -> Vec<&str> {
        model.graph.nodes.iter().map(|node| node.op.as_str()).collect()
    }

    const ERF: [(&str, [&str; 2], &str); 3] =
        [("Mul", ["x", "root"], "a"), ("Erf", ["a", ""], "b"), ("Add", ["b", "one"], "c")];

    #[test]
    fn all_ways_to_write_it_are_known() {
        let behind = [("Mul", ["x", "c"], "d"), ("Mul", ["d", "half"], "y")];
        let before = [("Mul", ["x", "half"], "h"), ("Mul", ["h", "c"], "y")];
        for end in [behind, before] {
            let model = joined(13, &[&ERF[..], &end].concat());
            assert_eq!(ops(&model), ["Conv", "Gelu"]);
            assert_eq!((model.graph.nodes[1].domain.as_str(), model.opsets[DOMAIN]), (DOMAIN, 1));
            assert_eq!(joined(20, &[&ERF[..], &end].concat()).graph.nodes[1].domain, "");
        }
        let tanh = [
            ("Pow", ["x", "three"], "p"),
            ("Mul", ["p", "little"], "q"),
            ("Add", ["x", "q"], "r"),
            ("Mul", ["r", "pi"], "s"),
            ("Tanh", ["s", ""], "t"),
            ("Add", ["t", "one"], "c"),
            ("Mul", ["x", "half"], "h"),
            ("Mul", ["h", "c"], "y"),
        ];
        assert_eq!(ops(&joined(17, &tanh)), ["Conv", "FastGelu"]);
        assert_eq!(joined(20, &tanh).graph.nodes[1].text("approximate"), Some("tanh"));
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        let twice = [("Mul", ["x", "c"], "d"), ("Mul", ["d", "one"], "y")];
        assert_eq!(ops(&joined(13, &[&ERF[..], &twice].concat())).len(), 6, "of another size");
        let seen = [("Mul", ["x", "c"], "d"), ("Mul", ["d", "half"], "e"), ("Add", ["e", "b"], "y")];
        assert_eq!(ops(&joined(13, &[&ERF[..], &seen].concat())).len(), 7, "something else reads within");
    }
}
