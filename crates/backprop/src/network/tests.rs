//! Whole networks: gradients against differences of the loss, and independence of threads, processor and order.

use serde_json::{Value, json};

use super::*;
use crate::testing::numbers;

fn conv(out: usize, rest: Value) -> Value {
    let mut layer = json!({"out": out, "kernel": 3});
    layer.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    json!({ "conv": layer })
}

fn network(layers: Value) -> Graph {
    let network: model::Network =
        serde_json::from_value(json!({"input": [2, 8, 8], "layers": layers})).unwrap();
    network.lower(3).unwrap()
}

/// Networks that between them have every node.
fn networks() -> Vec<(&'static str, Graph)> {
    let end = [json!({"global_average_pool": {}}), json!({"linear": {}})];
    let with_end = |layers: Vec<Value>| network(Value::Array([&layers[..], &end[..]].concat()));
    vec![
        ("plain", with_end(vec![conv(5, json!({"activation": "relu"})), conv(17, json!({"stride": 2}))])),
        (
            "without norms",
            with_end(vec![
                conv(5, json!({"norm": "none"})),
                conv(6, json!({"norm": "none", "stride": 2, "activation": "none"})),
            ]),
        ),
        (
            "inverted residuals",
            with_end(vec![
                conv(6, json!({"activation": "relu6"})),
                json!({"inverted_residual": {"out": 6, "expand": 8, "se": 2}}),
                json!({"inverted_residual": {"out": 20, "expand": 20, "stride": 2, "se": 4, "gate": "hard_sigmoid"}}),
                json!({"inverted_residual": {"out": 20, "expand": 40, "kernel": 5, "activation": "relu"}}),
            ]),
        ),
        (
            "residuals",
            with_end(vec![
                conv(6, json!({"activation": "relu"})),
                json!({"residual": {"layers": [conv(6, json!({})), conv(6, json!({"activation": "none"}))], "activation": "relu"}}),
                json!({"residual": {"layers": [conv(8, json!({"stride": 2, "norm": "none"}))], "norm": "none"}}),
            ]),
        ),
        (
            "pools and vectors",
            network(json!([
                conv(4, json!({})), {"max_pool": {"kernel": 2}}, {"average_pool": {"kernel": 2, "stride": 1}},
                {"dropout": {"p": 0.3}}, {"linear": {"out": 7, "activation": "relu"}}, {"linear": {}},
            ])),
        ),
    ]
}

struct Setting {
    values: Vec<f32>,
    stats: Vec<f32>,
    images: Vec<f32>,
    weights: Vec<f32>,
}

impl Setting {
    fn new(graph: &Graph, images: usize) -> Self {
        let mut values = Vec::new();
        let mut stats = Vec::new();
        for (index, param) in graph.params().iter().enumerate() {
            let numbers = numbers(index as u64, param.count());
            match param.kind {
                model::ParamKind::NormScale => values.extend(numbers.iter().map(|value| 1.0 + 0.3 * value)),
                model::ParamKind::RunningMean => stats.extend(numbers),
                model::ParamKind::RunningVar => stats.extend(numbers.iter().map(|value| 1.5 + value)),
                _ => values.extend(numbers.iter().map(|value| value * 0.5)),
            }
        }
        Self {
            values,
            stats,
            images: numbers(99, images * 128),
            weights: numbers(98, images * graph.classes()),
        }
    }

    /// A loss that is linear in the logits, and its gradient.
    fn run(&self, network: &mut Network, values: &[f32]) -> (f64, Vec<f32>) {
        let mut stats = self.stats.clone();
        let mode = Mode::Training { stats: &mut stats, momentum: 0.1, dropout: Some(5) };
        let logits = network.forward(values, mode, &self.images);
        let loss = logits
            .iter()
            .zip(&self.weights)
            .map(|(logit, weight)| f64::from(*logit) * f64::from(*weight))
            .sum();
        let mut gradient = Vec::new();
        network.backward(values, &self.weights, &mut gradient);
        (loss, gradient)
    }
}

