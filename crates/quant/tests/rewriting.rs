//! What quantization does to graphs, looked at without a runtime.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows that of functions marked as tests"
)]

mod support;

use onnx::{Data, Model, Node, Tensor};
use quant::{
    ActivationType, BiasType, DynamicOptions, DynamicScheme, Form, QuantError, StaticOptions, observed_model,
    quantize_dynamic, quantize_static, tensors_to_observe,
};
use support::{by_hand, count, exported, floats, made_up_ranges, readable, varied};

fn conv_relu6() -> Model {
    by_hand(
        vec![
            Node::new("Conv", ["input", "w", "b"], ["raw"]).named("conv"),
            Node::new("Clip", ["raw", "low", "high"], ["output"]).named("relu6"),
        ],
        vec![
            ("w", floats(&[4, 3, 1, 1], 1)),
            ("b", floats(&[4], 2)),
            ("low", Tensor::scalar_f32(0.0)),
            ("high", Tensor::scalar_f32(6.0)),
        ],
        &[4, 32, 32],
    )
}

#[test]
fn a_clip_is_what_rounding_does_anyway() {
    let model = conv_relu6();
    assert_eq!(tensors_to_observe(&model).unwrap(), ["input", "output"]);
    let (quantized, summary) = quantize_static(&model, &made_up_ranges(&model), None, &readable()).unwrap();
    let ops: Vec<_> = quantized.graph.nodes.iter().map(|node| node.op.as_str()).collect();
    let (q, dq) = ("QuantizeLinear", "DequantizeLinear");
    assert_eq!(ops, [q, dq, dq, "Conv", q, dq]);
    assert_eq!(quantized.graph.nodes[5].outputs, ["output"]);
    let output = summary.layers[0].output.as_ref().unwrap();
    assert_eq!((output.tensor.as_str(), output.scale, output.zero_point), ("output", 6.0 / 255.0, 0));
    assert_eq!(summary.layers[1].form, Form::Merged { into: "conv".into() });
    assert_eq!((summary.integer_layers(), summary.computing_layers()), (1, 1));
}

/// What goes before a `Reshape`, a float among it, is no layer, and a `Reshape` of the image is one.
#[test]
fn what_computes_sizes_is_no_layer() {
    let cast = |input: &str, output: &str, to: i64| {
        Node::new("Cast", [input], [output]).with("to", onnx::Attribute::Int(to))
    };
    let model = by_hand(
        vec![
            Node::new("Conv", ["input", "w"], ["raw"]).named("conv"),
            Node::new("Shape", ["raw"], ["shape"]),
            cast("shape", "floats", 1),
            Node::new("Mul", ["floats", "one"], ["scaled"]),
            cast("scaled", "whole", 7),
            Node::new("Reshape", ["raw", "whole"], ["moved"]),
            Node::new("Erf", ["moved"], ["output"]).named("erf"),
        ],
        vec![("w", floats(&[4, 3, 1, 1], 1)), ("one", Tensor::scalar_f32(1.0))],
        &[4, 32, 32],
    );
    let (_, summary) = quantize_static(&model, &made_up_ranges(&model), None, &readable()).unwrap();
    let forms: Vec<&Form> = summary.layers.iter().map(|layer| &layer.form).collect();
    assert!(forms[1..5].iter().all(|form| **form == Form::Sizes), "{forms:?}");
    assert_eq!((summary.integer_layers(), summary.computing_layers()), (2, 3), "{forms:?}");
    assert_eq!(summary.float_layers().map(|(layer, _)| layer.name.as_str()).collect::<Vec<_>>(), ["erf"]);
    let (_, summary) = quantize_dynamic(&model, &DynamicOptions::default()).unwrap();
    assert_eq!(summary.computing_layers(), 3);
}

