//! Some images of a dataset, drawn by a seed, shown to a model a batch at a time, on several threads.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use dataset::{Normalization, Sample, SplitName};
use protocol::{Failure, Progress, Reporter, grouped};
use quant::{MomentsObserver, Observer};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::metadata;
use crate::runtime::Model;

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

/// Whoever looks at what a model makes of images.
pub(crate) trait Watcher: Clone + Send + Sync {
    /// Takes in what tensors, the input among them, are in a batch of `images` images.
    fn watch(&mut self, tensors: &[(&str, &[f32])], images: usize) -> Result<()>;

    /// Takes in what another saw of other images.
    fn merge(&mut self, other: Self);
}

impl Watcher for Observer {
    fn watch(&mut self, tensors: &[(&str, &[f32])], images: usize) -> Result<()> {
        Ok(self.observe(tensors, images)?)
    }

    fn merge(&mut self, other: Self) {
        Self::merge(self, other);
    }
}

impl Watcher for MomentsObserver {
    fn watch(&mut self, tensors: &[(&str, &[f32])], images: usize) -> Result<()> {
        self.observe(tensors, images);
        Ok(())
    }

    fn merge(&mut self, other: Self) {
        Self::merge(self, &other);
    }
}

/// How many images to draw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// The number asked for, which must be there.
    pub(crate) asked: Option<usize>,
    /// Where none is: up to so many.
    pub(crate) usual: usize,
}

/// Indices below `length`, drawn without replacement, ascending. What they are drawn from is named in the error as `of`, such as
/// `the train split`.
pub(crate) fn draw(wanted: Wanted, seed: u64, length: usize, of: &str) -> Result<Vec<usize>, Failure> {
    let Wanted { asked, usual } = wanted;
    let images = asked.unwrap_or(usual.min(length));
    if images > length {
        return Err(Failure::new(format!(
            "`images` asks for {} images, but {of} has {}",
            grouped(images),
            grouped(length)
        ))
        .hint(format!("leave `images` out to take up to {}", grouped(usual))));
    }
    if images == 0 {
        return Err(Failure::new(format!("{of} has no images")));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut indices = rand::seq::index::sample(&mut rng, length, images).into_vec();
    indices.sort_unstable();
    Ok(indices)
}

impl<'a> Images<'a> {
    /// The images at `indices` for `model`, which says how they are normalised, or else `fallback` does.
    pub(crate) fn new(
        dataset: &'a Path,
        split: SplitName,
        indices: Vec<usize>,
        batch_size: usize,
        model: &Model,
        fallback: Option<&Normalization>,
    ) -> Result<Self> {
        let first = Sample::open(dataset, split)?.take(indices.get(..1).unwrap_or_default())?;
        let normalization = metadata::normalization(model, &first, fallback)?;
        Ok(Self { dataset, split, indices, normalization, batch_size })
    }

    /// Shows all of them to a copy of `watcher` on `threads` threads. Each has a session of its own with one thread: `model`,
    /// and others like it that `open` makes. So nobody waits for anybody, and the result does not depend on how many there
    /// are.
    pub(crate) fn show<W: Watcher>(
        &self,
        model: Model,
        open: &(dyn Fn() -> Result<Model> + Sync),
        watcher: &W,
        threads: usize,
        reporter: &mut Reporter<'_>,
    ) -> Result<W> {
        let turns = Turns::default();
        let calls = self.indices.len().div_ceil(model.batch_size(self.batch_size));
        let threads = threads.min(calls).max(1);
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads)
                .map(|_| scope.spawn(|| self.look(open()?, watcher.clone(), &turns, &mut |_| {})))
                .collect();
            let total = self.indices.len() as f64;
            let mut watched = self.look(model, watcher.clone(), &turns, &mut |done| {
                reporter.progress(Progress {
                    done: done as f64,
                    total,
                    unit: "image".into(),
                    text: String::new(),
                    milestone: false,
                });
            })?;
            for other in others {
                watched.merge(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(watched)
        })
    }

    /// Takes batches until there are no more; tells how many images everybody has looked at.
    fn look<W: Watcher>(
        &self,
        mut model: Model,
        mut watcher: W,
        turns: &Turns,
        tell: &mut dyn FnMut(usize),
    ) -> Result<W> {
        let (input, batch_size) = (model.input().to_owned(), model.batch_size(self.batch_size));
        let mut sample = Sample::open(self.dataset, self.split)?;
        let mut images = Vec::new();
        loop {
            let from = turns.next.fetch_add(batch_size, Ordering::Relaxed);
            let rest = self.indices.get(from..).unwrap_or_default();
            let Some(batch) = rest.chunks(batch_size).next() else { return Ok(watcher) };
            let split = sample.take(batch)?;
            images.clear();
            self.normalization.apply_pixels(split.shape(), split.pixels(), &mut images);
            let mut watch = |outputs: &[(&str, &[f32])]| {
                let mut tensors = outputs.to_vec();
                tensors.push((&input, &images));
                watcher.watch(&tensors, batch.len())
            };
            model.run_all(&images, &mut watch).with_context(|| format!("running {}", model.source()))?;
            tell(turns.done.fetch_add(batch.len(), Ordering::Relaxed) + batch.len());
        }
    }
}

/// Who looks at what next.
#[derive(Default)]
struct Turns {
    /// The first image that nobody looks at yet.
    next: AtomicUsize,
    /// How many have been looked at.
    done: AtomicUsize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(images: usize, seed: u64, length: usize) -> Result<Vec<usize>, String> {
        let wanted = Wanted { asked: Some(images), usual: 512 };
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
        let usual = |length| draw(Wanted { asked: None, usual: 512 }, 42, length, "the train split");
        assert_eq!(usual(10).unwrap(), (0..10).collect::<Vec<_>>());
        assert_eq!(usual(1_000).unwrap(), asked(512, 42, 1_000).unwrap());
        assert!(format!("{:?}", usual(0).unwrap_err()).contains("the train split has no images"));
    }
}
