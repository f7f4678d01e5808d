//! Cross-layer equalisation (Nagel et al. 2019, arXiv 1906.04721, section 4.1): what a layer's channel is divided by, the next
//! layer's weights for it are multiplied by. The function stays the same wherever nothing but homogeneous operators
//! (`f(s·x) = s·f(x)` for `s > 0`) lie between, and both layers' weights get the same range in each channel, so that none is
//! rounded much more coarsely than the others.

use onnx::{Data, Graph, Model, Node, Tensor};
use serde::Serialize;

use crate::error::QuantError;
use crate::prepare::refuse_quantized;

/// Sweeps over all pairs, at most: where layers are chained, one pair disturbs the next.
const SWEEPS: usize = 50;
/// The sweeps end when no channel is scaled by more than this any more.
const SETTLED: f32 = 1.001;

/// Two layers whose channels were balanced.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Equalized {
    /// The label of the first.
    pub first: String,
    /// The label of the second.
    pub second: String,
    /// The largest range of a channel of the first layer's weights and biases over the smallest, before.
    pub spread_before: f32,
    /// And after.
    pub spread_after: f32,
}

/// `model`, simplified, with the channels of neighbouring layers balanced. It computes the same: a channel that the first layer's
/// weights reach `r₁` in, and the second's `r₂`, is divided there and multiplied here by `√(r₁·r₂) / r₂` (Nagel et al. 2019, arXiv
/// 1906.04721, equation 11).
///
/// # Errors
/// [`QuantError::AlreadyQuantized`], or an [`onnx::Error`] for a model that contradicts itself.
pub fn equalize(model: &Model) -> Result<(Model, Vec<Equalized>), QuantError> {
    refuse_quantized(model)?;
    let mut model = model.simplified()?;
    let graph = &mut model.graph;
    let found: Vec<(usize, usize)> =
        (0..graph.nodes.len()).filter_map(|second| Some((before(graph, second)?, second))).collect();
    let pairs: Vec<Pair> =
        found.into_iter().filter_map(|(one, other)| Pair::new(graph, one, other)).collect();
    let spreads = pairs.iter().map(|pair| pair.spread(graph)).collect::<Result<Vec<f32>, QuantError>>()?;
    for _ in 0..SWEEPS {
        let mut most = 1.0_f32;
        for pair in &pairs {
            most = most.max(pair.balance(graph)?);
        }
        if most < SETTLED {
            break;
        }
    }
    let report = pairs.into_iter().zip(spreads).map(|(pair, spread_before)| {
        let spread_after = pair.spread(graph)?;
        let [first, second] = pair.labels;
        Ok(Equalized { first, second, spread_before, spread_after })
    });
    let report = report.collect::<Result<_, QuantError>>()?;
    Ok((model, report))
}

/// The layer before `second`, if its outcome reaches that alone, over homogeneous operators only.
fn before(graph: &Graph, second: usize) -> Option<usize> {
    let node = graph.nodes.get(second)?;
    let mut tensor = match node.op.as_str() {
        "Conv" | "Gemm" if node.is_onnx() => node.input(0)?,
        _ => return None,
    };
    loop {
        let maker = graph.sole_source(tensor)?;
        let node = graph.nodes.get(maker)?;
        match node.op.as_str() {
            _ if !node.is_onnx() => return None,
            "Conv" => return Some(maker),
            "Flatten" if node.int("axis", 1) != 1 => return None,
            // Pooling keeps channels apart; `Flatten` does where one element of each is left, which weights tell.
            "Relu" | "LeakyRelu" | "MaxPool" | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool"
            | "Flatten" => {
                tensor = node.input(0)?;
            }
            _ => return None,
        }
    }
}

/// Two layers, with weights of their own.
struct Pair {
    first: usize,
    second: usize,
    /// Of the two nodes.
    labels: [String; 2],
    channels: usize,
    /// By weight of the second layer, the channel of the first that it multiplies.
    reads: Vec<usize>,
}

