//! Operators rewritten into equivalent ones where ONNX Runtime has no integer form of them, or makes an invalid one of them once
//! there are integers around.

use onnx::{Attribute, Data, ElementType, Graph, Node, Shapes, Tensor};

use crate::error::QuantError;

/// Rewrites what can be.
///
/// # Errors
/// An [`onnx::Error`] for a graph that contradicts itself.
pub(crate) fn rewrite(graph: &mut Graph) -> Result<(), QuantError> {
    let is_wanted = |node: &Node| {
        node.is("Pad") && node.input(3).is_some()
            || node.is("AveragePool") && node.attributes.contains_key("dilations")
    };
    if !graph.nodes.iter().any(is_wanted) {
        return Ok(());
    }
    let shapes = Shapes::infer(graph)?;
    // From the end: what is added behind a node moves none that is still to be looked at.
    for index in (0..graph.nodes.len()).rev() {
        pad_all_axes(graph, &shapes, index);
        dilated_average(graph, &shapes, index);
    }
    graph.remove_unused();
    Ok(())
}

/// Gives `Pad` the pads of all axes in place of some (its input `axes`, since opset 18): where ONNX Runtime 1.32 puts the channels
/// last, as it does around integer convolutions, it looks for as many pads as there are axes.
fn pad_all_axes(graph: &mut Graph, shapes: &Shapes, index: usize) {
    let Some(node) = graph.nodes.get(index).filter(|node| node.is("Pad")) else { return };
    let all = || {
        let rank = shapes.dims(node.input(0)?)?.len();
        let axes: Vec<i64> = match graph.constant(node, 3)?.data() {
            Data::I32(axes) => axes.iter().map(|axis| i64::from(*axis)).collect(),
            Data::I64(axes) => axes.clone(),
            _ => return None,
        };
        let (before, behind) = graph.constant(node, 1)?.as_i64()?.split_at_checked(axes.len())?;
        let mut all = vec![0; 2 * rank];
        for ((axis, before), behind) in axes.iter().zip(before).zip(behind) {
            let from_end = if *axis < 0 { i64::try_from(rank).ok()? } else { 0 };
            let axis = usize::try_from(axis.checked_add(from_end)?).ok().filter(|axis| *axis < rank)?;
            *all.get_mut(axis)? = *before;
            *all.get_mut(rank + axis)? = *behind;
        }
        (behind.len() == axes.len()).then_some(all)
    };
    let Some(pads) = all() else { return };
    let name = graph.names().fresh(&format!("{}_pads", node.label()));
    graph.initializers.insert(name.clone(), Tensor::vector(Data::I64(pads)));
    if let Some(node) = graph.nodes.get_mut(index) {
        node.inputs.truncate(3);
        if let Some(pads) = node.inputs.get_mut(1) {
            *pads = name;
        }
    }
}

/// Turns an `AveragePool` with `dilations` (since opset 19), which ONNX Runtime's integer form does not know, into a convolution of
/// each channel with equal weights; where dilations say nothing, only they go. What cannot be turned is left, as [`is_dilated`] says,
/// with a `Sum` of its only operand behind it: ONNX Runtime 1.32 makes an invalid integer operator of it where `QuantizeLinear` is next.
fn dilated_average(graph: &mut Graph, shapes: &Shapes, index: usize) {
    let Some(node) = graph.nodes.get_mut(index).filter(|node| node.is("AveragePool")) else { return };
    if !is_dilated(node) {
        node.attributes.remove("dilations");
        return;
    }
    let node = node.clone();
    match as_convolution(graph, shapes, &node) {
        Some((conv, weights, tensor)) => {
            graph.initializers.insert(weights, tensor);
            graph.nodes[index] = conv;
        }
        None => {
            let averaged = graph.names().fresh(&format!("{}_averaged", node.label()));
            let sum = Node::new("Sum", [averaged.clone()], node.outputs.iter().cloned());
            if let Some(node) = graph.nodes.get_mut(index) {
                node.outputs = vec![averaged];
            }
            graph.nodes.insert(index + 1, sum);
        }
    }
}

/// Whether a prepared `AveragePool` has dilations that count.
pub(crate) fn is_dilated(node: &Node) -> bool {
    matches!(node.attributes.get("dilations"), Some(Attribute::Ints(all)) if all.iter().any(|one| *one != 1))
}

/// A dilated `AveragePool` as a convolution: it, the name of its weights, and these.
fn as_convolution(graph: &Graph, shapes: &Shapes, node: &Node) -> Option<(Node, String, Tensor)> {
    let ints = |name: &str| match node.attributes.get(name) {
        Some(Attribute::Ints(values)) => values.as_slice(),
        _ => &[],
    };
    let has_pads = ints("pads").iter().any(|pad| *pad != 0);
    let is_placed = match node.attributes.get("auto_pad") {
        None => true,
        Some(Attribute::Text(word)) => word == "NOTSET" || word == "VALID",
        Some(_) => false,
    };
    // Where pads do not count, the weights would differ from place to place.
    let is_uniform = is_placed && (!has_pads || node.int("count_include_pad", 0) != 0);
    if !is_uniform || node.int("ceil_mode", 0) != 0 {
        return None;
    }
    let kernel: Option<Vec<usize>> =
        ints("kernel_shape").iter().map(|size| usize::try_from(*size).ok()).collect();
    let kernel = kernel?;
    let size: usize = kernel.iter().product();
    let input = node.input(0)?;
    let is_float = shapes.element(input) == Some(ElementType::F32);
    let channels = shapes.dims(input).filter(|_| is_float && size > 0)?.get(1)?.known()?;
    #[expect(clippy::cast_precision_loss, reason = "a kernel has few places")]
    let weight = 1.0 / size as f32;
    let shape: Vec<usize> = [channels, 1].into_iter().chain(kernel).collect();
    let weights = Tensor::new(shape, Data::F32(vec![weight; channels.checked_mul(size)?]))?;
    let name = graph.names().fresh(&format!("{}_weights", node.label()));
    let mut conv = Node { op: "Conv".into(), ..node.clone() };
    conv.inputs.push(name.clone());
    conv.attributes.remove("count_include_pad");
    conv.attributes.remove("ceil_mode");
    conv.attributes.insert("group".into(), Attribute::Int(i64::try_from(channels).ok()?));
    Some((conv, name, weights))
}
