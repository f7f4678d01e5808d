//! Operators of control flow, and operators that nobody knows.

use super::*;

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