#[test]
fn images_get_a_fourth_channel_for_the_runtimes_fast_kernel() {
    let model = by_hand(
        vec![Node::new("Conv", ["input", "w"], ["output"]).named("conv")],
        vec![("w", floats(&[16, 3, 3, 3], 1))],
        &[16, 30, 30],
    );
    let ranges = made_up_ranges(&model);
    let (quantized, _) = quantize_static(&model, &ranges, None, &readable()).unwrap();
    let ops: Vec<_> = quantized.graph.nodes.iter().map(|node| node.op.as_str()).collect();
    let (q, dq) = ("QuantizeLinear", "DequantizeLinear");
    assert_eq!(ops, [q, dq, "Pad", dq, "Conv", q, dq]);
    let [quantize, _, pad, ..] = quantized.graph.nodes.as_slice() else { panic!("too short") };
    assert_eq!(pad.input(2), quantize.input(2), "what stands for zero is put there");
    assert_eq!(quantized.graph.constant(pad, 1).unwrap().as_i64(), Some(&[0, 0, 0, 0, 0, 1, 0, 0][..]));
    let weights = quantized.graph.initializers.values().find(|tensor| tensor.shape() == [16, 4, 3, 3]);
    let Some(Data::I8(values)) = weights.map(Tensor::data) else { panic!("no widened weights") };
    assert!(values.chunks(4 * 9).all(|filter| filter[27..] == [0; 9]));

    let signed = StaticOptions { activations: Some(ActivationType::S8), ..readable() };
    assert_eq!(
        count(&quantize_static(&model, &ranges, None, &signed).unwrap().0, "Pad"),
        0,
        "measured on x86-64 only"
    );
}

#[test]
fn a_clip_that_lifts_zero_stays() {
    let mut model = conv_relu6();
    model.graph.initializers.insert("low".into(), Tensor::scalar_f32(0.5));
    let (quantized, summary) = quantize_static(&model, &made_up_ranges(&model), None, &readable()).unwrap();
    assert_eq!(count(&quantized, "Clip"), 1);
    assert_eq!(summary.float_layers().count(), 1);
}

#[test]
fn the_observed_model_yields_what_is_to_be_observed() {
    for model in [conv_relu6(), varied(), exported()] {
        let wanted = tensors_to_observe(&model).unwrap();
        let observed = observed_model(&model).unwrap();
        observed.graph.check().unwrap();
        assert_eq!(observed.graph.outputs[0], model.graph.outputs[0]);
        for name in wanted.iter().filter(|name| *name != "input") {
            assert!(observed.graph.is_output(name), "{name}");
        }
        assert!(wanted.contains(&"input".to_owned()) && !observed.graph.is_output("input"));
    }
}

#[test]
fn what_cannot_be_integer_stays_and_is_listed() {
    let model = exported();
    let (quantized, summary) = quantize_static(&model, &made_up_ranges(&model), None, &readable()).unwrap();
    let float: Vec<_> = summary.float_layers().map(|(layer, reason)| (layer.name.as_str(), reason)).collect();
    assert_eq!(
        float,
        [
            ("lifted_node", "it follows no integer operator alone"),
            ("output_node", "it only becomes an output or feeds floats"),
        ]
    );
    for op in ["Clip", "Softmax"] {
        assert_eq!(count(&quantized, op), 1);
    }
    assert_eq!(count(&quantized, "HardSigmoid"), 0, "it is a sum that is cut off");
}

#[test]
fn a_varied_network_is_integer_throughout() {
    let model = varied();
    let (quantized, summary) = quantize_static(&model, &made_up_ranges(&model), None, &readable()).unwrap();
    assert_eq!(summary.float_layers().collect::<Vec<_>>(), []);
    for op in ["HardSigmoid", "Clip", "Relu"] {
        assert_eq!(count(&quantized, op), 0, "{op}");
    }
    assert_eq!(count(&model, "HardSigmoid"), 1);
    let weights = summary.layers.iter().filter_map(|layer| layer.weight.as_ref());
    assert!(weights.clone().count() == 11, "{summary:?}");
    assert!(weights.clone().all(|weight| weight.sqnr_db.unwrap() > 35.0 && weight.raised_scales == 0));
}

#[test]
fn what_only_moves_elements_keeps_the_scale() {
    let model = varied();
    let ranges = made_up_ranges(&model);
    let (_, summary) = quantize_static(&model, &ranges, None, &readable()).unwrap();
    let output = |op: &str| {
        let index = summary.layers.iter().position(|layer| layer.op == op).unwrap();
        let grid = |index: usize| summary.layers[index].output.as_ref().map(|o| (o.scale, o.zero_point));
        (grid(index), summary.layers[..index].iter().rposition(|layer| layer.output.is_some()).and_then(grid))
    };
    for op in ["MaxPool", "Flatten"] {
        let (own, before) = output(op);
        assert_eq!(own, before, "{op}");
        assert!(own.is_some());
    }
}

