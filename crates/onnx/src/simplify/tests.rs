//! Small graphs before and after.

use super::*;
use crate::graph::Value;
use crate::tensor::ElementType;
use crate::tensor::{Data, Tensor};

fn model(nodes: Vec<Node>, initializers: Vec<(&str, Tensor)>) -> Model {
    let value = |name: &str, dims: &[usize]| Value {
        name: name.into(),
        element: ElementType::F32,
        shape: Some(
            std::iter::once(Dim::Named("n".into()))
                .chain(dims.iter().map(|&size| Dim::Known(size)))
                .collect(),
        ),
    };
    let mut model = Model::new(13);
    model.graph.inputs = vec![value("x", &[2, 3, 3])];
    model.graph.outputs = vec![Value { shape: None, ..value("y", &[]) }];
    model.graph.nodes = nodes;
    model.graph.initializers = initializers.into_iter().map(|(name, t)| (name.to_owned(), t)).collect();
    model
}

fn floats(values: &[f32]) -> Tensor {
    Tensor::vector(Data::F32(values.to_vec()))
}

fn ops(model: &Model) -> Vec<&str> {
    model.graph.nodes.iter().map(|node| node.op.as_str()).collect()
}

fn conv_with_norm() -> Model {
    model(
        vec![
            Node::new("Conv", ["x", "w"], ["c"]),
            Node::new("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"])
                .with("epsilon", Attribute::Float(0.0)),
            Node::new("Relu", ["n"], ["y"]),
        ],
        vec![
            ("w", Tensor::new(vec![2, 2, 1, 1], Data::F32(vec![1.0, 2.0, 3.0, 4.0])).unwrap()),
            ("g", floats(&[2.0, 1.0])),
            ("b", floats(&[0.5, 0.0])),
            ("m", floats(&[1.0, -1.0])),
            ("v", floats(&[4.0, 1.0])),
        ],
    )
}

#[test]
fn batch_normalisation_goes_into_the_convolution() {
    let simple = conv_with_norm().simplified().unwrap();
    assert_eq!(ops(&simple), ["Conv", "Relu"]);
    let conv = &simple.graph.nodes[0];
    assert_eq!(conv.outputs, ["n"]);
    let constant = |index| simple.graph.constant(conv, index).unwrap().as_f32().unwrap();
    assert_eq!(constant(1), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(constant(2), [-0.5, 1.0]);
    assert_eq!(simple.graph.initializers.len(), 2);
}

#[test]
fn batch_normalisation_stays_where_the_raw_outcome_is_wanted() {
    let mut model = conv_with_norm();
    model.graph.nodes.push(Node::new("Add", ["c", "y"], ["z"]));
    model.graph.outputs[0].name = "z".into();
    assert_eq!(ops(&model.simplified().unwrap()), ["Conv", "BatchNormalization", "Relu", "Add"]);
}

#[test]
fn a_norm_without_a_root_is_told_by_its_name() {
    let refused = |change: &dyn Fn(&mut Model)| {
        let mut model = conv_with_norm();
        model.graph.nodes[1].name = "bn1".into();
        change(&mut model);
        model.simplified().unwrap_err().to_string()
    };
    let constant = |name: &'static str, values: [f32; 2]| {
        refused(&move |model| drop(model.graph.initializers.insert(name.into(), floats(&values))))
    };
    let told = constant("v", [1.0, -1.0]);
    let wanted =
        "node `bn1` (BatchNormalization): variance -1 of channel 1 and epsilon 0 sum to nothing above 0";
    assert!(told.contains(wanted), "{told}");
    assert!(constant("v", [0.0, 1.0]).contains("variance 0 of channel 0"));
    assert!(
        constant("g", [1.0, f32::NAN])
            .contains("node `bn1` (BatchNormalization): the scale of channel 1 is NaN")
    );
    for epsilon in [-2.0, f32::NAN] {
        let told = refused(&move |model| {
            model.graph.nodes[1].attributes.insert("epsilon".into(), Attribute::Float(epsilon));
        });
        assert!(told.contains("node `bn1`") && told.contains(&format!("epsilon {epsilon}")), "{told}");
    }
}

#[test]
fn weights_that_are_no_numbers_keep_their_names() {
    let mut model = conv_with_norm();
    let broken = Tensor::new(vec![2, 2, 1, 1], Data::F32(vec![1.0, f32::INFINITY, 3.0, 4.0])).unwrap();
    model.graph.initializers.insert("w".into(), broken);
    assert_eq!(model.simplified().unwrap().graph.nodes[0].input(1), Some("w"));
}

#[test]
fn an_output_that_is_declared_otherwise_than_computed_is_told_with_both_shapes() {
    let declared = |shape: Option<Vec<Dim>>| {
        let mut model = conv_with_norm();
        model.graph.outputs[0].shape = shape;
        model.simplified().map(drop).map_err(|error| error.to_string())
    };
    let (n, size) = (|| Dim::Named("batch".into()), Dim::Known);
    for shape in [vec![n(), size(2), size(3), size(3)], vec![size(1), size(2), Dim::Unknown, n()]] {
        assert_eq!(declared(Some(shape)), Ok(()));
    }
    let told = declared(Some(vec![n(), size(9), size(3), size(3)])).unwrap_err();
    assert!(
        told.contains("`y` is declared as [batch, 9, 3, 3], but what computes it gives [n, 2, 3, 3]"),
        "{told}"
    );
    assert!(declared(Some(vec![n(), size(18)])).unwrap_err().contains("[batch, 18]"));
}

