//! Models of which one attribute, constant or size contradicts the rest: read, quantized in every way and read again, or refused
//! with the node. Nothing panics.

use std::fs;
use std::path::Path;

use onnx::{Attribute, Data, Dim, Model, Tensor};

/// Models that work: those of the fuzzer's corpus, and one that PyTorch exported.
fn models() -> Vec<(String, Model)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let corpus = fs::read_dir(root.join("fuzz/corpus/onnx_model")).unwrap();
    let mut paths: Vec<_> = corpus.map(|entry| entry.unwrap().path()).collect();
    paths.push(root.join("plugins/onnx/tests/torch/legacy.onnx"));
    paths.sort();
    let read = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        Some((path.file_name()?.to_string_lossy().into_owned(), Model::from_bytes(&bytes).ok()?))
    };
    paths.iter().filter_map(|path| read(path)).collect()
}

/// What one whole number becomes.
fn numbers(value: i64) -> Vec<i64> {
    let others = [0, -1, -2, 1, 2, 3, 7, 1000, i64::MAX, i64::MIN, i64::from(u32::MAX)];
    let near = [value.wrapping_add(1), value.wrapping_sub(1), value.wrapping_neg(), value.wrapping_mul(2)];
    others.into_iter().chain(near).filter(|other| *other != value).collect()
}

/// What a list of whole numbers becomes.
fn lists(values: &[i64]) -> Vec<Vec<i64>> {
    let mut all = vec![vec![], values[..values.len().saturating_sub(1)].to_vec(), [values, &[1]].concat()];
    all.push(values.iter().rev().copied().collect());
    for place in 0..values.len().min(4) {
        all.extend(numbers(values[place]).into_iter().map(|number| {
            let mut values = values.to_vec();
            values[place] = number;
            values
        }));
    }
    all
}

/// What an attribute becomes, `None` where it goes.
fn attributes(value: &Attribute) -> Vec<Option<Attribute>> {
    let others = match value {
        Attribute::Int(value) => numbers(*value).into_iter().map(Attribute::Int).collect(),
        Attribute::Ints(values) => lists(values).into_iter().map(Attribute::Ints).collect(),
        Attribute::Float(_) => [f32::NAN, 0.0, -1.0, f32::INFINITY].map(Attribute::Float).to_vec(),
        Attribute::Text(_) => ["", "bogus", "VALID"].map(|text| Attribute::Text(text.into())).to_vec(),
        _ => vec![Attribute::Ints(vec![1]), Attribute::Text(String::new())],
    };
    others.into_iter().chain([Attribute::Float(1.0)]).map(Some).chain([None]).collect()
}

/// What a constant becomes: of other numbers, with less and more elements, dimensions and other types.
fn tensors(tensor: &Tensor) -> Vec<Tensor> {
    let mut all = Vec::new();
    if let Some(values) = tensor.as_i64().filter(|values| values.len() <= 8) {
        all.extend(lists(values).into_iter().map(|values| Tensor::vector(Data::I64(values))));
        all.extend(
            lists(values)
                .into_iter()
                .filter_map(|values| Tensor::new(vec![1, values.len()], Data::I64(values))),
        );
    }
    let shape = tensor.shape().to_vec();
    let zeros = |shape: Vec<usize>| Tensor::new(shape.clone(), Data::F32(vec![0.5; shape.iter().product()]));
    for axis in 0..shape.len() {
        for size in [0, 1, shape[axis].saturating_sub(1), shape[axis] + 1, shape[axis] * 2] {
            let mut shape = shape.clone();
            shape[axis] = size;
            all.extend(zeros(shape));
        }
    }
    all.extend(zeros([vec![1], shape.clone()].concat()));
    all.extend(zeros(shape.iter().rev().copied().collect()));
    all.extend(zeros(vec![]));
    all.extend(Tensor::new(shape.clone(), Data::I8(vec![1; shape.iter().product()])));
    all.extend(Tensor::new(shape.clone(), Data::I64(vec![1; shape.iter().product()])));
    all
}

/// What the sizes of an input become.
fn shapes(shape: &[Dim]) -> Vec<Option<Vec<Dim>>> {
    let mut all = vec![None, Some(vec![]), Some(shape[..shape.len().saturating_sub(1)].to_vec())];
    all.push(Some([shape, &[Dim::Known(1)]].concat()));
    for place in 0..shape.len() {
        for size in [0, 1, 2, 1000, usize::MAX, usize::MAX / 2] {
            let mut shape = shape.to_vec();
            shape[place] = Dim::Known(size);
            all.push(Some(shape));
        }
    }
    all
}

/// Each model that `model` becomes with one change.
fn changed(model: &Model, take: &mut dyn FnMut(&Model)) {
    for (at, node) in model.graph.nodes.iter().enumerate() {
        for (name, value) in &node.attributes {
            for other in attributes(value) {
                let mut model = model.clone();
                let attributes = &mut model.graph.nodes[at].attributes;
                match other {
                    Some(other) => drop(attributes.insert(name.clone(), other)),
                    None => drop(attributes.remove(name)),
                }
                take(&model);
            }
        }
        for index in 0..node.inputs.len() {
            for name in [String::new(), node.inputs.first().cloned().unwrap_or_default()] {
                let mut model = model.clone();
                model.graph.nodes[at].inputs[index] = name;
                take(&model);
            }
        }
    }
    for (name, tensor) in &model.graph.initializers {
        for other in tensors(tensor) {
            let mut model = model.clone();
            model.graph.initializers.insert(name.clone(), other);
            take(&model);
        }
    }
    for (at, input) in model.graph.inputs.iter().enumerate() {
        for shape in shapes(input.shape.as_deref().unwrap_or_default()) {
            let mut model = model.clone();
            model.graph.inputs[at].shape = shape;
            take(&model);
        }
    }
}

#[test]
fn one_thing_that_contradicts_the_rest_makes_nothing_panic() {
    let (mut read, mut refused) = (0, 0);
    for (name, model) in models() {
        changed(&model, &mut |changed| {
            let bytes = changed.to_bytes();
            match Model::from_bytes(&bytes) {
                Ok(_) => read += 1,
                Err(error) => {
                    refused += 1;
                    let error = error.to_string();
                    assert!(error.contains('`') && !error.is_empty(), "{name}: {error}");
                }
            }
            super::onnx_model(&bytes);
        });
    }
    assert!(read > 500 && refused > 500, "{read} read, {refused} refused");
}
