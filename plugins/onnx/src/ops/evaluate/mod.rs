//! `onnx/evaluate`: predictions and accuracy of several variants of a model on the test images of a dataset, or on arrays or pictures
//! without labels how far they are from each other.

mod answer;
mod by_output;
mod calibration;
mod figures;
mod pictures;
mod processors;
mod variant;

use std::fs;
use std::path::Path;

use anyhow::Context;
use dataset::{Dataset, Normalization, Predictions, SplitName, wilson_interval};
use protocol::{
    CheckRequest, Failure, InputSpec, KeyScope, Metric, Op, OpManifest, OutputSpec, Problem, Progress,
    Reporter, RunRequest, grouped,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::ops::{RUNTIME, arrays_input, images_of, known, problems, which_data};
use crate::samples::ARRAYS;
use crate::statistics::{mcnemar_exact, paired_drop};
use calibration::Calibration;
use processors::Processor;

/// Params of `onnx/evaluate`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Params {
    /// Name of the input that drops are measured against, and what the others give is compared with. Without one there are no drops.
    baseline: Option<String>,
    /// Images (or samples of arrays) per call. A dynamically quantized model rounds its activations by batch, so its accuracy depends on
    /// this a little.
    #[schemars(range(min = 1))]
    batch_size: usize,
    /// How many test images (or samples of arrays), evenly spaced over the split; all of them where absent, but of pictures without
    /// labels up to 512.
    #[schemars(range(min = 1))]
    images: Option<usize>,
    /// Of `arrays`, the name of the one that says which class each sample is of, counted from 0. Without it variants are compared with
    /// the baseline only.
    labels: Option<String>,
    /// Of models that take `arrays`, the name of the output with the scores of classes, or with the class. By default the first that
    /// looks like that.
    scores: Option<String>,
    /// Mean and standard deviation per channel, of pixels scaled to 0..1, for models that do not carry them.
    normalization: Option<Normalization>,
    /// Other processors that the models are run as, too, by qemu: `haswell` and `sandybridge` on x86-64, `cortex_a72` and `neoverse_n1` on
    /// Arm. For images with labels; takes some ten times as long for each.
    processors: Vec<Processor>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            baseline: None,
            batch_size: 128,
            images: None,
            labels: None,
            scores: None,
            normalization: None,
            processors: Vec::new(),
        }
    }
}

/// What the variants are evaluated on.
pub(crate) struct TestSet {
    dataset: Dataset,
    /// Indices into the test split, ascending.
    indices: Vec<usize>,
}

impl TestSet {
    fn labels(&self) -> Vec<i64> {
        self.indices.iter().map(|&index| self.dataset.test.label(index)).collect()
    }

    /// In words, such as `10,000 test images`.
    fn basis(&self) -> String {
        format!("{} test images", grouped(self.indices.len()))
    }
}

/// A variant's name with what it predicted.
pub(crate) struct Outcome {
    name: String,
    size_kb: Option<f64>,
    predictions: Predictions,
}

/// The inputs that are no variants.
const DATA: [&str; 2] = ["dataset", ARRAYS];

/// The op.
pub(crate) struct Evaluate;

