//! Computing what constants alone determine, such as weights that an exporter left to be scaled at run time.
//!
//! Only operators whose outcome is certain to the last bit: one rounding for each element, as ONNX's reference has it.

use crate::graph::{Attribute, Graph, Node};
use crate::tensor::{Data, ElementType, Tensor};

/// Most elements of all outcomes together: folding must not blow a model up.
const MOST_ELEMENTS: usize = 1 << 24;

/// Replaces nodes all of whose operands are constants by what they give.
pub(super) fn constants(graph: &mut Graph) {
    graph.remove_unused();
    let mut kept = Vec::with_capacity(graph.nodes.len());
    let mut room = MOST_ELEMENTS;
    for node in std::mem::take(&mut graph.nodes) {
        let outcome = evaluate(graph, &node, room);
        room -= outcome.as_ref().map_or(0, |tensor| tensor.data().len()).min(room);
        match outcome.zip(node.output(0)) {
            Some((tensor, output)) if !graph.is_output(output) => {
                graph.initializers.insert(output.to_owned(), tensor);
            }
            _ => kept.push(node),
        }
    }
    graph.nodes = kept;
}

/// What `node` gives, if constants alone determine it and it has at most `room` elements.
fn evaluate(graph: &Graph, node: &Node, room: usize) -> Option<Tensor> {
    if !node.is_onnx() || node.outputs.len() != 1 {
        return None;
    }
    let operands: Vec<&Tensor> =
        (0..node.inputs.len()).map(|index| graph.constant(node, index)).collect::<Option<_>>()?;
    let elements = operands.iter().try_fold(0_usize, |sum, operand| sum.checked_add(operand.data().len()))?;
    if elements > room {
        return None;
    }
    match (node.op.as_str(), operands.as_slice()) {
        ("Add", [one, other]) => elementwise(one, other, |a, b| a + b, i64::checked_add, room),
        ("Sub", [one, other]) => elementwise(one, other, |a, b| a - b, i64::checked_sub, room),
        ("Mul", [one, other]) => elementwise(one, other, |a, b| a * b, i64::checked_mul, room),
        // Whole numbers are divided towards zero.
        ("Div", [one, other]) => elementwise(one, other, |a, b| a / b, i64::checked_div, room),
        ("Neg", [one]) => each(one, |value| -value),
        ("Abs", [one]) => each(one, f32::abs),
        ("Sqrt", [one]) => each(one, f32::sqrt),
        ("Reciprocal", [one]) => each(one, |value| 1.0 / value),
        ("Identity", [one]) => Some((*one).clone()),
        ("Transpose", [one]) => transposed(one, node.ints("perm")),
        ("Cast", [one]) => cast(one, node),
        ("Concat", many) => concatenated(many, node.int("axis", 0)),
        _ => None,
    }
}

fn each(tensor: &Tensor, change: impl Fn(f32) -> f32) -> Option<Tensor> {
    let values = tensor.as_f32()?.iter().map(|value| change(*value)).collect();
    Tensor::new(tensor.shape().to_vec(), Data::F32(values))
}

fn elementwise(
    one: &Tensor,
    other: &Tensor,
    floats: impl Fn(f32, f32) -> f32,
    integers: impl Fn(i64, i64) -> Option<i64>,
    room: usize,
) -> Option<Tensor> {
    let shape = broadcast(one.shape(), other.shape())?;
    let count = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))?;
    if count > room {
        return None;
    }
    let (first, second) = (strides(one.shape(), &shape)?, strides(other.shape(), &shape)?);
    let places = || (0..count).map(|place| (offset(place, &shape, &first), offset(place, &shape, &second)));
    let data = match (one.data(), other.data()) {
        (Data::F32(a), Data::F32(b)) => {
            Data::F32(places().map(|(i, j)| Some(floats(*a.get(i)?, *b.get(j)?))).collect::<Option<_>>()?)
        }
        (Data::I64(a), Data::I64(b)) => {
            Data::I64(places().map(|(i, j)| integers(*a.get(i)?, *b.get(j)?)).collect::<Option<_>>()?)
        }
        _ => return None,
    };
    Tensor::new(shape, data)
}

