//! Models of anything but pictures, calibrated and tried on arrays: several inputs of several types, batches that are open, fixed or
//! another axis, and what does not fit.

use std::fs;
use std::path::Path;

use onnx::{Attribute, Data, Dim, ElementType, Model, Node, Tensor, Value};
use serde_json::json;

use crate::support::{run, runtime};

/// An array as NumPy writes it.
pub(crate) fn npy(kind: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let axes: String = shape.iter().map(|axis| format!("{axis}, ")).collect();
    let text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({axes}), }}\n");
    let length = u16::try_from(text.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], text.as_bytes(), data].concat()
}

pub(crate) fn floats(count: usize) -> Vec<u8> {
    (0..count).flat_map(|index| ((index * 37 % 101) as f32 / 50.0 - 1.0).to_le_bytes()).collect()
}

pub(crate) fn value(name: &str, element: ElementType, dims: &[Dim]) -> Value {
    Value { name: name.into(), element, shape: Some(dims.to_vec()) }
}

pub(crate) fn weights(model: &mut Model, name: &str, shape: &[usize]) {
    let count: usize = shape.iter().product();
    let values = (0..count).map(|index| (index * 29 % 83) as f32 / 83.0 - 0.5).collect();
    let tensor = Tensor::new(shape.to_vec(), Data::F32(values)).unwrap();
    model.graph.initializers.insert(name.into(), tensor);
}

/// `y = x · w + u[i] · v`: `x` are numbers, `i` counts rows of a table.
pub(crate) fn two_inputs(batch: &Dim) -> Model {
    let mut model = Model::new(13);
    for (name, shape) in [("w", [6, 4]), ("table", [9, 5]), ("v", [5, 4])] {
        weights(&mut model, name, &shape);
    }
    model.graph.nodes = vec![
        Node::new("MatMul", ["x", "w"], ["a"]),
        Node::new("Gather", ["table", "i"], ["u"]),
        Node::new("MatMul", ["u", "v"], ["b"]),
        Node::new("Add", ["a", "b"], ["y"]),
    ];
    model.graph.inputs = vec![
        value("x", ElementType::F32, &[batch.clone(), Dim::Known(6)]),
        value("i", ElementType::I64, std::slice::from_ref(batch)),
    ];
    model.graph.outputs = vec![value("y", ElementType::F32, &[batch.clone(), Dim::Known(4)])];
    model
}

/// Ranges and the INT8 model of what is in `folder`, on the arrays in its folder `arrays`; else what an op failed with.
pub(crate) fn quantized(folder: &Path, params: serde_json::Value) -> Result<serde_json::Value, String> {
    let at = |name: &str| folder.join(name);
    let (model, arrays) = (at("m.onnx"), at("arrays"));
    let [ranges, moments, int8] = ["r.json", "m.safetensors", "int8.onnx"].map(at);
    let inputs = [("model", model.as_path()), ("arrays", arrays.as_path())];
    let said = run("calibrate", params, &inputs, &[("ranges", &ranges), ("moments", &moments)]);
    if let Some(failure) = said.failure {
        return Err(failure);
    }
    let inputs = [inputs.as_slice(), &[("ranges", &ranges), ("moments", &moments)]].concat();
    run("quantize", json!({}), &inputs, &[("model", &int8)]).done();
    Ok(serde_json::from_str(&fs::read_to_string(ranges).unwrap()).unwrap())
}

#[test]
fn several_inputs_of_several_types_are_calibrated_on_arrays() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("arrays")).unwrap();
    fs::write(at("arrays/x.npy"), npy("<f4", &[10, 6], &floats(60))).unwrap();
    // The model takes 64 bits.
    fs::write(at("arrays/i.npy"), npy("|u1", &[10], &[0, 8, 1, 7, 2, 6, 3, 5, 4, 0])).unwrap();
    two_inputs(&Dim::Named("n".into())).write(&at("m.onnx")).unwrap();
    let open = quantized(folder.path(), json!({})).unwrap();
    assert_eq!(open["lineage"]["split"], "arrays");
    assert_eq!(open["lineage"]["images"].as_array().unwrap().len(), 10);
    // Numbers of rows have no range.
    assert!(open["tensors"]["x"]["min"].as_f64().unwrap() < -0.9 && open["tensors"].get("i").is_none());

    // Nothing to be tried on.
    let none = at("none");
    fs::create_dir(&none).unwrap();
    fs::write(none.join("x.npy"), npy("<f4", &[0, 6], &[])).unwrap();
    fs::write(none.join("i.npy"), npy("<i8", &[0], &[])).unwrap();
    let inputs = [("model", at("m.onnx")), ("arrays", none)];
    let inputs = inputs.each_ref().map(|(name, path)| (*name, path.as_path()));
    let said = run("quantize-dynamic", json!({}), &inputs, &[("model", &at("int8.onnx"))]);
    assert!(said.failed().contains("has no samples"));

    // The first sample is in order, the second is none that the model gives numbers for.
    let odd = at("odd");
    fs::create_dir(&odd).unwrap();
    let infinite = [0.0_f32; 6].into_iter().chain([f32::INFINITY; 6]).flat_map(f32::to_le_bytes);
    fs::write(odd.join("x.npy"), npy("<f4", &[2, 6], &infinite.collect::<Vec<_>>())).unwrap();
    fs::write(odd.join("i.npy"), npy("<i8", &[2], &[0; 16])).unwrap();
    let inputs = [("model", at("m.onnx")), ("arrays", odd)];
    let inputs = inputs.each_ref().map(|(name, path)| (*name, path.as_path()));
    let said = run("quantize-dynamic", json!({}), &inputs, &[("model", &at("int8.onnx"))]);
    assert!(said.failed().contains("not finite"));

    // Four at a time, so that two of ten are left over.
    two_inputs(&Dim::Known(4)).write(&at("m.onnx")).unwrap();
    let fixed = quantized(folder.path(), json!({})).unwrap();
    assert_eq!(fixed["lineage"]["images"].as_array().unwrap().len(), 8);

    // One at a time, each with all that the inputs take.
    two_inputs(&Dim::Known(1)).write(&at("m.onnx")).unwrap();
    fs::write(at("arrays/x.npy"), npy("<f4", &[10, 1, 6], &floats(60))).unwrap();
    fs::write(at("arrays/i.npy"), npy("<i4", &[10, 1], &[3, 0, 0, 0].repeat(10))).unwrap();
    assert_eq!(quantized(folder.path(), json!({})).unwrap()["tensors"]["x"], open["tensors"]["x"]);
}