impl Pair {
    /// `None` where the weights are not known or do not fit.
    fn new(graph: &mut Graph, first: usize, second: usize) -> Option<Self> {
        let weight = |index: usize| {
            let node = graph.nodes.get(index)?;
            let weight = graph.constant(node, 1)?;
            let values = weight.as_f32()?;
            let is_usable = !values.is_empty() && values.iter().all(|value| value.is_finite());
            is_usable.then(|| (node, weight.shape().to_vec()))
        };
        let (one, one_shape) = weight(first)?;
        let (other, other_shape) = weight(second)?;
        let channels = *one_shape.first()?;
        if let Some(bias) = one.input(2) {
            graph.initializers.get(bias)?.as_f32().filter(|bias| bias.len() == channels)?;
        }
        let reads = reads(other, &other_shape, channels)?;
        let labels = [one.label().to_owned(), other.label().to_owned()];
        for (node, place) in [(first, 1), (first, 2), (second, 1)] {
            own(graph, node, place);
        }
        Some(Self { first, second, labels, channels, reads })
    }

    /// Largest absolute weight of each channel, of the first and of the second layer. A bias of the first counts as one of
    /// its weights: what it adds is divided, too, and must not dwarf the other channels.
    fn ranges(&self, graph: &Graph) -> Result<[Vec<f32>; 2], QuantError> {
        let values = |node: usize| graph.constant(graph.nodes.get(node)?, 1)?.as_f32();
        let (Some(one), Some(other)) = (values(self.first), values(self.second)) else {
            return Err(self.lost());
        };
        let filter = (one.len() / self.channels.max(1)).max(1);
        let largest = |values: &[f32]| values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let mut first: Vec<f32> = one.chunks(filter).map(largest).collect();
        let bias = graph.nodes.get(self.first).and_then(|node| graph.constant(node, 2)?.as_f32());
        for (range, bias) in first.iter_mut().zip(bias.unwrap_or_default()) {
            *range = range.max(bias.abs());
        }
        let mut second = vec![0.0_f32; self.channels];
        for (value, channel) in other.iter().zip(&self.reads) {
            second[*channel] = second[*channel].max(value.abs());
        }
        Ok([first, second])
    }

    /// [`Pair::new`] found weights that are no longer there.
    fn lost(&self) -> QuantError {
        let [first, second] = &self.labels;
        QuantError::Internal(format!(
            "the weights of `{first}` and `{second}` vanished while they were balanced"
        ))
    }

    fn spread(&self, graph: &Graph) -> Result<f32, QuantError> {
        let [first, _] = self.ranges(graph)?;
        let alive = || first.iter().copied().filter(|range| *range > 0.0);
        Ok(alive().fold(0.0, f32::max) / alive().fold(f32::INFINITY, f32::min))
    }

    /// Gives both layers the same range in each channel. Returns by how much the most unequal channel was scaled.
    fn balance(&self, graph: &mut Graph) -> Result<f32, QuantError> {
        let [first, second] = self.ranges(graph)?;
        // `s = √(r₁·r₂) / r₂`, equation 11 there.
        let scales: Vec<f32> = first
            .iter()
            .zip(&second)
            .map(|(one, other)| {
                let scale = (one / other).sqrt();
                if scale.is_normal() { scale } else { 1.0 }
            })
            .collect();
        let filters = |place, count: usize| 1.0 / scales[place / (count / self.channels).max(1)];
        change(graph, self.first, 1, filters).ok_or_else(|| self.lost())?;
        if graph.nodes.get(self.first).is_some_and(|node| node.input(2).is_some()) {
            change(graph, self.first, 2, |place, _| 1.0 / scales[place]).ok_or_else(|| self.lost())?;
        }
        change(graph, self.second, 1, |place, _| scales[self.reads[place]]).ok_or_else(|| self.lost())?;
        Ok(scales.iter().fold(1.0, |most, scale| most.max(scale.max(1.0 / scale))))
    }
}

