//! Operators that compute in floats with weights that are stored as integers: transposed convolutions, recurrent layers, and tables
//! that rows are taken from. Weights become floats by `Cast` and `Mul`, which the runtime computes once, when it loads the model.

use onnx::{Attribute, Data, ElementType, Graph, Node, Tensor};

use crate::emit::Emitter;
use crate::error::QuantError;
use crate::summary::Weight;

/// Fewer elements are not worth the operators that make floats of them.
const LEAST: usize = 512;

/// Which operands hold weights, and along which axis each has a scale.
fn places(node: &Node) -> &'static [(usize, usize)] {
    match node.op.as_str() {
        // [in, out, …].
        "ConvTranspose" => &[(1, 1)],
        // [directions, gates · hidden, …], of the input and of the state.
        "LSTM" | "GRU" | "RNN" => &[(1, 1), (2, 1)],
        "Gather" if node.int("axis", 0) == 0 => &[(0, 0)],
        _ => &[],
    }
}

/// Whether the node has weights that are worth it, all of them finite floats.
pub(crate) fn is_worth_it(graph: &Graph, node: &Node) -> bool {
    let usable = |(operand, axis): &(usize, usize)| {
        let tensor = graph.constant(node, *operand);
        tensor
            .filter(|tensor| tensor.shape().len() > (*axis).max(1))
            .and_then(Tensor::as_f32)
            .is_some_and(|values| values.len() >= LEAST && values.iter().all(|value| value.is_finite()))
    };
    let places = places(node);
    node.is_onnx() && !places.is_empty() && places.iter().all(usable)
}

/// Emits the weights of a node for which [`is_worth_it`], and gives the node that reads them in place of it.
pub(crate) fn emit(emitter: &mut Emitter, graph: &Graph, node: &Node) -> Result<(Node, Weight), QuantError> {
    let mut changed = node.clone();
    let mut summary = None;
    for (operand, axis) in places(node) {
        let lost = || QuantError::unplanned(node, "weights");
        let name = node.input(*operand).ok_or_else(lost)?;
        let tensor = graph.initializers.get(name).ok_or_else(lost)?;
        let (rounded, summed) = Rounded::new(tensor, *axis).ok_or_else(|| QuantError::unfilled(name))?;
        let integers = emitter.constant(&format!("{name}_integers"), rounded.integers);
        let scales = emitter.constant(&format!("{name}_scale"), rounded.scales);
        summary.get_or_insert(summed);
        if node.is("Gather") {
            // The indices may be constant; the table goes with all that nothing reads.
            emitter.keep_constants(graph, node);
            return gathered(emitter, node, [&integers, &scales])
                .zip(summary)
                .ok_or_else(|| QuantError::unplanned(node, "indices"));
        }
        let steps = cast(emitter, &integers, &format!("{name}_steps"));
        let floats = emitter.value("Mul", &[&steps, &scales], &format!("{name}_rounded"));
        if let Some(input) = changed.inputs.get_mut(*operand) {
            *input = floats;
        }
    }
    Ok((changed, summary.ok_or_else(|| QuantError::unplanned(node, "weights"))?))
}

/// What makes floats of rows of integers and of their scales, both taken as `node` takes rows.
fn gathered(emitter: &mut Emitter, node: &Node, table: [&str; 2]) -> Option<Node> {
    let (indices, output) = (node.input(1)?, node.output(0)?);
    let [rows, scales] =
        table.map(|table| emitter.value("Gather", &[table, indices], &format!("{output}_rows")));
    let steps = cast(emitter, &rows, &format!("{output}_steps"));
    Some(Node::new("Mul", [steps.as_str(), &scales], [output]).named(&node.name))
}

fn cast(emitter: &mut Emitter, tensor: &str, wanted: &str) -> String {
    let output = emitter.fresh(wanted);
    let to = Attribute::Int(i64::from(ElementType::F32.code()));
    emitter.node(Node::new("Cast", [tensor], [output.as_str()]).with("to", to));
    output
}

/// A tensor as `scale · integer`, with a scale of `max|w| / 127` for each place along an axis.
struct Rounded {
    integers: Tensor,
    /// Broadcasts against the integers.
    scales: Tensor,
}

impl Rounded {
    #[expect(clippy::cast_possible_truncation, reason = "what is divided by its largest lies within 127")]
    fn new(tensor: &Tensor, axis: usize) -> Option<(Self, Weight)> {
        let values = tensor.as_f32()?;
        let count = *tensor.shape().get(axis)?;
        let inner: usize = tensor.shape().get(axis + 1..)?.iter().product();
        let place = |element: usize| element / inner.max(1) % count.max(1);
        let mut scales = vec![0.0_f32; count];
        for (element, value) in values.iter().enumerate() {
            let scale = scales.get_mut(place(element))?;
            *scale = scale.max(value.abs() / 127.0);
        }
        for scale in scales.iter_mut().filter(|scale| **scale < f32::MIN_POSITIVE) {
            *scale = 1.0;
        }
        let integers: Vec<i8> = values
            .iter()
            .enumerate()
            .map(|(element, value)| {
                (value / scales[place(element)]).round_ties_even().clamp(-127.0, 127.0) as i8
            })
            .collect();
        let (mut signal, mut noise) = (0.0_f64, 0.0_f64);
        for (element, (value, integer)) in values.iter().zip(&integers).enumerate() {
            let lost = f64::from(*value) - f64::from(*integer) * f64::from(scales[place(element)]);
            signal += f64::from(*value).powi(2);
            noise += lost * lost;
        }
        let sqnr_db = (signal > 0.0 && noise > 0.0).then(|| 10.0 * (signal / noise).log10());
        let shape = tensor.shape().to_vec();
        let mut broadcast = vec![1; shape.len()];
        *broadcast.get_mut(axis)? = count;
        let rounded = Self {
            integers: Tensor::new(shape.clone(), Data::I8(integers))?,
            scales: Tensor::new(broadcast, Data::F32(scales))?,
        };
        Some((rounded, Weight { shape, scales: count, sqnr_db, raised_scales: 0 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_along_the_axis_has_its_scale() {
        let tensor = Tensor::new(vec![2, 2, 1], Data::F32(vec![1.27, 127.0, -0.63, 0.0])).unwrap();
        let (rounded, weight) = Rounded::new(&tensor, 1).unwrap();
        assert_eq!(*rounded.integers.data(), Data::I8(vec![127, 127, -63, 0]));
        assert_eq!((rounded.scales.shape(), weight.scales), (&[1, 2, 1][..], 2));
        let scales = rounded.scales.as_f32().unwrap();
        assert!((scales[0] - 0.01).abs() < 1e-6 && (scales[1] - 1.0).abs() < 1e-6, "{scales:?}");
    }
}
