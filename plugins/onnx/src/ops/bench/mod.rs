//! `onnx/bench`: latency of several variants of a model, measured in alternating rounds.
//!
//! Every measurement has a process of its own, so that only one runtime is alive at a time: the threads of an
//! idle ONNX Runtime session spin and would take cores from the one being timed.

mod answer;
mod child;
mod figures;
mod machine;
mod measurement;
mod outcome;
mod patience;
mod rounds;
mod summary;
mod watch;

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context;
use dataset::Outline;
use onnx::DataFiles;
use protocol::{
    CheckRequest, Failure, InputSpec, KeyScope, Op, OpManifest, Problem, Reporter, Resources, RunRequest,
    Threads, counted,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::executed::{Arithmetic, Counts};
use crate::ops::{RUNTIME, problems};
use crate::{executed, library, request};

/// The companion plugin that times `.safetensors` weights.
const COMPANION: &str = "torch";

/// Params of `onnx/bench`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Params {
    /// Images per call, for each measurement.
    #[schemars(length(min = 1), inner(range(min = 1)))]
    batches: Vec<usize>,
    /// Timed calls in a round, for each of `batches`.
    #[schemars(length(min = 1), inner(range(min = 1)))]
    calls: Vec<usize>,
    /// Fewest calls before the first timed one in a round, for each of `batches`; more until calls no longer become
    /// faster.
    #[schemars(length(min = 1))]
    warmup_calls: Vec<usize>,
    /// Numbers of threads to time with, no more than the stage has; where absent, the stage's.
    #[schemars(length(min = 1), inner(range(min = 1)))]
    threads: Option<Vec<usize>>,
    /// Rounds: in each, every variant is timed once at every batch size, in an order drawn anew.
    #[schemars(range(min = 1))]
    rounds: usize,
    /// Name of the input that speedups are measured against. Without one there are no speedups.
    baseline: Option<String>,
    /// Widest 95 % interval of a median, as a share of it, with which it is still stated. What is less certain is too
    /// noisy, and has no metrics.
    #[schemars(range(min = 0))]
    max_interval: f64,
    /// CPUs that others may keep busy beside a measurement before it counts as disturbed and is made again. Where absent,
    /// a quarter of a CPU or a tenth of the threads, whichever is more, and half of the CPUs left free.
    #[schemars(range(min = 0))]
    max_others: Option<f64>,
    /// How many times as long as undisturbed the bench may take beside others at work, before it gives up and states nothing.
    #[schemars(range(min = 1))]
    patience: f64,
    /// Seed of the input and of the order.
    seed: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            batches: vec![1, 128],
            calls: vec![200, 10],
            warmup_calls: vec![50, 3],
            threads: None,
            rounds: 7,
            baseline: None,
            max_interval: 1.0,
            max_others: None,
            patience: 3.0,
            seed: 42,
        }
    }
}

impl Params {
    /// What the schema cannot say.
    fn check(&self) -> Result<(), Failure> {
        let count = self.batches.len();
        if self.calls.len() != count || self.warmup_calls.len() != count {
            return Err(Failure::new(format!(
                "`batches` has {}, `calls` {} and `warmup_calls` {}",
                counted(count, "value", "values"),
                self.calls.len(),
                self.warmup_calls.len()
            ))
            .hint("give one number of calls and of warm-up calls for each batch size"));
        }
        if repeats(&self.batches) {
            return Err(Failure::new("`batches` names a batch size twice"));
        }
        if self.threads.as_ref().is_some_and(|threads| repeats(threads)) {
            return Err(Failure::new("`threads` names a number twice"));
        }
        if self.max_interval <= 0.0 {
            return Err(Failure::new("`max_interval` is 0, but must be above 0")
                .hint("0.5 refuses medians whose 95 % interval is wider than half of them"));
        }
        Ok(())
    }

    /// The numbers of threads to time with, where the stage has `available`, and what is to be said of those that are more.
    fn threads(&self, available: usize) -> Result<(Vec<usize>, Option<String>), Failure> {
        let Some(asked) = &self.threads else { return Ok((vec![available], None)) };
        let (fit, too_many): (Vec<usize>, Vec<usize>) =
            asked.iter().partition(|&&threads| threads <= available);
        let list: Vec<_> = too_many.iter().map(ToString::to_string).collect();
        let message = format!(
            "`threads` asks for {}, but this stage has {}",
            list.join(", "),
            request::threads(available)
        );
        if fit.is_empty() && !too_many.is_empty() {
            return Err(Failure::new(message)
                .hint("leave `threads` out to time with those that it has, or raise `pipe run --threads`"));
        }
        Ok((fit, (!too_many.is_empty()).then(|| format!("{message}: not timed"))))
    }
}

fn repeats(numbers: &[usize]) -> bool {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| matches!(pair, [one, two] if one == two))
}

/// A model and the executable that times it.
pub(crate) struct Variant {
    name: String,
    model: PathBuf,
    /// Files with its weights, by the location that it names.
    data: DataFiles,
    timer: PathBuf,
}

