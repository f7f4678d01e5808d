//! Models in ONNX Runtime: loading, checking what they take and give, running them on tensors or on batches of images. The
//! only module that knows `ort`'s sessions; it knows nothing of data sets or of quantisation.

pub(crate) mod told;

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use half::f16;
use onnx::DataFiles;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Outlet, TensorElementType, TensorRef};

use crate::{library, noise};

/// Images in the batch that [`check`] runs.
const CHECKED_IMAGES: usize = 4;

/// Most values of an image that are believed: 1 GiB of floats.
const MAX_IMAGE: usize = 1 << 28;

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

/// One that has one input, of images, and gives tensors of floats.
pub(crate) struct Model {
    loaded: Loaded,
    input: String,
    image: [usize; 3],
    /// Whether a call takes one image and no more.
    one_at_a_time: bool,
    /// Whether it takes 16-bit floats.
    takes_halves: bool,
    classes: Option<usize>,
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

impl Model {
    /// Loads the model at `path`, whose weights may lie in `data`; a call uses `threads` threads.
    ///
    /// # Errors
    /// Where the library is missing, a file cannot be read or is no model that ONNX Runtime runs, or its input is not a batch
    /// of images of fixed size.
    pub(crate) fn load(path: &Path, data: &DataFiles, threads: usize) -> Result<Self> {
        Self::of(Loaded::load(path, data, threads)?)
    }

    /// As [`Model::load`], from the bytes of a file; `source` names it in errors.
    pub(crate) fn from_bytes(bytes: &[u8], source: String, threads: usize) -> Result<Self> {
        Self::of(Loaded::from_bytes(bytes, source, threads)?)
    }

    /// The model, if it takes images and gives floats.
    ///
    /// # Errors
    /// Where it does not.
    pub(crate) fn of(loaded: Loaded) -> Result<Self> {
        Self::sized(loaded, None)
    }

    /// As [`Model::of`], with height and width of its images where it leaves them open.
    ///
    /// # Errors
    /// As [`Model::of`].
    pub(crate) fn sized(loaded: Loaded, size: Option<[usize; 2]>) -> Result<Self> {
        let source = &loaded.source;
        let [input] = loaded.session.inputs() else {
            bail!(
                "{source} has {} inputs, and only models with one are shown pictures: give `arrays` for its inputs",
                loaded.session.inputs().len()
            );
        };
        let (image, one_at_a_time) = image_shape(input, size).with_context(|| source.clone())?;
        let name = input.name().to_owned();
        let output = loaded.session.outputs().first().ok_or_else(|| anyhow!("{source} has no output"))?;
        let classes = class_count(output).with_context(|| source.clone())?;
        let takes_halves = input.dtype().tensor_type() == Some(TensorElementType::Float16);
        Ok(Self { input: name, image, one_at_a_time, takes_halves, classes, loaded })
    }

    /// Name of the input.
    pub(crate) fn input(&self) -> &str {
        &self.input
    }

    /// Channels, height and width of an image.
    pub(crate) fn image(&self) -> [usize; 3] {
        self.image
    }

    /// How many images to give it in a call, where `wanted` would do.
    pub(crate) fn batch_size(&self, wanted: usize) -> usize {
        if self.one_at_a_time { 1 } else { wanted }
    }

    /// What the model is called in messages.
    pub(crate) fn source(&self) -> &str {
        self.loaded.source()
    }

    /// Text under `key` in the file's metadata.
    pub(crate) fn metadata(&self, key: &str) -> Result<Option<String>> {
        self.loaded.metadata(key)
    }

    /// Number of logits an image, where the file says.
    pub(crate) fn classes(&self) -> Option<usize> {
        self.classes
    }

    /// The first output for `images` (`[n, C, H, W]`, row-major): `[n, classes]`, row-major. In one call, where the model takes
    /// them all at once.
    ///
    /// # Errors
    /// Where the number of values is not a multiple of an image's, or ONNX Runtime fails.
    pub(crate) fn run(&mut self, images: &[f32]) -> Result<Vec<f32>> {
        let call = match self.one_at_a_time {
            true => self.image.iter().product::<usize>(),
            false => images.len(),
        };
        let mut logits = Vec::new();
        for images in images.chunks(call.max(1)) {
            self.run_all(images, &mut |outputs| {
                logits.extend_from_slice(outputs.first().map_or(&[], |(_, values)| values));
                Ok(())
            })?;
        }
        Ok(logits)
    }

