//! `onnx/equalize`: the same function with weights that round better, checked by running both.

use std::path::Path;

use anyhow::Context;
use protocol::{
    Cell, CheckRequest, Column, Content, Failure, Figure, InputSpec, Metric, Op, OpManifest, OutputSpec,
    Problem, Reporter, RunRequest,
};
use quant::{Equalized, equalize};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::ops::{RUNTIME, arrays_input, known, weights_input};
use crate::runtime::{self, Loaded, Model};
use crate::samples::{self, ARRAYS, Asked, Values};
use crate::{noise, request, sizes};

/// Random images that the model and its new form are compared on.
const IMAGES: usize = 4;

/// Largest difference of outputs, relative to the largest value, that rounding in 32 bits explains.
const TOLERANCE: f64 = 1e-3;

/// Params of `onnx/equalize`: none.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Params {}

/// The op.
pub(crate) struct Equalize;

impl Op for Equalize {
    const NAME: &'static str = "equalize";
    const VERSION: u32 = 2;
    const DESCRIPTION: &'static str = "Balances the ranges of channels between neighbouring layers, so that weights round better; to be calibrated and \
         quantized afterwards";
    const NATIVES: &'static [&'static str] = &[RUNTIME];
    const CHECKS: bool = true;
    type Params = Params;

    fn inputs(&self) -> Vec<(&'static str, InputSpec)> {
        vec![
            ("model", InputSpec::required("the float model")),
            weights_input(),
            arrays_input("what both forms are compared on"),
        ]
    }

    fn outputs(&self) -> Vec<(&'static str, OutputSpec)> {
        vec![("model", OutputSpec::new("the float model with balanced channels", "model.onnx"))]
    }

    fn manifest(&self) -> OpManifest {
        OpManifest::of(self).with_metrics(&["pairs", "difference"]).with_time(&[], &[])
    }

    fn check(&self, _: &Params, request: &CheckRequest) -> Vec<Problem> {
        known::quantizable(request)
    }

    fn run(&self, _: Params, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        let path = request.input("model")?;
        let float = request::model(request)?;
        let (model, pairs) = equalize(&float)?;
        let target = request.output("model")?;
        request::write(target, &model.to_bytes())?;
        let on_arrays = request.inputs.contains_key(ARRAYS);
        let [before, after] = match request.inputs.get(ARRAYS) {
            Some(arrays) => [(&float, path), (&model, target)]
                .map(|(model, path)| given_for_arrays(model, path, arrays, request.threads)),
            None => [(&float, path), (&model, target)]
                .map(|(model, path)| given_for_images(model, path, request.threads)),
        };
        let (before, after) = (before.context("running the model")?, after.context("running the new form")?);
        let difference = runtime::max_difference(&before, &after);
        let largest = before.iter().fold(0.0_f64, |most, value| most.max(f64::from(value.abs())));
        if difference > TOLERANCE * largest.max(f64::MIN_POSITIVE) {
            return Err(Failure::new(format!(
                "the balanced model gives values that differ by {difference:.3e} where the largest is {largest:.3e}"
            ))
            .hint("its weights differ too much for 32-bit floats: quantize the model as it is"));
        }
        if pairs.is_empty() {
            reporter.warn(
                "no two layers could be balanced: between them lie operators that are not homogeneous, such as ReLU6 or Sigmoid"
                    .to_owned(),
            );
        }
        reporter.metric("pairs", Metric::new(pairs.len() as f64, ""));
        let basis = if on_arrays { "outputs for samples of the arrays" } else { "logits of random images" };
        reporter.metric("difference", Metric::new(difference, "").basis(basis));
        reporter.figure(table(&pairs));
        Ok(())
    }
}

/// The logits for random images.
fn given_for_images(model: &onnx::Model, path: &Path, threads: usize) -> anyhow::Result<Vec<f32>> {
    let bytes = sizes::fixed(model, sizes::ANY).to_bytes();
    let mut model = Model::from_bytes(&bytes, format!("`{}`", path.display()), threads)?;
    model.run(&noise::normal(IMAGES * model.image().iter().product::<usize>(), 0))
}

/// All outputs of floats for a few samples of `arrays`.
fn given_for_arrays(
    model: &onnx::Model,
    path: &Path,
    arrays: &Path,
    threads: usize,
) -> anyhow::Result<Vec<f32>> {
    let loaded = Loaded::from_bytes(&model.to_bytes(), format!("`{}`", path.display()), threads)?;
    let samples = samples::few(&loaded, arrays)?;
    let mut all = Vec::new();
    for output in Asked::new(&samples, loaded).ask(0..samples.indices.len())?.into_iter().flatten() {
        if let Values::F32(values) = output.values {
            all.extend(values);
        }
    }
    Ok(all)
}

fn table(pairs: &[Equalized]) -> Figure {
    let column = |label: &str, digits| Column::new(label, "", digits);
    let row = |pair: &Equalized| {
        vec![
            Cell::Text(pair.first.clone()),
            Cell::Text(pair.second.clone()),
            Cell::Number(pair.spread_before.into()),
            Cell::Number(pair.spread_after.into()),
        ]
    };
    Figure {
        id: "pairs".into(),
        title: "Balanced layers".into(),
        caption: "Spread: the largest range of a channel of the first layer's weights over the smallest."
            .into(),
        content: Content::Table {
            columns: vec![
                column("first", 0),
                column("second", 0),
                column("spread before", 1),
                column("spread after", 1),
            ],
            rows: pairs.iter().map(row).collect(),
        },
    }
}
