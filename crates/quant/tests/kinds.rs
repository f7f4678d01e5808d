//! Kinds of networks that were quantized wrong or not at all, looked at without a runtime.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows that of functions marked as tests"
)]

#[expect(dead_code, reason = "other tests use the rest")]
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

/// What an operator of control flow executes, without any types.
fn body(inputs: &[&str], nodes: Vec<Node>, outputs: &[&str]) -> Attribute {
    let untyped = |name: &&str| Value { name: (*name).into(), element: ElementType::Other(0), shape: None };
    let (inputs, outputs) = (inputs.iter().map(untyped).collect(), outputs.iter().map(untyped).collect());
    Attribute::Graph(Box::new(Graph { inputs, nodes, outputs, ..Graph::default() }))
}

#[test]
fn bodies_stay_in_floats_and_what_is_around_them_is_quantized() {
    let branch = |op: &str, output: &str| body(&[], vec![Node::new(op, ["held"], [output])], &[output]);
    let turned = vec![Node::new("Add", ["carried", "raw"], ["next"])];
    let model = by_hand(
        vec![
            Node::new("Conv", ["input", "w"], ["raw"]).named("first"),
            Node::new("Relu", ["raw"], ["positive"]).named("relu"),
            Node::new("Identity", ["positive"], ["held"]),
            Node::new("If", ["condition"], ["chosen"])
                .named("if")
                .with("then_branch", branch("Neg", "a"))
                .with("else_branch", branch("Tanh", "b")),
            Node::new("Conv", ["chosen", "v"], ["c"]).named("second"),
            Node::new("Loop", ["times", "", "c"], ["looped"])
                .named("loop")
                .with("body", body(&["turn", "go", "carried"], turned, &["go", "next"])),
            Node::new("Conv", ["looped", "v"], ["output"]).named("third"),
        ],
        vec![
            ("w", floats(&[4, 3, 1, 1], 1)),
            ("v", floats(&[4, 4, 1, 1], 2)),
            ("condition", Tensor::new(vec![], Data::Bool(vec![1])).unwrap()),
            ("times", Tensor::new(vec![], Data::I64(vec![2])).unwrap()),
        ],
        &[4, 32, 32],
    );
    let (int8, summary) = quantized(&model);
    for name in ["first", "second", "third"] {
        assert_eq!(*form(&summary, name), Form::Integer, "{name}");
    }
    for name in ["if", "loop", "relu"] {
        assert!(matches!(form(&summary, name), Form::Float { .. }), "{name}: a body takes `raw`");
    }
    assert_eq!(int8.graph.captured().into_iter().collect::<Vec<_>>(), ["held", "raw"]);
    // Under the names that are known in the bodies, also where all others are shortened, and read again.
    let options = StaticOptions::default();
    let (small, _) = quantize_static(&model, &made_up_ranges(&model), None, &options).unwrap();
    assert_eq!(small.graph.captured(), int8.graph.captured());
    assert_eq!(Model::from_bytes(&small.to_bytes()).unwrap().to_bytes(), small.to_bytes());
    let (dynamic, _) = quantize_dynamic(&model, &DynamicOptions::default()).unwrap();
    assert_eq!(dynamic.graph.captured(), int8.graph.captured());
}

#[test]
fn a_body_may_take_what_the_model_is_given() {
    let branch = |op: &str, output: &str| body(&[], vec![Node::new(op, ["input"], [output])], &[output]);
    let model = by_hand(
        vec![
            Node::new("Conv", ["input", "w"], ["a"]).named("first"),
            Node::new("If", ["condition"], ["chosen"])
                .with("then_branch", branch("Neg", "b"))
                .with("else_branch", branch("Tanh", "c")),
            Node::new("Conv", ["chosen", "w"], ["d"]).named("second"),
            Node::new("Add", ["a", "d"], ["output"]),
        ],
        vec![
            ("w", floats(&[4, 3, 1, 1], 1)),
            ("condition", Tensor::new(vec![], Data::Bool(vec![1])).unwrap()),
        ],
        &[4, 32, 32],
    );
    let (int8, summary) = quantized(&model);
    for name in ["first", "second"] {
        assert_eq!(*form(&summary, name), Form::Integer, "{name}");
    }
    assert_eq!(int8.graph.captured().into_iter().collect::<Vec<_>>(), ["input"]);
}