    /// Runs a batch, of [`Model::batch_size`] at most, and gives name and values of every output of floats, in the model's order,
    /// to `take`.
    ///
    /// # Errors
    /// As [`Model::run`], and what `take` returns.
    pub(crate) fn run_all(
        &mut self,
        images: &[f32],
        take: &mut dyn FnMut(&[NamedValues<'_>]) -> Result<()>,
    ) -> Result<()> {
        self.run_set(images, &[], take)
    }

    /// As [`Model::run_all`], with the inputs of `set` as they say.
    ///
    /// # Errors
    /// As [`Model::run_all`].
    pub(crate) fn run_set(
        &mut self,
        images: &[f32],
        set: &[Scalar],
        take: &mut dyn FnMut(&[NamedValues<'_>]) -> Result<()>,
    ) -> Result<()> {
        let [channels, height, width] = self.image;
        let size = channels * height * width;
        if images.is_empty() || !images.len().is_multiple_of(size) {
            bail!("{} values are no batch of images {channels}×{height}×{width}", images.len());
        }
        let shape = [images.len() / size, channels, height, width];
        if self.takes_halves {
            let images: Vec<f16> = images.iter().map(|value| f16::from_f32(*value)).collect();
            let tensor = TensorRef::from_array_view((shape, images.as_slice()))?;
            let inputs = std::iter::once(Ok((self.input.as_str(), tensor.into()))).chain(scalars(set));
            return self.loaded.run(inputs.collect::<Result<_>>()?, take);
        }
        let tensor = TensorRef::from_array_view((shape, images))?;
        let inputs = std::iter::once(Ok((self.input.as_str(), tensor.into()))).chain(scalars(set));
        self.loaded.run(inputs.collect::<Result<_>>()?, take)
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

/// Checks that `model` gives finite logits for a batch of random images.
///
/// # Errors
/// Where it does not.
pub(crate) fn check(mut model: Model) -> Result<()> {
    let images = noise::normal(CHECKED_IMAGES * model.image.iter().product::<usize>(), 0);
    let logits = model.run(&images)?;
    if logits.iter().any(|logit| !logit.is_finite()) {
        bail!("{} gives logits that are not finite", model.source());
    }
    Ok(())
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

/// Channels, height and width of an image, and whether a call takes one image and no more.
fn image_shape(input: &Outlet, size: Option<[usize; 2]>) -> Result<([usize; 3], bool)> {
    let name = input.name();
    let (Some(TensorElementType::Float16 | TensorElementType::Float32), Some(shape)) =
        (input.dtype().tensor_type(), input.dtype().tensor_shape())
    else {
        bail!("input `{name}` is not a tensor of floats: give `arrays` for a model of anything but pictures");
    };
    let fixed = |dim: &i64| usize::try_from(*dim).ok().filter(|dim| *dim > 0);
    match &shape[..] {
        [batch, channels, height, width] => {
            if *batch >= 0 && *batch != 1 {
                bail!(
                    "input `{name}` takes batches of {batch} only: export the model with a dynamic batch axis, or for one image"
                );
            }
            let [of_height, of_width] = size.map_or([None; 2], |size| size.map(Some));
            match (fixed(channels), fixed(height).or(of_height), fixed(width).or(of_width)) {
                (Some(channels), Some(height), Some(width)) => {
                    let size = channels.checked_mul(height).and_then(|size| size.checked_mul(width));
                    if size.is_none_or(|size| size > MAX_IMAGE) {
                        bail!("input `{name}` has shape {shape}: more than {MAX_IMAGE} values an image");
                    }
                    Ok(([channels, height, width], *batch == 1))
                }
                _ => bail!(
                    "input `{name}` has shape {shape}: channels, height and width must be known: give `dataset` or `arrays`, which have a size, or export \
                     the model for one"
                ),
            }
        }
        _ => bail!(
            "input `{name}` has shape {shape}, not [batch, channels, height, width]: give `arrays` for a model of anything but pictures"
        ),
    }
}

fn class_count(output: &Outlet) -> Result<Option<usize>> {
    let name = output.name();
    let (Some(TensorElementType::Float16 | TensorElementType::Float32), Some(shape)) =
        (output.dtype().tensor_type(), output.dtype().tensor_shape())
    else {
        bail!("output `{name}` is not a tensor of floats");
    };
    Ok(match &shape[..] {
        [_, classes] => usize::try_from(*classes).ok().filter(|classes| *classes > 0),
        _ => None,
    })
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
