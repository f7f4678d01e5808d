//! What is evaluated on: samples of arrays, or pictures that have no labels. Knows neither figures nor what comes of it.

use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use arrays::Source;
use dataset::{Normalization, Outline, Sample, SplitName};
use protocol::{Failure, Reporter, RunRequest, grouped};

use crate::labels::Labels;
use crate::metadata;
use crate::ops::evaluate::Params;
use crate::runtime::Loaded;
use crate::samples::{self, ARRAYS, Samples};

/// Pictures without labels that are evaluated on where their number is not given and there are as many.
const USUAL_PICTURES: usize = 512;

/// What there is.
pub(in crate::ops::evaluate) enum Data<'a> {
    /// Arrays.
    Arrays { source: Source, path: &'a Path },
    /// Pictures of a split: how many, and their channels, height and width.
    Pictures { path: &'a Path, split: SplitName, count: usize, shape: [usize; 3] },
}

impl<'a> Data<'a> {
    /// What the request has; none where that is a dataset with labels.
    pub(in crate::ops::evaluate) fn of_request(request: &'a RunRequest) -> Result<Option<Self>, Failure> {
        if let Some(path) = request.inputs.get(ARRAYS) {
            let source = Source::open(path).map_err(anyhow::Error::from)?;
            return Ok(Some(Self::Arrays { source, path }));
        }
        let path = request.input("dataset")?;
        let Outline { shape, train, test, is_labelled, .. } = Outline::read(path)?;
        if is_labelled {
            return Ok(None);
        }
        let (split, count) = if test > 0 { (SplitName::Test, test) } else { (SplitName::Train, train) };
        Ok(Some(Self::Pictures { path, split, count, shape }))
    }

    /// Where they lie.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Arrays { path, .. } | Self::Pictures { path, .. } => path,
        }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Arrays { source, .. } => source.samples(),
            Self::Pictures { count, .. } => *count,
        }
    }

    /// How many are enough where nobody says: pictures are kept in memory as floats.
    pub(super) fn usual(&self) -> usize {
        match self {
            Self::Arrays { .. } => usize::MAX,
            Self::Pictures { .. } => USUAL_PICTURES,
        }
    }

    /// What they are called.
    pub(super) fn unit(&self) -> &'static str {
        match self {
            Self::Arrays { .. } => "samples",
            Self::Pictures { .. } => "pictures",
        }
    }

    /// So many of them, in words.
    pub(super) fn basis(&self, count: usize) -> String {
        match self {
            Self::Arrays { path, .. } => samples::basis(count, path),
            Self::Pictures { .. } => format!("{} pictures", grouped(count)),
        }
    }

    /// How many a call takes, where a model takes so many and no more.
    pub(super) fn calls(&self, models: &[Loaded]) -> Result<Option<usize>> {
        match self {
            Self::Arrays { source, .. } => samples::calls(source, models),
            Self::Pictures { shape, .. } => samples::calls_of(shape, models),
        }
    }

    /// The classes of those at `indices`, where they are known.
    pub(super) fn labels(&self, params: &Params, indices: &[usize]) -> Result<Option<Labels>, Failure> {
        match self {
            Self::Arrays { source, .. } => Labels::read(params.labels.as_deref(), source, indices),
            Self::Pictures { .. } => Ok(None),
        }
    }

    /// Those at `indices` for each model: one copy for all that take them in one form.
    pub(super) fn samples(
        &self,
        params: &Params,
        indices: &[usize],
        models: &[Loaded],
        reporter: &mut Reporter<'_>,
    ) -> Result<Vec<Rc<Samples>>> {
        let mut all: Vec<(Option<Normalization>, Rc<Samples>)> = Vec::with_capacity(models.len());
        for model in models {
            let normalization = match self {
                Self::Arrays { .. } => None,
                Self::Pictures { shape: [channels, ..], .. } => {
                    let own = metadata::own(model.metadata("normalization")?.as_deref(), model.source())?;
                    let (normalization, unused) =
                        metadata::choose(model.source(), own, params.normalization.as_ref())?;
                    unused.into_iter().for_each(|unused| reporter.warn(unused));
                    metadata::check_channels(&normalization, *channels, model.source())?;
                    Some(normalization)
                }
            };
            let there = all.iter().find(|(other, samples)| *other == normalization && samples.serve(model));
            let samples = match (there, self, &normalization) {
                (Some((_, there)), ..) => Rc::clone(there),
                (None, Self::Arrays { source, .. }, _) => {
                    Rc::new(Samples::new(source, indices.to_vec(), model)?)
                }
                (None, Self::Pictures { path, split, shape, .. }, normalization) => {
                    let normalization = normalization.as_ref().context("pictures are not normalised")?;
                    let pictures = Sample::open(path, *split)?.take(indices)?;
                    let mut values = Vec::new();
                    normalization.apply_pixels(*shape, pictures.pixels(), &mut values);
                    Rc::new(Samples::of_floats(values, shape, indices.to_vec(), model)?)
                }
            };
            all.push((normalization, samples));
        }
        Ok(all.into_iter().map(|(_, samples)| samples).collect())
    }
}
