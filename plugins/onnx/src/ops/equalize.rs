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

use crate::ops::{RUNTIME, known, weights_input};
use crate::runtime::{self, Model};
use crate::{noise, request, sizes};

/// Random images that the model and its new form are compared on.
const IMAGES: usize = 4;

/// Largest difference of logits, relative to the largest logit, that rounding in 32 bits explains.
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
        vec![("model", InputSpec::required("the float model")), weights_input()]
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
        let load = |model: &onnx::Model, path: &Path| {
            let bytes = sizes::fixed(model, sizes::ANY).to_bytes();
            Model::from_bytes(&bytes, format!("`{}`", path.display()), request.threads)
        };
        let (mut before, mut after) = (load(&float, path)?, load(&model, target)?);
        let images = noise::normal(IMAGES * before.image().iter().product::<usize>(), 0);
        let logits = before.run(&images).context("running the model")?;
        let difference =
            runtime::max_difference(&logits, &after.run(&images).context("running the new form")?);
        let largest = logits.iter().fold(0.0_f64, |most, logit| most.max(f64::from(logit.abs())));
        if difference > TOLERANCE * largest.max(f64::MIN_POSITIVE) {
            return Err(Failure::new(format!(
                "the balanced model gives logits that differ by {difference:.3e} where the largest is {largest:.3e}"
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
        reporter.metric("difference", Metric::new(difference, "").basis("logits of random images"));
        reporter.figure(table(&pairs));
        Ok(())
    }
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
