//! Integers moved as they are: what ONNX Runtime would not do by itself between two roundings, and what makes its kernels faster.

use onnx::{Data, Node, Tensor};

use super::{Rewriter, operands};
use crate::error::QuantError;
use crate::options::ActivationType;

impl Rewriter<'_> {
    /// Emits a `Pad` of the integers themselves: unlike others that move elements, ONNX Runtime leaves it between roundings.
    pub(super) fn pad(&mut self, node: &Node) {
        let ends = |name: Option<&str>| name.and_then(|name| self.tensors.get(name));
        let ends = ends(node.input(0)).zip(ends(node.output(0)));
        let grid = node.output(0).and_then(|name| self.grids.get(name)).copied();
        let Some(((from, to), grid)) = ends.zip(grid) else { return self.copy(node) };
        let [from, to, rounded] = [&from.integers, &to.integers, &to.rounded].map(String::clone);
        self.emitter.keep_constants(self.source, node);
        let params = self.params(grid);
        let mut inputs = vec![from];
        inputs.extend(node.input(1).map(str::to_owned));
        if node.text("mode").is_none_or(|mode| mode == "constant") {
            inputs.push(params.zero_point.clone());
        }
        self.emitter.node(Node { inputs, outputs: vec![to.clone()], ..node.clone() });
        self.emitter.node(Node::new("DequantizeLinear", operands(&to, &params), [rounded.as_str()]));
    }

    /// The rounded form of `tensor`, an activation, with `missing` channels of zeros behind its own.
    pub(super) fn widened(&mut self, tensor: &str, missing: usize) -> Result<String, QuantError> {
        let (Some(&grid), 1..) = (self.grids.get(tensor), missing) else { return Ok(self.rounded(tensor)) };
        let mut pads = vec![0; 8];
        pads[5] = whole(missing)?;
        let pads = self.emitter.constant("pads", Tensor::vector(Data::I64(pads)));
        let zero = self.params(grid).zero_point;
        Ok(self.moved(tensor, "Pad", &[&pads, &zero], "wide"))
    }

    /// The rounded form of an operand, `times` of it side by side.
    pub(super) fn repeated(&mut self, name: &str, times: usize) -> Result<String, QuantError> {
        let signed = self.options.activation_type() == ActivationType::S8;
        // Signed images may be computed with the pixels of a channel side by side, where repeating costs.
        if signed || !self.grids.contains_key(name) {
            return self.operand(name);
        }
        let times = Tensor::vector(Data::I64(vec![1, 1, 1, whole(times)?]));
        let times = self.emitter.constant("repeats", times);
        Ok(self.moved(name, "Tile", &[&times], "repeated"))
    }

    /// The rounded form of `tensor`, an activation, after operator `op`, with `more` operands, moved its integers.
    fn moved(&mut self, tensor: &str, op: &str, more: &[&str], what: &str) -> String {
        let grid_and_ends = self.grids.get(tensor).copied().zip(self.tensors.get(tensor));
        let Some((grid, ends)) = grid_and_ends else { return self.rounded(tensor) };
        let integers = ends.integers.clone();
        let params = self.params(grid);
        let inputs: Vec<&str> = std::iter::once(integers.as_str()).chain(more.iter().copied()).collect();
        let moved = self.emitter.value(op, &inputs, &format!("{tensor}_{what}"));
        self.emitter.value("DequantizeLinear", &operands(&moved, &params), &format!("{moved}_rounded"))
    }
}

/// A size as ONNX has it.
fn whole(size: usize) -> Result<i64, QuantError> {
    i64::try_from(size).map_err(|_| QuantError::Internal(format!("a size of {size} elements")))
}