impl Op for Evaluate {
    const NAME: &'static str = "evaluate";
    const VERSION: u32 = 2;
    const DESCRIPTION: &'static str =
        "Accuracy of variants of a model on the test images, or on arrays how far they are from a baseline";
    const NATIVES: &'static [&'static str] = &[RUNTIME];
    const CHECKS: bool = true;
    type Params = Params;

    fn inputs(&self) -> Vec<(&'static str, InputSpec)> {
        vec![
            (
                "dataset",
                InputSpec::optional("images and labels, for models of pictures; the test split is used"),
            ),
            arrays_input("the samples to evaluate on"),
        ]
    }

    fn outputs(&self) -> Vec<(&'static str, OutputSpec)> {
        let description = "by variant: of images logits and labels, NAME.safetensors; of arrays, and of pictures without labels, NAME.npz with an array by the name of each \
                           output, whose first axis counts the samples";
        vec![("predictions", OutputSpec::new(description, "predictions"))]
    }

    fn manifest(&self) -> OpManifest {
        let variant = "a variant to evaluate under this name: a `.onnx` model, or `.safetensors` predictions made elsewhere on \
                       the same test images; or a file, or a folder of files, in which weights of such a model lie";
        let of_each = ["accuracy", "size_kb"].map(|name| format!("{{input}}.{name}"));
        let compared = ["drop", "agreement", "lost", "won", "mcnemar_p"]
            .map(|name| format!("{{input but with.baseline}}.{name}"));
        let on_arrays = ["sqnr_db", "worst_part_sqnr_db", "{output}.sqnr_db", "{output}.agreement"]
            .map(|name| format!("{{input but with.baseline}}.{name}"));
        let others = [
            "{if inputs.dataset}{input}.ece",
            "{if with.labels}{input}.top5_accuracy",
            "{input}.{with.processors}_accuracy",
            "{input}.{with.processors}_agreement",
            "{input}.{with.processors}_differ",
        ];
        let all = of_each.into_iter().chain(compared).chain(on_arrays).chain(others.map(str::to_owned));
        OpManifest {
            extra_inputs: Some(InputSpec::optional(variant)),
            scope: KeyScope::Hardware,
            metrics: Some(all.collect()),
            ..OpManifest::of(self)
        }
        .on_all_threads()
        .with_time(
            &["with.images", "inputs.dataset", "inputs.arrays"],
            &["with.baseline", "with.labels", "with.scores"],
        )
    }

    fn check(&self, params: &Params, request: &CheckRequest) -> Vec<Problem> {
        let variants: Vec<&str> =
            request.inputs.iter().map(String::as_str).filter(|name| !DATA.contains(name)).collect();
        let has_arrays = request.inputs.contains(ARRAYS);
        if let Some(failure) = which_data(request.inputs.contains("dataset"), has_arrays, "evaluate on") {
            return problems(Some(failure), request);
        }
        let images = images_of(request, SplitName::Test)
            .filter(|_| by_output::is_labelled(request))
            .and_then(|there| wanted(params, there, "test images").err());
        let nothing = variants.is_empty().then(variant::nothing_to_evaluate);
        let baseline = match &nothing {
            None => check_baseline(params, &variants).err(),
            Some(_) => None,
        };
        let no_arrays = check_for_arrays(params, has_arrays).err();
        let mut found = problems(nothing.into_iter().chain(baseline).chain(images).chain(no_arrays), request);
        found.extend(problems(processors::check(&params.processors).err(), request));
        let there = request.present.iter().filter(|(name, _)| !DATA.contains(&name.as_str()));
        if has_arrays || !by_output::is_labelled(request) {
            found.extend(problems(check_for_labels(params).err(), request));
        }
        if has_arrays {
            found.extend(by_output::check(params, request));
            found.extend(there.filter_map(|(name, path)| known::given_arrays(request, name, path)));
            return found;
        }
        let given = params.normalization.as_ref();
        match known::lists(given, request) {
            Some(wrong) => found.push(wrong),
            None => found.extend(there.filter_map(|(name, path)| known::variant(request, name, path, given))),
        }
        found
    }

    fn run(&self, params: Params, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        let variants = variant::of_request(request)?;
        check_baseline(&params, &variants.iter().map(|variant| variant.name.as_str()).collect::<Vec<_>>())?;
        if let Some(data) = by_output::Data::of_request(request)? {
            check_for_labels(&params)?;
            return by_output::run(&params, request, &data, &variants, reporter);
        }
        // Not after all images were evaluated.
        processors::check(&params.processors)?;
        let test_set = test_set(&params, request.input("dataset")?)?;
        let folder = request.output("predictions")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;

        let total = (test_set.indices.len() * variants.len()) as f64;
        let mut outcomes = Vec::with_capacity(variants.len());
        for (place, variant) in variants.iter().enumerate() {
            let before = (place * test_set.indices.len()) as f64;
            let mut progress = |images: usize, milestone: bool, text: String| {
                let done = before + images as f64;
                reporter.progress(Progress { done, total, unit: "image".into(), text, milestone });
            };
            let (predictions, unused) = variant
                .predict(&test_set, &params, request.threads, &mut |images| {
                    progress(images, false, variant.name.clone());
                })
                .with_context(|| format!("cannot evaluate `{}`", variant.name))?;
            let text = format!("{} {:.2} %", variant.name, predictions.accuracy());
            progress(test_set.indices.len(), true, text);
            if let Some(unused) = unused {
                reporter.warn(unused);
            }
            predictions.write(&folder.join(format!("{}.safetensors", variant.name)))?;
            outcomes.push(Outcome { name: variant.name.clone(), size_kb: variant.size_kb()?, predictions });
        }
        report(&params, &test_set, &outcomes, reporter)?;
        let models = outcomes.iter().zip(&variants).filter(|(_, variant)| variant.is_model());
        let models: Vec<&Outcome> = models.map(|(outcome, _)| outcome).collect();
        processors::run(&params.processors, request, &test_set, &models, reporter)
    }
}

