//! Whether `backprop` computes what libtorch does: logits, running statistics and gradients of the same network.

use backprop::Mode;
use model::{Graph, Network};
use rand::Rng;
use serde_json::{Value, json};
use tch::{Device, Kind, Reduction, Tensor};

use crate::fixtures::{alone, network};
use crate::net::Net;
use crate::net::parameters::Parameters;
use crate::random::{Purpose, generator};
use crate::tensor::{MemoryFormat, to_host, to_images};

const SMOOTHING: f64 = 0.1;

struct Computed {
    logits: Vec<f32>,
    gradient: Vec<f32>,
    stats: Vec<f32>,
    evaluated: Vec<f32>,
}

fn graph(network: Value, classes: usize) -> Graph {
    serde_json::from_value::<Network>(network).unwrap().lower(classes).unwrap()
}

/// The gradient of the loss with respect to the logits, by libtorch for both.
fn loss_gradient(logits: &[f32], labels: &[i64]) -> Vec<f32> {
    let classes = (logits.len() / labels.len()) as i64;
    let logits = Tensor::from_slice(logits).view((-1, classes)).set_requires_grad(true);
    let loss = loss(&logits, labels);
    to_host(&Tensor::run_backward(&[loss], &[&logits], false, false)[0]).unwrap()
}

fn loss(logits: &Tensor, labels: &[i64]) -> Tensor {
    let labels = Tensor::from_slice(labels);
    logits.cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, SMOOTHING)
}

/// By libtorch, in numbers of `kind`.
fn libtorch(kind: Kind, graph: &Graph, parameters: &Parameters, images: &[f32], labels: &[i64]) -> Computed {
    let [values, stats] =
        [&parameters.values, &parameters.stats].map(|values| Tensor::from_slice(values).to_kind(kind));
    let net = Net::of(graph, values, stats, true, None).unwrap();
    let images = to_images(images, graph.input_shape(), Device::Cpu, MemoryFormat::ChannelsLast).unwrap();
    let images = images.to_kind(kind);
    let logits = net.forward(&images, true).unwrap();
    let gradient = net.gradient(&loss(&logits, labels)).unwrap();
    let host = |tensor: &Tensor| to_host(&tensor.to_kind(Kind::Float)).unwrap();
    Computed {
        logits: host(&logits),
        gradient: host(&gradient),
        stats: host(net.stats()),
        evaluated: host(&net.forward(&images, false).unwrap()),
    }
}

fn ours(graph: &Graph, parameters: &Parameters, images: &[f32], labels: &[i64], threads: usize) -> Computed {
    let mut network = backprop::Network::new(graph, threads).unwrap();
    let (mut stats, mut gradient) = (parameters.stats.clone(), Vec::new());
    let mode = Mode::Training { stats: &mut stats, momentum: 0.1, dropout: Some(1) };
    let logits = network.forward(&parameters.values, mode, images).to_vec();
    network.backward(&parameters.values, &loss_gradient(&logits, labels), &mut gradient);
    let evaluated = network.forward(&parameters.values, Mode::Inference { stats: &stats }, images).to_vec();
    Computed { logits, gradient, stats, evaluated }
}

/// The largest difference as a share of the largest value.
fn difference(got: &[f32], wanted: &[f32]) -> f64 {
    assert_eq!(got.len(), wanted.len());
    let largest = wanted.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    let apart = got.iter().zip(wanted).fold(0.0_f32, |most, (got, wanted)| most.max((got - wanted).abs()));
    f64::from(apart) / f64::from(largest.max(1e-12))
}

fn resnet8() -> Value {
    let conv = |out: usize, stride: usize, activation: &str| json!({"conv": {"out": out, "kernel": 3, "stride": stride, "activation": activation}});
    let block = |out: usize, stride: usize| json!({"residual": {"activation": "relu", "layers": [conv(out, stride, "relu"), conv(out, 1, "none")]}});
    json!({"input": [3, 32, 32], "layers": [
        conv(16, 1, "relu"), block(16, 1), block(32, 2), block(64, 2), {"global_average_pool": {}}, {"linear": {}},
    ]})
}

fn without_dropout(mut network: Value) -> Value {
    let layers = network["layers"].as_array_mut().unwrap();
    layers.retain(|layer| layer.get("dropout").is_none());
    network
}