/// The shape of what two operands give, by ONNX's multidirectional broadcasting.
fn broadcast(one: &[usize], other: &[usize]) -> Option<Vec<usize>> {
    let rank = one.len().max(other.len());
    let size = |shape: &[usize], axis: usize| {
        let missing = rank - shape.len();
        axis.checked_sub(missing).and_then(|axis| shape.get(axis)).copied().unwrap_or(1)
    };
    (0..rank)
        .map(|axis| match (size(one, axis), size(other, axis)) {
            (1, size) | (size, 1) => Some(size),
            (a, b) => (a == b).then_some(a),
        })
        .collect()
}

/// How far elements of `shape` lie apart along each axis of `target`; 0 where it is repeated.
fn strides(shape: &[usize], target: &[usize]) -> Option<Vec<usize>> {
    let mut strides = vec![0; target.len()];
    let mut pitch = 1_usize;
    for (size, stride) in shape.iter().rev().zip(strides.iter_mut().rev()) {
        if *size != 1 {
            *stride = pitch;
        }
        pitch = pitch.checked_mul(*size)?;
    }
    Some(strides)
}

/// Where the element at `place` of `shape`, counted row by row, lies for these strides.
fn offset(place: usize, shape: &[usize], strides: &[usize]) -> usize {
    let mut rest = place;
    let mut offset = 0;
    for (size, stride) in shape.iter().zip(strides).rev() {
        offset += rest % size * stride;
        rest /= size;
    }
    offset
}

fn transposed(tensor: &Tensor, order: Option<&[i64]>) -> Option<Tensor> {
    let rank = tensor.shape().len();
    let order: Vec<usize> = match order {
        None => (0..rank).rev().collect(),
        Some(order) => order.iter().map(|axis| usize::try_from(*axis).ok()).collect::<Option<_>>()?,
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return None;
    }
    let own = strides(tensor.shape(), tensor.shape())?;
    let pick =
        |of: &[usize]| -> Option<Vec<usize>> { order.iter().map(|axis| of.get(*axis).copied()).collect() };
    let (shape, strides) = (pick(tensor.shape())?, pick(&own)?);
    let values = tensor.as_f32()?;
    let moved = (0..values.len()).map(|place| values.get(offset(place, &shape, &strides)).copied());
    let moved = moved.collect::<Option<_>>()?;
    Tensor::new(shape, Data::F32(moved))
}

/// Casts that lose nothing.
fn cast(tensor: &Tensor, node: &Node) -> Option<Tensor> {
    let Some(Attribute::Int(code)) = node.attributes.get("to") else { return None };
    let to = ElementType::from_code(i32::try_from(*code).ok()?);
    let data = match (tensor.data(), to) {
        (data, to) if data.element() == to => data.clone(),
        (Data::I32(values), ElementType::I64) => {
            Data::I64(values.iter().map(|value| i64::from(*value)).collect())
        }
        (Data::I64(values), ElementType::F32) => {
            let exact = |value: &i64| i16::try_from(*value).ok().map(f32::from);
            Data::F32(values.iter().map(exact).collect::<Option<_>>()?)
        }
        _ => return None,
    };
    Tensor::new(tensor.shape().to_vec(), data)
}

