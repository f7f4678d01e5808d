//! Attributes against the shapes of what they are applied to. What is not known is not checked, and whatever contradicts
//! itself or ONNX's specification is refused, in words that name the attribute. Computes no shapes.

mod axes;
mod channels;
mod einsum;
mod modes;
mod picks;
mod window;

use super::{Item, Shapes};
use crate::graph::{Attribute, Graph, Node};
use crate::tensor::Dim;

/// A node with what is known of its operands.
#[derive(Clone, Copy)]
struct Site<'a> {
    graph: &'a Graph,
    shapes: &'a Shapes,
    node: &'a Node,
}

/// Checks `node`, one of ONNX's own operators.
pub(super) fn node(graph: &Graph, shapes: &Shapes, node: &Node) -> Result<(), String> {
    for (name, value) in &node.attributes {
        check_type(name, value)?;
    }
    let site = Site { graph, shapes, node };
    site.has_operands()?;
    modes::check(site)?;
    match node.op.as_str() {
        "Conv" | "ConvInteger" => window::convolution(site, 1),
        "QLinearConv" => window::convolution(site, 3).and_then(|()| channels::quantized_convolution(site)),
        "DeformConv" => window::deformed_convolution(site),
        "ConvTranspose" => window::transposed_convolution(site),
        "MaxPool" | "AveragePool" | "LpPool" => window::pool(site),
        "MaxUnpool" => window::unpool(site),
        "Gemm" => channels::gemm(site),
        "BatchNormalization" | "InstanceNormalization" => channels::normalization(site),
        "GroupNormalization" => channels::group_normalization(site),
        "LayerNormalization" => axes::axis(site).and_then(|()| channels::broadcasts(site, 1..3)),
        "LSTM" | "GRU" | "RNN" => channels::recurrent(site),
        "QuantizeLinear" | "DequantizeLinear" => channels::quantization(site),
        "DepthToSpace" | "SpaceToDepth" => channels::blocks(site),
        "LRN" => site.positive("size").map(drop),
        "PRelu" => channels::broadcasts(site, 1..2),
        "Transpose" => axes::transpose(site),
        "Concat" => axes::concat(site),
        "Split" => axes::split(site),
        "Squeeze" | "Unsqueeze" => axes::squeeze(site),
        "Pad" => axes::pad(site),
        "Slice" => axes::slice(site),
        "Resize" | "Upsample" => axes::resize(site),
        "Tile" => axes::tile(site),
        "Reshape" => axes::reshape(site),
        "Expand" => picks::expand(site),
        "Einsum" => einsum::einsum(site),
        "TopK" => picks::top(site),
        "OneHot" => picks::one_hot(site),
        "GatherElements" | "ScatterElements" | "Scatter" => picks::elements(site),
        "GatherND" | "ScatterND" => picks::paths(site),
        "RoiAlign" => picks::regions(site),
        "GridSample" => picks::grid(site),
        "CumSum" => picks::axis_operand(site),
        "ReverseSequence" => picks::reverse(site),
        "Clip" => site.single("min", 1).and_then(|()| site.single("max", 2)),
        "Trilu" => site.single("k", 1),
        "Cast" => cast(site),
        "Constant" | "ConstantOfShape" => constant(site),
        op if op.starts_with("Reduce") => axes::reduce(site),
        _ => axes::axis(site),
    }
}

impl<'a> Site<'a> {
    fn dims(&self, index: usize) -> Option<&'a [Dim]> {
        self.shapes.dims(self.node.input(index)?)
    }

    fn rank(&self, index: usize) -> Option<usize> {
        self.dims(index).map(<[Dim]>::len)
    }

    /// The size of an operand in one dimension.
    fn size(&self, index: usize, axis: usize) -> Option<usize> {
        self.dims(index)?.get(axis)?.known()
    }

    /// The elements of an operand that is a vector of integers known beforehand.
    fn integers(&self, index: usize) -> Option<Vec<i64>> {
        let integer = |item: &Item| match item {
            Item::Int(value) => Some(*value),
            Item::Dim(_) => None,
        };
        self.shapes.items(self.node.input(index)?)?.iter().map(integer).collect()
    }

    /// An attribute of integers, or where a later opset made it an operand, that.
    fn integers_of(&self, attribute: &str, operand: usize) -> Option<Vec<i64>> {
        self.node.ints(attribute).map(<[i64]>::to_vec).or_else(|| self.integers(operand))
    }

    /// An attribute that must be there and be at least 1.
    fn positive(&self, name: &str) -> Result<usize, String> {
        match self.node.attributes.get(name) {
            Some(Attribute::Int(value)) => usize::try_from(*value)
                .ok()
                .filter(|value| *value > 0)
                .ok_or_else(|| format!("`{name}` is {value}, but must be at least 1")),
            _ => Err(format!("it has no `{name}`")),
        }
    }

    /// Checks that an operand, where it is there, is one number.
    fn single(&self, name: &str, index: usize) -> Result<(), String> {
        match self.dims(index) {
            Some([] | [Dim::Known(1) | Dim::Named(_) | Dim::Unknown]) | None => Ok(()),
            Some([Dim::Known(size)]) => Err(format!("`{name}` has {size} elements, but must have one")),
            Some(dims) => Err(format!("`{name}` has {}, but must be one number", dimensions(dims.len()))),
        }
    }

    /// Whether the operands that nothing works without are there.
    fn has_operands(&self) -> Result<(), String> {
        let wanted = match self.node.op.as_str() {
            "Conv" | "ConvTranspose" | "ConvInteger" | "Gemm" | "MatMul" | "MatMulInteger" | "Gather"
            | "GatherElements" | "GatherND" | "GridSample" | "Expand" | "CumSum" | "ReverseSequence"
            | "PRelu" | "Add" | "Sub" | "Mul" | "Div" | "Pow" | "QuantizeLinear" | "DequantizeLinear" => 2,
            "BatchNormalization" => 5,
            "InstanceNormalization"
            | "GroupNormalization"
            | "Where"
            | "OneHot"
            | "RoiAlign"
            | "ScatterElements"
            | "Scatter"
            | "ScatterND" => 3,
            "QLinearConv" | "QLinearMatMul" => 8,
            _ => 0,
        };
        match (0..wanted).find(|index| self.node.input(*index).is_none()) {
            Some(index) => Err(format!("operand {} of at least {wanted} is missing", index + 1)),
            None => Ok(()),
        }
    }
}

