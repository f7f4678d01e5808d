//! Models of images: what their input and output have to be, and running them on batches. Knows nothing of data sets.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use half::f16;
use onnx::DataFiles;
use ort::value::{Outlet, TensorElementType, TensorRef};

use super::{Loaded, NamedValues, Scalar, scalars};
use crate::noise;

/// Images in the batch that [`check`] runs.
const CHECKED_IMAGES: usize = 4;

/// Most values of an image that are believed: 1 GiB of floats.
const MAX_IMAGE: usize = 1 << 28;

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
                let (_, values) = outputs.first().context("the model gave no floats")?;
                logits.extend_from_slice(values);
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
