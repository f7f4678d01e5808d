//! Kinds of networks that were quantized wrong or not at all, looked at without a runtime.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows that of functions marked as tests"
)]

mod bodies;
mod forms;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../support/mod.rs"]
mod support;

use onnx::{Attribute, Data, ElementType, Graph, Model, Node, Tensor, TensorType, Value};
use quant::{DynamicOptions, Form, StaticOptions, Summary, quantize_dynamic, quantize_static};
use support::{by_hand, count, floats, made_up_ranges, readable};

fn quantized(model: &Model) -> (Model, Summary) {
    let (quantized, summary) = quantize_static(model, &made_up_ranges(model), None, &readable()).unwrap();
    quantized.graph.check().unwrap();
    (quantized, summary)
}

fn form<'s>(summary: &'s Summary, name: &str) -> &'s Form {
    &summary.layers.iter().find(|layer| layer.name == name).unwrap().form
}

fn ints(values: &[i64]) -> Tensor {
    Tensor::vector(Data::I64(values.to_vec()))
}

/// Two convolutions joined, and what is behind.
fn joined(behind: Vec<Node>, output: [usize; 3]) -> Model {
    let mut nodes = vec![
        Node::new("Conv", ["input", "w"], ["a"]).named("a"),
        Node::new("Conv", ["input", "v"], ["b"]).named("b"),
        Node::new("Concat", ["a", "b"], ["joined"]).with("axis", Attribute::Int(1)).named("join"),
    ];
    nodes.extend(behind);
    let weights = vec![
        ("w", floats(&[4, 3, 1, 1], 1)),
        ("v", floats(&[4, 3, 1, 1], 2)),
        ("u", floats(&[2, 8, 1, 1], 3)),
    ];
    by_hand(nodes, weights, &output)
}

#[test]
fn what_is_joined_for_floats_keeps_its_own_grids() {
    let transposed = |output: &str| {
        let order = Attribute::Ints(vec![0, 2, 3, 1]);
        Node::new("Transpose", ["joined"], [output]).with("perm", order)
    };
    for (behind, output) in [
        (vec![transposed("output")], [32, 32, 8]),
        (vec![transposed("moved"), Node::new("Softmax", ["moved"], ["output"])], [32, 32, 8]),
        (vec![Node::new("Erf", ["joined"], ["output"])], [8, 32, 32]),
    ] {
        let (_, summary) = quantized(&joined(behind, output));
        let Form::Float { reason } = form(&summary, "join") else { panic!("{summary:?}") };
        assert!(reason.contains("only becomes an output"), "{reason}");
        let grids: Vec<_> = ["a", "b"]
            .map(|name| summary.layers.iter().find(|layer| layer.name == name).unwrap())
            .map(|layer| layer.output.as_ref().unwrap().tensor.as_str())
            .into();
        assert_eq!(grids, ["a", "b"]);
    }
    let (_, summary) =
        quantized(&joined(vec![Node::new("Conv", ["joined", "u"], ["output"]).named("c")], [2, 32, 32]));
    assert_eq!(*form(&summary, "join"), Form::Integer, "a convolution reads what is joined");
}

/// Means of maps say more than 8 bits hold; before a layer in integers they are rounded as what else it reads.
#[test]
fn a_pool_over_whole_maps_stays_in_floats_unless_integers_follow() {
    let pooled = |behind: Vec<Node>, more: Vec<(&str, Tensor)>, output: &[usize]| {
        let mut nodes = vec![
            Node::new("Conv", ["input", "w"], ["a"]),
            Node::new("GlobalAveragePool", ["a"], ["p"]).named("pool"),
        ];
        nodes.extend(behind);
        by_hand(nodes, [vec![("w", floats(&[8, 3, 3, 3], 1))], more].concat(), output)
    };
    let (_, summary) = quantized(&pooled(vec![Node::new("Flatten", ["p"], ["output"])], vec![], &[8]));
    assert!(matches!(form(&summary, "pool"), Form::Float { .. }), "{summary:?}");
    let last = vec![Node::new("Flatten", ["p"], ["f"]), Node::new("MatMul", ["f", "v"], ["output"])];
    let (_, summary) = quantized(&pooled(last, vec![("v", floats(&[8, 4], 2))], &[4]));
    assert_eq!(*form(&summary, "pool"), Form::Integer);
}

