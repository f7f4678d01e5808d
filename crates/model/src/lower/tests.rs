//! What networks lower to, checked against definitions written a second time here.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{Graph, ModelError, Network, Op};

fn network(layers: &Value) -> Network {
    serde_json::from_value(json!({"input": [3, 32, 32], "layers": layers})).unwrap()
}

fn error(layers: &Value) -> String {
    network(layers).lower(10).unwrap_err().to_string()
}

#[test]
fn tinynet_is_the_notebooks() {
    let graph = Network::tinynet().lower(10).unwrap();
    assert_eq!(graph.parameter_count(), 78_630);
    assert_eq!(graph.size_bytes(), 78_630 * 4);
    assert_eq!(format!("{:.1}", graph.state_dict_bytes() as f64 / 1024.0), "318.3");
    assert_eq!(graph.macs(), 11_873_216);
    assert_eq!(graph.input_shape(), [3, 32, 32]);
    assert_eq!(graph.classes(), 10);
    let skips = graph.nodes().iter().filter(|node| node.op == Op::Add).count();
    assert_eq!(skips, 3);
}

#[test]
fn tinynet_survives_its_own_description() {
    let text = serde_json::to_string(&Network::tinynet()).unwrap();
    assert_eq!(serde_json::from_str::<Network>(&text).unwrap(), Network::tinynet());
}

#[test]
fn resnet8_can_be_described() {
    let block = |out: u32, stride: u32| {
        json!({"residual": {"activation": "relu", "layers": [
            {"conv": {"out": out, "kernel": 3, "stride": stride, "activation": "relu"}},
            {"conv": {"out": out, "kernel": 3, "activation": "none"}},
        ]}})
    };
    let graph = network(&json!([
        {"conv": {"out": 16, "kernel": 3, "activation": "relu"}},
        block(16, 1), block(32, 2), block(64, 2),
        {"global_average_pool": {}}, {"linear": {}},
    ]))
    .lower(10)
    .unwrap();
    // By hand: convolutions 432 + 2·2304 + 4608 + 9216 + 512 + 18432 + 36864 + 2048, norms 2·(16·3 + 32·3 + 64·3),
    // classifier 650.
    assert_eq!(graph.parameter_count(), 78_042);
    let names: Vec<_> = graph.params().into_iter().map(|param| param.name).collect();
    assert!(names.contains(&"layers.1.0.0.weight".to_owned()));
    assert!(names.contains(&"layers.2.shortcut.1.running_mean".to_owned()));
    assert!(!names.contains(&"layers.1.shortcut.0.weight".to_owned()), "shapes are equal");
}

#[test]
fn depthwise_separable_networks_can_be_described() {
    let graph = network(&json!([
        {"conv": {"out": 8, "kernel": 3, "stride": 2, "norm": "none", "activation": "relu"}},
        {"conv": {"out": 8, "kernel": 3, "groups": 8}},
        {"conv": {"out": 16}},
        {"max_pool": {"kernel": 2}}, {"average_pool": {"kernel": 3, "stride": 1}},
        {"linear": {"out": 20, "activation": "relu"}}, {"dropout": {"p": 0.5}}, {"linear": {}},
    ]))
    .lower(4)
    .unwrap();
    let shapes: Vec<_> = graph.nodes().iter().map(|node| node.shape.clone()).collect();
    assert!(
        shapes.contains(&vec![16, 8, 8]) && shapes.contains(&vec![16, 6, 6]) && shapes.contains(&vec![576])
    );
    assert_eq!(graph.params()[1].name, "stem.0.bias");
    assert_eq!(graph.params()[2].shape, [8, 1, 3, 3]);
}

