//! `onnx/bench`: latency of several variants of a model, measured in alternating rounds, on images that are made up or on arrays.
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
mod variants;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use arrays::Source;
use dataset::Outline;
use protocol::{
    CheckRequest, Failure, InputSpec, KeyScope, Op, OpManifest, Problem, Reporter, Resources, RunRequest,
    Threads, counted,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::executed::{Arithmetic, Counts};
use crate::ops::{RUNTIME, arrays_input, known, problems};
use crate::samples::ARRAYS;
use crate::{executed, library, request};
pub(crate) use child::die_with_this_process;
use variants::{Shown, Variant, check_calls, nothing_to_time, variants};

/// Name of the input that says how large images are.
const DATASET: &str = "dataset";

/// The inputs that are no variants.
const DATA: [&str; 2] = [DATASET, ARRAYS];

/// The companion plugin that times `.safetensors` weights.
const COMPANION: &str = "torch";

/// Params of `onnx/bench`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Params {
    /// Images (or samples of arrays) per call, for each measurement.
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

    fn inputs(&self) -> Vec<(&'static str, InputSpec)> {
        let dataset = "images whose height and width models get that leave them open; what they are timed on is made up all the same";
        vec![(DATASET, InputSpec::optional(dataset)), arrays_input("the samples to time on")]
    }

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
        .with_time(
            &["with.rounds"],
            &[
                "with.seed",
                "with.baseline",
                "with.max_interval",
                "with.max_others",
                "inputs.dataset",
                "inputs.arrays",
            ],
        )
    }

    fn check(&self, params: &Params, request: &CheckRequest) -> Vec<Problem> {
        let variants = || request.inputs.iter().filter(|name| !DATA.contains(&name.as_str()));
        let baseline = check_baseline(params, variants());
        let nothing = variants().next().is_none().then(nothing_to_time);
        let both = request.inputs.contains(DATASET) && request.inputs.contains(ARRAYS);
        let both = both.then(|| {
            Failure::new("both `dataset` and `arrays` are given, and models are timed on one of them")
        });
        let unreadable = request.present.get(ARRAYS).and_then(|path| Source::open(path).err());
        let unreadable = unreadable.map(|error| anyhow::Error::from(error).into());
        let threads = params.threads(request.threads).err();
        let found = [params.check().err(), threads, baseline.err(), nothing, both, unreadable];
        let mut found = problems(found.into_iter().flatten(), request);
        let there = request.present.iter().filter(|(name, _)| !DATA.contains(&name.as_str()));
        found.extend(there.clone().filter_map(|(name, path)| dataset_as_variant(name, path)));
        if request.inputs.contains(ARRAYS) {
            found.extend(there.filter_map(|(name, path)| known::given_arrays(request, name, path)));
        }
        found
    }

    fn run(&self, params: Params, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        let shown = Shown::of_request(request)?;
        let unit = shown.unit();
        let variants = variants(request, &shown)?;
        check_calls(&params, &variants)?;
        reporter.info(format!("{}, {}", machine::cpu_model(), library::int8_support()));
        let (threads, too_many) = params.threads(request.threads)?;
        if let Some(too_many) = too_many {
            reporter.warn(too_many);
        }
        let (measured, gave_up) = rounds::measure(&params, &variants, &threads, reporter)?;
        let (ratios, noise) = summary::report(&params, request.threads, &measured, gave_up, unit, reporter);
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
        .hint("leave it out: what models are timed on is made up; or call it `dataset` where they leave height and width open");
    Some(Problem::from(failure).input(name))
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

#[cfg(test)]
mod tests {
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
}