#[test]
fn a_cast_to_the_type_that_is_there_goes() {
    let cast = |to: ElementType| {
        let to = Attribute::Int(to.code().into());
        let nodes = vec![
            Node::new("Relu", ["x"], ["r"]),
            Node::new("Cast", ["r"], ["c"]).with("to", to),
            Node::new("Relu", ["c"], ["y"]),
        ];
        ops(&model(nodes, vec![]).simplified().unwrap()).len()
    };
    assert_eq!((cast(ElementType::F32), cast(ElementType::I32)), (2, 3));
}

#[test]
fn constants_and_no_ops_go() {
    let clip = model(
        vec![
            Node::new("Constant", [], ["lo"]).with("value", Attribute::Tensor(Tensor::scalar_f32(0.0))),
            Node::new("Constant", [], ["hi"]).with("value_float", Attribute::Float(6.0)),
            Node::new("Identity", ["x"], ["i"]),
            Node::new("Dropout", ["i"], ["d", "mask"]),
            Node::new("Clip", ["d", "lo", "hi"], ["y"]),
        ],
        vec![("unused", floats(&[1.0]))],
    );
    let simple = clip.simplified().unwrap();
    assert_eq!(ops(&simple), ["Clip"]);
    assert_eq!(simple.graph.nodes[0].inputs, ["x", "lo", "hi"]);
    assert_eq!(simple.graph.initializers.keys().collect::<Vec<_>>(), ["hi", "lo"]);
}

#[test]
fn a_dropout_that_may_be_training_stays() {
    let dropout = |training: Data| {
        let nodes =
            vec![Node::new("Dropout", ["x", "ratio", "training"], ["d"]), Node::new("Relu", ["d"], ["y"])];
        let training = Tensor::new(Vec::new(), training).unwrap();
        let constants = vec![("ratio", Tensor::scalar_f32(0.5)), ("training", training)];
        model(nodes, constants).simplified().unwrap()
    };
    assert_eq!(ops(&dropout(Data::Bool(vec![0]))), ["Relu"]);
    assert_eq!(ops(&dropout(Data::Bool(vec![1]))), ["Dropout", "Relu"]);
}

#[test]
fn an_output_keeps_its_name() {
    let identity = model(vec![Node::new("Identity", ["x"], ["y"])], vec![]);
    assert_eq!(ops(&identity.simplified().unwrap()), ["Identity"]);
}

#[test]
fn a_reshape_that_joins_all_but_the_batch_is_a_flatten() {
    let ints = |values: &[i64]| Tensor::vector(Data::I64(values.to_vec()));
    let reshape = |target: &[i64]| {
        model(vec![Node::new("Reshape", ["x", "s"], ["y"])], vec![("s", ints(target))]).simplified().unwrap()
    };
    assert_eq!(ops(&reshape(&[0, -1])), ["Flatten"]);
    assert_eq!(ops(&reshape(&[0, 18])), ["Flatten"]);
    assert_eq!(ops(&reshape(&[-1, 18])), ["Reshape"]);
    assert_eq!(ops(&reshape(&[0, 9, 2])), ["Reshape"]);
    assert!(reshape(&[0, -1]).graph.initializers.is_empty());
}

#[test]
fn a_shape_that_is_computed_of_sizes_becomes_a_constant() {
    let value = |name: &str, shape| Value { name: name.into(), element: ElementType::F32, shape };
    let mut model = Model::new(13);
    let dims = vec![Dim::Named("n".into()), Dim::Known(1), Dim::Named("l".into())];
    model.graph.inputs = vec![value("x", Some(dims))];
    model.graph.outputs = vec![value("y", None)];
    for (name, values) in [("zero", vec![0]), ("one", vec![1]), ("rest", vec![4, -1])] {
        model.graph.initializers.insert(name.into(), Tensor::vector(Data::I64(values)));
    }
    let graph = |last: &str| {
        let mut model = model.clone();
        model.graph.nodes = vec![
            Node::new("Shape", ["x"], ["shape"]),
            Node::new("Slice", ["shape", "zero", "one"], ["batch"]),
            Node::new("Concat", ["batch", last], ["target"]).with("axis", Attribute::Int(0)),
            Node::new("Reshape", ["x", "target"], ["y"]),
        ];
        model.simplified().unwrap().graph
    };
    let simple = graph("rest");
    assert_eq!(simple.nodes.len(), 1);
    assert_eq!(simple.constant(&simple.nodes[0], 1).unwrap().as_i64(), Some(&[0, 4, -1][..]));
    assert_eq!(graph("shape").nodes.len(), 4, "two sizes are open");
}
