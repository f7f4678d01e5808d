//! What a model is calibrated on: pictures of a dataset, or arrays for its inputs. Knows neither ranges nor methods.

use std::borrow::Cow;
use std::path::Path;

use arrays::Source;
use dataset::Sample;
use protocol::{Failure, Reporter, RunRequest, grouped};
use quant::{Lineage, Outcomes, Trials};

use super::{Params, USUAL_IMAGES, indices_digest};
use crate::images::{Images, Wanted, draw};
use crate::metadata;
use crate::runtime::{Loaded, Model};
use crate::samples::{self, ARRAYS, Samples};
use crate::sizes;
use crate::trials::Work;
use crate::turns::Watcher;

/// What there is.
pub(super) enum Data<'a> {
    /// Pictures, and their height and width.
    Images { images: Images<'a>, size: [usize; 2] },
    /// Arrays, and where they lie.
    Arrays { samples: Samples, path: &'a Path, batch_size: usize },
}

impl<'a> Data<'a> {
    /// Draws from what the request has for `float`.
    ///
    /// # Errors
    /// Where it has both or neither, it does not fit the model, or there is not as much as asked for.
    pub(super) fn open(
        params: &Params,
        request: &'a RunRequest,
        float: &onnx::Model,
    ) -> Result<Self, Failure> {
        let wanted = Wanted { asked: params.images, usual: USUAL_IMAGES, unit: "images" };
        let source = format!("`{}`", request.input("model")?.display());
        if let Some(path) = request.inputs.get(ARRAYS) {
            let arrays = Source::open(path).map_err(anyhow::Error::from)?;
            let indices = samples::drawn(&arrays, wanted, params.seed)?;
            let model = Loaded::from_bytes(&float.to_bytes(), source, request.threads)?;
            let samples = Samples::new(&arrays, indices, &model)?;
            return Ok(Self::Arrays { samples, path, batch_size: params.batch_size });
        }
        let dataset = request.input("dataset")?;
        let sample = Sample::open(dataset, params.split).map_err(anyhow::Error::from)?;
        let shape = sample.shape().map_err(anyhow::Error::from)?;
        let [channels, height, width] = shape;
        let indices =
            draw(wanted, params.seed, sample.len(), &format!("the {} split", params.split.as_str()))?;
        metadata::check_size_of(&source, &sizes::fixed(float, [height, width]), shape)?;
        let own = metadata::own(float.metadata.get("normalization").map(String::as_str), &source)?;
        let (normalization, unused) = metadata::choose(&source, own, params.normalization.as_ref())?;
        if let Some(unused) = unused {
            return Err(Failure::new(unused).hint(metadata::UNUSED));
        }
        metadata::check_channels(&normalization, channels, &source)?;
        let (split, batch_size) = (params.split, params.batch_size);
        let images = Images { dataset, split, indices, normalization, batch_size };
        Ok(Self::Images { images, size: [height, width] })
    }

    /// The model with the sizes of the data where it leaves them open.
    pub(super) fn sized<'m>(&self, model: &'m onnx::Model) -> Cow<'m, onnx::Model> {
        match self {
            Self::Images { size, .. } => sizes::fixed(model, *size),
            Self::Arrays { samples, .. } => samples.sized(model),
        }
    }

    /// What these sizes are, in words.
    pub(super) fn size(&self) -> String {
        match self {
            Self::Images { size: [height, width], .. } => format!("images of {height}×{width} pixels"),
            Self::Arrays { path, .. } => format!("samples of the shapes in `{}`", path.display()),
        }
    }

    /// Shows all of it to a copy of `watcher`, with the model in `bytes`.
    ///
    /// # Errors
    /// Where the data cannot be read or ONNX Runtime fails.
    pub(super) fn show<W: Watcher>(
        &self,
        bytes: &[u8],
        watcher: &W,
        request: &RunRequest,
        reporter: &mut Reporter<'_>,
    ) -> Result<W, Failure> {
        let name = format!("`{}`", request.input("model")?.display());
        let threads = request.threads;
        Ok(match self {
            Self::Images { images, .. } => {
                let open = || Model::from_bytes(bytes, name.clone(), 1);
                images.show(open()?, &open, watcher, threads, reporter)?
            }
            Self::Arrays { samples, batch_size, .. } => {
                let open = || Loaded::from_bytes(bytes, name.clone(), 1);
                samples.show(*batch_size, open()?, &open, watcher, threads, reporter)?
            }
        })
    }

    /// How many samples a call takes at least, and how many such calls there are.
    pub(super) fn calls(&self) -> (usize, usize) {
        let batch = match self {
            Self::Images { .. } => 1,
            Self::Arrays { samples, .. } => samples.batch_size(1),
        };
        (batch, self.indices().len() / batch)
    }

    /// Runs trials with the models in these files, whose outputs have these names.
    ///
    /// # Errors
    /// As [`Data::show`].
    pub(super) fn try_out(
        &self,
        files: &[Vec<u8>],
        outputs: &[String],
        trials: &Trials,
        request: &RunRequest,
        reporter: &mut Reporter<'_>,
    ) -> Result<Outcomes, Failure> {
        let name = format!("`{}`", request.input("model")?.display());
        let work = Work { trials, batch: self.calls().0, outputs, files };
        Ok(match self {
            Self::Images { images, .. } => {
                let open = |bytes: &[u8]| Model::from_bytes(bytes, name.clone(), 1);
                images.try_out(work, &open, request.threads, reporter)?
            }
            Self::Arrays { samples, .. } => {
                let open = |bytes: &[u8]| Loaded::from_bytes(bytes, name.clone(), 1);
                samples.try_out(work, &open, request.threads, reporter)?
            }
        })
    }

    fn indices(&self) -> &[usize] {
        match self {
            Self::Images { images, .. } => &images.indices,
            Self::Arrays { samples, .. } => &samples.indices,
        }
    }

    /// Where ranges that are found on it come from.
    pub(super) fn lineage(&self, params: &Params, model: String) -> Lineage {
        let (split, mean, std) = match self {
            Self::Images { images, .. } => (
                params.split.as_str().to_owned(),
                images.normalization.mean.clone(),
                images.normalization.std.clone(),
            ),
            Self::Arrays { .. } => (ARRAYS.to_owned(), Vec::new(), Vec::new()),
        };
        Lineage {
            method: params.method.as_str().into(),
            images: self.indices().iter().map(|index| *index as u64).collect(),
            seed: params.seed,
            split,
            mean,
            std,
            model,
        }
    }

    /// Which of what there is, in words.
    pub(super) fn basis(&self, params: &Params) -> String {
        let indices = self.indices();
        let what = match self {
            Self::Images { .. } => {
                format!("{} images of the {} split", grouped(indices.len()), params.split.as_str())
            }
            Self::Arrays { path, .. } => samples::basis(indices.len(), path),
        };
        format!("{what}, drawn with seed {} (indices {})", params.seed, indices_digest(indices))
    }

    /// How it is given to the model, in words.
    pub(super) fn treatment(&self) -> String {
        match self {
            Self::Images { images, .. } => {
                let normalization = &images.normalization;
                format!("normalised with mean {:?} and std {:?}", normalization.mean, normalization.std)
            }
            Self::Arrays { samples, .. } => match samples.left_over {
                0 => "given as they are".into(),
                more => format!("given as they are; a fixed batch leaves {more} more over"),
            },
        }
    }
}
