//! The model that a stage is given, with the files that hold its weights: read, measured and hashed, and refused where a file
//! is not declared. Knows requests and paths; asks the runtime only for types of tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use onnx::DataFiles;
use protocol::{Failure, RunRequest, counted};

use crate::runtime::told;

/// Name of the input that is a file beside the model with its weights, or a folder with several.
pub(crate) const WEIGHTS: &str = "weights";

/// The inputs of a stage by name.
type Inputs = BTreeMap<String, PathBuf>;

/// The model that input `model` is, with types of its tensors as far as anybody knows them. Weights in files beside it must be
/// declared: what a stage does not declare may change without making it stale.
pub(crate) fn model(request: &RunRequest) -> Result<onnx::Model, Failure> {
    float(request).map(|(model, _)| model)
}

/// As [`model`], and whether the file's computes in 16-bit floats, which are 32-bit ones here.
pub(crate) fn float(request: &RunRequest) -> Result<(onnx::Model, bool), Failure> {
    let model = read(request.input("model")?, &request.inputs)?;
    let wide = model.widened();
    let is_half = wide.is_some();
    let mut model = wide.unwrap_or(model);
    let untold = untold(&model);
    if !untold.is_empty() {
        // Where ONNX Runtime does not load it, whoever runs it says so.
        model.graph.hints.extend(told::types(&model, &untold).unwrap_or_default());
    }
    Ok((model, is_half))
}

/// Tensors of which neither rules nor the file tell all there is to know. None of a model that contradicts itself.
pub(crate) fn untold(model: &onnx::Model) -> Vec<String> {
    let simple = model.simplified();
    let shapes = simple.and_then(|simple| Ok((onnx::Shapes::infer(&simple.graph)?, simple)));
    shapes.map(|(shapes, simple)| shapes.untold(&simple.graph)).unwrap_or_default()
}

/// As [`model`], of a stage with these inputs, before a runtime is asked.
pub(crate) fn model_at(path: &Path, inputs: &Inputs) -> Result<onnx::Model, Failure> {
    let model = read(path, inputs)?;
    Ok(model.widened().unwrap_or(model))
}

fn read(path: &Path, inputs: &Inputs) -> Result<onnx::Model, Failure> {
    let (model, files) = onnx::Model::read_with(path, &paths(inputs)).map_err(|error| unread(error, HINT))?;
    check_declared(inputs, path, &files, HINT)?;
    check_needed(inputs, path, &files)?;
    Ok(model)
}

const HINT: &str = "`pipe quantize`: name it with `--weights`, once for each file; in a pipeline: give it as the input `weights`, and where \
                    there are several, give a folder that holds them all";

/// Checks that what is declared as weights of the model at `path` holds some: what is read for nothing was taken for something
/// else. The file that exporters put beside a model may be there without.
fn check_needed(inputs: &Inputs, path: &Path, files: &DataFiles) -> Result<(), Failure> {
    let Some(weights) = inputs.get(WEIGHTS) else { return Ok(()) };
    let mut usual = path.as_os_str().to_owned();
    usual.push(".data");
    if weights.as_os_str() == usual || files.iter().any(|(location, real)| holds(weights, location, real)) {
        return Ok(());
    }
    let held = match files.is_empty() {
        true => "it holds them itself".to_owned(),
        false => {
            let names: Vec<_> = files.keys().map(|name| format!("`{name}`")).collect();
            format!("they lie in {}", names.join(", "))
        }
    };
    let message = format!(
        "no weights of `{}` lie in `{}`, given as its weights: {held}",
        path.display(),
        weights.display()
    );
    Err(Failure::new(message)
        .hint("leave it out (for `pipe quantize`: `--weights`), or name the file that the model speaks of"))
}

/// The files with weights of the variant `name`, a model at `path`, each of which must be declared. None where that cannot be
/// told: ONNX Runtime may read what is not read here.
pub(crate) fn data_files(request: &RunRequest, name: &str, path: &Path) -> Result<DataFiles, Failure> {
    data_files_at(name, path, &request.inputs)
}

