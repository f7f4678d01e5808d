//! Forms in which exporters write what ONNX Runtime computes in integers under another name. What is rewritten stays the same
//! function, up to the rounding of floats.

use onnx::{Attribute, Data, ElementType, Graph, Node, Shapes, Tensor};

use crate::error::QuantError;
use crate::families::{Family, family};

/// The opset in which reductions take their axes as an input.
const AXES_AS_INPUT: i64 = 18;

/// Gives operators of a graph of `opset` the names under which they have an integer form.
///
/// # Errors
/// An [`onnx::Error`] for a graph that contradicts itself.
pub(crate) fn reword(graph: &mut Graph, opset: i64) -> Result<(), QuantError> {
    let shapes = Shapes::infer(graph)?;
    // From the end: what is added behind a node moves none that is still to be looked at.
    for index in (0..graph.nodes.len()).rev() {
        let Some(node) = graph.nodes.get(index).filter(|node| node.is_onnx()) else { continue };
        match node.op.as_str() {
            "ReduceMean" => mean_to_pool(graph, &shapes, index),
            "GlobalMaxPool" => pool_to_maximum(graph, &shapes, index, opset),
            "HardSwish" if follows_integers(graph, node) => swish_to_gate(graph, index),
            _ => {}
        }
    }
    graph.remove_unused();
    Ok(())
}

/// Gives products with constant weights the form that has scales by channel.
///
/// # Errors
/// An [`onnx::Error`] for a graph that contradicts itself.
pub(crate) fn plain_products(graph: &mut Graph) -> Result<(), QuantError> {
    let shapes = Shapes::infer(graph)?;
    for index in 0..graph.nodes.len() {
        match graph.nodes.get(index).filter(|node| node.is_onnx()).map(|node| node.op.as_str()) {
            Some("Gemm") => scales_into_constants(graph, index),
            Some("MatMul") => weights_to_matrix(graph, &shapes, index),
            _ => {}
        }
    }
    graph.remove_unused();
    Ok(())
}

/// Turns each `HardSigmoid` behind an integer operator, `max(0, min(1, α·x + β))`, into `α · max(0, min(1/α, x + β/α))`: an
/// addition, of which rounding does the rest.
pub(crate) fn gates_to_sums(graph: &mut Graph) {
    for index in (0..graph.nodes.len()).rev() {
        let Some(node) = graph.nodes.get(index).filter(|node| node.is("HardSigmoid")) else { continue };
        let (alpha, beta) = (node.float("alpha", 0.2), node.float("beta", 0.5));
        let (Some(input), Some(output)) = (node.input(0), node.output(0)) else { continue };
        if !follows_integers(graph, node) || !(1e-3..=1e3).contains(&alpha) || !beta.is_finite() {
            continue;
        }
        let mut names = graph.names();
        let constants = [("offset", beta / alpha), ("low", 0.0), ("high", 1.0 / alpha), ("slope", alpha)];
        let constants = constants.map(|(what, value)| (names.fresh(&format!("{output}_{what}")), value));
        let [sum, cut] = ["sum", "cut"].map(|what| names.fresh(&format!("{output}_{what}")));
        let [offset, low, high, slope] = constants.each_ref().map(|(name, _)| name.as_str());
        let nodes = [
            Node::new("Add", [input, offset], [sum.as_str()]).named(&node.name),
            Node::new("Clip", [sum.as_str(), low, high], [cut.as_str()]),
            Node::new("Mul", [cut.as_str(), slope], [output]),
        ];
        graph.nodes.splice(index..=index, nodes);
        graph.initializers.extend(constants.map(|(name, value)| (name, Tensor::scalar_f32(value))));
    }
}

/// Whether the operator before a node, over those that move elements or cut values off, is one that may compute in integers.
pub(crate) fn follows_integers(graph: &Graph, node: &Node) -> bool {
    let producers = graph.producers();
    let mut tensor = node.input(0);
    while let Some(maker) = tensor.and_then(|name| producers.get(name)).and_then(|at| graph.nodes.get(*at)) {
        match family(maker) {
            Some(Family::Move | Family::Cut) => tensor = maker.input(0),
            Some(Family::Product) => return graph.constant(maker, 1).is_some(),
            found => return matches!(found, Some(Family::Pair | Family::Function | Family::Join)),
        }
    }
    false
}

/// A `ReduceMean` over all places of images is a `GlobalAveragePool`, with a `Flatten` behind it where these axes go.
fn mean_to_pool(graph: &mut Graph, shapes: &Shapes, index: usize) {
    let Some(node) = graph.nodes.get(index) else { return };
    let axes = || match node.input(1) {
        Some(_) => graph.constant(node, 1)?.as_i64().map(<[i64]>::to_vec),
        None => node.ints("axes").map(<[i64]>::to_vec),
    };
    let fits = || {
        let rank = i64::try_from(shapes.dims(node.input(0)?)?.len()).ok()?;
        let mut axes: Vec<i64> =
            axes()?.iter().map(|axis| if *axis < 0 { axis + rank } else { *axis }).collect();
        axes.sort_unstable();
        // Of three dimensions it may as well be a normalisation's.
        let is_float = shapes.element(node.input(0)?) == Some(ElementType::F32);
        (rank >= 4 && is_float && axes.into_iter().eq(2..rank)).then_some(())
    };
    let (Some(()), Some(input), Some(output)) = (fits(), node.input(0), node.output(0)) else { return };
    let pool = |output: &str| Node::new("GlobalAveragePool", [input], [output]).named(&node.name);
    let nodes = if node.int("keepdims", 1) == 0 {
        let pooled = graph.names().fresh(&format!("{output}_pooled"));
        vec![pool(&pooled), Node::new("Flatten", [pooled.as_str()], [output])]
    } else {
        vec![pool(output)]
    };
    graph.nodes.splice(index..=index, nodes);
}

