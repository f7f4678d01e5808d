//! Which operators ONNX Runtime has an integer form of, and on what conditions: what the plan is made by, and what the table in
//! `docs/quantization.md` says.

use onnx::Node;

use crate::opset::NEWEST_READ;

/// What becomes of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// A product with constant weights, or of two activations.
    Product,
    /// Arithmetic on two tensors, one of which may be constant.
    Pair,
    /// A function of one tensor.
    Function,
    /// Puts tensors beside each other, on one grid.
    Join,
    /// Gives elements of its operand: their integers are handed on.
    Move,
    /// Cuts values off: so does the rounding before it.
    Cut,
    /// In other words before anything is rounded.
    Reworded,
    /// In floats, with weights that are stored as integers.
    Stored,
}

/// An operator with what is to be known of it.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) op: &'static str,
    /// The oldest opset that has it and is read.
    pub(crate) since: i64,
    pub(crate) family: Family,
    /// What must hold, in words.
    pub(crate) conditions: &'static str,
}

const fn operator(op: &'static str, since: i64, family: Family, conditions: &'static str) -> Operator {
    Operator { op, since, family, conditions }
}

/// All of them; what is not here stays in floats.
pub(crate) const OPERATORS: [Operator; 40] = [
    operator("Add", 7, Family::Pair, "32-bit floats; a constant operand is finite"),
    operator(
        "AveragePool",
        7,
        Family::Function,
        "without `dilations`, or as a convolution where these can be one",
    ),
    operator("BatchNormalization", 7, Family::Reworded, "folded into the `Conv` or `Gemm` before it"),
    operator(
        "Clip",
        7,
        Family::Cut,
        "constant bounds with zero between them, behind an integer operator alone",
    ),
    operator("Concat", 7, Family::Join, "an integer operator reads it"),
    operator("Conv", 7, Family::Product, "constant weights"),
    operator("ConvTranspose", 7, Family::Stored, "constant weights"),
    operator("DepthToSpace", 7, Family::Move, ""),
    operator("Div", 7, Family::Reworded, "by a constant: a `Mul`"),
    operator(
        "Erf",
        9,
        Family::Reworded,
        "of a Gelu that is written out, which becomes one operator in floats; so with `Tanh`",
    ),
    operator("Expand", 8, Family::Move, ""),
    operator("Flatten", 7, Family::Move, ""),
    operator("GRU", 7, Family::Stored, "constant weights"),
    operator("Gather", 7, Family::Move, "from an activation; rows of a constant table are stored as INT8"),
    operator(
        "Gemm",
        7,
        Family::Product,
        "constant weights, no `transA`; `alpha` and `beta` go into the constants",
    ),
    operator("GlobalAveragePool", 7, Family::Function, ""),
    operator("GlobalMaxPool", 7, Family::Reworded, "a `ReduceMax`"),
    operator(
        "HardSigmoid",
        7,
        Family::Reworded,
        "behind an integer operator: an `Add` that its rounding cuts off",
    ),
    operator("HardSwish", 14, Family::Reworded, "as `HardSigmoid`, and a `Mul`"),
    operator("LSTM", 7, Family::Stored, "constant weights"),
    operator("LeakyRelu", 7, Family::Function, ""),
    operator("MatMul", 7, Family::Product, "constant weights, or two activations"),
    operator("MaxPool", 7, Family::Move, "without its second output"),
    operator(
        "Mul",
        7,
        Family::Pair,
        "as `Add`; by one positive constant it goes into the rounding before it",
    ),
    operator("Pad", 7, Family::Move, "with zeros, or with elements"),
    operator("RNN", 7, Family::Stored, "constant weights"),
    operator("ReduceMax", 7, Family::Move, ""),
    operator("ReduceMean", 7, Family::Reworded, "over all places of images: a `GlobalAveragePool`"),
    operator("ReduceMin", 7, Family::Move, ""),
    operator("Relu", 7, Family::Cut, "behind an integer operator alone"),
    operator("Reshape", 7, Family::Move, ""),
    operator("Resize", 10, Family::Move, "to the nearest"),
    operator("Sigmoid", 7, Family::Function, ""),
    operator("Slice", 7, Family::Move, ""),
    operator("Softmax", 7, Family::Function, "an integer operator reads it"),
    operator("Split", 7, Family::Move, ""),
    operator("Squeeze", 7, Family::Move, ""),
    operator("Tile", 7, Family::Move, ""),
    operator("Transpose", 7, Family::Move, ""),
    operator("Unsqueeze", 7, Family::Move, ""),
];

/// What becomes of a node's operator, if it is one of these.
pub(crate) fn family(node: &Node) -> Option<Family> {
    OPERATORS.iter().find(|operator| node.is(operator.op)).map(|operator| operator.family)
}

impl Family {
    /// What is computed in what, in words.
    fn becomes(self) -> &'static str {
        match self {
            Self::Product | Self::Pair | Self::Function | Self::Join => "integers",
            Self::Move => "integers, handed on",
            Self::Cut => "merged",
            Self::Reworded => "rewritten",
            Self::Stored => "floats, weights stored as INT8",
        }
    }
}

/// The table of `docs/quantization.md`, in Markdown: operators, the opsets in which they are read, what becomes of them and on which
/// conditions.
#[must_use]
pub fn operators_table() -> String {
    let mut table = String::from("| operator | opsets | becomes | |\n|---|---|---|---|\n");
    for Operator { op, since, family, conditions } in &OPERATORS {
        table.push_str(&format!(
            "| `{op}` | {since} to {NEWEST_READ} | {} | {conditions} |\n",
            family.becomes()
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BEGINS: &str = "<!-- Written by a test of `crates/quant`. -->\n";
    const ENDS: &str = "<!-- End of what is written. -->\n";

    #[test]
    fn operators_are_there_once_and_in_order() {
        assert!(OPERATORS.is_sorted_by(|one, other| one.op < other.op));
    }

    #[test]
    fn the_documentation_has_this_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/quantization.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(BEGINS).unwrap();
        let (_, behind) = rest.split_once(ENDS).unwrap();
        let wanted = [before, BEGINS, "\n", &operators_table(), "\n", ENDS, behind].concat();
        if std::env::var_os("PIPE_UPDATE_DOCS").is_some() {
            std::fs::write(&path, &wanted).unwrap();
            return;
        }
        assert!(text == wanted, "set PIPE_UPDATE_DOCS to write the table of `docs/quantization.md` anew");
    }
}