/// As [`data_files`], of a stage with these inputs.
pub(crate) fn data_files_at(name: &str, path: &Path, inputs: &Inputs) -> Result<DataFiles, Failure> {
    let hint = format!("give it as an input of its own, such as `{name}_weights`; any name will do");
    match onnx::data_files(path, &paths(inputs)) {
        Ok(files) => check_declared(inputs, path, &files, &hint).map(|()| files),
        Err(error) if about_data(&error).is_some() => Err(unread(error, &hint)),
        Err(_) => Ok(DataFiles::new()),
    }
}

/// All files and folders that the stage declares to read.
pub(crate) fn declared(request: &RunRequest) -> Vec<PathBuf> {
    paths(&request.inputs)
}

fn paths(inputs: &Inputs) -> Vec<PathBuf> {
    inputs.values().cloned().collect()
}

/// What to do about weights that are there, but are not those that the model speaks of.
const AGAIN: &str = "the file with the weights must lie beside the model and be of one export with it: copy both again, or export anew";

fn unread(error: onnx::Error, hint: &str) -> Failure {
    let hint = match about_data(&error) {
        Some(onnx::Error::NoData { .. }) => Some(hint),
        Some(_) => Some(AGAIN),
        None => None,
    };
    let failure = Failure::from(error);
    hint.into_iter().fold(failure, |failure, hint| failure.hint(hint))
}

/// The error itself, where it is about files that hold weights.
pub(crate) fn about_data(error: &onnx::Error) -> Option<&onnx::Error> {
    match error {
        onnx::Error::File { source, .. } => about_data(source),
        onnx::Error::NoData { .. } | onnx::Error::Data { .. } => Some(error),
        _ => None,
    }
}

fn check_declared(inputs: &Inputs, path: &Path, files: &DataFiles, hint: &str) -> Result<(), Failure> {
    for (location, real) in files {
        if !inputs.values().any(|declared| holds(declared, location, real)) {
            return Err(Failure::new(format!(
                "weights of `{}` lie in `{location}`, which is not declared, so a change of it would not be noticed",
                path.display()
            ))
            .hint(hint));
        }
    }
    Ok(())
}

/// Whether what is declared is the file that a model calls `location` and that is really at `real`, or a folder that it lies in
/// or that has a link to it.
pub(crate) fn holds(declared: &Path, location: &str, real: &Path) -> bool {
    let leads_there = |path: &Path| fs::canonicalize(path).is_ok_and(|path| real.starts_with(path));
    let name = Path::new(location).file_name().map(|name| declared.join(name));
    leads_there(declared)
        || declared.is_dir()
            && (leads_there(&declared.join(location)) || name.is_some_and(|name| leads_there(&name)))
}

/// Size of a file in KB of 1,024 bytes.
pub(crate) fn size_kb(path: &Path) -> Result<f64> {
    let bytes = fs::metadata(path).with_context(|| format!("cannot read `{}`", path.display()))?.len();
    Ok(bytes as f64 / 1024.0)
}

/// The files that input `model` is made of: it, and those that hold its weights.
fn files_of_model(request: &RunRequest) -> Result<Vec<PathBuf>> {
    let path = request.inputs.get("model").context("no input `model`")?;
    let mut files = vec![path.clone()];
    let mut others: Vec<PathBuf> = onnx::data_files(path, &declared(request))?.into_values().collect();
    // The one that is declared comes first, if it is one of them, and the others in the order of what the model calls them, which is
    // the same on every machine. Several locations may lead to one file.
    let declared = request.inputs.get(WEIGHTS).and_then(|weights| fs::canonicalize(weights).ok());
    others.sort_by_key(|other| Some(other) != declared.as_ref());
    let mut seen = BTreeSet::new();
    files.extend(others.into_iter().filter(|other| seen.insert(other.clone())));
    Ok(files)
}

/// Size of the model, and of the files that hold its weights, in KB of 1,024 bytes.
pub(crate) fn model_size_kb(request: &RunRequest) -> Result<f64> {
    files_of_model(request)?.iter().map(|path| size_kb(path)).sum()
}

/// Digest of the model, and of the files that hold its weights, as `blake3:hex`.
pub(crate) fn model_digest(request: &RunRequest) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for path in files_of_model(request)? {
        hasher.update(&regular::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?);
    }
    Ok(format!("blake3:{}", hasher.finalize().to_hex()))
}

/// Writes a file. Nobody reads it before the op is done.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write `{}`", path.display()))
}

/// A number of threads in words.
pub(crate) fn threads(count: usize) -> String {
    counted(count, "thread", "threads")
}