#[test]
fn gradients_are_slopes_of_the_loss() {
    for (name, graph) in networks() {
        let setting = Setting::new(&graph, 11);
        let mut network = Network::new(&graph, 2).unwrap();
        let (_, gradient) = setting.run(&mut network, &setting.values);
        let largest = gradient.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let mut place = 0;
        for (seed, param) in graph.params().iter().filter(|param| param.kind.trainable()).enumerate() {
            let range = place..place + param.count();
            place = range.end;
            // Along a direction that knows nothing of the gradient; short enough for few kinks on the way.
            let direction = numbers(1000 + seed as u64, param.count());
            let pairs = gradient[range.clone()].iter().zip(&direction);
            let wanted: f64 = pairs.map(|(slope, along)| f64::from(*slope) * f64::from(*along)).sum();
            let norm = direction.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            let length = 4e-4 / norm;
            let shifted = |sign: f64| {
                let mut values = setting.values.clone();
                for (value, along) in values[range.clone()].iter_mut().zip(&direction) {
                    *value += (sign * length * f64::from(*along)) as f32;
                }
                values
            };
            let [more, less] = [1.0, -1.0].map(|sign| setting.run(&mut network, &shifted(sign)).0);
            let slope = (more - less) / (2.0 * length);
            let tolerance = 0.05 * wanted.abs() + 0.02 * f64::from(largest) * norm.max(1.0);
            assert!(
                (slope - wanted).abs() < tolerance,
                "{name}, {}: {slope} instead of {wanted}",
                param.name
            );
        }
    }
}

#[test]
fn nothing_of_a_batch_is_left_for_the_next() {
    for (name, graph) in networks() {
        let mut network = Network::new(&graph, 2).unwrap();
        let settings = [19, 1, 5, 8].map(|images| Setting::new(&graph, images));
        let mut run = |setting: &Setting| setting.run(&mut network, &setting.values);
        let first = settings.each_ref().map(&mut run);
        let again = settings.each_ref().map(&mut run);
        assert!(first == again, "{name}");
        let fresh = |setting: &Setting| setting.run(&mut Network::new(&graph, 1).unwrap(), &setting.values);
        assert!(first == settings.each_ref().map(fresh), "{name}");
        let all_finite = first.iter().flat_map(|(_, gradient)| gradient).all(|value| value.is_finite());
        assert!(all_finite, "{name}");
        network.forward(
            &settings[0].values,
            Mode::Inference { stats: &settings[0].stats },
            &settings[0].images,
        );
        assert!(settings[0].run(&mut network, &settings[0].values) == first[0], "{name}");
    }
}

#[test]
fn neither_threads_nor_processor_change_a_bit() {
    for (name, graph) in networks() {
        let setting = Setting::new(&graph, 19);
        let run = |threads: usize, instructions: Instructions| {
            let mut network = Network::with(&graph, threads, instructions).unwrap();
            // Twice: nothing of one batch is left for the next.
            let first = setting.run(&mut network, &setting.values);
            assert!(first == setting.run(&mut network, &setting.values), "{name}");
            first
        };
        let wanted = run(1, Instructions::best());
        assert!(wanted == run(3, Instructions::best()), "{name}");
        for instructions in Instructions::all() {
            assert!(wanted == run(2, instructions), "{name}: {instructions:?}");
        }
    }
}

#[test]
fn at_inference_an_image_does_not_depend_on_the_others() {
    for (name, graph) in networks() {
        let setting = Setting::new(&graph, 19);
        let mut network = Network::new(&graph, 2).unwrap();
        let mut run = |images: &[f32]| {
            network.forward(&setting.values, Mode::Inference { stats: &setting.stats }, images).to_vec()
        };
        let all = run(&setting.images);
        let single: Vec<f32> = setting.images.chunks(128).flat_map(&mut run).collect();
        assert!(all == single, "{name}");
        assert!(run(&[]).is_empty());
    }
}

#[test]
fn what_is_not_supported_is_named() {
    let graph = network(
        json!([conv(8, json!({})), conv(8, json!({"groups": 2})), {"global_average_pool": {}}, {"linear": {}}]),
    );
    let Err(StartError::Unsupported(error)) = Network::new(&graph, 1) else { panic!() };
    assert_eq!(error.to_string(), "`layers.1.0`: a convolution with groups of more than one channel");
}