/// Checks that what only images with labels have is not asked of anything else.
fn check_for_labels(params: &Params) -> Result<(), Failure> {
    match params.processors.is_empty() {
        true => Ok(()),
        false => Err(Failure::new("`processors` is for a `dataset` of images with labels")
            .hint("leave `processors` out, or compare `predictions` of two machines")),
    }
}

fn check_baseline(params: &Params, variants: &[&str]) -> Result<(), Failure> {
    let Some(baseline) = &params.baseline else { return Ok(()) };
    if variants.contains(&baseline.as_str()) {
        return Ok(());
    }
    let names: Vec<_> = variants.iter().map(|variant| format!("`{variant}`")).collect();
    Err(Failure::new(format!("`baseline` names `{baseline}`, which is no variant of this stage"))
        .hint(format!("variants are {}", names.join(", "))))
}

/// Checks that what only arrays have is not asked of images.
fn check_for_arrays(params: &Params, has_arrays: bool) -> Result<(), Failure> {
    let given = [("labels", params.labels.is_some()), ("scores", params.scores.is_some())];
    match given.iter().find(|(_, is_given)| *is_given && !has_arrays) {
        None => Ok(()),
        Some((param, _)) => {
            Err(Failure::new(format!("`{param}` is for `arrays`, and `dataset` has its own"))
                .hint(format!("leave `{param}` out")))
        }
    }
}

/// How many of what there is.
fn wanted(params: &Params, available: usize, unit: &str) -> Result<usize, Failure> {
    let wanted = params.images.unwrap_or(available);
    if wanted > available {
        return Err(Failure::new(format!("`images` asks for {wanted} {unit}, but there are {available}"))
            .hint("leave `images` out to use all of them"));
    }
    Ok(wanted)
}

fn test_set(params: &Params, path: &Path) -> Result<TestSet, Failure> {
    let dataset = Dataset::read(path)?;
    let available = dataset.test.len();
    let wanted = wanted(params, available, "test images")?;
    let indices = (0..wanted).map(|place| place * available / wanted.max(1)).collect();
    Ok(TestSet { dataset, indices })
}

fn report(
    params: &Params,
    test_set: &TestSet,
    outcomes: &[Outcome],
    reporter: &mut Reporter<'_>,
) -> anyhow::Result<()> {
    let baseline = outcomes.iter().find(|outcome| Some(&outcome.name) == params.baseline.as_ref());
    let total = test_set.indices.len() as u64;
    let (mut comparisons, mut calibrations) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        let Outcome { name, size_kb, predictions } = outcome;
        let [low, high] = wilson_interval(predictions.correct(), total);
        let accuracy = Metric::new(predictions.accuracy(), "%").interval(low, high).basis(test_set.basis());
        reporter.metric(&format!("{name}.accuracy"), accuracy);
        let calibration = Calibration::of(predictions);
        let error = Metric::new(calibration.error(), "points").basis(test_set.basis());
        reporter.metric(&format!("{name}.ece"), error);
        calibrations.push((name.as_str(), calibration));
        if let Some(size) = size_kb {
            reporter.metric(&format!("{name}.size_kb"), Metric::new(*size, "KB"));
        }
        let comparison = baseline
            .filter(|baseline| baseline.name != *name)
            .map(|baseline| Comparison::of(&baseline.predictions, predictions));
        if let Some(comparison) = &comparison {
            let basis = format!("{}, paired", test_set.basis());
            comparison.report(name, &basis, reporter);
            let [low, high] = wilson_interval(comparison.agreeing, total);
            let share = 100.0 * comparison.agreeing as f64 / (total as f64).max(1.0);
            let agreement = Metric::new(share, "%").interval(low, high).basis(&basis);
            reporter.metric(&format!("{name}.agreement"), agreement);
        }
        comparisons.push(comparison);
    }
    if let Some(answer) = baseline.and_then(|it| answer::kept(test_set, it, outcomes, &comparisons)) {
        reporter.figure(answer);
    }
    reporter.figure(figures::summary(test_set, outcomes, &comparisons));
    reporter.figure(figures::by_class(test_set, outcomes));
    reporter.figure(figures::reliability(test_set, &calibrations));
    for (outcome, comparison) in outcomes.iter().zip(&comparisons) {
        reporter.figure(figures::confusion(test_set, outcome));
        if let (Some(baseline), Some(_)) = (baseline, comparison)
            && let Some(figure) = pictures::lost(test_set, baseline, outcome)?
        {
            reporter.figure(figure);
        }
    }
    Ok(())
}