#[test]
fn errors_name_the_layer_and_the_remedy() {
    let end = json!({"linear": {}});
    for (layers, expected) in [
        (json!([]), "network: the last layer yields 3 channels of 32×32"),
        (json!([{"conv": {"out": 0}}, end]), "`layers[0].conv`: `out` is 0, but must be 1 to 65536"),
        (
            json!([{"conv": {"out": 8}}, {"conv": {"out": 9, "groups": 4}}, end]),
            "`layers[1].conv`: `groups` is 4",
        ),
        (json!([{"conv": {"out": 8, "kernel": 40, "padding": 0}}, end]), "`layers[0].conv`: a kernel of 40"),
        (
            json!([{"max_pool": {"kernel": 33}}, end]),
            "`layers[0].max_pool`: a window of 33 does not fit into 32×32",
        ),
        (json!([{"linear": {"out": 4}}, {"conv": {"out": 8}}, end]), "`layers[1].conv`: needs channels"),
        (json!([{"dropout": {"p": 1.0}}, end]), "`layers[0].dropout`: `p` is 1"),
        (
            json!([{"inverted_residual": {"out": 8, "expand": 8, "se": 9}}, end]),
            "`se` is 9, but must be 1 to the 8",
        ),
        (
            json!([{"inverted_residual": {"out": 8, "expand": 8, "kernel": 4}}, end]),
            "`kernel` is 4, but must be odd",
        ),
        (json!([{"conv": {"out": 8, "name": "a..b"}}, end]), "`name` is `a..b`"),
        (
            json!([{"conv": {"out": 8, "name": "a"}}, {"conv": {"out": 8, "name": "a"}}, end]),
            "`a.0` is taken",
        ),
        (json!([{"linear": {"out": 11}}]), "yields 11 features, not one number for each of the 10 classes"),
        (
            json!([{"residual": {"layers": [{"conv": {"out": 3, "stride": 0}}]}}, end]),
            "`layers[0].residual.layers[0].conv`",
        ),
        (json!([{"residual": {"layers": [{"linear": {}}]}}, end]), "`layers[0].residual`: needs channels"),
        (json!([{"residual": {"layers": []}}, end]), "`layers` is empty"),
        (
            json!([{"residual": {"layers": [{"conv": {"out": 3, "padding": 2}}]}}, end]),
            "no stride of a 1×1 convolution",
        ),
        (
            json!([{"linear": {"out": 65536}}, {"linear": {"out": 65536}}, end]),
            "more than the 1000000000 supported",
        ),
    ] {
        let message = error(&layers);
        assert!(message.contains(expected), "{message}\nlacks {expected}");
    }
}

#[test]
fn words_that_mean_nothing_are_refused() {
    for (layer, expected) in [
        (json!({"convolution": {"out": 8}}), "unknown variant `convolution`, expected one of `conv`"),
        (json!({"conv": {"out": 8, "kernal": 3}}), "unknown field `kernal`, expected one of `out`, `kernel`"),
        (json!({"conv": {}}), "missing field `out`"),
        (json!({"conv": {"out": 8, "activation": "gelu"}}), "unknown variant `gelu`"),
        (json!({"global_average_pool": {"kernel": 2}}), "unknown field `kernel`"),
    ] {
        let value = json!({"input": [3, 32, 32], "layers": [layer]});
        let message = serde_json::from_value::<Network>(value).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}\nlacks {expected}");
    }
}

#[test]
fn the_schema_describes_every_layer() {
    let schema = serde_json::to_value(schemars::schema_for!(Network)).unwrap();
    let text = schema.to_string();
    for key in
        ["conv", "inverted_residual", "residual", "global_average_pool", "max_pool", "dropout", "linear"]
    {
        assert!(text.contains(&format!("\"required\":[\"{key}\"]")), "{key} in {text}");
    }
    assert_eq!(schema["additionalProperties"], json!(false));
}

fn image_layer() -> impl Strategy<Value = Value> {
    let activation = prop::sample::select(vec!["relu", "relu6", "none"]);
    let conv = (1..5_u32, prop::sample::select(vec![1, 2, 3, 5]), 1..3_u32, any::<bool>(), activation)
        .prop_map(|(quads, kernel, stride, norm, activation)| {
            let norm = if norm { "batch" } else { "none" };
            json!({"conv": {"out": quads * 4, "kernel": kernel, "stride": stride, "norm": norm, "activation": activation}})
        });
    let inverted = (1..20_u32, 4..20_u32, 1..3_u32, 0..5_u32).prop_map(|(out, expand, stride, se)| {
        let mut body = json!({"out": out, "expand": expand, "stride": stride});
        if se > 0 {
            body["se"] = json!(se.min(expand));
        }
        json!({"inverted_residual": body})
    });
    let plain = prop_oneof![conv, inverted, Just(json!({"dropout": {"p": 0.2}}))];
    plain.prop_recursive(2, 6, 3, |inner| {
        prop::collection::vec(inner, 1..3).prop_map(|layers| {
            // A kernel of 2 shrinks by one, which no stride undoes.
            let text =
                json!({"residual": {"layers": layers}}).to_string().replace("\"kernel\":2", "\"kernel\":3");
            serde_json::from_str(&text).unwrap()
        })
    })
}

