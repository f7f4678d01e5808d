//! Models in ONNX Runtime: loading, checking what they take and give, running them on tensors or on batches of images. The
//! only module that knows `ort`'s sessions; it knows nothing of data sets or of quantisation.

mod images;
pub(crate) mod told;

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use half::f16;
use onnx::DataFiles;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Outlet, TensorElementType, TensorRef};

pub(crate) use self::images::{Model, check};
use crate::library;

/// What ONNX Runtime says of every model that it dumps: the dump is of use on this machine alone.
const OF_A_DUMP: &str = "Serializing optimized model";

/// A process has one environment, which outlives every session.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// A tensor's name and its values, row-major.
pub(crate) type NamedValues<'a> = (&'a str, &'a [f32]);

/// The name of an input that has a value in the model's file, and another one for a call.
pub(crate) type Scalar = (String, f32);

/// A model loaded in ONNX Runtime on the CPU, whatever it takes.
pub(crate) struct Loaded {
    session: Session,
    source: String,
}

impl Loaded {
    /// Loads the model in the bytes of a file, which `source` names in errors; a call uses `threads` threads.
    ///
    /// # Errors
    /// Where the library is missing, or the bytes are no model that ONNX Runtime runs.
    pub(crate) fn from_bytes(bytes: &[u8], source: String, threads: usize) -> Result<Self> {
        let session = builder(threads).and_then(|mut builder| Ok(builder.commit_from_memory(bytes)?));
        Self::of(session, source)
    }

    /// Loads the model at `path`, whose weights may lie in `data`; a call uses `threads` threads.
    ///
    /// # Errors
    /// Where the library is missing, or a file cannot be read or is no model that ONNX Runtime runs.
    pub(crate) fn load(path: &Path, data: &DataFiles, threads: usize) -> Result<Self> {
        let source = format!("`{}`", path.display());
        let bytes = regular::read(path).with_context(|| format!("cannot read {source}"))?;
        let session =
            builder(threads).and_then(|builder| Ok(with_data(builder, data)?.commit_from_memory(&bytes)?));
        Self::of(session, source)
    }

    fn of(session: Result<Session>, source: String) -> Result<Self> {
        let session = session.with_context(|| format!("ONNX Runtime cannot load {source}"))?;
        Ok(Self { session, source })
    }

    /// What it takes, but for what its file has a value for.
    pub(crate) fn inputs(&self) -> &[Outlet] {
        self.session.inputs()
    }

    /// What the model is called in messages.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Text under `key` in the file's metadata.
    pub(crate) fn metadata(&self, key: &str) -> Result<Option<String>> {
        Ok(self.session.metadata()?.custom(key))
    }

    /// Whether the first axis of an output has one size, whatever the model is given.
    pub(crate) fn fixed_outputs(&self) -> bool {
        let first = |output: &Outlet| output.dtype().tensor_shape().and_then(|shape| shape.first().copied());
        self.session.outputs().iter().filter_map(first).any(|size| size >= 0)
    }