#[test]
fn logits_are_floats_unless_wanted_otherwise() {
    let model = varied();
    let ranges = made_up_ranges(&model);
    for quantize_output in [false, true] {
        let options = StaticOptions { quantize_output, ..readable() };
        let (quantized, summary) = quantize_static(&model, &ranges, None, &options).unwrap();
        let last = quantized.graph.nodes.last().unwrap();
        assert_eq!(last.op, if quantize_output { "DequantizeLinear" } else { "Gemm" });
        assert_eq!(last.outputs, ["output"]);
        assert_eq!(summary.layers.last().unwrap().output.is_some(), quantize_output);
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let model = varied();
    let ranges = made_up_ranges(&model);
    let bytes = || quantize_static(&model, &ranges, None, &StaticOptions::default()).unwrap().0.to_bytes();
    assert_eq!(bytes(), bytes());
    let dynamic = || quantize_dynamic(&model, &DynamicOptions::default()).unwrap().0.to_bytes();
    assert_eq!(dynamic(), dynamic());
}

#[test]
fn metadata_and_signature_stay() {
    let model = varied();
    let (quantized, _) =
        quantize_static(&model, &made_up_ranges(&model), None, &StaticOptions::default()).unwrap();
    let mut expected = model.metadata.clone();
    expected.insert("integers_from".into(), "ONNX Runtime 1.21".into());
    assert_eq!(quantized.metadata, expected);
    assert_eq!(quantized.graph.inputs, model.graph.inputs);
    assert_eq!(quantized.graph.outputs, model.graph.outputs);
}

#[test]
fn an_excluded_node_stays() {
    let model = varied();
    let name = model.graph.nodes.iter().find(|node| node.is("Conv")).unwrap().name.clone();
    let options = StaticOptions { exclude: vec![name.clone()], ..readable() };
    let (_, summary) = quantize_static(&model, &made_up_ranges(&model), None, &options).unwrap();
    let (layer, reason) = summary.float_layers().next().unwrap();
    assert_eq!((layer.name.as_str(), reason), (name.as_str(), "excluded by option"));
    let options = StaticOptions { exclude: vec!["nosuch".into()], ..readable() };
    let error = quantize_static(&model, &made_up_ranges(&model), None, &options).unwrap_err();
    assert!(matches!(error, QuantError::UnknownNode { node } if node == "nosuch"));
}

#[test]
fn a_missing_range_is_named() {
    let model = varied();
    let mut ranges = made_up_ranges(&model);
    let (name, _) = ranges.tensors.pop_last().unwrap();
    let options = StaticOptions { quantize_output: true, ..StaticOptions::default() };
    let message = quantize_static(&model, &ranges, None, &options).unwrap_err().to_string();
    assert!(message.contains(&format!("`{name}`")), "{message}");
}

#[test]
fn a_huge_bias_raises_the_scale_instead_of_overflowing() {
    let mut model = conv_relu6();
    let weight = Data::F32((0..12).map(|i| if i < 3 { 1e-9 } else { 0.5 }).collect());
    model.graph.initializers.insert("w".into(), Tensor::new(vec![4, 3, 1, 1], weight).unwrap());
    model.graph.initializers.insert("b".into(), Tensor::vector(Data::F32(vec![5.0, 0.1, 0.1, -0.1])));
    let options = StaticOptions { bias: BiasType::Int32, ..readable() };
    let (quantized, summary) = quantize_static(&model, &made_up_ranges(&model), None, &options).unwrap();
    assert_eq!(summary.layers[0].weight.as_ref().unwrap().raised_scales, 1);
    let bias = quantized.graph.initializers.values().find_map(|tensor| match tensor.data() {
        Data::I32(values) => Some(values.clone()),
        _ => None,
    });
    assert!(bias.unwrap().iter().all(|value| value.unsigned_abs() <= (1 << 30) + 256));
}

#[test]
fn a_weight_that_is_no_number_is_named() {
    let mut model = conv_relu6();
    model.graph.initializers.insert("b".into(), Tensor::vector(Data::F32(vec![0.0, f32::NAN, 0.0, 0.0])));
    for message in [
        quantize_static(&model, &made_up_ranges(&model), None, &readable()).unwrap_err().to_string(),
        quantize_dynamic(&model, &DynamicOptions::default()).unwrap_err().to_string(),
    ] {
        assert!(message.contains("the weight `b` holds NaN"), "{message}");
    }
}

#[test]
fn a_quantized_model_is_not_quantized_again() {
    let model = conv_relu6();
    let (quantized, _) = quantize_static(&model, &made_up_ranges(&model), None, &readable()).unwrap();
    assert!(matches!(tensors_to_observe(&quantized), Err(QuantError::AlreadyQuantized { .. })));
    let dynamic = quantize_dynamic(&quantized, &DynamicOptions::default());
    assert!(matches!(dynamic, Err(QuantError::AlreadyQuantized { .. })));
}

#[test]
fn a_model_without_weights_is_refused() {
    let model = by_hand(vec![Node::new("Relu", ["input"], ["output"])], vec![], &[3, 32, 32]);
    assert!(matches!(tensors_to_observe(&model), Err(QuantError::NothingToQuantize)));
}

#[test]
fn an_old_opset_is_raised_or_refused() {
    let mut model = conv_relu6();
    model.set_opset(11);
    let opset = |model: &Model, opset| {
        let options = StaticOptions { opset, ..readable() };
        quantize_static(model, &made_up_ranges(&conv_relu6()), None, &options).map(|(model, _)| model.opset())
    };
    assert_eq!(opset(&model, None).unwrap(), 13);
    assert_eq!(opset(&model, Some(17)).unwrap(), 17);
    assert!(matches!(opset(&model, Some(12)), Err(QuantError::Opset { opset: 12, .. })));
    model.graph.nodes.push(Node::new("Softmax", ["output"], ["probabilities"]));
    model.graph.outputs[0].name = "probabilities".into();
    assert_eq!(opset(&model, None).unwrap(), 13, "it is written in other words");
    let twice = Tensor::vector(Data::F32(vec![1.0, 1.0, 2.0, 2.0]));
    model.graph.initializers.insert("twice".into(), twice);
    model.graph.nodes.push(Node::new("Resize", ["probabilities", "", "twice"], ["resized"]));
    model.graph.outputs[0].name = "resized".into();
    assert_eq!(opset(&model, None).unwrap(), 13);
    let message = opset(&model, Some(17)).unwrap_err().to_string();
    assert!(message.contains("Resize (`resized`)"), "{message}");
    model.set_opset(6);
    assert!(opset(&model, None).unwrap_err().to_string().contains("too old"));
}

#[test]
fn signed_activations_have_signed_zero_points() {
    let model = conv_relu6();
    let options = StaticOptions { activations: Some(ActivationType::S8), per_channel: false, ..readable() };
    let (_, summary) = quantize_static(&model, &made_up_ranges(&model), None, &options).unwrap();
    assert_eq!(summary.layers[0].output.as_ref().unwrap().zero_point, -128);
    assert_eq!(summary.layers[0].weight.as_ref().unwrap().scales, 1);
}

#[test]
fn dynamic_schemes_choose_their_layers() {
    let model = varied();
    let forms = |scheme| {
        let options = DynamicOptions { scheme, compact: false, ..DynamicOptions::default() };
        let (quantized, summary) = quantize_dynamic(&model, &options).unwrap();
        let number = |form: &Form| summary.layers.iter().filter(|layer| layer.form == *form).count();
        let integer = count(&quantized, "ConvInteger") + count(&quantized, "MatMulInteger");
        assert_eq!(integer, number(&Form::Integer));
        (number(&Form::Integer), number(&Form::WeightOnly))
    };
    // Eleven layers with weights, of which nine are convolutions.
    assert_eq!(forms(DynamicScheme::Fast), (2, 9));
    assert_eq!(forms(DynamicScheme::Everything), (11, 0));
    assert_eq!(forms(DynamicScheme::WeightsOnly), (0, 11));
}

#[test]
fn an_activation_is_rounded_once_for_all_its_consumers() {
    let model = exported();
    let options = DynamicOptions { scheme: DynamicScheme::Everything, ..DynamicOptions::default() };
    let (quantized, _) = quantize_dynamic(&model, &options).unwrap();
    assert_eq!(count(&quantized, "ConvInteger") + count(&quantized, "MatMulInteger"), 4);
    assert_eq!(count(&quantized, "DynamicQuantizeLinear"), 3);
}

#[test]
fn damaged_models_are_refused_or_quantized_without_a_panic() {
    let whole = exported().to_bytes();
    let mut state = 7_u64;
    let mut usable = 0;
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (state >> 33) as usize % bytes.len();
            bytes[place] = (state >> 20) as u8;
        }
        let Ok(model) = Model::from_bytes(&bytes) else { continue };
        let _ = quantize_dynamic(&model, &DynamicOptions::default());
        if let Ok(observed) = observed_model(&model) {
            usable += 1;
            observed.graph.check().unwrap();
            let _ = quantize_static(&model, &made_up_ranges(&model), None, &StaticOptions::default());
        }
    }
    assert!(usable > 100, "{usable}");
}
