//! What each operator makes of its operands' shapes.

use super::values::{asked_for, resolve_axis};
use super::{Item, Shapes, window};
use crate::graph::{Attribute, Node};
use crate::tensor::{Dim, ElementType, TensorType};

type Dims = Option<Vec<Dim>>;

/// The types of `node`'s outputs, as far as they are known: none where they are not.
pub(super) fn infer(shapes: &Shapes, node: &Node) -> Result<Vec<TensorType>, String> {
    let Some(first) = shapes.input(node, 0) else { return Ok(constant(node).into_iter().collect()) };
    let dims = first.shape.as_deref();
    let scalar = |element| TensorType { element, shape: Some(Vec::new()) };
    let (element, shape) = match node.op.as_str() {
        "Relu" | "Clip" | "Sigmoid" | "HardSigmoid" | "HardSwish" | "LeakyRelu" | "Elu" | "Tanh"
        | "Softmax" | "LogSoftmax" | "Identity" | "Dropout" | "BatchNormalization" | "Neg" | "Abs"
        | "Exp" | "Sqrt" => (first.element, first.shape.clone()),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min" | "Mod" | "Sum" | "Mean" => {
            (first.element, broadcast_all(shapes, node)?)
        }
        "Conv" => (first.element, conv(shapes, node, dims)?),
        "ConvInteger" => (ElementType::I32, conv(shapes, node, dims)?),
        "MaxPool" | "AveragePool" | "LpPool" => (first.element, pool(node, dims)?),
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => {
            let ones = |dims: &[Dim]| dims.iter().skip(2).map(|_| Dim::Known(1)).collect::<Vec<_>>();
            (first.element, dims.map(|dims| dims.iter().take(2).cloned().chain(ones(dims)).collect()))
        }
        "Flatten" => (first.element, dims.and_then(|dims| flatten(dims, node.int("axis", 1)))),
        "Reshape" => (first.element, reshape(shapes, node, dims)?),
        "Gemm" => (first.element, gemm(shapes, node, dims)?),
        "MatMul" => (first.element, matmul(shapes, node, dims)?),
        "MatMulInteger" => (ElementType::I32, matmul(shapes, node, dims)?),
        "Concat" => (first.element, concat(shapes, node, dims)?),
        "Transpose" => (first.element, transpose(node, dims)?),
        "Shape" => (
            ElementType::I64,
            dims.map(|dims| vec![Dim::Known(asked_for(node, dims).map_or(0, <[Dim]>::len))]),
        ),
        "Gather" => (first.element, gather(shapes, node, dims)),
        "Unsqueeze" => (first.element, axes(shapes, node).and_then(|axes| unsqueeze(&axes, dims?))),
        "Squeeze" => (first.element, axes(shapes, node).and_then(|axes| squeeze(&axes, dims?))),
        "Cast" => {
            let code = i32::try_from(node.int("to", 0)).unwrap_or(0);
            (ElementType::from_code(code), first.shape.clone())
        }
        "QuantizeLinear" => {
            let zero_point = shapes.input(node, 2);
            (zero_point.map_or(ElementType::U8, |known| known.element), first.shape.clone())
        }
        "DequantizeLinear" => (ElementType::F32, first.shape.clone()),
        "DynamicQuantizeLinear" => {
            let quantized = TensorType { element: ElementType::U8, shape: first.shape.clone() };
            return Ok(vec![quantized, scalar(ElementType::F32), scalar(ElementType::U8)]);
        }
        "Softplus"
        | "Softsign"
        | "Selu"
        | "Gelu"
        | "Erf"
        | "Mish"
        | "Celu"
        | "Shrink"
        | "LRN"
        | "LpNormalization"
        | "MeanVarianceNormalization"
        | "Log"
        | "Floor"
        | "Ceil"
        | "Round"
        | "Sign"
        | "PRelu"
        | "ThresholdedRelu"
        | "Reciprocal"
        | "Sin"
        | "Cos"
        | "CumSum"
        | "InstanceNormalization"
        | "LayerNormalization"
        | "GroupNormalization" => (first.element, first.shape.clone()),
        "Pad" => (first.element, padded_by(dims, node.input(1).and_then(|name| shapes.items(name)))),
        "Tile" => (first.element, tiled(dims, node.input(1).and_then(|name| shapes.items(name)))),
        "Slice" | "Resize" | "Upsample" => (first.element, same_rank(dims)),
        "Split" | "TopK" => return Ok(several(node, first)),
        "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceSum" | "ReduceProd" | "ReduceL1" | "ReduceL2"
        | "ReduceSumSquare" | "ReduceLogSumExp" => {
            (first.element, if node.int("keepdims", 1) == 1 { same_rank(dims) } else { None })
        }
        "ConvTranspose" | "DepthToSpace" | "SpaceToDepth" | "GridSample" => (first.element, same_rank(dims)),
        "Expand" | "Einsum" | "GatherElements" | "GatherND" | "ScatterND" | "ScatterElements" => {
            (first.element, None)
        }
        "LSTM" | "GRU" | "RNN" => {
            let output = || TensorType { element: first.element, shape: None };
            return Ok(node.outputs.iter().map(|_| output()).collect());
        }
        "ArgMax" | "ArgMin" | "NonZero" | "Size" => (ElementType::I64, None),
        "Equal" | "Less" | "Greater" | "LessOrEqual" | "GreaterOrEqual" | "Not" | "And" | "Or" | "Xor" => {
            (ElementType::Bool, broadcast_all(shapes, node)?)
        }
        "Where" => match (shapes.input(node, 1), broadcast_all(shapes, node)?) {
            (Some(chosen), dims) => (chosen.element, dims),
            (None, _) => return Ok(Vec::new()),
        },
        _ => return Ok(Vec::new()),
    };
    Ok(vec![TensorType { element, shape }])
}

