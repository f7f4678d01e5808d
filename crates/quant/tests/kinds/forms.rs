//! Operators that have an integer form, or that hand integers on.

use super::*;

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
