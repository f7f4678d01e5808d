//! What both ways to quantize end with: the file written and tried, its size, the layers with their errors.

mod bytes;

use std::borrow::Cow;

use anyhow::{Context, Result};
use onnx::{DataFiles, Shapes};
use protocol::{Cell, Column, Content, Failure, Figure, Metric, Reporter, RunRequest, counted};
use quant::{Form, Layer, Summary};

use crate::executed::{Arithmetic, Counts};
use crate::runtime::{self, Loaded, Model};
use crate::samples::{self, ARRAYS};
use crate::{executed, network, request, sizes};

/// What is said of a float model of 16 bits.
pub(crate) const HALVES: &str = "the model computes in 16-bit floats; for integers it was taken to 32-bit ones, in which all layers that stay in \
                                 floating point compute now. Its inputs and outputs are of 16 bits as before";

/// Writes the model to output `model`, runs what was written, and reports.
pub(crate) fn write(
    request: &RunRequest,
    model: &onnx::Model,
    summary: &Summary,
    reporter: &mut Reporter<'_>,
) -> Result<(), Failure> {
    let path = request.output("model")?;
    let bytes = model.to_bytes();
    request::write(path, &bytes)?;
    // Where it lies now is nobody's concern.
    let source = "the INT8 model".to_owned();
    let arrays = request.inputs.get(ARRAYS);
    // Arrays have their sizes themselves.
    let sized = match sizes::fixed(model, sizes::ANY) {
        Cow::Owned(sized) if arrays.is_none() => Some(sized.to_bytes()),
        _ => None,
    };
    let tried = sized.as_ref().unwrap_or(&bytes);
    let (loaded, executed) = match executed::load(
        tried,
        &DataFiles::new(),
        source.clone(),
        request.threads,
        &request.resume_dir,
    ) {
        Ok((model, graph)) => (Ok(model), Ok(graph)),
        // Perhaps nothing is amiss but the dump of the graph.
        Err(error) => (Loaded::from_bytes(tried, source, request.threads), Err(error)),
    };
    let works = match arrays {
        Some(arrays) => loaded.and_then(|model| samples::check(model, arrays)),
        None => loaded.and_then(Model::of).and_then(runtime::check),
    };
    works.with_context(|| fails("quantized", sized.is_some()))?;
    let size = request::size_kb(path)?;
    let float_size = request::model_size_kb(request)?;
    reporter.metric("size_kb", Metric::new(size, "KB"));
    let ratio = Metric::new(size / float_size, "×").basis(format!("the float model has {float_size:.1} KB"));
    reporter.metric("size_ratio", ratio);
    let integer = Metric::new(summary.integer_layers() as f64, "").basis(format!(
        "{} layers{}",
        summary.computing_layers(),
        from(summary)
    ));
    reporter.metric("integer_layers", integer);
    report_others(summary, reporter);
    report_raised_scales(summary, reporter);
    reporter.figure(bytes::answer(model, bytes.len(), float_size, summary.integers_from));
    reporter.figure(layers(summary));
    match executed {
        Ok(graph) => reporter.figure(as_executed(model, &graph)),
        Err(error) => reporter.info(format!("the network cannot be drawn as it is executed: {error:#}")),
    }
    Ok(())
}

/// Which runtimes compute in integers, where that depends on them.
fn from(summary: &Summary) -> String {
    summary.integers_from.map_or_else(String::new, |runtime| format!(", from ONNX Runtime {runtime} on"))
}

/// Runs the float model as it is.
pub(crate) fn check_float(request: &RunRequest, float: &onnx::Model) -> Result<(), Failure> {
    let source = format!("`{}`", request.input("model")?.display());
    if let Some(arrays) = request.inputs.get(ARRAYS) {
        Loaded::from_bytes(&float.to_bytes(), source, request.threads)
            .and_then(|model| samples::check(model, arrays))
            .with_context(|| fails("float", false))?;
        return Ok(());
    }
    let sized = sizes::fixed(float, sizes::ANY);
    Model::from_bytes(&sized.to_bytes(), source, request.threads)
        .and_then(runtime::check)
        .with_context(|| fails("float", matches!(sized, Cow::Owned(_))))?;
    Ok(())
}

