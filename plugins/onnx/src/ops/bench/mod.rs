//! `onnx/bench`: latency of several variants of a model, measured in alternating rounds.
//!
//! Every measurement has a process of its own, so that only one runtime is alive at a time: the threads of an
//! idle ONNX Runtime session spin and would take cores from the one being timed.

mod child;
mod machine;
mod summary;

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use protocol::{
    Failure, InputSpec, KeyScope, OpManifest, Progress, Reporter, Resources, RunRequest, Threads,
    TimeRequest, TimeResult,
};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::ops::manifest_of;
use crate::{library, request};

const VERSION: u32 = 1;

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
    /// Calls before the first timed one in a round, for each of `batches`.
    #[schemars(length(min = 1))]
    warmup_calls: Vec<usize>,
    /// Rounds: in each, every variant is timed once at every batch size, in an order drawn anew.
    #[schemars(range(min = 1))]
    rounds: usize,
    /// Name of the input that speedups are measured against. Without one there are no speedups.
    baseline: Option<String>,
    /// Seed of the input, the order and the bootstrap.
    seed: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            batches: vec![1, 128],
            calls: vec![200, 10],
            warmup_calls: vec![50, 3],
            rounds: 7,
            baseline: None,
            seed: 42,
        }
    }
}

impl Params {
    fn check(&self) -> Result<(), Failure> {
        let count = self.batches.len();
        if count == 0 || self.calls.len() != count || self.warmup_calls.len() != count {
            return Err(Failure::new(format!(
                "`batches` has {count} values, `calls` {} and `warmup_calls` {}",
                self.calls.len(),
                self.warmup_calls.len()
            ))
            .hint("give one number of calls and of warm-up calls for each batch size"));
        }
        if self.batches.contains(&0) || self.calls.contains(&0) || self.rounds == 0 {
            return Err(Failure::new("`batches`, `calls` and `rounds` must be at least 1"));
        }
        let mut sorted = self.batches.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != count {
            return Err(Failure::new("`batches` names a batch size twice"));
        }
        Ok(())
    }
}

/// A model and the executable that times it.
struct Variant {
    name: String,
    model: PathBuf,
    timer: PathBuf,
}

/// The results of one variant at one batch size, a round each.
type Rounds = Vec<TimeResult>;

pub(crate) fn manifest() -> OpManifest {
    OpManifest {
        extra_inputs: Some(InputSpec {
            description:
                "a variant to time under this name: a `.onnx` model, or `.safetensors` weights that \
                          plugin torch times"
                    .into(),
            optional: true,
        }),
        resources: Resources { threads: Threads::All, exclusive: true },
        scope: KeyScope::Hardware,
        companions: vec![COMPANION.into()],
        continues: vec![],
        ..manifest_of::<Params>(
            "Times variants of a model in alternating rounds, each measurement in a process of its own",
            VERSION,
        )
    }
}

pub(crate) fn run(request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
    let params: Params = request::params(request)?;
    params.check()?;
    let variants = variants(request)?;
    if let Some(baseline) = params.baseline.as_ref().filter(|name| !request.inputs.contains_key(*name)) {
        let names: Vec<_> = request.inputs.keys().map(|name| format!("`{name}`")).collect();
        return Err(Failure::new(format!("the baseline `{baseline}` is no input of this stage"))
            .hint(format!("inputs are {}", names.join(", "))));
    }
    reporter.info(format!("{}, {}", machine::cpu_model(), library::int8_support()));
    report_business(reporter);
    let measured = measure(&params, &variants, request.threads, reporter)?;
    summary::report(&params, request.threads, &measured, reporter);
    Ok(())
}

fn variants(request: &RunRequest) -> Result<Vec<Variant>, Failure> {
    if request.inputs.is_empty() {
        return Err(Failure::new("there is nothing to time")
            .hint("give at least one input: a `.onnx` model or `.safetensors` weights"));
    }
    let own = env::current_exe().context("cannot tell where this executable is")?;
    let variant = |(name, model): (&String, &PathBuf)| {
        let timer = match model.extension().and_then(|extension| extension.to_str()) {
            Some("onnx") => {
                request::refuse_external(model)?;
                own.clone()
            }
            Some("safetensors") => request.companions.get(COMPANION).cloned().ok_or_else(|| {
                Failure::new(format!("`{name}` is timed by plugin {COMPANION}, which was not found"))
                    .hint("build it with `cargo build --release -p pipe-torch`, or leave the input out")
            })?,
            _ => {
                return Err(Failure::new(format!(
                    "`{name}` is `{}`: only `.onnx` models and `.safetensors` weights are timed",
                    model.display()
                )));
            }
        };
        Ok(Variant { name: name.clone(), model: model.clone(), timer })
    };
    request.inputs.iter().map(variant).collect()
}

/// Results by variant and batch size, in the order of the rounds.
fn measure(
    params: &Params,
    variants: &[Variant],
    threads: usize,
    reporter: &mut Reporter<'_>,
) -> Result<BTreeMap<(String, usize), Rounds>, Failure> {
    let mut measured: BTreeMap<(String, usize), Rounds> = BTreeMap::new();
    let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
    let total = params.rounds * params.batches.len() * variants.len();
    let mut done = 0;
    for round in 1..=params.rounds {
        for ((&batch, &calls), &warmup_calls) in
            params.batches.iter().zip(&params.calls).zip(&params.warmup_calls)
        {
            let mut order: Vec<&Variant> = variants.iter().collect();
            order.shuffle(&mut rng);
            for variant in order {
                reporter.progress(Progress {
                    done: done as f64,
                    total: total as f64,
                    unit: "measurement".into(),
                    text: format!("round {round}/{} · {} · batch {batch}", params.rounds, variant.name),
                    milestone: false,
                });
                let asked = TimeRequest {
                    model: variant.model.clone(),
                    batches: vec![batch],
                    threads,
                    warmup_calls,
                    calls,
                    seed: params.seed,
                };
                let result = child::time(&variant.timer, &asked)
                    .with_context(|| format!("cannot time `{}` at batch {batch}", variant.name))?;
                measured.entry((variant.name.clone(), batch)).or_default().push(result);
                done += 1;
            }
        }
    }
    Ok(measured)
}

/// Logs how busy the machine is; warns where others use it before the first measurement.
fn report_business(reporter: &mut Reporter<'_>) {
    let Some(busy) = machine::busy_cpus(Duration::from_millis(300)) else { return };
    let message = format!("{busy:.2} CPUs busy before the first measurement");
    if busy > 0.25 {
        reporter.warn(format!("{message}: something else is running, and the times will be noisy"));
    } else {
        reporter.info(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn params_must_fit_together() {
        assert!(Params::default().check().is_ok());
        let refused = [
            Params { batches: vec![], ..Params::default() },
            Params { calls: vec![10], ..Params::default() },
            Params { warmup_calls: vec![1, 2, 3], ..Params::default() },
            Params { batches: vec![1, 1], ..Params::default() },
            Params { batches: vec![0, 1], ..Params::default() },
            Params { rounds: 0, ..Params::default() },
        ];
        for params in refused {
            assert!(params.check().is_err(), "{params:?}");
        }
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
        };
        assert!(variants(&request("/m.onnx")).is_ok());
        let failure = variants(&request("/w.safetensors")).err().map(|failure| format!("{failure:?}"));
        assert!(failure.is_some_and(|text| text.contains("`fp32` is timed by plugin torch")));
        assert!(variants(&request("/m.tflite")).is_err());
        let nothing = RunRequest { inputs: BTreeMap::new(), ..request("/m.onnx") };
        assert!(variants(&nothing).is_err());
    }
}
