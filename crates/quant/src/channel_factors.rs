//! Factors of channels that differ by much, such as those of a normalisation behind a `Relu`: one grid for all channels would leave the
//! small ones nothing. What they have in common goes into the convolution that reads them, which stays the same network: a zero put
//! around an image is zero whatever it is multiplied with.

use onnx::{Data, Graph, Node, Tensor};

/// Channels whose sizes differ by less than this stay as they are.
const SPREAD: f32 = 4.0;

/// A multiplication by channel, perhaps with an addition behind it, that one convolution alone reads.
struct Affine {
    /// The node, which of its operands is the constant, and its values.
    factor: (usize, usize, Vec<f32>),
    offset: Option<(usize, usize, Vec<f32>)>,
}

/// Moves the sizes of channels into the convolutions that read them.
pub(crate) fn balance(graph: &mut Graph) {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let source = |tensor: &str| {
        let is_alone = consumers.get(tensor).is_some_and(|consumers| consumers.len() == 1);
        (is_alone && !graph.is_output(tensor)).then(|| producers.get(tensor).copied())?
    };
    // One convolution alone reads each, so that none is found twice.
    let all: Vec<_> = (0..graph.nodes.len())
        .filter_map(|index| {
            let (affine, weight) = found(graph, &source, index)?;
            let (name, sizes, weight) = moved(graph, index, &affine, weight)?;
            Some((index, affine, name, sizes, weight))
        })
        .collect();
    for (index, affine, name, sizes, weight) in all {
        let mut names = graph.names();
        for (node, operand, values) in std::iter::once(&affine.factor).chain(&affine.offset) {
            let shape = graph
                .nodes
                .get(*node)
                .and_then(|node| Some(graph.constant(node, *operand)?.shape().to_vec()));
            let values = values.iter().zip(&sizes).map(|(value, size)| value / size).collect();
            let balanced = shape.and_then(|shape| Tensor::new(shape, Data::F32(values)));
            let fresh = names.fresh(&format!("{name}_balanced"));
            if let (Some(tensor), Some(input)) =
                (balanced, graph.nodes.get_mut(*node).and_then(|node| node.inputs.get_mut(*operand)))
            {
                graph.initializers.insert(fresh.clone(), tensor);
                *input = fresh;
            }
        }
        let fresh = names.fresh(&format!("{name}_balanced"));
        if let Some(input) = graph.nodes.get_mut(index).and_then(|node| node.inputs.get_mut(1)) {
            graph.initializers.insert(fresh.clone(), weight);
            *input = fresh;
        }
    }
    graph.remove_unused();
}

/// What is to be moved into the convolution at `index`, and its weights.
fn found<'g>(
    graph: &'g Graph,
    source: &impl Fn(&str) -> Option<usize>,
    index: usize,
) -> Option<(Affine, &'g Tensor)> {
    let conv = graph.nodes.get(index).filter(|node| node.is("Conv"))?;
    let weight = graph.constant(conv, 1)?;
    let group = usize::try_from(conv.int("group", 1)).ok()?;
    let channels = weight.shape().get(1)?.checked_mul(group)?;
    let rank = weight.shape().len();
    let last = source(conv.input(0)?)?;
    let operand = |at: usize, op: &str| {
        let node = graph.nodes.get(at).filter(|node| node.is(op))?;
        let (place, values) = constant(graph, node, channels, rank)?;
        Some((at, place, values))
    };
    let (factor, offset) = match operand(last, "Add") {
        Some(offset) => {
            let moved = graph.nodes.get(last)?.input(1 - offset.1)?;
            (operand(source(moved)?, "Mul")?, Some(offset))
        }
        None => (operand(last, "Mul")?, None),
    };
    Some((Affine { factor, offset }, weight))
}

/// The operand of an operator of two that is a constant with one value for each channel of images, and these.
fn constant(graph: &Graph, node: &Node, channels: usize, rank: usize) -> Option<(usize, Vec<f32>)> {
    (0..2).find_map(|place| {
        let tensor = graph.constant(node, place)?;
        // [C, 1, 1] or [1, C, 1, 1] for images of two axes.
        let (last, lead) = tensor.shape().split_at_checked(tensor.shape().len().checked_sub(rank - 1)?)?;
        let is_by_channel = last.iter().all(|size| *size == 1)
            && lead
                .split_first()
                .is_some_and(|(first, rest)| *first == channels && rest.iter().all(|size| *size == 1));
        let values = tensor.as_f32().filter(|_| is_by_channel && node.inputs.len() == 2)?;
        Some((place, values.to_vec()))
    })
}

/// The name of the weights, the sizes of the channels that they read, and the weights times these.
fn moved(
    graph: &Graph,
    index: usize,
    affine: &Affine,
    weight: &Tensor,
) -> Option<(String, Vec<f32>, Tensor)> {
    let (_, _, factors) = &affine.factor;
    let offsets = affine.offset.as_ref().map(|(_, _, values)| values.as_slice()).unwrap_or_default();
    let size = |(channel, factor): (usize, &f32)| {
        factor.abs().max(offsets.get(channel).map_or(0.0, |offset| offset.abs()))
    };
    let sizes: Vec<f32> = factors.iter().enumerate().map(size).collect();
    let (least, most) = sizes
        .iter()
        .fold((f32::INFINITY, 0.0_f32), |(least, most), size| (least.min(*size), most.max(*size)));
    if !(least.is_normal() && most.is_finite() && most / least >= SPREAD) {
        return None;
    }
    let [filters, each, rest @ ..] = weight.shape() else { return None };
    let area: usize = rest.iter().product();
    let groups = factors.len().checked_div(*each)?;
    let in_group = filters.checked_div(groups)?;
    let values = weight.as_f32()?;
    let scaled: Vec<f32> = values
        .iter()
        .enumerate()
        .map(|(element, value)| {
            let (filter, channel) = (element / (each * area).max(1), element / area.max(1) % (*each).max(1));
            let from = filter / in_group.max(1) * each + channel;
            value * sizes.get(from).copied().unwrap_or(f32::NAN)
        })
        .collect();
    if scaled.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let name = graph.nodes.get(index)?.input(1)?.to_owned();
    Some((name, sizes, Tensor::new(weight.shape().to_vec(), Data::F32(scaled))?))
}
