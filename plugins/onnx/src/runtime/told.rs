//! What ONNX Runtime says of a model without running it: the types of its tensors, and the operators that it makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use onnx::{Dim, ElementType, Graph, TensorType, Value};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::ValueType;

use super::{environment, plain};

/// What ONNX Runtime infers of tensors of a model, by name: their types, and sizes as far as it knows them. The model is not run.
///
/// # Errors
/// Where the library is missing, or ONNX Runtime does not load the model.
pub(crate) fn types(model: &onnx::Model, tensors: &[String]) -> Result<BTreeMap<String, TensorType>> {
    let mut asked = model.clone();
    let known: BTreeSet<String> = asked.graph.outputs.iter().map(|value| value.name.clone()).collect();
    let untyped = |name: &String| Value { name: name.clone(), element: ElementType::Other(0), shape: None };
    asked.graph.outputs.extend(tensors.iter().filter(|name| !known.contains(*name)).map(untyped));
    let builder = Session::builder(&environment()?)?;
    let mut builder = builder.with_optimization_level(GraphOptimizationLevel::Disable).map_err(plain)?;
    let session = builder.commit_from_memory(&asked.to_bytes())?;
    let outputs = session.outputs().iter().filter(|output| tensors.iter().any(|name| name == output.name()));
    Ok(outputs.filter_map(|output| Some((output.name().to_owned(), tensor_type(output.dtype())?))).collect())
}

/// `None` for what is no tensor.
fn tensor_type(dtype: &ValueType) -> Option<TensorType> {
    let ValueType::Tensor { ty, shape, dimension_symbols } = dtype else { return None };
    let dim = |(size, symbol): (&i64, &String)| match usize::try_from(*size) {
        Ok(size) => Dim::Known(size),
        Err(_) if symbol.is_empty() => Dim::Unknown,
        Err(_) => Dim::Named(symbol.clone()),
    };
    // ONNX Runtime numbers the types as ONNX does.
    let element = ElementType::from_code(ort::sys::ONNXTensorElementDataType::from(*ty) as i32);
    let dims: Vec<Dim> = shape.iter().zip(dimension_symbols.iter()).map(dim).collect();
    // It says the same of a scalar and of what has any number of dimensions.
    Some(TensorType { element, shape: (!dims.is_empty()).then_some(dims) })
}

/// The graph that ONNX Runtime makes of the model in `bytes`, before it changes the layout of tensors: names of tensors are still
/// the model's. It is dumped in `scratch`, and does not stay there.
///
/// # Errors
/// Where the library is missing, ONNX Runtime does not load the model, or the dump cannot be written or read.
pub(crate) fn fused(bytes: &[u8], scratch: &Path) -> Result<Graph> {
    std::fs::create_dir_all(scratch).with_context(|| format!("cannot create `{}`", scratch.display()))?;
    let file = scratch.join("fused.onnx");
    let builder = Session::builder(&environment()?)?;
    let builder = builder.with_optimization_level(GraphOptimizationLevel::Level2).map_err(plain)?;
    let mut builder = builder.with_optimized_model_path(&file).map_err(plain)?;
    let loaded = builder.commit_from_memory(bytes).map_err(anyhow::Error::from);
    let graph = loaded.and_then(|_| Ok(onnx::Model::read(&file)?.graph));
    // Only a dump is lost where this fails, and the folder goes with the stage.
    let _ = std::fs::remove_file(&file);
    graph
}