fn layers() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(image_layer(), 0..5).prop_map(|mut layers| {
        layers.push(json!({"global_average_pool": {}}));
        layers.push(json!({"linear": {}}));
        layers
    })
}

/// Shapes worked out once more from each node's op and its operands' shapes.
fn assert_consistent(graph: &Graph) {
    let mut names = std::collections::BTreeSet::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        assert_eq!(node.id.index(), index);
        assert!(names.insert(&node.name), "{} twice", node.name);
        assert!(node.inputs.iter().all(|input| input.index() < index), "inputs come first");
        let shapes: Vec<_> = node.inputs.iter().map(|input| graph.node(*input).shape.clone()).collect();
        let window = |side: usize, kernel: usize, stride: usize, padding: usize| {
            (side + 2 * padding - kernel) / stride + 1
        };
        match (&node.op, shapes.as_slice()) {
            (Op::Input, []) => {}
            (Op::Conv(conv), [input]) => {
                assert_eq!(input[0], conv.in_channels);
                assert_eq!(conv.in_channels % conv.groups + conv.out_channels % conv.groups, 0);
                let side = |length| window(length, conv.kernel, conv.stride, conv.padding);
                assert_eq!(node.shape, [conv.out_channels, side(input[1]), side(input[2])]);
            }
            (Op::BatchNorm(norm), [input]) => assert_eq!((&node.shape, input[0]), (input, norm.channels)),
            (Op::Activation(_) | Op::Dropout { .. }, [input]) => assert_eq!(&node.shape, input),
            (Op::Add, [left, right]) => assert!(left == right && &node.shape == left),
            (Op::Multiply, [left, right]) => {
                assert!(&node.shape == left && right == &[left[0], 1, 1]);
            }
            (Op::GlobalAveragePool, [input]) => assert_eq!(node.shape, [input[0], 1, 1]),
            (Op::MaxPool(pool) | Op::AveragePool(pool), [input]) => {
                let side = |length| window(length, pool.kernel, pool.stride, 0);
                assert_eq!(node.shape, [input[0], side(input[1]), side(input[2])]);
            }
            (Op::Flatten, [input]) => assert_eq!(node.shape, [input.iter().product::<usize>()]),
            (Op::Linear(linear), [input]) => {
                assert_eq!(input, &[linear.in_features]);
                assert_eq!(node.shape, [linear.out_features]);
            }
            (op, shapes) => panic!("{op:?} of {shapes:?}"),
        }
    }
    let params = graph.params();
    let unique: std::collections::BTreeSet<_> = params.iter().map(|param| &param.name).collect();
    assert_eq!(unique.len(), params.len());
}

proptest! {
    #[test]
    fn valid_networks_have_consistent_shapes(layers in layers(), classes in 1..20_usize) {
        let graph = network(&json!(layers)).lower(classes).unwrap();
        assert_consistent(&graph);
        prop_assert_eq!(graph.classes(), classes);
    }

    #[test]
    fn a_wrong_layer_is_named(mut layers in layers(), place: prop::sample::Index, wrong in prop::sample::select(vec![
        json!({"conv": {"out": 8, "kernel": 64, "padding": 0}}),
        json!({"conv": {"out": 7, "groups": 100}}),
        json!({"inverted_residual": {"out": 8, "expand": 0}}),
        json!({"average_pool": {"kernel": 50}}),
        json!({"dropout": {"p": -0.5}}),
    ])) {
        let index = place.index(layers.len() - 1);
        layers.insert(index, wrong);
        let outcome = network(&json!(layers)).lower(10);
        let Err(ModelError::Layer { layer, reason }) = outcome else { panic!("{outcome:?}") };
        prop_assert!(layer.starts_with(&format!("layers[{index}].")), "{} for {}", layer, index);
        prop_assert!(!reason.is_empty());
    }

    #[test]
    fn no_description_panics(values in prop::collection::vec((any::<u8>(), any::<u64>(), any::<u64>()), 0..6), input: [u64; 3]) {
        let layers: Vec<_> = values.iter().map(|&(kind, a, b)| match kind % 4 {
            0 => json!({"conv": {"out": a, "kernel": b, "stride": a, "padding": b, "groups": a}}),
            1 => json!({"inverted_residual": {"out": a, "expand": b, "kernel": a, "stride": b, "se": a}}),
            2 => json!({"max_pool": {"kernel": a, "stride": b}}),
            _ => json!({"linear": {"out": a}}),
        }).collect();
        let network: Network = serde_json::from_value(json!({"input": input, "layers": layers})).unwrap();
        drop(network.lower(10));
    }
}