/// Names of all that it may report.
fn metrics() -> Vec<String> {
    let timed = [
        ("{input}", "median_ms"),
        ("{input}", "p95_ms"),
        ("{input}", "images_per_second"),
        ("{input but with.baseline}", "speedup"),
        ("{input}", "first_result_ms"),
    ];
    let places = ["batch{with.batches}", "batch{with.batches}{if with.threads}.threads{with.threads}"];
    let timed =
        places.iter().flat_map(|place| timed.map(|(variant, name)| format!("{variant}.{place}.{name}")));
    let loading = ["load_ms", "peak_memory_kb"].map(|name| format!("{{input}}.{name}"));
    let counts = ["measured_again", "disturbed"].map(String::from);
    timed.chain(loading).chain(counts).collect()
}

/// The op.
pub(crate) struct Bench;

impl Op for Bench {
    const NAME: &'static str = "bench";
    const VERSION: u32 = 3;
    const DESCRIPTION: &'static str =
        "Times variants of a model in alternating rounds, each measurement in a process of its own";
    const NATIVES: &'static [&'static str] = &[RUNTIME];
    const CHECKS: bool = true;
    type Params = Params;

    fn manifest(&self) -> OpManifest {
        let variant = "a variant to time under this name: a `.onnx` model, or `.safetensors` weights that plugin torch times; or \
                       a file, or a folder of files, in which weights of such a model lie";
        OpManifest {
            extra_inputs: Some(InputSpec::optional(variant)),
            resources: Resources { threads: Threads::All, exclusive: true },
            scope: KeyScope::Hardware,
            companions: vec![COMPANION.into()],
            metrics: Some(metrics()),
            ..OpManifest::of(self)
        }
        .with_time(&["with.rounds"], &["with.seed", "with.baseline", "with.max_interval", "with.max_others"])
    }

    fn check(&self, params: &Params, request: &CheckRequest) -> Vec<Problem> {
        let baseline = check_baseline(params, request.inputs.iter());
        let nothing = request.inputs.is_empty().then(nothing_to_time);
        let threads = params.threads(request.threads).err();
        let found = [params.check().err(), threads, baseline.err(), nothing];
        let mut found = problems(found.into_iter().flatten(), request);
        found.extend(request.present.iter().filter_map(|(name, path)| dataset_as_variant(name, path)));
        found
    }

    fn run(&self, params: Params, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        let variants = variants(request)?;
        reporter.info(format!("{}, {}", machine::cpu_model(), library::int8_support()));
        let (threads, too_many) = params.threads(request.threads)?;
        if let Some(too_many) = too_many {
            reporter.warn(too_many);
        }
        let (measured, gave_up) = rounds::measure(&params, &variants, &threads, reporter)?;
        let (ratios, noise) = summary::report(&params, request.threads, &measured, gave_up, reporter);
        if let Some(noise) = noise {
            reporter.provisional(noise);
        }
        if let Some(baseline) = &params.baseline {
            let executed = executed(&variants, &request.resume_dir, reporter);
            if let Some(answer) = answer::why(baseline, &ratios, &executed) {
                reporter.figure(answer);
            }
        }
        Ok(())
    }
}

fn check_baseline<'a>(
    params: &Params,
    inputs: impl Iterator<Item = &'a String> + Clone,
) -> Result<(), Failure> {
    let Some(baseline) = &params.baseline else { return Ok(()) };
    if inputs.clone().any(|name| name == baseline) {
        return Ok(());
    }
    let names: Vec<_> = inputs.map(|name| format!("`{name}`")).collect();
    Err(Failure::new(format!("`baseline` names `{baseline}`, which is no input of this stage"))
        .hint(format!("inputs are {}", names.join(", "))))
}

/// That an input is a dataset, which other ops have among their inputs.
fn dataset_as_variant(name: &str, path: &Path) -> Option<Problem> {
    Outline::read(path).ok()?;
    let failure = Failure::new(format!("`{name}` is a dataset, which is nothing to time"))
        .hint("leave it out: what models are timed on is made up");
    Some(Problem::from(failure).input(name))
}

fn nothing_to_time() -> Failure {
    Failure::new("there is nothing to time")
        .hint("give at least one input: a `.onnx` model or `.safetensors` weights")
}

/// What ONNX Runtime executes for each variant that it runs, as far as its graph can be read: what was measured holds
/// without.
fn executed(variants: &[Variant], scratch: &Path, reporter: &mut Reporter<'_>) -> BTreeMap<String, Counts> {
    let own = variants.iter().filter(|variant| variant.model.extension().is_some_and(|it| it == "onnx"));
    let mut all = BTreeMap::new();
    for Variant { name, model, data, .. } in own {
        let source = format!("`{}`", model.display());
        let read = regular::read(model).with_context(|| format!("cannot read {source}"));
        match read.and_then(|bytes| executed::load(&bytes, data, source, 1, scratch)) {
            Ok((_, graph)) => drop(all.insert(name.clone(), Counts::of(&Arithmetic::of(&graph)))),
            Err(error) => reporter.info(format!("what is executed for `{name}` cannot be told: {error:#}")),
        }
    }
    all
}