/// Between two convolutions that compute in integers.
#[test]
fn operators_that_the_runtime_makes_invalid_ones_of_are_avoided() {
    let Some(()) = runtime() else { return };
    let ints = |values: &[i64]| Tensor::vector(Data::I64(values.to_vec()));
    let pool = |attributes: &[(&str, &[i64])]| {
        let pool = Node::new("AveragePool", ["a"], ["b"]).with("kernel_shape", Attribute::Ints(vec![2, 2]));
        let with =
            |node: Node, (name, values): &(&str, &[i64])| node.with(name, Attribute::Ints(values.to_vec()));
        attributes.iter().fold(pool, with)
    };
    for node in [
        Node::new("Pad", ["a", "pads", "", "axes"], ["b"]),
        pool(&[("dilations", &[1, 1])]),
        pool(&[("dilations", &[2, 2])]),
        pool(&[("dilations", &[2, 2]), ("pads", &[1, 1, 1, 1])]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut model = Model::new(19);
        weights(&mut model, "w", &[8, 3, 3, 3]);
        weights(&mut model, "v", &[4, 8, 1, 1]);
        model.graph.initializers.insert("pads".into(), ints(&[1, 1, 1, 1]));
        model.graph.initializers.insert("axes".into(), ints(&[2, 3]));
        let what = format!("{} {:?}", node.op, node.attributes);
        // What pads moves integers of what it reads.
        let rounded = if node.is("Pad") { "a" } else { "b" };
        model.graph.nodes =
            vec![Node::new("Conv", ["x", "w"], ["a"]), node, Node::new("Conv", ["b", "v"], ["y"])];
        let dims = [Dim::Named("n".into()), Dim::Known(3), Dim::Known(10), Dim::Known(10)];
        model.graph.inputs = vec![value("x", ElementType::F32, &dims)];
        let output = Value { name: "y".into(), element: ElementType::F32, shape: None };
        model.graph.outputs = vec![output];
        model.write(&at("m.onnx")).unwrap();
        fs::write(at("arrays"), npy("<f4", &[4, 3, 10, 10], &floats(1200))).unwrap();
        let ranges =
            quantized(folder.path(), json!({})).unwrap_or_else(|failure| panic!("{what}: {failure}"));
        assert!(ranges["tensors"].get(rounded).is_some(), "{what}");
    }
}

#[test]
fn an_open_batch_that_takes_one_sample_is_given_one() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut model = Model::new(13);
    weights(&mut model, "w", &[6, 4]);
    let shape = Tensor::new(vec![2], Data::I64(vec![1, 6])).unwrap();
    model.graph.initializers.insert("shape".into(), shape);
    model.graph.nodes =
        vec![Node::new("Reshape", ["x", "shape"], ["r"]), Node::new("MatMul", ["r", "w"], ["y"])];
    let batch = Dim::Named("n".into());
    model.graph.inputs = vec![value("x", ElementType::F32, &[batch, Dim::Known(2), Dim::Known(3)])];
    model.graph.outputs = vec![value("y", ElementType::F32, &[Dim::Known(1), Dim::Known(4)])];
    model.write(&at("m.onnx")).unwrap();
    // The only array is that of the only input, whatever its name is.
    fs::write(at("arrays"), npy("<f8", &[5, 2, 3], &0.25_f64.to_le_bytes().repeat(30))).unwrap();
    let ranges = quantized(folder.path(), json!({})).unwrap();
    assert_eq!(ranges["tensors"]["x"]["max"], 0.25);
}

