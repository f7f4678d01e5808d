//! Evaluation of whatever models give: on arrays, and on pictures without labels, every model gets the same samples, some at a time;
//! what it gives is written down, held against what the baseline gives and, where there are labels, against these. Knows neither
//! figures nor words.

mod data;
mod figures;
mod judge;

use std::fs;

use anyhow::{Context, Result};
use arrays::Source;
use dataset::Outline;
use protocol::{CheckRequest, Failure, Problem, Progress, Reporter, RunRequest};

pub(super) use self::data::Data;
use self::judge::{Judge, Judged};
use super::variant::Variant;
use super::{Params, wanted};
use crate::heads;
use crate::labels::Labels;
use crate::runtime::Loaded;
use crate::samples::{self, ARRAYS, Asked};

/// What is wrong with the arrays, as far as they are there, and with the params that they have a say in.
pub(super) fn check(params: &Params, request: &CheckRequest) -> Vec<Problem> {
    let mut failures = Vec::new();
    if params.normalization.is_some() {
        failures.push(Failure::new(
            "`normalization` is for images, and `arrays` are given to the models as they are",
        ));
    }
    let opened = request.present.get(ARRAYS).map(|path| Source::open(path));
    match opened {
        Some(Ok(source)) => {
            failures.extend(wanted(params, source.samples(), "samples").err());
            failures.extend(Labels::check(params.labels.as_deref(), &source).err());
        }
        Some(Err(error)) => failures.push(anyhow::Error::from(error).into()),
        None => {}
    }
    crate::ops::problems(failures, request)
}

/// All that figures and metrics are made of.
struct Evaluated {
    /// What it was evaluated on, in words.
    basis: String,
    labels: Option<Labels>,
    /// Which samples, ascending.
    indices: Vec<usize>,
    baseline: Option<usize>,
    judged: Vec<Judged>,
}

impl Evaluated {
    /// What it was evaluated on, in words without marks of code.
    fn plain(&self) -> String {
        self.basis.replace('`', "")
    }
}

/// Whether the dataset, if it is there, has labels.
pub(super) fn is_labelled(request: &CheckRequest) -> bool {
    let outline = request.present.get("dataset").and_then(|path| Outline::read(path).ok());
    outline.is_none_or(|outline| outline.is_labelled)
}

/// Evaluates the variants of a stage on `data`.
pub(super) fn run(
    params: &Params,
    request: &RunRequest,
    data: &Data<'_>,
    variants: &[Variant],
    reporter: &mut Reporter<'_>,
) -> Result<(), Failure> {
    only_models(variants)?;
    let available = data.len();
    let count = match params.images {
        None => available.min(data.usual()),
        Some(_) => wanted(params, available, data.unit())?,
    };
    if count == 0 {
        return Err(Failure::new(format!(
            "`{}` has no {} to evaluate on",
            data.path().display(),
            data.unit()
        )));
    }
    let models =
        variants.iter().map(|variant| variant.open(request.threads)).collect::<Result<Vec<_>, _>>()?;
    let fixed = data.calls(&models)?;
    let mut indices: Vec<usize> = (0..count).map(|place| place * available / count).collect();
    if let Some(size) = fixed {
        let left_over = indices.len() % size;
        if left_over > 0 && left_over < indices.len() {
            indices.truncate(indices.len() - left_over);
            reporter.info(format!(
                "{left_over} {} at the end left out: the models take {size} at a time",
                data.unit()
            ));
        }
    }
    let labels = data.labels(params, &indices)?;
    if let (Data::Arrays { source, .. }, Some(model)) = (data, models.first()) {
        tell_unused(source, model, labels.as_ref(), reporter);
    }
    let samples = data.samples(params, &indices, &models, reporter)?;
    let baseline = variants.iter().position(|variant| Some(&variant.name) == params.baseline.as_ref());
    let heads = match baseline.and_then(|place| Some((variants.get(place)?.graph()?, samples.get(place)?))) {
        Some((model, samples)) => heads::of(&samples.sized(&model)),
        None => Default::default(),
    };
    let folder = request.output("predictions")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let mut judges: Vec<Judge<'_>> = variants
        .iter()
        .map(|variant| Judge::new(&variant.name, folder, &heads, params.scores.as_deref(), labels.as_ref()))
        .collect();
    let size = fixed.unwrap_or(params.batch_size);
    let asked = models.into_iter().zip(&samples).map(|(model, samples)| Asked::new(samples, model));
    compare(&mut asked.collect::<Vec<_>>(), &mut judges, baseline, &indices, size, reporter)?;
    let mut judged = Vec::with_capacity(judges.len());
    for (judge, variant) in judges.into_iter().zip(variants) {
        let (of, left_out) = judge.finish(variant.size_kb()?)?;
        for output in left_out {
            reporter.warn(format!(
                "output `{output}` of `{}` has another shape for each sample, and is not among its predictions",
                variant.name
            ));
        }
        judged.push(of);
    }
    let basis = data.basis(indices.len());
    figures::report(&Evaluated { basis, labels, indices, baseline, judged }, reporter);
    Ok(())
}

/// Says which arrays no model takes.
fn tell_unused(source: &Source, model: &Loaded, labels: Option<&Labels>, reporter: &mut Reporter<'_>) {
    let unused = samples::unused(source, model);
    let unused: Vec<String> = unused
        .into_iter()
        .filter(|name| labels.is_none_or(|labels| labels.name != *name))
        .map(|name| format!("`{name}`"))
        .collect();
    if !unused.is_empty() {
        reporter.info(format!(
            "of `{}`, {} {} not used: no input is called so",
            source.path().display(),
            unused.join(", "),
            if unused.len() == 1 { "is" } else { "are" }
        ));
    }
}

/// Asks all models about all samples, `size` at a time, the baseline first.
fn compare(
    asked: &mut [Asked<'_>],
    judges: &mut [Judge<'_>],
    baseline: Option<usize>,
    indices: &[usize],
    size: usize,
    reporter: &mut Reporter<'_>,
) -> Result<()> {
    let order: Vec<usize> =
        baseline.into_iter().chain((0..asked.len()).filter(|place| Some(*place) != baseline)).collect();
    let mut done = 0;
    for batch in indices.chunks(size.max(1)) {
        let mut references = None;
        for &place in &order {
            let (Some(asked), Some(judge)) = (asked.get_mut(place), judges.get_mut(place)) else { continue };
            let outputs = asked
                .ask(done..done + batch.len())
                .with_context(|| format!("cannot evaluate `{}`", judge.name()))?;
            judge.take(batch, &outputs, references.as_deref())?;
            if baseline == Some(place) {
                references = Some(outputs);
            }
        }
        done += batch.len();
        reporter.progress(Progress {
            done: done as f64,
            total: indices.len() as f64,
            unit: "sample".into(),
            text: String::new(),
            milestone: false,
        });
    }
    Ok(())
}

fn only_models(variants: &[Variant]) -> Result<(), Failure> {
    match variants.iter().find(|variant| !variant.is_model()) {
        None => Ok(()),
        Some(variant) => Err(Failure::new(format!(
            "`{}` holds predictions for test images with labels, and there are none of these",
            variant.name
        ))
        .hint("give models only; what each gives is written to `predictions`, for a metric of your own")),
    }
}