/// A `GlobalMaxPool` is a `ReduceMax`, which ONNX Runtime takes for what moves integers.
fn pool_to_maximum(graph: &mut Graph, shapes: &Shapes, index: usize, opset: i64) {
    let Some(node) = graph.nodes.get(index) else { return };
    let rank = node.input(0).and_then(|name| shapes.dims(name)).map(<[_]>::len);
    let Some(rank) = rank.and_then(|rank| i64::try_from(rank).ok()).filter(|rank| *rank > 2) else { return };
    let axes: Vec<i64> = (2..rank).collect();
    let mut maximum = Node { op: "ReduceMax".into(), ..node.clone() };
    if opset < AXES_AS_INPUT {
        maximum.attributes.insert("axes".into(), Attribute::Ints(axes));
    } else {
        let name = graph.names().fresh(&format!("{}_axes", node.label()));
        maximum.inputs.push(name.clone());
        graph.initializers.insert(name, Tensor::vector(Data::I64(axes)));
    }
    graph.nodes[index] = maximum;
}

/// `x · max(0, min(1, x/6 + 1/2))`, as it is defined.
fn swish_to_gate(graph: &mut Graph, index: usize) {
    let Some(node) = graph.nodes.get(index) else { return };
    let (Some(input), Some(output)) = (node.input(0), node.output(0)) else { return };
    let gate = graph.names().fresh(&format!("{output}_gate"));
    let nodes = [
        Node::new("HardSigmoid", [input], [gate.as_str()])
            .with("alpha", Attribute::Float(1.0 / 6.0))
            .with("beta", Attribute::Float(0.5)),
        Node::new("Mul", [input, gate.as_str()], [output]).named(&node.name),
    ];
    graph.nodes.splice(index..=index, nodes);
}

/// Multiplies the weights of a `Gemm` by its `alpha` and its bias by its `beta`.
fn scales_into_constants(graph: &mut Graph, index: usize) {
    let Some(node) = graph.nodes.get(index) else { return };
    let scaled = |operand: usize, name: &str| {
        let (factor, tensor) = (node.float(name, 1.0), graph.constant(node, operand)?);
        let values: Vec<f32> = tensor.as_f32()?.iter().map(|value| value * factor).collect();
        let is_finite = values.iter().all(|value| value.is_finite());
        Tensor::new(tensor.shape().to_vec(), Data::F32(values)).filter(|_| is_finite)
    };
    let is_one = |name| node.float(name, 1.0).to_bits() == 1.0_f32.to_bits();
    if is_one("alpha") && (is_one("beta") || node.input(2).is_none()) {
        return;
    }
    let operands = if node.input(2).is_some() { vec![(1, "alpha"), (2, "beta")] } else { vec![(1, "alpha")] };
    let all: Option<Vec<_>> =
        operands.into_iter().map(|(operand, name)| Some((operand, scaled(operand, name)?))).collect();
    let Some(all) = all else { return };
    let mut names = graph.names();
    for (operand, tensor) in all {
        let Some(node) = graph.nodes.get_mut(index) else { return };
        let Some(input) = node.inputs.get_mut(operand) else { return };
        *input = names.fresh(&format!("{input}_scaled"));
        graph.initializers.insert(input.clone(), tensor);
        node.attributes.remove("alpha");
        node.attributes.remove("beta");
    }
}

/// Takes leading ones off the weights of a `MatMul` whose other operand has as many dimensions: they change nothing, and matrices
/// have scales by column.
fn weights_to_matrix(graph: &mut Graph, shapes: &Shapes, index: usize) {
    let Some(node) = graph.nodes.get(index) else { return };
    let matrix = || {
        let (tensor, rank) = (graph.constant(node, 1)?, shapes.dims(node.input(0)?)?.len());
        let [ones @ .., rows, columns] = tensor.shape() else { return None };
        let is_one = !ones.is_empty() && ones.iter().all(|size| *size == 1) && rank >= tensor.shape().len();
        is_one.then(|| tensor.reshaped(vec![*rows, *columns]))?
    };
    let Some(matrix) = matrix() else { return };
    let mut names = graph.names();
    if let Some(input) = graph.nodes.get_mut(index).and_then(|node| node.inputs.get_mut(1)) {
        *input = names.fresh(&format!("{input}_matrix"));
        graph.initializers.insert(input.clone(), matrix);
    }
}
