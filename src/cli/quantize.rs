//! `pipe quantize MODEL`: an INT8 model from a float one, without a pipeline: one is made for it in a temporary folder, and
//! forgotten.

mod check;
mod data;
mod input;
mod paths;
mod pipeline;
mod values;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::pipeline::spec::Diagnostic;
use clap::ValueHint;
use record::{ActionRecord, Outcome};
use text::format;

use self::pipeline::{pipeline, usual_weights};
use self::values::{
    ACTIVATIONS, LAYOUT, METHOD, Pixels, ROUNDING, TARGET, finite, percent, pixels, positive, runtime, share,
};
use super::{Context, Global, Selection, output};
use crate::error::{Error, ExitStatus};
use crate::progress;
use crate::workspace::{self, Ask, Concluded, NotPlanned, Workspace};

/// Quantize an ONNX model to INT8, without a pipeline
///
/// Activations get fixed ranges from the images of --data, or with --dynamic new ones in every batch; --check says what that did to the
/// model. For several models, and to keep what was found, write a pipeline: `pipe init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The float model
    #[arg(value_name = "MODEL.onnx", value_hint = ValueHint::FilePath)]
    model: PathBuf,
    /// A file that holds the model's weights, where they are neither in the model itself nor in the files beside it that it
    /// names; may be repeated
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    weights: Vec<PathBuf>,
    /// What to calibrate on: any folder of pictures, an archive, or a dataset that `data/download` made (.safetensors). For a model of
    /// anything else, arrays (.npz, .safetensors, or .npy in a folder): one by the name of each input, whose first axis counts the samples
    #[arg(long, value_name = "DATA", value_hint = ValueHint::AnyPath, required_unless_present = "dynamic")]
    data: Option<PathBuf>,
    /// The layout of --data, unless it is a dataset; where not given, pictures in folders of any names, but for those in a
    /// folder `test`, `val` or the like beside a folder `train`
    #[arg(long, value_name = "FORMAT", value_parser = LAYOUT)]
    format: Option<&'static str>,
    /// Width and height in pixels that all pictures get, as in 224 or 320x240: what sticks out is cut off. Without it they
    /// must have one size already
    #[arg(long, value_name = "SIZE", value_parser = pixels)]
    size: Option<Pixels>,
    /// Largest share of the files of --data that may be left out because they are no pictures that can be read; 0.1 where not
    /// given
    #[arg(long, value_name = "SHARE", value_parser = share)]
    max_left_out: Option<f64>,
    /// Where to write the INT8 model; beside the float one, as MODEL.int8.onnx or with --dynamic as MODEL.int8-dynamic.onnx,
    /// where not given
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Replace the file that the INT8 model is written to, if it is there
    #[arg(long)]
    force: bool,
    /// How ranges are chosen
    #[arg(long, default_value = "auto", value_parser = METHOD)]
    method: &'static str,
    /// What --method percentile keeps of the values, in percent
    #[arg(long, value_name = "P", default_value_t = 99.999, value_parser = percent)]
    percentile: f64,
    /// Mean of each channel that images are normalised with, of pixels scaled to 0..1, where the model does not say it
    #[arg(long, value_name = "M,M,M", value_delimiter = ',', requires = "std", value_parser = finite)]
    mean: Vec<f32>,
    /// Standard deviation of each channel that images are normalised with
    #[arg(long, value_name = "S,S,S", value_delimiter = ',', requires = "mean", value_parser = positive)]
    std: Vec<f32>,
    /// How many images, or samples of arrays, to calibrate on; up to 512 where not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    images: Option<u32>,
    /// Which images: the seed that they are drawn with
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// The processor that the model is for
    #[arg(long, value_name = "CPU", default_value = "x86_64", value_parser = TARGET)]
    target: &'static str,
    /// The oldest ONNX Runtime that is to compute the model in integers, as in 1.15; 1.21 where not given and the model's opset is no
    /// newer than that
    #[arg(long, value_name = "VERSION", value_parser = runtime)]
    runtime: Option<String>,
    /// The 8-bit type of activations; what is fast on the target where not given
    #[arg(long, value_name = "TYPE", value_parser = ACTIVATIONS)]
    activations: Option<&'static str>,
    /// One scale for all the weights of a layer, instead of one for each channel
    #[arg(long)]
    per_tensor: bool,
    /// Balance the ranges of channels between neighbouring layers first: for layers whose channels differ widely, above all
    /// with --per-tensor
    #[arg(long)]
    equalize: bool,
    /// How weights are rounded
    #[arg(long, default_value = "search", value_parser = ROUNDING)]
    rounding: &'static str,
    /// A node to leave in floating point; may be repeated
    #[arg(long, value_name = "NODE")]
    exclude: Vec<String>,
    /// Find the ranges of activations anew in every batch; needs no images
    #[arg(long, conflicts_with_all = ["format", "size", "max_left_out", "method", "percentile", "images", "seed", "mean", "runtime", "activations", "rounding", "equalize"])]
    dynamic: bool,
    /// Compare the INT8 model with the float one afterwards, and time both: accuracy before and after where there are labels, or how
    /// often both say the same; noise by output; where the bytes are
    #[arg(long)]
    check: bool,
    /// What --check compares on, as --data: pictures, a dataset or arrays that were not calibrated on; --data where not given
    #[arg(long, value_name = "DATA", value_hint = ValueHint::AnyPath, requires = "check")]
    check_data: Option<PathBuf>,
    /// Of the arrays that --check compares on, the one that says which class each sample is of, counted from 0
    #[arg(long, value_name = "ARRAY", requires = "check")]
    labels: Option<String>,
    /// How many threads; all cores where not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