    /// Runs it on values by name of the input, and gives each output to `take`, in the model's order.
    ///
    /// # Errors
    /// Where ONNX Runtime fails, and what `take` returns.
    pub(crate) fn run_values(
        &mut self,
        inputs: Vec<(&str, SessionInputValue<'_>)>,
        take: &mut dyn FnMut(&str, &DynValue) -> Result<()>,
    ) -> Result<()> {
        let ran = self.session.run(inputs);
        let outputs = ran.with_context(|| format!("ONNX Runtime cannot run {}", self.source))?;
        outputs.iter().try_for_each(|(name, value)| take(name, &value))
    }

    /// Runs it on values by name of the input, and gives name and values of every output of floats of 16 or 32 bits, in the
    /// model's order, to `take`.
    ///
    /// # Errors
    /// Where ONNX Runtime fails, and what `take` returns.
    pub(crate) fn run(
        &mut self,
        inputs: Vec<(&str, SessionInputValue<'_>)>,
        take: &mut dyn FnMut(&[NamedValues<'_>]) -> Result<()>,
    ) -> Result<()> {
        let ran = self.session.run(inputs);
        let outputs = ran.with_context(|| format!("ONNX Runtime cannot run {}", self.source))?;
        let values: Vec<_> = outputs.iter().collect();
        let mut floats = Vec::with_capacity(values.len());
        for (name, value) in &values {
            let of = || format!("output `{name}` of {}", self.source);
            let values = match value.dtype().tensor_type() {
                Some(TensorElementType::Float32) => {
                    Cow::Borrowed(value.try_extract_tensor::<f32>().with_context(of)?.1)
                }
                Some(TensorElementType::Float16) => {
                    let (_, halves) = value.try_extract_tensor::<f16>().with_context(of)?;
                    Cow::Owned(halves.iter().map(|half| half.to_f32()).collect())
                }
                _ => continue,
            };
            floats.push((*name, values));
        }
        let named: Vec<NamedValues<'_>> = floats.iter().map(|(name, values)| (*name, &**values)).collect();
        take(&named)
    }
}

/// What a session is given for these.
pub(crate) fn scalars(set: &[Scalar]) -> impl Iterator<Item = Result<(&str, SessionInputValue<'_>)>> {
    set.iter().map(|(name, value)| {
        let tensor = TensorRef::from_array_view(([0_usize; 0], std::slice::from_ref(value)))?;
        Ok((name.as_str(), tensor.into()))
    })
}

/// Loads the library, so that the first model does not pay for it.
pub(crate) fn start() -> Result<()> {
    environment().map(drop)
}

/// The largest difference between values at the same place; infinite where one is not a number or the lengths
/// differ.
pub(crate) fn max_difference(one: &[f32], two: &[f32]) -> f64 {
    if one.len() != two.len() {
        return f64::INFINITY;
    }
    let differences = one.iter().zip(two).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    differences.fold(0.0, |most, next| if next.is_nan() { f64::INFINITY } else { most.max(next) })
}

fn environment() -> Result<Environment> {
    let mut slot = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*slot {
        return Ok(environment.clone());
    }
    let path = library::find()?;
    let environment = ort::init_from(&path)
        .map_err(|error| anyhow!("cannot load ONNX Runtime: {error}: {}", library::REMEDY))?
        .with_name("pipe")
        .with_telemetry(false)
        .with_logger(Arc::new(|level, _category, _id, _location, message| {
            // Inputs of trials have values of their own, which it says of each.
            let is_meant = message.contains(OF_A_DUMP)
                || level < LogLevel::Error && message.contains(quant::TRIAL_INPUT);
            if level >= LogLevel::Warning && !is_meant {
                protocol::say(&format!("onnxruntime: {message}"));
            }
        }))
        .build()?;
    environment.set_log_level(LogLevel::Warning);
    *slot = Some(environment.clone());
    Ok(environment)
}

fn builder(threads: usize) -> Result<SessionBuilder> {
    let builder = Session::builder(&environment()?)?;
    let builder = builder.with_optimization_level(GraphOptimizationLevel::All).map_err(plain)?;
    builder.with_intra_threads(threads).map_err(plain)
}

/// Gives the files with a model's weights along. By itself ONNX Runtime does not follow links out of the model's folder.
fn with_data(mut builder: SessionBuilder, data: &DataFiles) -> Result<SessionBuilder> {
    for (location, path) in data {
        let bytes = regular::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        builder = builder.with_external_initializer_file_in_memory(location, bytes.into()).map_err(plain)?;
    }
    Ok(builder)
}

/// The error without the builder that it carries, which cannot be sent between threads.
fn plain<T>(error: ort::Error<T>) -> anyhow::Error {
    anyhow!("{error}")
}

/// The model with every operator computed as it stands.
#[cfg(test)]
pub(crate) fn unoptimized(bytes: &[u8]) -> Result<Model> {
    let builder = Session::builder(&environment()?)?;
    let mut builder = builder.with_optimization_level(GraphOptimizationLevel::Disable).map_err(plain)?;
    Model::of(Loaded::of(Ok(builder.commit_from_memory(bytes)?), "the literal model".into())?)
}

/// As [`Loaded::from_bytes`] with weights in `data`, and the model as ONNX Runtime computes it, after its own rewriting, which it
/// dumps at `path`.
///
/// # Errors
/// As [`Loaded::from_bytes`], and where the dump cannot be written or read.
pub(crate) fn optimized(
    bytes: &[u8],
    data: &DataFiles,
    source: String,
    threads: usize,
    path: &Path,
) -> Result<(Loaded, onnx::Model)> {
    let session = builder(threads).and_then(|builder| {
        let builder = builder.with_optimized_model_path(path).map_err(plain)?;
        let mut builder = with_data(builder, data)?;
        Ok(builder.commit_from_memory(bytes)?)
    });
    Ok((Loaded::of(session, source)?, onnx::Model::read(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_difference_notices_nan_and_lengths() {
        assert!((max_difference(&[1.0, 2.0], &[1.5, 2.25]) - 0.5).abs() < 1e-12);
        assert!(max_difference(&[1.0], &[f32::NAN]).is_infinite());
        assert!(max_difference(&[1.0], &[1.0, 2.0]).is_infinite());
    }
}
