//! What sensitivity is measured on: images of a dataset, or samples of arrays, that the ranges do not know as far as there are
//! such. Knows neither layers nor scores.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use arrays::Source;
use dataset::Sample;
use protocol::{Failure, Reporter, RunRequest, grouped};
use quant::Ranges;

use super::measure::Shown;
use super::{Params, USUAL_IMAGES};
use crate::images::{Wanted, draw};
use crate::labels::Labels;
use crate::runtime::Loaded;
use crate::samples::{self, ARRAYS, Samples};
use crate::sizes;

/// What there is, and whether the ranges know all of it.
pub(super) enum Data<'a> {
    /// Images at these indices, ascending, and their height and width.
    Images { dataset: &'a Path, indices: Vec<usize>, size: [usize; 2], known: bool, of: usize },
    /// Samples of arrays, and which class each is of.
    Arrays { path: &'a Path, samples: Samples, labels: Option<Labels>, known: bool },
}

impl<'a> Data<'a> {
    /// Draws from what the request has for `float`.
    ///
    /// # Errors
    /// Where it does not fit the model, or there is not as much as asked for.
    pub(super) fn open(
        params: &Params,
        request: &'a RunRequest,
        float: &onnx::Model,
        ranges: &Ranges,
    ) -> Result<Self, Failure> {
        if let Some(path) = request.inputs.get(ARRAYS) {
            let source = Source::open(path).map_err(anyhow::Error::from)?;
            let of = format!("`{}`", path.display());
            let wanted = Wanted { asked: params.images, usual: USUAL_IMAGES, unit: "samples" };
            let (indices, known) = drawn(params.seed, wanted, ranges, ARRAYS, source.samples(), &of)?;
            let name = format!("`{}`", request.input("model")?.display());
            let model = Loaded::from_bytes(&float.to_bytes(), name, request.threads)?;
            let samples = Samples::new(&source, indices, &model)?;
            let labels = Labels::read(params.labels.as_deref(), &source, &samples.indices)?;
            return Ok(Self::Arrays { path, samples, labels, known });
        }
        let dataset = request.input("dataset")?;
        let sample = Sample::open(dataset, params.split).map_err(anyhow::Error::from)?;
        let wanted = Wanted { asked: params.images, usual: USUAL_IMAGES, unit: "images" };
        let split = params.split.as_str();
        let of = format!("the {split} split");
        let (indices, known) = drawn(params.seed, wanted, ranges, split, sample.len(), &of)?;
        let [_, height, width] = sample.shape().map_err(anyhow::Error::from)?;
        Ok(Self::Images { dataset, indices, size: [height, width], known, of: sample.len() })
    }

    /// Says where the ranges know, or may know, all that is measured on.
    pub(super) fn tell(&self, reporter: &mut Reporter<'_>) {
        match self {
            Self::Images { known: true, of, .. } => reporter.warn(format!(
                "`ranges` were calibrated on all images of the split, so this is measured on images that they know: calibrate on \
                 fewer, as with `images: {}`, for a choice that holds on others, too",
                (of / 2).max(1)
            )),
            Self::Arrays { path, known: true, .. } => reporter.info(format!(
                "`ranges` were calibrated on as many samples as `{}` has: where they are these, the choice need not hold on others; \
                 give others than to `onnx/calibrate`, or calibrate on fewer, as with `images`",
                path.display()
            )),
            _ => {}
        }
    }

    /// In words.
    pub(super) fn basis(&self, params: &Params) -> String {
        let not = |known: bool| if known { "" } else { "not " };
        match self {
            Self::Images { indices, known, .. } => format!(
                "{} images of the {} split that were {}calibrated on, drawn with seed {}",
                grouped(indices.len()),
                params.split.as_str(),
                not(*known),
                params.seed
            ),
            Self::Arrays { path, samples, .. } => {
                format!("{}, drawn with seed {}", samples::basis(samples.indices.len(), path), params.seed)
            }
        }
    }

    /// The model with the sizes of the data where it leaves them open.
    pub(super) fn sized<'m>(&self, model: &'m onnx::Model) -> Cow<'m, onnx::Model> {
        match self {
            Self::Images { size, .. } => sizes::fixed(model, *size),
            Self::Arrays { samples, .. } => samples.sized(model),
        }
    }

    pub(super) fn shown(&self) -> Shown<'_> {
        match self {
            Self::Images { dataset, indices, size, .. } => Shown::Images { dataset, indices, size: *size },
            Self::Arrays { samples, labels, .. } => Shown::Arrays { samples, labels: labels.as_ref() },
        }
    }
}

/// Indices of what the ranges do not know of `split`, which has `length`, and whether they do all the same, because there are no
/// others.
fn drawn(
    seed: u64,
    wanted: Wanted,
    ranges: &Ranges,
    split: &str,
    length: usize,
    of: &str,
) -> Result<(Vec<usize>, bool), Failure> {
    let seen: BTreeSet<u64> = match ranges.lineage.split == split {
        true => ranges.lineage.images.iter().copied().collect(),
        false => BTreeSet::new(),
    };
    let unseen: Vec<usize> = (0..length).filter(|index| !seen.contains(&(*index as u64))).collect();
    let known = unseen.is_empty() && wanted.asked.is_none();
    let from: Vec<usize> = if known { (0..length).collect() } else { unseen };
    let of = match seen.is_empty() || known {
        true => of.to_owned(),
        false => format!("what is left of {of} beside the {} calibrated on", wanted.unit),
    };
    let places = draw(wanted, seed, from.len(), &of)?;
    Ok((places.into_iter().filter_map(|place| from.get(place).copied()).collect(), known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_were_calibrated_on_are_not_measured_on() {
        let wanted = |asked| Wanted { asked, usual: USUAL_IMAGES, unit: "images" };
        let drawn = |asked, ranges: &Ranges, length| {
            drawn(42, wanted(asked), ranges, "train", length, "the train split")
        };
        let mut ranges = Ranges::default();
        ranges.lineage.split = "train".into();
        ranges.lineage.images = vec![0, 2, 4, 6, 8];
        assert_eq!(drawn(Some(5), &ranges, 10).unwrap(), (vec![1, 3, 5, 7, 9], false));
        assert_eq!(drawn(None, &ranges, 10).unwrap(), (vec![1, 3, 5, 7, 9], false));
        let failure = drawn(Some(6), &ranges, 10).unwrap_err();
        let said = "`images` asks for 6 images, but what is left of the train split beside the images calibrated on has 5";
        assert!(format!("{failure:?}").contains(said), "{failure:?}");
        ranges.lineage.split = "test".into();
        assert_eq!(drawn(Some(10), &ranges, 10).unwrap().0.len(), 10);
        // All of a small split was calibrated on: better on these than on none, but not where a number was asked for.
        ranges.lineage =
            quant::Lineage { split: "train".into(), images: (0..10).collect(), ..ranges.lineage };
        assert_eq!(drawn(None, &ranges, 10).unwrap(), ((0..10).collect(), true));
        assert!(drawn(Some(5), &ranges, 10).is_err());
        let many = drawn(None, &Ranges::default(), 5_000).unwrap();
        assert_eq!((many.0.len(), many.1), (1_000, false));
    }
}
