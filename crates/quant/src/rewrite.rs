//! Operators said in another way that means the same, where ONNX Runtime has no integer form of the one or takes it wrong once
//! there are integers around it.

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
    for index in 0..graph.nodes.len() {
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
/// each channel with equal weights; where dilations say nothing, only they go.
fn dilated_average(graph: &mut Graph, shapes: &Shapes, index: usize) {
    let Some(node) = graph.nodes.get_mut(index).filter(|node| node.is("AveragePool")) else { return };
    let ints = |node: &Node, name: &str| match node.attributes.get(name) {
        Some(Attribute::Ints(values)) => values.clone(),
        _ => Vec::new(),
    };
    if ints(node, "dilations").iter().all(|dilation| *dilation == 1) {
        node.attributes.remove("dilations");
        return;
    }
    let node = node.clone();
    let has_pads = ints(&node, "pads").iter().any(|pad| *pad != 0);
    // Without them the places outside of the image do not count, so that the weights differ from place to place.
    let counts_pads = node.int("count_include_pad", 0) != 0;
    let is_placed = match node.attributes.get("auto_pad") {
        None => true,
        Some(Attribute::Text(word)) => word == "NOTSET" || word == "VALID",
        Some(_) => false,
    };
    let kernel: Vec<usize> =
        ints(&node, "kernel_shape").iter().filter_map(|size| usize::try_from(*size).ok()).collect();
    let size: usize = kernel.iter().product();
    let channels = node.input(0).and_then(|input| {
        let is_float = shapes.element(input) == Some(ElementType::F32);
        shapes.dims(input).filter(|_| is_float)?.get(1)?.known()
    });
    let (Some(channels), true) =
        (channels, is_placed && (!has_pads || counts_pads) && node.int("ceil_mode", 0) == 0 && size > 0)
    else {
        return;
    };
    #[expect(clippy::cast_precision_loss, reason = "a kernel has few places")]
    let weight = 1.0 / size as f32;
    let shape: Vec<usize> = [channels, 1].into_iter().chain(kernel).collect();
    let Some(weights) = Tensor::new(shape, Data::F32(vec![weight; channels * size])) else { return };
    let name = graph.names().fresh(&format!("{}_weights", node.label()));
    graph.initializers.insert(name.clone(), weights);
    let mut conv = Node { op: "Conv".into(), ..node };
    conv.inputs.push(name);
    conv.attributes.remove("count_include_pad");
    conv.attributes.remove("ceil_mode");
    if let Ok(channels) = i64::try_from(channels) {
        conv.attributes.insert("group".into(), Attribute::Int(channels));
        graph.nodes[index] = conv;
    }
}