#[test]
fn a_product_with_its_relu_gives_integers_whoever_reads_them() {
    for op in ["Gemm", "MatMul"] {
        let bias = (op == "Gemm").then_some("b");
        let model = by_hand(
            vec![
                Node::new("Flatten", ["input"], ["flat"]),
                Node::new(op, ["flat", "w"].into_iter().chain(bias), ["raw"]).named("product"),
                Node::new("Relu", ["raw"], ["positive"]).named("relu"),
                Node::new("Softmax", ["positive"], ["output"]),
            ],
            vec![("w", floats(&[3 * 32 * 32, 4], 1)), ("b", floats(&[4], 2))],
            &[4],
        );
        let (int8, summary) = quantized(&model);
        assert_eq!(*form(&summary, "relu"), Form::Merged { into: "product".into() }, "{op}");
        let product = summary.layers.iter().find(|layer| layer.name == "product").unwrap();
        assert_eq!(product.output.as_ref().unwrap().tensor, "positive");
        assert_eq!(count(&int8, "Relu"), 0);
    }
}

#[test]
fn pads_of_some_axes_become_pads_of_all() {
    let mut model = by_hand(
        vec![
            Node::new("Conv", ["input", "w"], ["a"]),
            Node::new("Pad", ["a", "pads", "", "axes"], ["b"]).named("pad"),
            Node::new("Conv", ["b", "v"], ["output"]),
        ],
        vec![
            ("w", floats(&[4, 3, 1, 1], 1)),
            ("v", floats(&[4, 4, 1, 1], 2)),
            ("pads", ints(&[1, 2, 3, 4])),
            ("axes", ints(&[2, -1])),
        ],
        &[4, 36, 38],
    );
    model.set_opset(18);
    let (int8, _) = quantized(&model);
    let pad = int8.graph.nodes.iter().find(|node| node.name == "pad").unwrap();
    assert_eq!(int8.graph.constant(pad, 1).unwrap().as_i64(), Some(&[0, 0, 1, 2, 0, 0, 3, 4][..]));
    assert_eq!(pad.input(3), None);
}

#[test]
fn a_dilated_average_is_a_convolution_with_equal_weights() {
    let average = |size: usize, attributes: &[(&str, Attribute)]| {
        let mut pool = Node::new("AveragePool", ["a"], ["output"]).named("average");
        for (name, value) in [("kernel_shape", Attribute::Ints(vec![2, 2]))].iter().chain(attributes) {
            pool = pool.with(name, value.clone());
        }
        let nodes = vec![Node::new("Conv", ["input", "w"], ["a"]), pool];
        let mut model = by_hand(nodes, vec![("w", floats(&[4, 3, 1, 1], 1))], &[4, size, size]);
        model.set_opset(19);
        quantized(&model)
    };
    let dilations = |size| ("dilations", Attribute::Ints(vec![size, size]));
    let (int8, _) = average(30, &[dilations(2)]);
    let conv = int8.graph.nodes.iter().find(|node| node.name == "average").unwrap();
    assert_eq!((conv.op.as_str(), conv.int("group", 1)), ("Conv", 4));
    let (int8, _) = average(31, &[dilations(1)]);
    let pool = int8.graph.nodes.iter().find(|node| node.name == "average").unwrap();
    assert!(pool.op == "AveragePool" && !pool.attributes.contains_key("dilations"), "{pool:?}");
    // Places outside of the image do not count, so that no one weight would do.
    let pads = ("pads", Attribute::Ints(vec![1, 1, 1, 1]));
    let (int8, summary) = average(32, &[dilations(2), pads.clone()]);
    let Form::Float { reason } = form(&summary, "average") else { panic!("{summary:?}") };
    assert!(reason.contains("dilations") && count(&int8, "AveragePool") == 1, "{reason}");
    let counted = ("count_include_pad", Attribute::Int(1));
    assert_eq!(count(&average(32, &[dilations(2), pads, counted]).0, "AveragePool"), 0);
}

#[test]
fn what_is_behind_an_operator_without_an_integer_form_is_quantized() {
    for op in ["LRN", "Celu", "LpNormalization", "MeanVarianceNormalization"] {
        let model = by_hand(
            vec![
                Node::new("Conv", ["input", "w"], ["a"]),
                Node::new(op, ["a"], ["b"]).with("size", Attribute::Int(3)),
                Node::new("Conv", ["b", "v"], ["output"]).named("behind"),
            ],
            vec![("w", floats(&[4, 3, 1, 1], 1)), ("v", floats(&[4, 4, 1, 1], 2))],
            &[4, 32, 32],
        );
        assert_eq!(*form(&quantized(&model).1, "behind"), Form::Integer, "{op}");
    }
}

