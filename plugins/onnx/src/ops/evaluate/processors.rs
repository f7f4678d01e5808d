//! The same models on other processors: this plugin once more, started by qemu as one that it emulates, evaluates the same variants, and
//! what they predict there is held against what they predicted here. Knows processes and predictions, not what runs the models.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use dataset::{Predictions, wilson_interval};
use protocol::{
    Cell, Column, Content, Failure, Figure, FromPlugin, Metric, PROTOCOL_VERSION, Progress, Reporter,
    RunRequest, ToPlugin,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Outcome, TestSet};
use crate::ops::bench::die_with_this_process;

/// A processor that qemu emulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Processor {
    /// x86-64 with AVX2 and without VNNI (2013).
    Haswell,
    /// x86-64 with AVX and without AVX2 (2011).
    Sandybridge,
    /// 64-bit Arm without a dot product of bytes (2015), on an Arm machine.
    CortexA72,
    /// 64-bit Arm with one (2019), on an Arm machine.
    NeoverseN1,
}

/// The oldest qemu that emulates AVX and AVX2: older ones leave them out, and so are another processor than they say.
const OLDEST: (u32, u32) = (7, 2);

impl Processor {
    /// What metrics and users call it, and what qemu does.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Haswell => ("haswell", "Haswell"),
            Self::Sandybridge => ("sandybridge", "SandyBridge"),
            Self::CortexA72 => ("cortex_a72", "cortex-a72"),
            Self::NeoverseN1 => ("neoverse_n1", "neoverse-n1"),
        }
    }

    fn architecture(self) -> &'static str {
        match self {
            Self::Haswell | Self::Sandybridge => "x86_64",
            Self::CortexA72 | Self::NeoverseN1 => "aarch64",
        }
    }
}

/// A qemu that starts programs of this machine's architecture.
struct Emulator {
    program: String,
    version: String,
}

/// Checks that these processors can be had here.
pub(super) fn check(processors: &[Processor]) -> Result<(), Failure> {
    if processors.is_empty() { Ok(()) } else { Emulator::find(processors).map(drop) }
}

impl Emulator {
    /// # Errors
    /// Where it is not installed, or too old, or a processor is of another architecture than this program.
    fn find(processors: &[Processor]) -> Result<Self, Failure> {
        let own = std::env::consts::ARCH;
        if let Some(other) = processors.iter().find(|processor| processor.architecture() != own) {
            let name = other.names().0;
            return Err(Failure::new(format!(
                "`processors` names `{name}`, and programs for {own} do not run on it"
            ))
            .hint(format!("evaluate for `{name}` on a machine of {}", other.architecture())));
        }
        let program = format!("qemu-{own}");
        let install = "install qemu-user, 7.2 or newer (on Debian and Ubuntu: `apt-get install qemu-user`), or leave `processors` out";
        let said = Command::new(&program).arg("--version").output();
        let said = said.map_err(|error| {
            Failure::new(format!("`processors` needs `{program}`, which cannot be started: {error}"))
                .hint(install)
        })?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let version =
            text.split_whitespace().skip_while(|word| *word != "version").nth(1).unwrap_or_default();
        let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
        match (numbers.next(), numbers.next()) {
            (Some(major), Some(minor)) if (major, minor) >= OLDEST => {
                Ok(Self { program, version: version.to_owned() })
            }
            _ => Err(Failure::new(format!(
                "`{program}` says that it is version `{version}`; those before 7.2 know no AVX, and would be another processor"
            ))
            .hint(install)),
        }
    }

    /// Evaluates as `request` says, on `processor`.
    fn run(
        &self,
        processor: Processor,
        request: RunRequest,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let mut command = Command::new(&self.program);
        let plugin = std::env::current_exe().context("cannot find the program of this plugin")?;
        command.args(["-cpu", processor.names().1]).arg(plugin);
        // qemu warns of features that it leaves out, on each start.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        die_with_this_process(&mut command);
        let child = command.spawn().with_context(|| format!("cannot start `{}`", self.program))?;
        converse(child, request, progress)
    }
}

/// Asks a plugin for one thing, and waits until that is done.
fn converse(mut child: Child, request: RunRequest, progress: &mut dyn FnMut(Progress)) -> Result<()> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        bail!("a started process has no pipes");
    };
    let mut lines = Vec::new();
    for message in [ToPlugin::Hello { version: PROTOCOL_VERSION }, ToPlugin::Run(Box::new(request))] {
        serde_json::to_writer(&mut lines, &message).context("cannot write a request")?;
        lines.push(b'\n');
    }
    // One that died early says more by how it ended.
    let _ = stdin.write_all(&lines);
    let mut outcome = None;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("standard output of the emulated plugin")?;
        match serde_json::from_str(&line).with_context(|| format!("the emulated plugin said `{line}`"))? {
            FromPlugin::Progress(told) => progress(told),
            FromPlugin::Done { .. } => outcome = Some(Ok(())),
            FromPlugin::Failed { message, .. } => outcome = Some(Err(anyhow!(message))),
            _ => {}
        }
    }
    let status = child.wait().context("cannot wait for the emulated plugin")?;
    // Its end would have meant that nobody wants an answer any more.
    drop(stdin);
    outcome.unwrap_or_else(|| bail!("the emulated plugin ended with {status} and no answer"))
}

/// What a variant predicts on another processor, held against what it predicts here.
#[derive(Debug, PartialEq)]
struct Compared {
    accuracy: f64,
    interval: [f64; 2],
    /// Images that get the same class.
    same: u64,
    /// Images of whose logits any differs in any bit.
    differ: u64,
    /// Largest difference of a logit.
    largest: f32,
}