/// The stage whose output is wanted.
const STAGE: &str = "quantize";

/// The stage that finds the ranges.
const CALIBRATION: &str = "calibrate";

/// Runs the command.
///
/// # Errors
/// When a file is missing, a plugin is not found, or the model cannot be written.
pub fn run(args: &Args, context: &Context) -> Result<ExitStatus, Error> {
    let start = Instant::now();
    let suffix = if args.dynamic { "int8-dynamic.onnx" } else { "int8.onnx" };
    let target = args.output.clone().unwrap_or_else(|| args.model.with_extension(suffix));
    let beside = usual_weights(&args.model);
    let inputs: Vec<(&PathBuf, &str)> = std::iter::once((&args.model, "the float model"))
        .chain(args.weights.iter().chain(&beside).map(|file| (file, "its weights")))
        .chain(args.data.iter().chain(&args.check_data).map(|data| {
            (data, if data.is_dir() { "a file in the folder of the images" } else { "the images" })
        }))
        .collect();
    for (input, what) in &inputs {
        if is_in(&target, input) && !is_earlier_result(&target, input) {
            return Err(
                Error::usage(format!("the INT8 model would replace {what}")).hint("name another --output")
            );
        }
    }
    let unfinished = unfinished(&target)?;
    if !args.force && fs::symlink_metadata(&target).is_ok() {
        return Err(is_there(&target));
    }
    let cannot = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| Error::failed(format!("cannot {what}: {error}"))
    };
    let folder = tempfile::tempdir().map_err(cannot("make a temporary folder"))?;
    let file = folder.path().join("pipeline.yaml");
    fs::write(&file, pipeline(args, folder.path())?.to_string())
        .map_err(cannot("write to the temporary folder"))?;
    let context =
        Context { global: Global { file, ..context.global.clone() }, cache: None, ..context.clone() };
    let selection = Selection { threads: args.threads, ..Selection::default() };
    let project = context.load(&selection)?;
    // Nothing is looked for in a cache that was made for this run: what is read need not be hashed.
    for file in inputs.iter().map(|(input, _)| *input).filter(|input| input.is_file()) {
        project.store.presume(file)?;
    }
    let workspace = Workspace::open(project, BTreeSet::new(), false)?;
    // The model is looked at before images are read.
    let planned = workspace.plan(Ask::in_passing(), progress::passing(context.color_stderr()));
    let planned = planned.map_err(|refused| match refused {
        NotPlanned::Refused(problems) => told(problems.problems()),
        NotPlanned::Outdated => workspace::outdated(),
        NotPlanned::Failed(error) => error,
    })?;
    let concluded = planned.execute()?.conclude();
    if concluded.record.stages.iter().any(|stage| stage.outcome == Outcome::Interrupted) {
        return Ok(ExitStatus::Interrupted);
    }
    // What failed has said so, and its folder goes.
    let Some((record, made)) = outcome(&concluded) else { return Ok(ExitStatus::Failed) };
    let persisted = fs::copy(&made, unfinished.path()).and_then(|_| {
        let persisted = match args.force {
            true => unfinished.persist(&target),
            // Nobody has put one there meanwhile.
            false => unfinished.persist_noclobber(&target),
        };
        persisted.map_err(|error| error.error)
    });
    match persisted {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(is_there(&target)),
        persisted => persisted.map_err(cannot(&format!("write `{}`", target.display())))?,
    };
    let summary = summary(record, named(&concluded, CALIBRATION), start.elapsed());
    output::print(&format!(" wrote {}   {summary}\n", target.display()))?;
    if !args.check {
        return Ok(ExitStatus::Done);
    }
    let (evaluate, bench) = (named(&concluded, check::EVALUATE), named(&concluded, check::BENCH));
    output::print(&check::told(record.into(), evaluate.map(Into::into), bench.map(Into::into)))?;
    // What failed has said so.
    Ok(if evaluate.is_some() && bench.is_some() { ExitStatus::Done } else { ExitStatus::Failed })
}