#[test]
fn weights_that_two_layers_share_stay_one() {
    let model = by_hand(
        vec![
            Node::new("Conv", ["input", "w"], ["a"]),
            Node::new("MaxPool", ["input"], ["small"]).with("kernel_shape", Attribute::Ints(vec![1, 1])),
            Node::new("Conv", ["small", "w"], ["b"]),
            Node::new("Add", ["a", "b"], ["output"]),
        ],
        vec![("w", floats(&[32, 3, 3, 3], 1))],
        &[32, 30, 30],
    );
    let (int8, _) = quantized(&model);
    let weights = int8.graph.initializers.values().filter(|tensor| tensor.shape().len() == 4);
    assert_eq!((count(&int8, "Conv"), weights.count()), (2, 1));
}

#[test]
fn factors_of_channels_that_differ_by_much_go_into_the_convolution_behind() {
    let model = |factors: [f32; 4], offset: f32| {
        let offsets = factors.map(|factor| factor * offset);
        let by_channel = |values: [f32; 4]| Tensor::new(vec![4, 1, 1], Data::F32(values.to_vec())).unwrap();
        by_hand(
            vec![
                Node::new("Conv", ["input", "w"], ["a"]),
                Node::new("Relu", ["a"], ["b"]),
                Node::new("Mul", ["b", "factors"], ["c"]).named("times"),
                Node::new("Add", ["offsets", "c"], ["d"]).named("plus"),
                Node::new("Conv", ["d", "v"], ["output"]).with("group", Attribute::Int(2)).named("reader"),
            ],
            vec![
                ("w", floats(&[4, 3, 1, 1], 1)),
                ("v", floats(&[6, 2, 1, 1], 2)),
                ("factors", by_channel(factors)),
                ("offsets", by_channel(offsets)),
            ],
            &[6, 32, 32],
        )
    };
    let observed = |factors, offset| quant::observed_model(&model(factors, offset)).unwrap().graph;
    let values = |graph: &onnx::Graph, name: &str, operand: usize| {
        let node = graph.nodes.iter().find(|node| node.name == name).unwrap();
        graph.constant(node, operand).unwrap().as_f32().unwrap().to_vec()
    };
    let graph = observed([0.5, -4.0, 2.0, 64.0], 2.0);
    assert_eq!(values(&graph, "times", 1), [0.5, -0.5, 0.5, 0.5]);
    assert_eq!(values(&graph, "plus", 0), [1.0, -1.0, 1.0, 1.0]);
    // Filters 0 to 2 read channels 0 and 1, filters 3 to 5 channels 2 and 3.
    let before = floats(&[6, 2, 1, 1], 2).as_f32().unwrap().to_vec();
    let sizes = [1.0, 8.0, 1.0, 8.0, 1.0, 8.0, 4.0, 128.0, 4.0, 128.0, 4.0, 128.0];
    let expected: Vec<f32> = before.iter().zip(sizes).map(|(weight, size)| weight * size).collect();
    assert_eq!(values(&graph, "reader", 1), expected);
    let graph = observed([1.0, 1.5, 2.0, 3.0], 0.5);
    assert_eq!(values(&graph, "times", 1), [1.0, 1.5, 2.0, 3.0], "they differ by little");
    let graph = observed([0.0, 1.5, 2.0, 300.0], 0.5);
    assert_eq!(values(&graph, "times", 1), [0.0, 1.5, 2.0, 300.0], "nothing makes up for a zero");
}

#[test]
fn opsets_from_7_to_28_are_quantized() {
    let model = |opset: i64| {
        let clip = Node::new("Clip", ["a"], ["b"]).named("clip").with("max", Attribute::Float(6.0));
        let mut model = by_hand(
            vec![
                Node::new("Conv", ["input", "w"], ["a"]).named("first"),
                if opset < 11 { clip } else { Node::new("Relu", ["a"], ["b"]).named("clip") },
                Node::new("Conv", ["b", "v"], ["output"]),
            ],
            vec![("w", floats(&[4, 3, 1, 1], 1)), ("v", floats(&[4, 4, 1, 1], 2))],
            &[4, 32, 32],
        );
        model.opsets.insert(String::new(), opset);
        model
    };
    for opset in 7..=28 {
        let (int8, summary) = quantized(&model(opset));
        assert_eq!(int8.opset(), opset.clamp(13, 27), "27 is the newest that ONNX Runtime rounds in");
        assert_eq!(*form(&summary, "clip"), Form::Merged { into: "first".into() }, "{opset}");
    }
    for (opset, reason) in [(6, "too old to be raised; export it with at least 7"), (29, "newer than 28")] {
        let error = quant::tensors_to_observe(&model(opset)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let mut new = model(28);
    new.graph.nodes.insert(1, Node::new("SwiGLU", ["a"], ["gated"]).named("gate"));
    new.graph.nodes[2].inputs[0] = "gated".into();
    let error = quant::tensors_to_observe(&new).unwrap_err().to_string();
    assert!(error.contains("SwiGLU (`gate`) is not in it"), "{error}");
}