/// Dimensions with what is put before and behind each, where that is known: all the beginnings, then all the ends.
fn padded_by(dims: Option<&[Dim]>, pads: Option<&[Item]>) -> Dims {
    let (Some(known), Some(pads)) = (dims, pads) else { return same_rank(dims) };
    let (before, behind) = pads.split_at_checked(known.len())?;
    let size = |((dim, before), behind): ((&Dim, &Item), &Item)| match (dim, before, behind) {
        (dim, Item::Int(0), Item::Int(0)) => dim.clone(),
        (Dim::Known(size), Item::Int(before), Item::Int(behind)) => i64::try_from(*size)
            .ok()
            .and_then(|size| size.checked_add(*before)?.checked_add(*behind))
            .and_then(|size| usize::try_from(size).ok())
            .map_or(Dim::Unknown, Dim::Known),
        _ => Dim::Unknown,
    };
    (behind.len() == known.len()).then(|| known.iter().zip(before).zip(behind).map(size).collect())
}

/// Dimensions, each as many times as is told.
fn tiled(dims: Option<&[Dim]>, repeats: Option<&[Item]>) -> Dims {
    let (Some(known), Some(repeats)) = (dims, repeats) else { return same_rank(dims) };
    let size = |(dim, times): (&Dim, &Item)| match (dim, times) {
        (dim, Item::Int(1)) => dim.clone(),
        (Dim::Known(size), Item::Int(times)) => usize::try_from(*times)
            .ok()
            .and_then(|times| size.checked_mul(times))
            .map_or(Dim::Unknown, Dim::Known),
        _ => Dim::Unknown,
    };
    (repeats.len() == known.len()).then(|| known.iter().zip(repeats).map(size).collect())
}

/// As many dimensions as there were, each unknown.
fn same_rank(dims: Option<&[Dim]>) -> Dims {
    dims.map(|dims| vec![Dim::Unknown; dims.len()])
}