fn variants(request: &RunRequest) -> Result<Vec<Variant>, Failure> {
    if request.inputs.is_empty() {
        return Err(nothing_to_time());
    }
    let own = env::current_exe().context("cannot tell where this executable is")?;
    let (mut variants, mut others) = (Vec::new(), Vec::new());
    for (name, model) in &request.inputs {
        let (timer, data) = match model.extension().and_then(|extension| extension.to_str()) {
            Some("onnx") => (own.clone(), request::data_files(request, name, model)?),
            Some("safetensors") => {
                let timer = request.companions.get(COMPANION).cloned().ok_or_else(|| {
                    Failure::new(format!("`{name}` is timed by plugin {COMPANION}, which was not found"))
                        .hint("build it with `cargo build --release -p pipe-torch`, or leave the input out")
                })?;
                (timer, DataFiles::new())
            }
            _ => {
                others.push((name, model));
                continue;
            }
        };
        variants.push(Variant { name: name.clone(), model: model.clone(), data, timer });
    }
    let holds_data = |path: &Path| {
        let mut data = variants.iter().flat_map(|variant| &variant.data);
        data.any(|(location, real)| request::holds(path, location, real))
    };
    match others.into_iter().find(|(_, path)| !holds_data(path)) {
        Some((name, path)) => Err(Failure::new(format!(
            "`{name}` is `{}`: only `.onnx` models and `.safetensors` weights are timed, and no weights of these models lie in it",
            path.display()
        ))),
        None => Ok(variants),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn params_must_make_sense_and_fit_together() {
        let checked = |params: Value| -> Result<(), String> {
            let params = protocol::params::<Params>(&params).map_err(|problems| format!("{problems:?}"))?;
            params.check().map_err(|failure| format!("{failure:?}"))
        };
        assert_eq!(checked(json!({})), Ok(()));
        for (params, expected) in [
            (json!({"batches": []}), "`batches` must have at least 1 of its items"),
            (json!({"calls": [10]}), "`batches` has 2 values, `calls` 1"),
            (json!({"warmup_calls": [1, 2, 3]}), "`warmup_calls` 3"),
            (json!({"batches": [1, 1]}), "`batches` names a batch size twice"),
            (json!({"batches": [0, 1]}), "`batches[0]` is 0, but must be at least 1"),
            (json!({"calls": [200, 0]}), "`calls[1]` is 0, but must be at least 1"),
            (json!({"rounds": 0}), "`rounds` is 0, but must be at least 1"),
            (json!({"threads": []}), "`threads` must have at least 1 of its items; or leave it out"),
            (json!({"threads": [2, 0]}), "`threads[1]` is 0, but must be at least 1"),
            (json!({"threads": [2, 1, 2]}), "`threads` names a number twice"),
            (json!({"max_interval": 0.0}), "`max_interval` is 0, but must be above 0"),
            (json!({"max_others": -1.0}), "`max_others` is -1, but must be at least 0; or leave it out"),
            (json!({"patience": 0.9}), "`patience` is 0.9, but must be at least 1"),
        ] {
            let message = checked(params).unwrap_err();
            assert!(message.contains(expected), "{message}\nlacks {expected}");
        }
    }

    #[test]
    fn more_threads_than_there_are_are_left_out_aloud() {
        let chosen = |asked: Option<Vec<usize>>, available| {
            let params = Params { threads: asked, ..Params::default() };
            params.threads(available).map_err(|failure| format!("{failure:?}"))
        };
        assert_eq!(chosen(None, 3), Ok((vec![3], None)));
        assert_eq!(chosen(Some(vec![4, 1]), 4), Ok((vec![4, 1], None)));
        let said = "`threads` asks for 8, 4, but this stage has 2 threads: not timed".to_owned();
        assert_eq!(chosen(Some(vec![8, 1, 4]), 2), Ok((vec![1], Some(said))));
        assert!(chosen(Some(vec![8]), 1).unwrap_err().contains("asks for 8, but this stage has 1 thread"));
    }

    #[test]
    fn weights_need_the_companion_and_other_files_are_refused() {
        let request = |file: &str| RunRequest {
            op: "bench".into(),
            params: serde_json::json!({}),
            inputs: BTreeMap::from([("fp32".into(), PathBuf::from(file))]),
            outputs: BTreeMap::new(),
            threads: 1,
            resume_dir: PathBuf::new(),
            continue_dir: None,
            companions: BTreeMap::new(),
            ignore: None,
        };
        assert!(variants(&request("/m.onnx")).is_ok());
        let failure = variants(&request("/w.safetensors")).err().map(|failure| format!("{failure:?}"));
        assert!(failure.is_some_and(|text| text.contains("`fp32` is timed by plugin torch")));
        assert!(variants(&request("/m.tflite")).is_err());
        let nothing = RunRequest { inputs: BTreeMap::new(), ..request("/m.onnx") };
        assert!(variants(&nothing).is_err());
    }
}