/// Says that a model does not work, and where its sizes were given to it, that this may be why.
fn fails(what: &str, is_sized: bool) -> String {
    let [height, width] = sizes::ANY;
    match is_sized {
        false => format!("the {what} model does not work"),
        true => format!(
            "the {what} model does not work on images of {height}×{width} pixels, on which it is tried because it leaves \
             their size open; export it for the size that it is used with"
        ),
    }
}

/// The graph that ONNX Runtime makes of the model, integer operators told from others.
fn as_executed(model: &onnx::Model, graph: &onnx::Graph) -> Figure {
    let shapes = Shapes::infer(&model.graph).unwrap_or_default();
    let arithmetic = Arithmetic::of(graph);
    let Counts { integers, floats, conversions } = Counts::of(&arithmetic);
    let group = |index: usize, _: &onnx::Node| arithmetic.get(index).map_or("", |it| it.word()).to_owned();
    Figure {
        id: "network".into(),
        title: "The network as ONNX Runtime executes it".into(),
        caption: format!(
            "After its own rewriting on the machine that quantized: {} operators, {integers} in integers, {floats} in floats, \
             {} between the two.",
            graph.nodes.len(),
            counted(conversions, "conversion", "conversions")
        ),
        content: network::content(graph, &shapes, &group),
    }
}

/// Says which nodes are no layers of their own.
fn report_others(summary: &Summary, reporter: &mut Reporter<'_>) {
    let count = |wanted: fn(&Form) -> bool| summary.layers.iter().filter(|layer| wanted(&layer.form)).count();
    let merged = count(|form| matches!(form, Form::Merged { .. }));
    let sizes = count(|form| *form == Form::Sizes);
    if merged + sizes > 0 {
        reporter.info(format!(
            "of {}, {merged} went into the one before and {sizes} compute sizes; the rest are the layers that are counted",
            counted(summary.layers.len(), "node", "nodes")
        ));
    }
}

fn report_raised_scales(summary: &Summary, reporter: &mut Reporter<'_>) {
    for layer in &summary.layers {
        if let Some(weight) = layer.weight.as_ref().filter(|weight| weight.raised_scales > 0) {
            reporter.info(format!(
                "`{}`: {} of {} weight scales were raised, because their biases would not fit 32 bits",
                layer.name, weight.raised_scales, weight.scales
            ));
        }
    }
}

fn layers(summary: &Summary) -> Figure {
    let row = |layer: &Layer| {
        let weight = layer.weight.as_ref();
        let output = layer.output.as_ref();
        let number = |value: Option<f64>| value.map_or(Cell::Empty, Cell::Number);
        vec![
            Cell::Text(layer.name.clone()),
            Cell::Text(layer.op.clone()),
            Cell::Text(form(&layer.form)),
            weight.map_or(Cell::Empty, |weight| Cell::Text(format!("{:?}", weight.shape))),
            number(weight.map(|weight| weight.scales as f64)),
            number(weight.and_then(|weight| weight.sqnr_db)),
            number(output.map(|output| output.min.into())),
            number(output.map(|output| output.max.into())),
        ]
    };
    Figure {
        id: "layers".into(),
        title: "What became of each layer".into(),
        caption:
            "Weight SQNR is the power of the weights over that of their rounding error; low is bad. The \
                  output's range is what its 8 bits can represent."
                .into(),
        content: Content::Table {
            columns: vec![
                Column::new("layer", "", 0),
                Column::new("operator", "", 0),
                Column::new("computes in", "", 0),
                Column::new("weights", "", 0),
                Column::new("scales", "", 0),
                Column::new("weight SQNR", "dB", 1),
                Column::new("output min", "", 3),
                Column::new("output max", "", 3),
            ],
            rows: summary.layers.iter().map(row).collect(),
        },
    }
}

fn form(form: &Form) -> String {
    match form {
        Form::Integer => "integers".into(),
        Form::WeightOnly => "floats, weights stored as INT8".into(),
        Form::Merged { into } => format!("merged into {into}"),
        Form::Float { reason } => format!("floats: {reason}"),
        Form::Sizes => "sizes, not images".into(),
    }
}

#[cfg(test)]
mod tests;
