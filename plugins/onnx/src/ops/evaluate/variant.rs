//! A variant: a model that predicts here, or predictions made elsewhere, which must be of the same test images.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use dataset::Predictions;
use onnx::DataFiles;
use protocol::{Failure, RunRequest};

use super::{DATA, Params, TestSet};
use crate::runtime::{Loaded, Model};
use crate::{metadata, request, sizes};

/// One of the things that are compared.
pub(crate) struct Variant {
    pub(crate) name: String,
    path: PathBuf,
    /// Files with the model's weights, by the location that it names.
    data: DataFiles,
    source: Source,
}

enum Source {
    Model,
    Predictions,
}

/// Every input but the data, in the order of their names; files with weights of models belong to these.
pub(crate) fn of_request(request: &RunRequest) -> Result<Vec<Variant>, Failure> {
    let (mut variants, mut others) = (Vec::new(), Vec::new());
    for (name, path) in request.inputs.iter().filter(|(name, _)| !DATA.contains(&name.as_str())) {
        match Variant::new(request, name, path)? {
            Some(variant) => variants.push(variant),
            None => others.push((name, path)),
        }
    }
    let holds_data = |path: &Path| {
        let mut data = variants.iter().flat_map(|variant: &Variant| &variant.data);
        data.any(|(location, real)| request::holds(path, location, real))
    };
    if let Some((name, path)) = others.into_iter().find(|(_, path)| !holds_data(path)) {
        return Err(Failure::new(format!(
            "`{name}` is `{}`: only `.onnx` models and `.safetensors` predictions are evaluated, and no weights of these models lie \
             in it",
            path.display()
        )));
    }
    if variants.is_empty() {
        return Err(nothing_to_evaluate());
    }
    Ok(variants)
}

pub(super) fn nothing_to_evaluate() -> Failure {
    Failure::new("there is nothing to evaluate")
        .hint("beside `dataset` or `arrays`, give at least one input: a `.onnx` model or `.safetensors` predictions")
}

impl Variant {
    /// `None` of what is neither a model nor predictions.
    fn new(request: &RunRequest, name: &str, path: &Path) -> Result<Option<Self>, Failure> {
        if name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(Failure::new(format!("`{name}` cannot be a file name")).hint("rename the input"));
        }
        let (source, data) = match path.extension().and_then(|extension| extension.to_str()) {
            Some("onnx") => (Source::Model, request::data_files(request, name, path)?),
            Some("safetensors") => (Source::Predictions, DataFiles::new()),
            _ => return Ok(None),
        };
        Ok(Some(Self { name: name.into(), path: path.into(), data, source }))
    }

    /// Whether it predicts here.
    pub(super) fn is_model(&self) -> bool {
        matches!(self.source, Source::Model)
    }

    /// The model, whatever it takes.
    pub(super) fn open(&self, threads: usize) -> Result<Loaded> {
        Loaded::load(&self.path, &self.data, threads)
    }

    /// Its graph, as far as it is read here.
    pub(super) fn graph(&self) -> Option<onnx::Model> {
        let data: Vec<PathBuf> = self.data.values().cloned().collect();
        onnx::Model::read_with(&self.path, &data).ok().map(|(model, _)| model)
    }

    /// Size of the model's file, and of those with its weights, in KB; none of predictions.
    pub(crate) fn size_kb(&self) -> Result<Option<f64>> {
        match self.source {
            Source::Model => {
                let files: BTreeSet<&PathBuf> = self.data.values().chain([&self.path]).collect();
                files.into_iter().map(|path| request::size_kb(path)).sum::<Result<_>>().map(Some)
            }
            Source::Predictions => Ok(None),
        }
    }

    /// Its predictions for the test set, and what is to be said of them; `progress` is told how many images are done.
    pub(crate) fn predict(
        &self,
        test_set: &TestSet,
        params: &Params,
        threads: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(Predictions, Option<String>)> {
        match self.source {
            Source::Model => self.run_model(test_set, params, threads, progress),
            Source::Predictions => Ok((self.pick(test_set)?, None)),
        }
    }

    fn run_model(
        &self,
        test_set: &TestSet,
        params: &Params,
        threads: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(Predictions, Option<String>)> {
        let split = &test_set.dataset.test;
        let mut model = self.load(split.shape(), threads)?;
        let (normalization, unused) =
            metadata::normalization_of_several(&model, split, params.normalization.as_ref())?;
        let classes = test_set.dataset.classes.len();
        if let Some(outputs) = model.classes().filter(|outputs| *outputs != classes) {
            bail!("the model has {outputs} classes, the dataset {classes}");
        }
        let mut logits = Vec::with_capacity(test_set.indices.len() * classes);
        let mut images = Vec::new();
        let mut done = 0;
        for batch in test_set.indices.chunks(model.batch_size(params.batch_size)) {
            images.clear();
            normalization.apply(split, batch, &mut images);
            logits.extend(model.run(&images)?);
            done += batch.len();
            progress(done);
        }
        if let Some(place) = logits.iter().position(|logit| !logit.is_finite()) {
            bail!("the logits of image {} are not finite", place / classes.max(1));
        }
        Ok((Predictions::new(logits, classes, test_set.labels())?, unused))
    }

    /// The model, for images of this shape where it leaves their size open.
    fn load(&self, [_, height, width]: [usize; 3], threads: usize) -> Result<Model> {
        // What cannot be read here ONNX Runtime may read, or say what is amiss.
        if let Some(model) = self.graph()
            && let Cow::Owned(sized) = sizes::fixed(&model, [height, width])
        {
            return Model::from_bytes(&sized.to_bytes(), format!("`{}`", self.path.display()), threads);
        }
        Model::load(&self.path, &self.data, threads)
    }

    /// Predictions from the file, for the images of the test set.
    fn pick(&self, test_set: &TestSet) -> Result<Predictions> {
        let Predictions { logits, classes, labels } = Predictions::read(&self.path)?;
        let split = &test_set.dataset.test;
        if classes != test_set.dataset.classes.len() || labels != split.labels() {
            bail!(
                "`{}` holds predictions of {classes} classes for {} images, which are not the {} test images \
                 ({} classes) of the dataset: make them anew from this dataset",
                self.path.display(),
                labels.len(),
                split.len(),
                test_set.dataset.classes.len()
            );
        }
        let rows: Vec<&[f32]> = logits.chunks_exact(classes).collect();
        let logits = test_set.indices.iter().filter_map(|&index| rows.get(index)).copied().flatten().copied();
        Ok(Predictions::new(logits.collect(), classes, test_set.labels())?)
    }
}