/// Checks that an attribute has the type that it has with every operator of ONNX's own: one of another type would count
/// as absent.
fn check_type(name: &str, value: &Attribute) -> Result<(), String> {
    let wanted = match name {
        "axes" | "dilations" | "kernel_shape" | "output_padding" | "output_shape" | "pads" | "perm"
        | "split" | "starts" | "ends" | "strides" => "a list of integers",
        "allowzero"
        | "axis"
        | "batch_axis"
        | "batch_dims"
        | "block_size"
        | "blocksize"
        | "ceil_mode"
        | "count_include_pad"
        | "exclusive"
        | "fmod"
        | "group"
        | "hidden_size"
        | "k"
        | "keepdims"
        | "noop_with_empty_axes"
        | "num_groups"
        | "num_outputs"
        | "output_height"
        | "output_width"
        | "reverse"
        | "sampling_ratio"
        | "storage_order"
        | "time_axis"
        | "to"
        | "training_mode"
        | "transA"
        | "transB" => "an integer",
        "alpha" | "beta" | "epsilon" | "gamma" | "momentum" => "a number with a fraction",
        "approximate"
        | "auto_pad"
        | "coordinate_transformation_mode"
        | "direction"
        | "equation"
        | "mode"
        | "nearest_mode"
        | "padding_mode"
        | "reduction" => "text",
        "scales" => "a list of numbers with fractions",
        _ => return Ok(()),
    };
    let is = match value {
        Attribute::Int(_) => "an integer",
        Attribute::Float(_) => "a number with a fraction",
        Attribute::Text(_) => "text",
        Attribute::Tensor(_) => "a tensor",
        Attribute::Ints(_) => "a list of integers",
        Attribute::Floats(_) => "a list of numbers with fractions",
        Attribute::Texts(_) => "a list of texts",
        Attribute::Graph(_) => "a graph",
    };
    if is == wanted { Ok(()) } else { Err(format!("`{name}` is {is}, but must be {wanted}")) }
}

/// What a type code of ONNX may be at most: those of later versions of the format are above the ones that are read.
const LAST_TYPE: i64 = 63;

fn cast(site: Site<'_>) -> Result<(), String> {
    let to = site.positive("to")?;
    if to as u64 > LAST_TYPE as u64 { Err(format!("`to` is {to}, which is no type")) } else { Ok(()) }
}

fn constant(site: Site<'_>) -> Result<(), String> {
    let values = site.node.attributes.iter().filter(|(name, _)| name.contains("value"));
    let values: Vec<_> = values.collect();
    match (site.node.op.as_str(), values.as_slice()) {
        ("Constant", [_]) => Ok(()),
        ("Constant", several) => Err(format!("it has {} values", several.len())),
        (_, [(name, Attribute::Tensor(tensor))]) if tensor.data().len() != 1 => {
            Err(format!("`{name}` has {} elements, but must have one", tensor.data().len()))
        }
        _ => Ok(()),
    }
}

/// Where `axis`, which may be counted from behind, lies among `rank` dimensions.
fn place(name: &str, axis: i64, rank: usize) -> Result<usize, String> {
    super::values::resolve_axis(axis, rank)
        .ok_or_else(|| format!("`{name}` is {axis} for {}", dimensions(rank)))
}

fn dimensions(rank: usize) -> String {
    if rank == 1 { "1 dimension".into() } else { format!("{rank} dimensions") }
}

#[cfg(test)]
mod tests;