#[test]
fn what_is_behind_an_operator_that_nobody_knows_is_quantized() {
    let model = |behind: Vec<Node>| {
        let mut unknown = Node::new("Strange", ["a"], ["b"]);
        unknown.domain = "some.where".into();
        let before = vec![Node::new("Conv", ["input", "w"], ["a"]), unknown];
        by_hand(
            [before, behind].concat(),
            vec![("w", floats(&[4, 3, 1, 1], 1)), ("v", floats(&[4, 4, 1, 1], 2))],
            &[4, 32, 32],
        )
    };
    // Operands of a convolution have one type, and this one's weights are floats.
    let convolution = model(vec![Node::new("Conv", ["b", "v"], ["output"]).named("behind")]);
    assert_eq!(*form(&quantized(&convolution).1, "behind"), Form::Integer);
    // Nothing says what a maximum is of, unless the file does.
    let mut pool = model(vec![
        Node::new("MaxPool", ["b"], ["c"]).named("behind").with("kernel_shape", Attribute::Ints(vec![1, 1])),
        Node::new("Conv", ["c", "v"], ["output"]),
    ]);
    let reason = match form(&quantized(&pool).1, "behind") {
        Form::Float { reason } => reason.clone(),
        other => panic!("{other:?}"),
    };
    assert!(reason.contains("type of its operand `b` is not known"), "{reason}");
    let known = TensorType { element: ElementType::F32, shape: None };
    pool.graph.hints.insert("b".into(), known);
    assert_eq!(*form(&quantized(&pool).1, "behind"), Form::Integer);
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

/// A convolution, nodes on its outcome `a` [batch, 8, 32, 32], and one on theirs `z` of 8 channels.
fn between(
    opset: i64,
    nodes: Vec<Node>,
    constants: Vec<(&str, Tensor)>,
    size: [usize; 2],
) -> (Model, Summary) {
    let first = Node::new("Conv", ["input", "w"], ["a"]).named("first");
    let last = Node::new("Conv", ["z", "v"], ["output"]).named("last");
    let weights = vec![("w", floats(&[8, 3, 1, 1], 1)), ("v", floats(&[4, 8, 1, 1], 2))];
    let nodes = [vec![first], nodes, vec![last]].concat();
    let mut model = by_hand(nodes, [weights, constants].concat(), &[4, size[0], size[1]]);
    model.set_opset(opset);
    quantized(&model)
}

#[test]
fn a_mean_over_all_places_is_a_pooling_and_a_maximum_moves_integers() {
    let mean = || Node::new("ReduceMean", ["a"], ["z"]).named("mean");
    let by_attribute = mean().with("axes", Attribute::Ints(vec![-1, 2]));
    let mut by_input = mean();
    by_input.inputs.push("axes".into());
    for (opset, node) in [(13, by_attribute), (18, by_input)] {
        let (int8, summary) = between(opset, vec![node], vec![("axes", ints(&[2, 3]))], [1, 1]);
        assert_eq!(count(&int8, "GlobalAveragePool"), 1, "{opset}");
        assert_eq!(*form(&summary, "mean"), Form::Integer);
    }
    let channels = mean().with("axes", Attribute::Ints(vec![1])).with("keepdims", Attribute::Int(1));
    let repeat = Node::new("Tile", ["y", "times"], ["z"]);
    let mean_of_channels = Node { outputs: vec!["y".into()], ..channels };
    let (int8, _) =
        between(13, vec![mean_of_channels, repeat], vec![("times", ints(&[1, 8, 1, 1]))], [32, 32]);
    assert_eq!(count(&int8, "ReduceMean"), 1, "of something else");
    for opset in [13, 18] {
        let maximum = Node::new("GlobalMaxPool", ["a"], ["z"]).named("maximum");
        let (int8, summary) = between(opset, vec![maximum], vec![], [1, 1]);
        assert_eq!((count(&int8, "ReduceMax"), form(&summary, "maximum")), (1, &Form::Integer), "{opset}");
    }
}

#[test]
fn a_hard_swish_is_a_sum_and_a_product_in_all_its_forms() {
    let constants = || {
        let values = [("three", 3.0), ("six", 6.0), ("zero", 0.0)];
        values.map(|(name, value)| (name, Tensor::scalar_f32(value))).to_vec()
    };
    let sixth = |node: Node| node.with("alpha", Attribute::Float(1.0 / 6.0));
    let forms = [
        (14, vec![Node::new("HardSwish", ["a"], ["z"])]),
        (13, vec![sixth(Node::new("HardSigmoid", ["a"], ["b"])), Node::new("Mul", ["a", "b"], ["z"])]),
        (
            13,
            vec![
                Node::new("Add", ["a", "three"], ["b"]),
                Node::new("Clip", ["b", "zero", "six"], ["c"]),
                Node::new("Mul", ["a", "c"], ["d"]),
                Node::new("Div", ["d", "six"], ["z"]),
            ],
        ),
    ];
    for (opset, nodes) in forms {
        let (int8, summary) = between(opset, nodes, constants(), [32, 32]);
        assert_eq!(summary.float_layers().count(), 0, "{:?}", summary.layers);
        let found = ["Add", "Mul", "Clip", "HardSigmoid"].map(|op| count(&int8, op));
        assert_eq!(found, [1, 1, 0, 0], "the rounding does the rest");
    }
    let mut model = by_hand(
        vec![
            Node::new("Conv", ["input", "w"], ["a"]),
            Node::new("HardSwish", ["a"], ["b"]),
            Node::new("Conv", ["b", "v"], ["output"]),
        ],
        vec![("w", floats(&[8, 3, 1, 1], 1)), ("v", floats(&[4, 8, 1, 1], 2))],
        &[4, 32, 32],
    );
    model.set_opset(14);
    let (dynamic, _) = quantize_dynamic(&model, &DynamicOptions::default()).unwrap();
    assert_eq!(count(&dynamic, "HardSwish"), 1, "in floats it stays one");
}

#[test]
fn a_product_with_one_constant_is_a_scale() {
    let by = |factor: f32| {
        let nodes = vec![
            Node::new("Sigmoid", ["a"], ["b"]).named("sigmoid"),
            Node::new("Mul", ["b", "factor"], ["z"]).named("product"),
        ];
        between(13, nodes, vec![("factor", Tensor::scalar_f32(factor))], [32, 32])
    };
    let (int8, summary) = by(320.0);
    assert_eq!(*form(&summary, "product"), Form::Merged { into: "sigmoid".into() });
    let output =
        summary.layers.iter().find_map(|layer| layer.output.clone().filter(|_| layer.name == "sigmoid"));
    let after = output.unwrap().scale;
    let sigmoid = int8.graph.nodes.iter().find(|node| node.name == "sigmoid").unwrap();
    let round = &int8.graph.nodes[int8.graph.consumers()[sigmoid.outputs[0].as_str()][0]];
    let before = int8.graph.constant(round, 1).unwrap().as_single_f32().unwrap();
    assert!((before * 320.0 - after).abs() < 1e-6 * after, "{before} {after}");
    let read = &int8.graph.nodes[int8.graph.consumers()[round.outputs[0].as_str()][0]];
    assert_eq!(int8.graph.constant(read, 1).unwrap().as_single_f32(), Some(after));
    assert_eq!(*form(&by(-2.0).1, "product"), Form::Integer, "no scale is negative");
}

#[test]
fn what_moves_elements_hands_integers_on() {
    let halves = vec![
        Node { outputs: vec!["b".into(), "c".into()], ..Node::new("Split", ["a"], [""]).named("move") }
            .with("axis", Attribute::Int(1)),
        Node::new("Concat", ["c", "b"], ["z"]).with("axis", Attribute::Int(1)).named("join"),
    ];
    let gather = Node::new("Gather", ["a", "indices"], ["z"]).named("move").with("axis", Attribute::Int(1));
    let larger = Node::new("Resize", ["a", "", "twice"], ["z"]).named("move");
    let pad = Node::new("Pad", ["a", "pads"], ["z"]).named("move");
    for (nodes, size) in [(halves, 32), (vec![gather], 32), (vec![larger.clone()], 64), (vec![pad], 34)] {
        let constants = vec![
            ("indices", ints(&[7, 6, 5, 4, 3, 2, 1, 0])),
            ("twice", Tensor::vector(Data::F32(vec![1.0, 1.0, 2.0, 2.0]))),
            ("pads", ints(&[0, 0, 1, 1, 0, 0, 1, 1])),
        ];
        let (int8, summary) = between(13, nodes, constants, [size, size]);
        assert_eq!(*form(&summary, "move"), Form::Integer, "{summary:?}");
        // What ONNX Runtime would leave between roundings is given integers.
        for pad in int8.graph.nodes.iter().filter(|node| node.name == "move" && node.is("Pad")) {
            let maker = int8.graph.producers()[pad.inputs[0].as_str()];
            assert!(int8.graph.nodes[maker].is("QuantizeLinear") && pad.inputs.len() == 3);
        }
    }
    let between_values = larger.with("mode", Attribute::Text("linear".into()));
    let twice = vec![("twice", Tensor::vector(Data::F32(vec![1.0, 1.0, 2.0, 2.0])))];
    let (_, summary) = between(13, vec![between_values], twice, [64, 64]);
    assert!(matches!(form(&summary, "move"), Form::Float { reason } if reason.contains("in between")));
}

#[test]
fn products_of_activations_and_scaled_ones_compute_in_integers() {
    let model = by_hand(
        vec![
            Node::new("Conv", ["input", "w"], ["a"]),
            Node::new("MatMul", ["a", "a"], ["square"]).named("square"),
            Node::new("Softmax", ["square"], ["shares"]).with("axis", Attribute::Int(-1)).named("softmax"),
            Node::new("MatMul", ["shares", "a"], ["b"]).named("weighted"),
            Node::new("MatMul", ["b", "cube"], ["c"]).named("cube"),
            Node::new("MatMul", ["c", "plate"], ["d"]).named("plate"),
            Node::new("GlobalAveragePool", ["d"], ["e"]),
            Node::new("Flatten", ["e"], ["f"]),
            Node::new("Gemm", ["f", "g", "h"], ["output"])
                .with("alpha", Attribute::Float(0.5))
                .with("beta", Attribute::Float(2.0))
                .named("scaled"),
        ],
        vec![
            ("w", floats(&[4, 3, 1, 1], 1)),
            ("cube", floats(&[4, 32, 8], 2)),
            ("plate", floats(&[1, 8, 6], 3)),
            ("g", floats(&[4, 5], 4)),
            ("h", floats(&[5], 5)),
        ],
        &[5],
    );
    let (int8, summary) = quantized(&model);
    for name in ["square", "softmax", "weighted", "cube", "plate", "scaled"] {
        assert_eq!(*form(&summary, name), Form::Integer, "{name}");
    }
    let weight = |name: &str| summary.layers.iter().find(|layer| layer.name == name).unwrap().weight.clone();
    assert_eq!((weight("cube"), weight("plate").unwrap().scales), (None, 6), "a plate is a matrix");
    let gemm = int8.graph.nodes.iter().find(|node| node.name == "scaled").unwrap();
    assert!(gemm.attributes.is_empty(), "the factors are in the constants: {gemm:?}");
}

#[test]
fn weights_of_what_computes_in_floats_are_stored_as_integers() {
    let model = by_hand(
        vec![
            Node::new("Conv", ["input", "w"], ["a"]),
            Node::new("ConvTranspose", ["a", "v"], ["b"]).named("up"),
            Node::new("Flatten", ["b"], ["c"]),
            Node::new("Gather", ["table", "rows"], ["d"]).named("rows"),
            Node::new("MatMul", ["c", "d"], ["output"]),
        ],
        vec![
            ("w", floats(&[32, 3, 1, 1], 1)),
            ("v", floats(&[32, 2, 3, 3], 2)),
            ("table", floats(&[3000, 4], 3)),
            ("rows", Tensor::vector(Data::I64((0..2312).collect()))),
        ],
        &[4],
    );
    for (int8, summary) in [quantized(&model), quantize_dynamic(&model, &DynamicOptions::default()).unwrap()]
    {
        for (name, scales) in [("up", 2), ("rows", 3000)] {
            let layer = summary.layers.iter().find(|layer| layer.name == name).unwrap();
            assert_eq!((&layer.form, layer.weight.as_ref().unwrap().scales), (&Form::WeightOnly, scales));
        }
        let floats = int8.graph.initializers.values().filter_map(Tensor::as_f32).map(<[f32]>::len).max();
        assert_eq!(floats, Some(3000), "nothing but scales");
    }
}