/// By weight of `node`, which of `channels` channels it multiplies; `None` where they do not fit.
fn reads(node: &Node, shape: &[usize], channels: usize) -> Option<Vec<usize>> {
    let count: usize = shape.iter().product();
    match (node.op.as_str(), shape) {
        ("Conv", [filters, inputs, window @ ..]) => {
            let area: usize = window.iter().product();
            let groups = usize::try_from(node.int("group", 1)).ok()?;
            let (each, whole) = (filters.checked_div(groups)?, groups.checked_mul(*inputs)? == channels);
            let channel = |place: usize| {
                let (filter, input) = (place / (inputs * area), place / area % inputs);
                filter / each * inputs + input
            };
            (whole && each * groups == *filters && count > 0).then(|| (0..count).map(channel).collect())
        }
        ("Gemm", &[rows, columns]) if node.int("transA", 0) == 0 => match node.int("transB", 0) {
            0 => (rows == channels).then(|| (0..count).map(|place| place / columns).collect()),
            _ => (columns == channels).then(|| (0..count).map(|place| place % columns).collect()),
        },
        _ => None,
    }
}

/// Gives input `place` of a node, a constant, a name that no other node has.
fn own(graph: &mut Graph, node: usize, place: usize) {
    let name = graph.nodes.get(node).and_then(|node| node.input(place)).map(str::to_owned);
    let tensor = name.as_ref().and_then(|name| graph.initializers.get(name)).cloned();
    let (Some(name), Some(tensor)) = (name, tensor) else { return };
    let shared = graph.consumers().get(name.as_str()).is_some_and(|consumers| consumers.len() > 1);
    if shared || graph.is_output(&name) {
        let fresh = graph.names().fresh(&name);
        graph.initializers.insert(fresh.clone(), tensor);
        if let Some(input) = graph.nodes.get_mut(node).and_then(|node| node.inputs.get_mut(place)) {
            *input = fresh;
        }
    }
}