/// A variant against the baseline on the same images, or samples of arrays.
pub(crate) struct Comparison {
    /// Points of accuracy lost; negative where the variant is better.
    drop: f64,
    interval: [f64; 2],
    /// Images that only the baseline gets right.
    lost: u64,
    /// Images that only the variant gets right.
    won: u64,
    /// Exact p-value of McNemar's test.
    p: f64,
    /// Images for which both predict the same class.
    agreeing: u64,
}

impl Comparison {
    fn of(baseline: &Predictions, variant: &Predictions) -> Self {
        let (mut lost, mut won, mut agreeing) = (0, 0, 0);
        for index in 0..baseline.len().min(variant.len()) {
            match (baseline.is_correct(index), variant.is_correct(index)) {
                (true, false) => lost += 1,
                (false, true) => won += 1,
                _ => {}
            }
            agreeing += u64::from(baseline.predicted(index) == variant.predicted(index));
        }
        Self::of_counts(lost, won, agreeing, baseline.len() as u64)
    }

    fn of_counts(lost: u64, won: u64, agreeing: u64, total: u64) -> Self {
        let (drop, interval) = paired_drop(lost, won, total);
        Self { drop, interval, lost, won, p: mcnemar_exact(lost, won), agreeing }
    }

    /// Sends the metrics of how the accuracy of variant `name` differs.
    fn report(&self, name: &str, basis: &str, reporter: &mut Reporter<'_>) {
        let [low, high] = self.interval;
        let drop = Metric::new(self.drop, "points").interval(low, high).basis(basis);
        reporter.metric(&format!("{name}.drop"), drop);
        for (what, value) in [("lost", self.lost as f64), ("won", self.won as f64), ("mcnemar_p", self.p)] {
            reporter.metric(&format!("{name}.{what}"), Metric::new(value, "").basis(basis));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions(classes: &[usize], labels: &[i64]) -> Predictions {
        let logits = classes.iter().flat_map(|&class| (0..3).map(move |c| f32::from(u8::from(c == class))));
        Predictions::new(logits.collect(), 3, labels.to_vec()).unwrap()
    }

    #[test]
    fn the_schema_says_which_numbers_make_sense() {
        let schema = Evaluate.manifest().params;
        for field in ["images", "batch_size"] {
            assert_eq!(schema["properties"][field]["minimum"], 1, "{field}");
        }
    }

    #[test]
    fn a_comparison_counts_discordant_pairs() {
        let labels = [0, 1, 2, 0];
        let comparison =
            Comparison::of(&predictions(&[0, 1, 0, 1], &labels), &predictions(&[1, 1, 0, 2], &labels));
        assert!((comparison.drop - 25.0).abs() < 1e-12);
        assert_eq!(comparison.agreeing, 2);
        assert_eq!((comparison.lost, comparison.won, comparison.p), (1, 0, 1.0));
        let [low, high] = comparison.interval;
        assert!(low < 25.0 && 25.0 < high);
    }
}