/// The outputs of an operator that has several: all of the operand's type, but for the indices of `TopK`.
fn several(node: &Node, operand: &TensorType) -> Vec<TensorType> {
    let output = |index| {
        let element = if node.op == "TopK" && index == 1 { ElementType::I64 } else { operand.element };
        TensorType { element, shape: same_rank(operand.shape.as_deref()) }
    };
    (0..node.outputs.len()).map(output).collect()
}

fn constant(node: &Node) -> Option<TensorType> {
    let (_, value) = node.attributes.first_key_value().filter(|_| node.op == "Constant")?;
    let (element, shape) = match value {
        Attribute::Tensor(tensor) => (tensor.element(), tensor.shape().to_vec()),
        Attribute::Float(_) => (ElementType::F32, Vec::new()),
        Attribute::Floats(values) => (ElementType::F32, vec![values.len()]),
        Attribute::Int(_) => (ElementType::I64, Vec::new()),
        Attribute::Ints(values) => (ElementType::I64, vec![values.len()]),
        _ => return None,
    };
    Some(TensorType { element, shape: Some(shape.into_iter().map(Dim::Known).collect()) })
}

fn broadcast_all(shapes: &Shapes, node: &Node) -> Result<Dims, String> {
    let mut result: Option<Vec<Dim>> = None;
    for index in 0..node.inputs.len() {
        let Some(dims) = shapes.input(node, index).and_then(|known| known.shape.as_deref()) else {
            return Ok(None);
        };
        result = Some(match result {
            None => dims.to_vec(),
            Some(sofar) => broadcast(&sofar, dims)?,
        });
    }
    Ok(result)
}

fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, String> {
    let rank = a.len().max(b.len());
    let padded = |dims: &[Dim]| {
        std::iter::repeat_n(Dim::Known(1), rank - dims.len()).chain(dims.iter().cloned()).collect::<Vec<_>>()
    };
    padded(a)
        .into_iter()
        .zip(padded(b))
        .map(|pair| match pair {
            (Dim::Known(1), other) | (other, Dim::Known(1)) => Ok(other),
            (a, b) if a == b => Ok(a),
            (Dim::Known(a), Dim::Known(b)) => {
                Err(format!("operands of {a} and {b} elements in one dimension"))
            }
            (Dim::Known(size), _) | (_, Dim::Known(size)) => Ok(Dim::Known(size)),
            _ => Ok(Dim::Unknown),
        })
        .collect()
}

fn conv(shapes: &Shapes, node: &Node, dims: Option<&[Dim]>) -> Result<Dims, String> {
    let weight = shapes.input(node, 1).and_then(|known| known.shape.as_deref());
    let (Some(dims), Some(weight)) = (dims, weight) else { return Ok(None) };
    let ([batch, channels, spatial @ ..], [out, per_group, kernel @ ..]) = (dims, weight) else {
        return Err(format!("operands of {} and {} dimensions", dims.len(), weight.len()));
    };
    let groups = usize::try_from(node.int("group", 1)).map_err(|_| "`group` is negative")?;
    if let (Some(channels), Some(per_group)) = (channels.known(), per_group.known())
        && per_group.checked_mul(groups) != Some(channels)
    {
        return Err(format!("{channels} input channels where the weights want {groups} × {per_group}"));
    }
    let Some(kernel) = kernel.iter().map(Dim::known).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let spatial = window::slide(node, spatial, &kernel)?;
    Ok(Some([batch.clone(), out.clone()].into_iter().chain(spatial).collect()))
}

fn pool(node: &Node, dims: Option<&[Dim]>) -> Result<Dims, String> {
    let Some(dims) = dims else { return Ok(None) };
    let [batch, channels, spatial @ ..] = dims else {
        return Err(format!("an operand of {} dimensions", dims.len()));
    };
    let kernel = node.ints("kernel_shape").ok_or("no `kernel_shape`")?;
    let kernel = kernel.iter().map(|&size| usize::try_from(size)).collect::<Result<Vec<_>, _>>();
    let spatial = window::slide(node, spatial, &kernel.map_err(|_| "`kernel_shape` is negative")?)?;
    Ok(Some([batch.clone(), channels.clone()].into_iter().chain(spatial).collect()))
}