#[test]
fn arrays_that_do_not_fit_are_refused_by_name() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    two_inputs(&Dim::Named("n".into())).write(&at("m.onnx")).unwrap();
    fs::create_dir(at("arrays")).unwrap();
    let x = npy("<f4", &[3, 6], &floats(18));
    let counts = npy("<i8", &[3], &[0; 24]);
    for (files, expected) in [
        (vec![("x", x.clone())], "has none for `i`"),
        (
            vec![("x", x.clone()), ("j", counts.clone())],
            "has none for `i` and `j`, for which there is no input; ",
        ),
        (
            vec![("x", npy("<f4", &[3, 7], &floats(21))), ("i", counts.clone())],
            "each of its samples has shape [7], but the model takes [any, 6]",
        ),
        (
            vec![("x", npy("|u1", &[3, 6], &[1; 18])), ("i", counts.clone())],
            "it holds uint8, but the model takes f32: save what the model is given",
        ),
        (vec![("x", x), ("i", npy("<i8", &[2], &[0; 16]))], "different numbers of samples"),
    ] {
        for entry in fs::read_dir(at("arrays")).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for (name, bytes) in files {
            fs::write(at(&format!("arrays/{name}.npy")), bytes).unwrap();
        }
        let failure = quantized(folder.path(), json!({})).unwrap_err();
        assert!(failure.contains(expected), "{failure}\nlacks {expected}");
    }
    fs::write(at("arrays/i.npy"), counts).unwrap();
    let failure = quantized(folder.path(), json!({ "images": 4 })).unwrap_err();
    assert!(failure.contains("asks for 4 samples, but `") && failure.contains("has 3"), "{failure}");
}

#[test]
fn a_model_of_16_bit_floats_keeps_its_inputs_and_outputs() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut model = Model::new(13);
    // 0.25 to 0.5, and as many below zero.
    let halves = |count: u16| -> Vec<u8> {
        (0..count)
            .flat_map(|index| (0x3400 + index * 37 % 0x400 + index % 2 * 0x8000).to_le_bytes())
            .collect()
    };
    let width = std::num::NonZeroUsize::new(2).unwrap();
    let data = Data::Other { code: ElementType::F16.code(), width, bytes: halves(4 * 3 * 9) };
    model.graph.initializers.insert("w".into(), Tensor::new(vec![4, 3, 3, 3], data).unwrap());
    model.graph.nodes = vec![Node::new("Conv", ["x", "w"], ["a"]), Node::new("Relu", ["a"], ["y"])];
    let dims = [Dim::Named("n".into()), Dim::Known(3), Dim::Known(6), Dim::Known(6)];
    model.graph.inputs = vec![value("x", ElementType::F16, &dims)];
    model.graph.outputs = vec![Value { name: "y".into(), element: ElementType::F16, shape: None }];
    model.write(&at("m.onnx")).unwrap();
    fs::write(at("arrays"), npy("<f2", &[8, 3, 6, 6], &halves(8 * 108))).unwrap();
    quantized(folder.path(), json!({})).unwrap();
    let int8 = Model::read(&at("int8.onnx")).unwrap().graph;
    assert_eq!((int8.inputs[0].element, int8.outputs[0].element), (ElementType::F16, ElementType::F16));
    assert!(int8.nodes.iter().any(|node| node.is("QuantizeLinear")));
    let inputs = [("model", at("m.onnx")), ("arrays", at("arrays"))];
    let inputs = inputs.each_ref().map(|(name, path)| (*name, path.as_path()));
    let said = run("quantize-dynamic", json!({}), &inputs, &[("model", &at("int8.onnx"))]).done();
    assert!(said.logs.iter().any(|line| line.contains("16-bit floats")), "{:?}", said.logs);
}

/// Of an operator of another domain the file says nothing, and neither does a pooling behind it.
#[test]
fn what_nobody_says_of_a_tensor_the_runtime_is_asked() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut model = Model::new(13);
    weights(&mut model, "w", &[8, 3, 3, 3]);
    weights(&mut model, "v", &[4, 8, 1, 1]);
    let mut unknown = Node::new("QuickGelu", ["a"], ["b"]);
    unknown.domain = "com.microsoft".into();
    model.opsets.insert("com.microsoft".into(), 1);
    let pool = Node::new("MaxPool", ["b"], ["c"]).with("kernel_shape", Attribute::Ints(vec![2, 2]));
    model.graph.nodes =
        vec![Node::new("Conv", ["x", "w"], ["a"]), unknown, pool, Node::new("Conv", ["c", "v"], ["y"])];
    let dims = [Dim::Named("n".into()), Dim::Known(3), Dim::Known(10), Dim::Known(10)];
    model.graph.inputs = vec![value("x", ElementType::F32, &dims)];
    model.graph.outputs = vec![Value { name: "y".into(), element: ElementType::F32, shape: None }];
    model.write(&at("m.onnx")).unwrap();
    fs::write(at("arrays"), npy("<f4", &[4, 3, 10, 10], &floats(1200))).unwrap();
    let ranges = quantized(folder.path(), json!({})).unwrap();
    // A pooling moves integers only where it is known to be of floats.
    assert!(ranges["tensors"].get("b").is_some() && ranges["tensors"].get("c").is_none(), "{ranges}");
}