fn is_there(target: &Path) -> Error {
    Error::usage(format!("`{}` is there already", target.display()))
        .hint("replace it with --force, or name another --output")
}

/// Whether what is at `target` is an input, or lies in one that is a folder.
fn is_in(target: &Path, input: &Path) -> bool {
    matches!((fs::canonicalize(target), fs::canonicalize(input)), (Ok(target), Ok(input)) if target.starts_with(&input))
}

/// What is wrong, without the stages and places of a pipeline that nobody wrote; what several stages say is said once.
fn told(problems: &[Diagnostic]) -> Error {
    let (mut messages, mut hints) = (Vec::new(), Vec::new());
    for problem in problems {
        let message = problem.message.as_str();
        let named = message.strip_prefix("stage `").and_then(|rest| rest.split_once("`: "));
        let message = named.map_or(message, |(_, message)| message);
        if !messages.contains(&message) {
            messages.push(message);
            hints.extend(&problem.help);
        }
    }
    hints.dedup();
    hints.into_iter().fold(Error::usage(messages.join("\n")), |error, hint| error.hint(hint))
}

/// Whether what is at `target` is a model that lies in a folder of images, as an earlier run leaves it there, and none of them.
fn is_earlier_result(target: &Path, input: &Path) -> bool {
    input.is_dir() && target.extension().is_some_and(|extension| extension == "onnx")
}

/// The record of the stage that made the model, and where that lies.
fn outcome(Concluded { project, records, .. }: &Concluded) -> Option<(&ActionRecord, PathBuf)> {
    let (name, record) = records.iter().find(|(name, _)| name.as_str() == STAGE)?;
    let file = &record.outputs.get("model")?.file;
    Some((record, project.store.artifacts(name).join(file)))
}

/// The record of the stage of that name, if it came to an end.
fn named<'c>(concluded: &'c Concluded, stage: &str) -> Option<&'c ActionRecord> {
    concluded.records.iter().find(|(name, _)| name.as_str() == stage).map(|(_, record)| record)
}