fn product(dims: &[Dim]) -> Dim {
    match dims {
        [] => Dim::Known(1),
        [one] => one.clone(),
        many => many
            .iter()
            .map(Dim::known)
            .try_fold(1_usize, |product, size| product.checked_mul(size?))
            .map_or(Dim::Unknown, Dim::Known),
    }
}

fn flatten(dims: &[Dim], axis: i64) -> Dims {
    let rank = i64::try_from(dims.len()).ok()?;
    let axis = usize::try_from(if axis < 0 { axis.checked_add(rank)? } else { axis }).ok()?;
    let (outer, inner) = dims.split_at_checked(axis)?;
    Some(vec![product(outer), product(inner)])
}

fn reshape(shapes: &Shapes, node: &Node, dims: Option<&[Dim]>) -> Result<Dims, String> {
    let Some(items) = node.input(1).and_then(|name| shapes.items(name)) else { return Ok(None) };
    let keeps_zero = node.int("allowzero", 0) != 0;
    let mut result = Vec::with_capacity(items.len());
    let mut open = None;
    for (index, item) in items.iter().enumerate() {
        result.push(match item {
            Item::Dim(dim) => dim.clone(),
            Item::Int(0) if !keeps_zero => {
                dims.and_then(|dims| dims.get(index)).cloned().unwrap_or(Dim::Unknown)
            }
            Item::Int(-1) if open.replace(index).is_none() => Dim::Unknown,
            Item::Int(size) => Dim::Known(usize::try_from(*size).map_err(|_| format!("a size of {size}"))?),
        });
    }
    let Some(dims) = dims else { return Ok(Some(result)) };
    if let (None, Dim::Known(before), Dim::Known(after)) = (open, product(dims), product(&result))
        && before != after
    {
        return Err(format!("{before} elements for a shape of {after}"));
    }
    if let Some(open) = open {
        // Sizes known by the same name cancel; the rest must be numbers.
        let mut before = dims.to_vec();
        let mut after = result.clone();
        after.remove(open);
        after.retain(|dim| match before.iter().position(|other| other == dim && *dim != Dim::Unknown) {
            Some(place) => {
                before.remove(place);
                false
            }
            None => true,
        });
        if let (Dim::Known(before), Dim::Known(after)) = (product(&before), product(&after)) {
            let size = before.checked_div(after).filter(|size| size * after == before);
            let size = size.ok_or_else(|| format!("{before} elements do not divide into {after}"))?;
            if let Some(slot) = result.get_mut(open) {
                *slot = Dim::Known(size);
            }
        }
    }
    Ok(Some(result))
}

fn gemm(shapes: &Shapes, node: &Node, a: Option<&[Dim]>) -> Result<Dims, String> {
    let b = shapes.input(node, 1).and_then(|known| known.shape.as_deref());
    let (Some(a), Some(b)) = (a, b) else { return Ok(None) };
    let ([a0, a1], [b0, b1]) = (a, b) else {
        return Err(format!("operands of {} and {} dimensions", a.len(), b.len()));
    };
    let (rows, inner) = if node.int("transA", 0) != 0 { (a1, a0) } else { (a0, a1) };
    let (inner_b, columns) = if node.int("transB", 0) != 0 { (b1, b0) } else { (b0, b1) };
    inner_sizes_match(inner, inner_b)?;
    Ok(Some(vec![rows.clone(), columns.clone()]))
}

fn inner_sizes_match(a: &Dim, b: &Dim) -> Result<(), String> {
    match (a, b) {
        (Dim::Known(a), Dim::Known(b)) if a != b => Err(format!("a product over {a} and {b} elements")),
        _ => Ok(()),
    }
}