impl Compared {
    fn of(here: &Predictions, there: &Predictions) -> Result<Self> {
        if here.logits.len() != there.logits.len() || here.classes != there.classes {
            bail!("there are predictions of other images");
        }
        let rows = || here.logits.chunks_exact(here.classes).zip(there.logits.chunks_exact(here.classes));
        let differs = |(one, other): &(&[f32], &[f32])| {
            one.iter().zip(*other).any(|(one, other)| one.to_bits() != other.to_bits())
        };
        let pairs = here.logits.iter().zip(&there.logits);
        let total = there.len() as u64;
        Ok(Self {
            accuracy: there.accuracy(),
            interval: wilson_interval(there.correct(), total),
            same: (0..here.len()).filter(|&image| here.predicted(image) == there.predicted(image)).count()
                as u64,
            differ: rows().filter(differs).count() as u64,
            largest: pairs.map(|(one, other)| (one - other).abs()).fold(0.0, f32::max),
        })
    }
}

/// Evaluates the variants that are models on other processors, too, and reports. What they predict there is not kept.
///
/// # Errors
/// Where there is no qemu for it, or what it starts fails.
pub(super) fn run(
    processors: &[Processor],
    request: &RunRequest,
    test_set: &TestSet,
    models: &[&Outcome],
    reporter: &mut Reporter<'_>,
) -> Result<(), Failure> {
    if processors.is_empty() || models.is_empty() {
        return Ok(());
    }
    let emulator = Emulator::find(processors)?;
    let mut rows = Vec::new();
    for &processor in processors {
        let (name, model) = processor.names();
        let folder = request.resume_dir.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        let mut progress = |told: Progress| {
            reporter.progress(Progress { text: format!("{name}: {}", told.text), ..told });
        };
        emulator
            .run(processor, emulated(request, &folder), &mut progress)
            .with_context(|| format!("cannot evaluate as {model}, emulated by qemu"))?;
        let basis = format!("{}, by qemu {} as {model}", test_set.basis(), emulator.version);
        for outcome in models {
            let there = Predictions::read(&folder.join(format!("{}.safetensors", outcome.name)))?;
            let compared = Compared::of(&outcome.predictions, &there)?;
            report(&outcome.name, name, &compared, there.len(), &basis, reporter);
            rows.push(row(&outcome.name, model, &compared, there.len()));
        }
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
    }
    reporter.figure(figure(&emulator.version, test_set, rows));
    Ok(())
}

/// The same once more, without other processors, with predictions into a folder of its own.
fn emulated(request: &RunRequest, folder: &Path) -> RunRequest {
    let mut request = request.clone();
    if let Value::Object(params) = &mut request.params {
        params.remove("processors");
    }
    request.outputs.insert("predictions".into(), folder.into());
    request
}

fn share(count: u64, total: usize) -> f64 {
    100.0 * count as f64 / (total as f64).max(1.0)
}

fn report(
    variant: &str,
    processor: &str,
    found: &Compared,
    total: usize,
    basis: &str,
    reporter: &mut Reporter<'_>,
) {
    let [low, high] = found.interval;
    let accuracy = Metric::new(found.accuracy, "%").interval(low, high).basis(basis);
    reporter.metric(&format!("{variant}.{processor}_accuracy"), accuracy);
    let [low, high] = wilson_interval(found.same, total as u64);
    let agreement = Metric::new(share(found.same, total), "%").interval(low, high).basis(basis);
    reporter.metric(&format!("{variant}.{processor}_agreement"), agreement);
    let differ = Metric::new(found.differ as f64, "").basis(basis);
    reporter.metric(&format!("{variant}.{processor}_differ"), differ);
}

fn row(variant: &str, processor: &str, found: &Compared, total: usize) -> Vec<Cell> {
    vec![
        Cell::Text(variant.to_owned()),
        Cell::Text(processor.to_owned()),
        Cell::Number(found.accuracy),
        Cell::Number(share(found.same, total)),
        Cell::Number(found.differ as f64),
        Cell::Number(f64::from(found.largest)),
    ]
}

fn figure(version: &str, test_set: &TestSet, rows: Vec<Vec<Cell>>) -> Figure {
    Figure {
        id: "processors".into(),
        title: "The same on other processors".into(),
        caption: format!(
            "On {}, emulated by qemu {version}, against what the same model says on the machine that evaluated: how many images get the \
             same class, of how many any logit differs in any bit, and by how much at most.",
            test_set.basis()
        ),
        content: Content::Table {
            columns: vec![
                Column::new("variant", "", 0),
                Column::new("processor", "", 0),
                Column::new("accuracy", "%", 2),
                Column::new("same class", "%", 2),
                Column::new("other bits", "images", 0),
                Column::new("largest difference", "", 4),
            ],
            rows,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Problem;

    #[test]
    fn a_difference_is_counted_by_image_and_by_class() {
        let of = |logits: [f32; 6]| Predictions::new(logits.to_vec(), 2, vec![0, 1, 1]).unwrap();
        let here = of([1.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
        let there = of([1.0, 0.0, 0.25, 1.0, 3.0, 1.0]);
        let found = Compared::of(&here, &there).unwrap();
        assert_eq!((found.same, found.differ, found.largest), (2, 2, 3.0));
        assert!((found.accuracy - 200.0 / 3.0).abs() < 1e-9);
        let fewer = Predictions::new(vec![1.0, 0.0], 2, vec![0]).unwrap();
        assert!(Compared::of(&here, &fewer).is_err());
    }

    #[test]
    fn another_architecture_is_refused() {
        let other = if cfg!(target_arch = "x86_64") { Processor::CortexA72 } else { Processor::Haswell };
        let Err(failure) = Emulator::find(&[other]) else { panic!("it should have been refused") };
        assert!(Problem::from(failure).message.contains("do not run on it"));
    }
}