/// Where the model is written before it gets its name, so that it is there whole or not at all, and that what cannot be
/// written is known before anything is done.
fn unfinished(target: &Path) -> Result<tempfile::NamedTempFile, Error> {
    // `folder/` names no file, whether the folder is there or not.
    let names_none = target.as_os_str().as_encoded_bytes().ends_with(b"/") || target.file_name().is_none();
    if names_none || fs::symlink_metadata(target).is_ok_and(|there| !there.is_file()) {
        let what = if names_none { "not the name of a file" } else { "not a file that could be replaced" };
        return Err(Error::usage(format!("`{}` is {what}", target.display())).hint("name another --output"));
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = |what: String| {
        Error::usage(format!("cannot write to `{}`: {what}", folder.display()))
            .hint("name an --output in a folder that is there and may be written to")
    };
    fs::metadata(folder).map_err(|error| cannot(error.to_string()))?;
    // Its message has the name of the temporary file.
    tempfile::Builder::new()
        .prefix(".pipe-")
        .tempfile_in(folder)
        .map_err(|error| cannot(error.kind().to_string()))
}

/// What was made, with which ranges, in a few words.
fn summary(record: &ActionRecord, calibration: Option<&ActionRecord>, took: Duration) -> String {
    let metric = |name: &str| record.metrics.get(name);
    let mut parts = Vec::new();
    if let (Some(size), Some(ratio)) = (metric("size_kb"), metric("size_ratio")) {
        parts.push(format!("{:.1} KB, ×{:.2} of the float model", size.value, ratio.value));
    }
    if let Some(integer) = metric("integer_layers") {
        parts.push(format!("in integers {} of {}", integer.value, integer.basis));
    }
    // Only where methods were chosen tensor by tensor.
    if let Some(ranges) = calibration.and_then(|record| record.metrics.get("fidelity_db")) {
        parts.push(format!("ranges by {}", ranges.basis.replace('`', "")));
    }
    parts.push(format::duration(took));
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn images_are_wanted_unless_it_is_dynamic() {
        Line::try_parse_from(["quantize", "m"]).unwrap_err();
        Line::try_parse_from(["quantize", "m", "--dynamic"]).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_refused_before_anything_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(unfinished(folder.path()).is_err(), "a folder");
        let message = unfinished(&path("missing/m.onnx")).unwrap_err().to_string();
        snapshots::assert_message!(message);
        std::os::unix::fs::symlink("nowhere", path("link")).unwrap();
        assert!(unfinished(&path("link")).is_err());
        assert!(unfinished(Path::new("/dev/null")).is_err());
        for name in ["missing/", "..", "link/"] {
            let message = unfinished(&path(name)).unwrap_err().to_string();
            assert!(message.contains("is not the name of a file"), "{name}: {message}");
        }
        fs::write(path("m.onnx"), "old").unwrap();
        drop(unfinished(&path("m.onnx")).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
    }

    #[test]
    fn no_input_is_replaced_nor_what_is_in_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("set/cats")).unwrap();
        for file in ["m.onnx", "set/cats/1.png", "setting.onnx"] {
            fs::write(at(file), "").unwrap();
        }
        std::os::unix::fs::symlink("set", at("link")).unwrap();
        for (target, input) in [
            ("m.onnx", "m.onnx"),
            ("set/../m.onnx", "m.onnx"),
            ("set/cats/1.png", "set"),
            ("set/cats/1.png", "link"),
        ] {
            assert!(is_in(&at(target), &at(input)), "{target} in {input}");
        }
        fs::write(at("set/m.int8.onnx"), "").unwrap();
        assert!(is_in(&at("set/m.int8.onnx"), &at("set")));
        assert!(is_earlier_result(&at("set/m.int8.onnx"), &at("set")));
        assert!(!is_earlier_result(&at("set/cats/1.png"), &at("set")));
        assert!(!is_earlier_result(&at("m.onnx"), &at("m.onnx")));
        for (target, input) in [("set/new.onnx", "set"), ("setting.onnx", "set"), ("set", "set/cats")] {
            assert!(!is_in(&at(target), &at(input)), "{target} in {input}");
        }
    }

    #[test]
    fn what_several_stages_say_is_said_once_and_without_places() {
        let problem = |message: &str| Diagnostic {
            message: message.into(),
            file: "/tmp/pipeline.yaml".into(),
            location: None,
            snippet: None,
            help: vec!["start again".into()],
        };
        let text = told(&[problem("one"), problem("stage `evaluate`: one"), problem("two")]).to_string();
        assert_eq!((text.matches("one").count(), text.matches("start again").count()), (1, 1), "{text}");
        snapshots::assert_message!(text);
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        for words in [
            ["--percentile", "500"],
            ["--mean", "nan"],
            ["--std", "0"],
            ["--runtime", "1.9"],
            ["--runtime", "1.21.1"],
            ["--images", "0"],
            ["--size", "0"],
            ["--size", "224x"],
            ["--size", "9000x1"],
        ] {
            Line::try_parse_from([&["quantize", "m", "--data", "d"][..], &words].concat()).unwrap_err();
        }
    }
}