/// Multiplies each element of a node's constant by what `factor` says for its place and their number.
fn change(graph: &mut Graph, node: usize, place: usize, factor: impl Fn(usize, usize) -> f32) -> Option<()> {
    let name = graph.nodes.get(node)?.input(place)?.to_owned();
    let tensor = graph.initializers.get(&name)?;
    let values = tensor.as_f32()?;
    let scaled =
        values.iter().enumerate().map(|(place, value)| value * factor(place, values.len())).collect();
    let scaled = Tensor::new(tensor.shape().to_vec(), Data::F32(scaled))?;
    graph.initializers.insert(name, scaled);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use onnx::Attribute;

    fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::new(shape.to_vec(), Data::F32(values.to_vec())).unwrap()
    }

    /// conv [2, 1] → `between` → depthwise [2, 1] → conv [1, 2].
    fn chain(between: &str) -> Model {
        let mut model = Model::new(13);
        let value = |name: &str| onnx::Value {
            name: name.into(),
            element: onnx::ElementType::F32,
            shape: Some(vec![
                onnx::Dim::Named("n".into()),
                onnx::Dim::Known(1),
                onnx::Dim::Known(1),
                onnx::Dim::Known(1),
            ]),
        };
        let graph = &mut model.graph;
        (graph.inputs, graph.outputs) = (vec![value("x")], vec![value("y")]);
        graph.nodes = vec![
            Node::new("Conv", ["x", "w1", "b1"], ["a"]).named("one"),
            Node::new(between, ["a"], ["b"]),
            Node::new("Conv", ["b", "w2"], ["c"]).named("two").with("group", Attribute::Int(2)),
            Node::new("Conv", ["c", "w3"], ["y"]).named("three"),
        ];
        graph.initializers = [
            ("w1", tensor(&[2, 1, 1, 1], &[100.0, 0.01])),
            ("b1", tensor(&[2], &[50.0, 0.005])),
            ("w2", tensor(&[2, 1, 1, 1], &[0.25, 4.0])),
            ("w3", tensor(&[1, 2, 1, 1], &[1.0, -3.0])),
        ]
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .into();
        model
    }

    /// What the chain gives for `x`.
    fn compute(model: &Model, x: f32) -> f32 {
        let values = |name: &str| model.graph.initializers[name].as_f32().unwrap().to_vec();
        let [w1, b1, w2, w3] = ["w1", "b1", "w2", "w3"].map(values);
        (0..2).map(|i| (w1[i] * x + b1[i]).max(0.0) * w2[i] * w3[i]).sum()
    }

    #[test]
    fn ranges_become_equal_and_the_function_stays() {
        let model = chain("Relu");
        let (equalized, report) = equalize(&model).unwrap();
        assert_eq!(report.len(), 2);
        assert_eq!((report[0].first.as_str(), report[0].second.as_str()), ("one", "two"));
        assert!(report[0].spread_before > 9999.0, "{report:?}");
        for x in [-2.0, -0.1, 0.3, 5.0] {
            let (before, after) = (compute(&model, x), compute(&equalized, x));
            assert!((before - after).abs() <= 1e-5 * before.abs().max(1.0), "{before} {after}");
        }
        let ranges = |name: &str| equalized.graph.initializers[name].as_f32().unwrap().to_vec();
        for channel in 0..2 {
            let [one, two, three] = ["w1", "w2", "w3"].map(|name| ranges(name)[channel].abs());
            assert!(
                (one / two - 1.0).abs() < 0.01 && (two / three - 1.0).abs() < 0.01,
                "{one} {two} {three}"
            );
        }
    }

    #[test]
    fn a_sigmoid_separates_and_shared_weights_are_not_touched_for_others() {
        let (equalized, report) = equalize(&chain("Sigmoid")).unwrap();
        assert_eq!(report.iter().map(|pair| pair.first.as_str()).collect::<Vec<_>>(), ["two"]);
        assert_eq!(equalized.graph.initializers["w1"], chain("Sigmoid").graph.initializers["w1"]);
        let mut shared = chain("Relu");
        shared.graph.nodes.push(Node::new("Conv", ["x", "w1"], ["z"]));
        let z = onnx::Value { name: "z".into(), shape: None, ..shared.graph.outputs[0].clone() };
        shared.graph.outputs.push(z);
        let (equalized, _) = equalize(&shared).unwrap();
        let z = equalized.graph.nodes.iter().find(|node| node.output(0) == Some("z")).unwrap();
        assert_eq!(equalized.graph.constant(z, 1), shared.graph.initializers.get("w1"));
    }

    #[test]
    fn a_channel_that_is_almost_only_a_bias_is_not_blown_up() {
        let mut model = chain("Relu");
        model.graph.initializers.insert("w1".into(), tensor(&[2, 1, 1, 1], &[1.0, 1e-8]));
        model.graph.initializers.insert("b1".into(), tensor(&[2], &[0.0, 1.0]));
        let (equalized, _) = equalize(&model).unwrap();
        assert!(equalized.graph.initializers["b1"].as_f32().unwrap()[1] < 10.0);
    }

    #[test]
    fn flattening_behind_the_batch_only_is_passed() {
        let flattened = |axis| Graph {
            nodes: vec![
                Node::new("Conv", ["x", "w"], ["a"]),
                Node::new("Flatten", ["a"], ["b"]).with("axis", Attribute::Int(axis)),
                Node::new("Gemm", ["b", "v"], ["y"]),
            ],
            ..Graph::default()
        };
        assert_eq!(before(&flattened(1), 2), Some(0));
        assert_eq!(before(&flattened(2), 2), None);
    }

    #[test]
    fn a_dead_channel_stays_as_it_is() {
        let mut model = chain("Relu");
        model.graph.initializers.insert("w2".into(), tensor(&[2, 1, 1, 1], &[0.0, 4.0]));
        let (equalized, _) = equalize(&model).unwrap();
        assert_eq!(equalized.graph.initializers["w1"].as_f32().unwrap()[0], 100.0);
    }
}
