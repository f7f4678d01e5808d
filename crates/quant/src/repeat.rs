//! Gates repeated along rows. ONNX Runtime computes images with the channels of a pixel side by side, and a product (or sum)
//! of `[N, C, H, W]` with `[N, C, 1, 1]` one pixel at a time, of which each costs more than its channels do
//! (`ProcessBroadcastSpanFuncs` in `core/providers/common.h`); with `[N, C, 1, W]` it takes a row at a time. The outcome is
//! the same bit for bit; a product takes about half the time. A single channel is a row already.

use onnx::{Dim, Node, Shapes};

/// Shorter rows gain nothing that would be worth another operator.
const LEAST_WIDTH: usize = 8;

/// How often the operand of `node` at `index` had better be repeated along the last axis.
pub(crate) fn repeats(node: &Node, shapes: &Shapes, index: usize) -> Option<usize> {
    let ([_, _], "Mul" | "Add") = (node.inputs.as_slice(), node.op.as_str()) else { return None };
    let dims = |index: usize| node.input(index).and_then(|name| shapes.dims(name));
    let (gate, image) = (dims(index)?, dims(1_usize.checked_sub(index)?)?);
    match (gate, image) {
        (
            [_, Dim::Known(one), Dim::Known(1), Dim::Known(1)],
            [_, Dim::Known(other), Dim::Known(_), Dim::Known(width)],
        ) if one == other && *one > 1 && *width >= LEAST_WIDTH => Some(*width),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use onnx::{ElementType, Graph, Value};

    use super::*;

    fn repeats_of(gate: &[usize], image: &[usize], op: &str) -> [Option<usize>; 2] {
        let value = |name: &str, shape: &[usize]| {
            let dims =
                std::iter::once(Dim::Named("n".into())).chain(shape.iter().map(|size| Dim::Known(*size)));
            Value { name: name.into(), element: ElementType::F32, shape: Some(dims.collect()) }
        };
        let node = Node::new(op, ["gate", "image"], ["y"]);
        let graph = Graph {
            inputs: vec![value("gate", gate), value("image", image)],
            outputs: vec![value("y", image)],
            nodes: vec![node.clone()],
            ..Graph::default()
        };
        let shapes = Shapes::infer(&graph).unwrap();
        [0, 1].map(|index| repeats(&node, &shapes, index))
    }

    #[test]
    fn what_meets_every_pixel_of_rows_is_repeated() {
        assert_eq!(repeats_of(&[48, 1, 1], &[48, 32, 16], "Mul"), [Some(16), None]);
        assert_eq!(repeats_of(&[48, 1, 1], &[48, 32, 16], "Add"), [Some(16), None]);
        assert_eq!(repeats_of(&[48, 32, 16], &[48, 32, 16], "Mul"), [None; 2]);
        assert_eq!(repeats_of(&[48, 1, 1], &[48, 1, 1], "Mul"), [None; 2]);
        assert_eq!(repeats_of(&[48, 1, 1], &[48, 4, 4], "Mul"), [None; 2], "too short");
        assert_eq!(repeats_of(&[1, 1, 1], &[48, 32, 32], "Mul"), [None; 2], "another span");
        assert_eq!(repeats_of(&[1, 1, 1], &[1, 32, 32], "Mul"), [None; 2], "a span of all pixels");
        assert_eq!(repeats_of(&[48, 1, 1], &[48, 32, 32], "Max"), [None; 2], "another operator");
    }
}
