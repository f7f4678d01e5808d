//! Some images of a dataset, drawn by a seed, shown to a model.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use dataset::{Normalization, Sample, SplitName};
use protocol::{Failure, Reporter, grouped};
use quant::Outcomes;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::runtime::{Model, NamedValues, Scalar};
use crate::trials::{self, Setter, Work};
use crate::turns::{self, Runner, Watcher, Workload};

/// Which images, and how pixels become a model's input.
pub(crate) struct Images<'a> {
    pub(crate) dataset: &'a Path,
    pub(crate) split: SplitName,
    /// Indices into the split.
    pub(crate) indices: Vec<usize>,
    pub(crate) normalization: Normalization,
    /// How many are shown at a time, if the model takes as many.
    pub(crate) batch_size: usize,
}

/// How many images to draw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// The number asked for, which must be there.
    pub(crate) asked: Option<usize>,
    /// Where none is: up to so many.
    pub(crate) usual: usize,
    /// What they are called.
    pub(crate) unit: &'static str,
}

/// Indices below `length`, drawn without replacement, ascending. What they are drawn from is named in the error as `of`, such as
/// `the train split`.
pub(crate) fn draw(wanted: Wanted, seed: u64, length: usize, of: &str) -> Result<Vec<usize>, Failure> {
    let Wanted { asked, usual, unit } = wanted;
    let images = asked.unwrap_or(usual.min(length));
    if images > length {
        return Err(Failure::new(format!(
            "`images` asks for {} {unit}, but {of} has {}",
            grouped(images),
            grouped(length)
        ))
        .hint(format!("leave `images` out to take up to {}", grouped(usual))));
    }
    if images == 0 {
        return Err(Failure::new(format!("{of} has no {unit}")));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut indices = rand::seq::index::sample(&mut rng, length, images).into_vec();
    indices.sort_unstable();
    Ok(indices)
}

impl Images<'_> {
    /// Shows all of them to a copy of `watcher` on `threads` threads, with `model` and others like it that `open` makes.
    pub(crate) fn show<W: Watcher>(
        &self,
        model: Model,
        open: &(dyn Fn() -> Result<Model> + Sync),
        watcher: &W,
        threads: usize,
        reporter: &mut Reporter<'_>,
    ) -> Result<W> {
        let batch = model.batch_size(self.batch_size);
        let work = Workload { samples: self.indices.len(), batch, unit: "image" };
        turns::show(work, self.runner(model)?, &|| self.runner(open()?), watcher, threads, reporter)
    }

    /// As [`Images::show`], an image at a time, but runs trials of the outputs with these names.
    pub(crate) fn try_out(
        &self,
        work: Work<'_>,
        open: &(dyn Fn(&[u8]) -> Result<Model> + Sync),
        threads: usize,
        reporter: &mut Reporter<'_>,
    ) -> Result<Outcomes> {
        trials::run(work, &|bytes| self.runner(open(bytes)?), threads, reporter)
    }

    fn runner(&self, model: Model) -> Result<ImageRunner<'_>> {
        let sample = Sample::open(self.dataset, self.split)?;
        Ok(ImageRunner { images: self, model, sample, values: Vec::new() })
    }
}

/// A model with the images that it is shown.
struct ImageRunner<'a> {
    images: &'a Images<'a>,
    model: Model,
    sample: Sample<'a>,
    /// Of the last batch.
    values: Vec<f32>,
}

impl Runner for ImageRunner<'_> {
    fn run(
        &mut self,
        samples: Range<usize>,
        take: &mut dyn FnMut(&[NamedValues<'_>]) -> Result<()>,
    ) -> Result<()> {
        self.run_set(samples, &[], take)
    }
}

impl Setter for ImageRunner<'_> {
    fn run_set(
        &mut self,
        samples: Range<usize>,
        set: &[Scalar],
        take: &mut dyn FnMut(&[NamedValues<'_>]) -> Result<()>,
    ) -> Result<()> {
        let split = self.sample.take(self.images.indices.get(samples).unwrap_or_default())?;
        self.values.clear();
        self.images.normalization.apply_pixels(split.shape(), split.pixels(), &mut self.values);
        let (input, source) = (self.model.input().to_owned(), self.model.source().to_owned());
        let mut watch = |outputs: &[NamedValues<'_>]| {
            let mut tensors = outputs.to_vec();
            tensors.push((&input, &self.values));
            take(&tensors)
        };
        self.model.run_set(&self.values, set, &mut watch).with_context(|| format!("running {source}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(images: usize, seed: u64, length: usize) -> Result<Vec<usize>, String> {
        let wanted = Wanted { asked: Some(images), usual: 512, unit: "images" };
        draw(wanted, seed, length, "the train split").map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn a_draw_repeats_and_has_no_image_twice() {
        let indices = asked(50, 42, 100).unwrap();
        assert_eq!(indices, asked(50, 42, 100).unwrap());
        assert!(indices.len() == 50 && indices.is_sorted_by(|one, two| one < two));
        assert_ne!(indices, asked(50, 43, 100).unwrap());
    }

    /// Guards the values themselves: another draw would change ranges without a change of the op's version.
    #[test]
    fn the_draw_of_the_default_seed_is_fixed() {
        assert_eq!(asked(5, 42, 1000).unwrap(), [146, 223, 679, 772, 949]);
    }

    #[test]
    fn a_number_that_is_asked_for_must_be_there_and_the_usual_one_is_a_limit() {
        let failure = asked(1_100, 42, 1_000).unwrap_err();
        assert!(failure.contains("asks for 1,100 images, but the train split has 1,000"), "{failure}");
        assert!(failure.contains("take up to 512"), "{failure}");
        let usual =
            |length| draw(Wanted { asked: None, usual: 512, unit: "images" }, 42, length, "the train split");
        assert_eq!(usual(10).unwrap(), (0..10).collect::<Vec<_>>());
        assert_eq!(usual(1_000).unwrap(), asked(512, 42, 1_000).unwrap());
        assert!(format!("{:?}", usual(0).unwrap_err()).contains("the train split has no images"));
    }
}
