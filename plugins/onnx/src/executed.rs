//! A model as ONNX Runtime executes it, after its own rewriting: which operators compute in integers, which in floats,
//! and where one turns into the other. Knows graphs, neither files nor times.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use onnx::{DataFiles, Graph};

use crate::runtime::{self, Loaded};

/// Operators that give back what they are given, only elsewhere, less or more of it: they compute in what they read.
const MOVING: [&str; 15] = [
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "MaxPool",
    "Pad",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// What an operator computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Arithmetic {
    /// Integers of 8 bits.
    Integers,
    /// Floating point.
    Floats,
    /// It turns one into the other.
    Conversion,
}

impl Arithmetic {
    /// As a word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Integers => "integers",
            Self::Floats => "floats",
            Self::Conversion => "conversion",
        }
    }

    /// Of every node of a graph in topological order, as ONNX Runtime dumps it.
    pub(crate) fn of(graph: &Graph) -> Vec<Self> {
        let mut integers: BTreeSet<&str> = BTreeSet::new();
        let mut all = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            let reads_integers = node.input(0).is_some_and(|name| integers.contains(name));
            let (arithmetic, gives_integers) = match node.op.as_str() {
                "QuantizeLinear" | "DynamicQuantizeLinear" => (Self::Conversion, true),
                "DequantizeLinear" => (Self::Conversion, false),
                // Without a scale of its output it gives floats (ORT's contrib operators, `QGemm`).
                "QGemm" => (Self::Integers, node.input(7).is_some()),
                op if op.starts_with("QLinear") => (Self::Integers, true),
                "ConvInteger" | "MatMulInteger" | "MatMulIntegerToFloat" | "DynamicQuantizeMatMul" => {
                    (Self::Integers, false)
                }
                op if MOVING.contains(&op) && reads_integers => (Self::Integers, true),
                _ => (Self::Floats, false),
            };
            if gives_integers {
                integers.extend(node.outputs.iter().map(String::as_str));
            }
            all.push(arithmetic);
        }
        all
    }
}

/// How many operators compute in what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) integers: usize,
    pub(crate) floats: usize,
    pub(crate) conversions: usize,
}

impl Counts {
    /// Of the operators of a graph.
    pub(crate) fn of(all: &[Arithmetic]) -> Self {
        let count = |wanted| all.iter().filter(|arithmetic| **arithmetic == wanted).count();
        Self {
            integers: count(Arithmetic::Integers),
            floats: count(Arithmetic::Floats),
            conversions: count(Arithmetic::Conversion),
        }
    }
}

/// The model in `bytes` with weights in `data`, called `source` in errors, with a call on `threads` threads, and the graph that
/// ONNX Runtime makes of it on this machine. `scratch` is a folder for its dump, which does not stay there.
pub(crate) fn load(
    bytes: &[u8],
    data: &DataFiles,
    source: String,
    threads: usize,
    scratch: &Path,
) -> Result<(Loaded, Graph)> {
    std::fs::create_dir_all(scratch).with_context(|| format!("cannot create `{}`", scratch.display()))?;
    let file = scratch.join("executed.onnx");
    let loaded = runtime::optimized(bytes, data, source, threads, &file);
    // Only a dump is lost where this fails, and the folder goes with the stage.
    let _ = std::fs::remove_file(&file);
    let (model, dumped) = loaded?;
    Ok((model, dumped.graph))
}

#[cfg(test)]
mod tests {
    use onnx::Node;

    use super::*;

    fn graph(nodes: Vec<Node>) -> Graph {
        Graph { nodes, ..onnx::Model::new(13).graph }
    }

    #[test]
    fn what_moves_computes_in_what_it_reads() {
        let graph = graph(vec![
            Node::new("MaxPool", ["x"], ["p"]),
            Node::new("QuantizeLinear", ["p", "s", "z"], ["q"]),
            Node::new("Transpose", ["q"], ["t"]),
            Node::new("QLinearConv", ["t"], ["c"]),
            Node::new("Reshape", ["c", "shape"], ["r"]),
            Node::new("DequantizeLinear", ["r", "s", "z"], ["d"]),
            Node::new("Flatten", ["d"], ["f"]),
            Node::new("Gemm", ["f", "w"], ["y"]),
        ]);
        use Arithmetic::{Conversion as C, Floats as F, Integers as I};
        assert_eq!(Arithmetic::of(&graph), [F, C, I, I, I, C, F, F]);
        assert_eq!(Counts::of(&Arithmetic::of(&graph)), Counts { integers: 3, floats: 3, conversions: 2 });
    }

    #[test]
    fn a_product_gives_integers_only_where_its_output_has_a_scale() {
        let floats = ["a", "sa", "za", "b", "sb", "zb", "c"];
        let integers = ["a", "sa", "za", "b", "sb", "zb", "c", "sy", "zy"];
        let of = |inputs: &[&str]| {
            let product = Node::new("QGemm", inputs.iter().copied(), ["y"]);
            Arithmetic::of(&graph(vec![product, Node::new("Flatten", ["y"], ["f"])]))
        };
        assert_eq!(of(&floats), [Arithmetic::Integers, Arithmetic::Floats]);
        assert_eq!(of(&integers), [Arithmetic::Integers, Arithmetic::Integers]);
    }
}