fn matmul(shapes: &Shapes, node: &Node, a: Option<&[Dim]>) -> Result<Dims, String> {
    let b = shapes.input(node, 1).and_then(|known| known.shape.as_deref());
    let (Some(a), Some(b)) = (a, b) else { return Ok(None) };
    let ([outer_a @ .., rows, inner], [outer_b @ .., inner_b, columns]) = (a, b) else { return Ok(None) };
    inner_sizes_match(inner, inner_b)?;
    let outer = broadcast(outer_a, outer_b)?;
    Ok(Some(outer.into_iter().chain([rows.clone(), columns.clone()]).collect()))
}

fn concat(shapes: &Shapes, node: &Node, first: Option<&[Dim]>) -> Result<Dims, String> {
    let Some(first) = first else { return Ok(None) };
    let axis = node.int("axis", 0);
    let axis = resolve_axis(axis, first.len()).ok_or_else(|| format!("`axis` is {axis}"))?;
    let mut sizes = Vec::new();
    for index in 0..node.inputs.len() {
        let Some(dims) = shapes.input(node, index).and_then(|known| known.shape.as_deref()) else {
            return Ok(None);
        };
        let size = dims.get(axis).filter(|_| dims.len() == first.len());
        sizes.push(size.ok_or_else(|| format!("operands of {} and {} dimensions", first.len(), dims.len()))?);
    }
    let total = sizes.iter().map(|dim| dim.known()).try_fold(0_usize, |sum, size| sum.checked_add(size?));
    let mut result = first.to_vec();
    if let Some(slot) = result.get_mut(axis) {
        *slot = total.map_or(Dim::Unknown, Dim::Known);
    }
    Ok(Some(result))
}

fn transpose(node: &Node, dims: Option<&[Dim]>) -> Result<Dims, String> {
    let Some(dims) = dims else { return Ok(None) };
    let Some(order) = node.ints("perm") else { return Ok(Some(dims.iter().rev().cloned().collect())) };
    let pick = |&axis: &i64| dims.get(usize::try_from(axis).ok()?).cloned();
    let picked: Option<Vec<_>> = order.iter().map(pick).collect();
    picked
        .filter(|picked| picked.len() == dims.len())
        .map(Some)
        .ok_or_else(|| format!("`perm` is {order:?} for {} dimensions", dims.len()))
}

fn gather(shapes: &Shapes, node: &Node, dims: Option<&[Dim]>) -> Dims {
    let (dims, indices) = (dims?, shapes.input(node, 1)?.shape.as_deref()?);
    let axis = resolve_axis(node.int("axis", 0), dims.len())?;
    let (before, after) = (dims.get(..axis)?, dims.get(axis + 1..)?);
    Some([before, indices, after].concat())
}

/// The axes of `Squeeze` and `Unsqueeze`: an attribute up to opset 12, an input from 13 on.
fn axes(shapes: &Shapes, node: &Node) -> Option<Vec<i64>> {
    if let Some(axes) = node.ints("axes") {
        return Some(axes.to_vec());
    }
    let int = |item: &Item| match item {
        Item::Int(value) => Some(*value),
        Item::Dim(_) => None,
    };
    shapes.items(node.input(1)?)?.iter().map(int).collect()
}

fn unsqueeze(axes: &[i64], dims: &[Dim]) -> Dims {
    let rank = dims.len() + axes.len();
    let places = axes.iter().map(|&axis| resolve_axis(axis, rank)).collect::<Option<Vec<_>>>()?;
    let mut rest = dims.iter();
    let pick = |axis| if places.contains(&axis) { Some(Dim::Known(1)) } else { rest.next().cloned() };
    (0..rank).map(pick).collect()
}

fn squeeze(axes: &[i64], dims: &[Dim]) -> Dims {
    let places = axes.iter().map(|&axis| resolve_axis(axis, dims.len())).collect::<Option<Vec<_>>>()?;
    Some(
        dims.iter()
            .enumerate()
            .filter(|(axis, _)| !places.contains(axis))
            .map(|(_, dim)| dim.clone())
            .collect(),
    )
}