/// A network in which every activation but the gates is left out.
fn smooth(network: &Value) -> Value {
    let mut network = network.clone();
    for layer in network["layers"].as_array_mut().unwrap() {
        for settings in layer.as_object_mut().unwrap().values_mut() {
            if let Some(activation) = settings.get_mut("activation") {
                *activation = json!("none");
            }
        }
    }
    network
}

/// A network's name, itself without dropout, a parameters and a batch.
struct Case {
    name: &'static str,
    graph: Graph,
    parameters: Parameters,
    images: Vec<f32>,
    labels: Vec<i64>,
}

impl Case {
    fn new(name: &'static str, network: Value, classes: usize, count: usize) -> Self {
        let graph = graph(without_dropout(network), classes);
        let mut rng = generator(7, Purpose::Order, 0);
        let mut parameters = Parameters::initial(&graph, &mut rng);
        // Normalisations that do something.
        for value in &mut parameters.values {
            *value += (rng.random::<f32>() - 0.5) * 0.1;
        }
        let length: usize = graph.input_shape().iter().product();
        let images = (0..count * length).map(|_| rng.random::<f32>() * 4.0 - 2.0).collect();
        let labels = (0..count).map(|_| rng.random_range(0..classes as i64)).collect();
        Self { name, graph, parameters, images, labels }
    }

    fn libtorch(&self, kind: Kind) -> Computed {
        libtorch(kind, &self.graph, &self.parameters, &self.images, &self.labels)
    }

    fn ours(&self) -> Computed {
        ours(&self.graph, &self.parameters, &self.images, &self.labels, 2)
    }
}

#[test]
fn logits_statistics_and_gradients_are_libtorchs() {
    let _turn = alone();
    tch::set_num_threads(1);
    let tinynet = smooth(&serde_json::to_value(Network::tinynet()).unwrap());
    for case in [
        Case::new("everything", network(), 2, 13),
        Case::new("TinyNet without activations", tinynet, 10, 16),
        Case::new("ResNet-8", resnet8(), 10, 9),
    ] {
        let name = case.name;
        let (wanted, got) = (case.libtorch(Kind::Double), case.ours());
        for (what, got, wanted) in [
            ("logits", &got.logits, &wanted.logits),
            ("gradient", &got.gradient, &wanted.gradient),
            ("running statistics", &got.stats, &wanted.stats),
            ("logits at inference", &got.evaluated, &wanted.evaluated),
        ] {
            let apart = difference(got, wanted);
            assert!(apart < 1e-4, "{name}: {what} differ by {apart:.2e} of the largest");
        }
        // By parameter, too: a small one must not hide behind a large one; but one that is the difference of large
        // numbers, such as of what a normalisation takes away again, is not known better than those.
        let largest = |values: &[f32]| values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let overall = largest(&wanted.gradient);
        let mut place = 0;
        for param in case.graph.params().iter().filter(|param| param.kind.trainable()) {
            let range = place..place + param.count();
            place = range.end;
            let (got, wanted) = (&got.gradient[range.clone()], &wanted.gradient[range]);
            let apart: Vec<f32> = got.iter().zip(wanted).map(|(got, wanted)| got - wanted).collect();
            let apart = largest(&apart) / largest(wanted).max(0.01 * overall);
            assert!(apart < 1e-4, "{name}: the gradient of {} differs by {apart:.2e}", param.name);
        }
    }
}

/// An activation that cuts off passes a gradient or does not: where a value lies within rounding of the kink, two right
/// computations differ by a whole gradient. Then what counts is who is nearer to the exact one.
#[test]
fn gradients_are_as_exact_as_libtorchs() {
    let _turn = alone();
    tch::set_num_threads(1);
    let case = Case::new("TinyNet", serde_json::to_value(Network::tinynet()).unwrap(), 10, 64);
    let (exact, libtorch, ours) = (case.libtorch(Kind::Double), case.libtorch(Kind::Float), case.ours());
    let apart = |computed: &Computed| {
        let pairs = || computed.gradient.iter().zip(&exact.gradient);
        let square = |value: f32| f64::from(value).powi(2);
        let (off, all) =
            (pairs().map(|(got, wanted)| square(got - wanted)), pairs().map(|(_, wanted)| square(*wanted)));
        (off.sum::<f64>() / all.sum::<f64>()).sqrt()
    };
    let (ours, libtorch) = (apart(&ours), apart(&libtorch));
    assert!(
        ours < 0.01 && ours < 2.0 * libtorch,
        "{ours:.2e} from the exact gradient, libtorch {libtorch:.2e}"
    );
}