/// Along the first axis.
fn concatenated(tensors: &[&Tensor], axis: i64) -> Option<Tensor> {
    let rest = tensors.first()?.shape().get(1..)?;
    let fits = |tensor: &&Tensor| tensor.shape().get(1..) == Some(rest);
    if axis != 0 || !tensors.iter().all(fits) {
        return None;
    }
    let sizes = tensors.iter().map(|tensor| tensor.shape().first().copied());
    let first = sizes.into_iter().try_fold(0_usize, |sum, size| sum.checked_add(size?))?;
    let data = match tensors.first()?.data() {
        Data::F32(_) => {
            Data::F32(tensors.iter().map(|tensor| tensor.as_f32()).collect::<Option<Vec<_>>>()?.concat())
        }
        Data::I64(_) => {
            Data::I64(tensors.iter().map(|tensor| tensor.as_i64()).collect::<Option<Vec<_>>>()?.concat())
        }
        _ => return None,
    };
    Tensor::new([&[first], rest].concat(), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::new(shape.to_vec(), Data::F32(values.to_vec())).unwrap()
    }

    fn given(node: &Node, constants: &[(&str, Tensor)]) -> Option<Tensor> {
        let mut graph = Graph::default();
        graph
            .initializers
            .extend(constants.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())));
        evaluate(&graph, node, 1000)
    }

    #[test]
    fn operands_are_repeated_along_axes_that_they_lack() {
        let (column, row) = (floats(&[2, 1], &[1.0, 10.0]), floats(&[3], &[1.0, 2.0, 3.0]));
        let of =
            |op: &str| given(&Node::new(op, ["a", "b"], ["c"]), &[("a", column.clone()), ("b", row.clone())]);
        assert_eq!(of("Add"), Some(floats(&[2, 3], &[2.0, 3.0, 4.0, 11.0, 12.0, 13.0])));
        assert_eq!(of("Mul"), Some(floats(&[2, 3], &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0])));
        assert_eq!(of("Sub").unwrap().as_f32().unwrap()[5], 7.0);
        assert_eq!(of("Div").unwrap().as_f32().unwrap()[3], 10.0);
        let uneven = [("a", floats(&[2], &[1.0, 2.0])), ("b", row)];
        assert_eq!(given(&Node::new("Add", ["a", "b"], ["c"]), &uneven), None);
    }

    #[test]
    fn whole_numbers_neither_overflow_nor_divide_by_zero() {
        let of = |op: &str, a: i64, b: i64| {
            let [a, b] = [a, b].map(|value| Tensor::vector(Data::I64(vec![value])));
            given(&Node::new(op, ["a", "b"], ["c"]), &[("a", a), ("b", b)])
        };
        assert_eq!(of("Div", -7, 2).unwrap().as_i64(), Some(&[-3][..]));
        assert_eq!(of("Div", 1, 0), None);
        assert_eq!(of("Add", i64::MAX, 1), None);
    }

    #[test]
    fn elements_are_moved_and_joined() {
        let matrix = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let transpose = Node::new("Transpose", ["a"], ["b"]);
        let turned = floats(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(given(&transpose, &[("a", matrix.clone())]), Some(turned));
        let same = transpose.with("perm", Attribute::Ints(vec![0, 0]));
        assert_eq!(given(&same, &[("a", matrix.clone())]), None, "no order of axes");
        let concat = Node::new("Concat", ["a", "a"], ["b"]).with("axis", Attribute::Int(0));
        assert_eq!(given(&concat, &[("a", matrix)]).unwrap().shape(), [4, 3]);
    }

    #[test]
    fn only_exact_casts_are_made() {
        let cast = Node::new("Cast", ["a"], ["b"]).with("to", Attribute::Int(1));
        let of = |value: i64| given(&cast, &[("a", Tensor::vector(Data::I64(vec![value])))]);
        assert_eq!(of(-5).unwrap().as_f32(), Some(&[-5.0][..]));
        assert_eq!(of(1 << 40), None);
    }

    #[test]
    fn sizes_that_lie_or_grow_are_left_alone() {
        let empty = Tensor::new(vec![0, 1 << 62, 1 << 62], Data::F32(Vec::new())).unwrap();
        assert_eq!(given(&Node::new("Mul", ["a", "a"], ["b"]), &[("a", empty.clone())]), None);
        assert_eq!(given(&Node::new("Transpose", ["a"], ["b"]), &[("a", empty)]), None);
        let long = Tensor::new(vec![usize::MAX, 0], Data::F32(Vec::new())).unwrap();
        let concat = Node::new("Concat", ["a", "a"], ["b"]).with("axis", Attribute::Int(0));
        assert_eq!(given(&concat, &[("a", long)]), None);
        let (row, column) = (floats(&[1, 40], &[1.0; 40]), floats(&[40, 1], &[1.0; 40]));
        assert_eq!(given(&Node::new("Mul", ["a", "b"], ["c"]), &[("a", row), ("b", column)]), None, "1,600");
        assert_eq!(given(&concat, &[("a", floats(&[600], &[1.0; 600]))]), None, "1,200");
    }

    #[test]
    fn what_depends_on_inputs_or_is_an_output_stays() {
        let mut graph = Graph::default();
        graph.initializers.insert("w".into(), floats(&[1], &[4.0]));
        graph.nodes = vec![
            Node::new("Sqrt", ["w"], ["s"]),
            Node::new("Neg", ["s"], ["n"]),
            Node::new("Add", ["x", "n"], ["y"]),
        ];
        let y = crate::Value { name: "y".into(), element: ElementType::F32, shape: None };
        graph.outputs.push(y);
        constants(&mut graph);
        assert_eq!(graph.nodes.len(), 1);
        assert_eq!(graph.initializers["n"].as_f32(), Some(&[-2.0][..]));
    }
}
