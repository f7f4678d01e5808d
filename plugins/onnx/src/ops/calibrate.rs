//! `onnx/calibrate`: the ranges that a model's activations take on some images of a dataset.
//!
//! Each thread has one batch of activations in memory at a time, however many images there are.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use dataset::{Normalization, Sample, SplitName};
use protocol::{
    Axis, Bin, Cell, Column, Content, Failure, Figure, Histogram, Marker, OpManifest, Progress, Reporter,
    RunRequest,
};
use quant::{Lineage, Method, Observer, Ranges, observed_model, tensors_to_observe};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::metadata;
use crate::ops::{input, manifest_of, output};
use crate::request::{self, grouped};
use crate::runtime::Model;

const VERSION: u32 = 2;

/// Most bins of a histogram in the figure.
const BINS: usize = 32;

/// Params of `onnx/calibrate`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Params {
    /// How many images to draw from the split.
    #[schemars(range(min = 1))]
    images: usize,
    /// Seed of the draw.
    seed: u64,
    /// Images per call. Without effect on the ranges.
    #[schemars(range(min = 1))]
    batch_size: usize,
    /// The split to draw from: `train`, or `test` as the notebook did.
    split: SplitName,
    /// How ranges are chosen.
    method: Method,
    /// What `percentile` keeps of the values of a tensor, in percent.
    #[schemars(range(min = 50, max = 100))]
    percentile: f64,
    /// Count values for the figure of histograms even where the method does not need them. Takes most of the time.
    histograms: bool,
    /// Mean and standard deviation per channel, of pixels scaled to 0..1, for a model that does not carry them.
    normalization: Option<Normalization>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            images: 512,
            seed: 42,
            batch_size: 32,
            split: SplitName::Train,
            method: Method::default(),
            percentile: 99.999,
            histograms: true,
            normalization: None,
        }
    }
}

pub(crate) fn manifest() -> OpManifest {
    OpManifest {
        inputs: [
            input("model", "the float model, as `onnx/export` writes it"),
            input("dataset", "the images to draw from"),
        ]
        .into(),
        outputs: [output("ranges", "range by tensor, and which images they come from", "ranges.json")].into(),
        ..manifest_of::<Params>("Finds the ranges of a model's activations on images of a dataset", VERSION)
    }
}

pub(crate) fn run(request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
    let params: Params = request::params(request)?;
    if params.images == 0 || params.batch_size == 0 {
        return Err(Failure::new("`images` and `batch_size` must be at least 1"));
    }
    if !(50.0..=100.0).contains(&params.percentile) {
        return Err(Failure::new("`percentile` must be between 50 and 100"));
    }
    let path = request::input(request, "model")?;
    let float = onnx::Model::read(path)?;
    let observed = observed_model(&float)?.to_bytes();
    let open = || Model::from_bytes(&observed, format!("`{}`", path.display()), 1);
    let model = open()?;
    let dataset = request::input(request, "dataset")?;
    let mut sample = Sample::open(dataset, params.split)?;
    let indices = draw(&params, sample.len())?;
    let first = sample.take(indices.get(..1).unwrap_or_default())?;
    let normalization = metadata::normalization(&model, &first, params.normalization.as_ref())?;
    let observer = Observer::new(tensors_to_observe(&float)?, params.method, params.histograms);
    let batches = Batches {
        dataset,
        split: params.split,
        indices: &indices,
        normalization: &normalization,
        size: params.batch_size,
        next: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
    };
    let observer = batches.observe(model, &open, &observer, request.threads, reporter)?;
    let lineage = Lineage {
        method: params.method.as_str().into(),
        images: indices.iter().map(|index| *index as u64).collect(),
        seed: params.seed,
        split: params.split.as_str().into(),
        mean: normalization.mean.clone(),
        std: normalization.std.clone(),
        model: request::digest(path)?,
    };
    let ranges = observer.ranges(params.percentile, lineage, request.threads)?;
    ranges.write(request::output(request, "ranges")?)?;
    let basis = format!(
        "{} images of the {} split, drawn with seed {} (indices {})",
        grouped(params.images),
        params.split.as_str(),
        params.seed,
        indices_digest(&indices)
    );
    reporter.info(format!(
        "{} tensors on {basis}, normalised with mean {:?} and std {:?}",
        ranges.tensors.len(),
        normalization.mean,
        normalization.std
    ));
    if observer.histograms().next().is_some() {
        reporter.figure(histograms(&observer, &ranges, &basis));
    }
    reporter.figure(table(&ranges, params.method, &basis));
    Ok(())
}

/// Indices into the split, drawn without replacement, ascending.
fn draw(params: &Params, length: usize) -> Result<Vec<usize>, Failure> {
    let name = params.split.as_str();
    if params.images > length {
        return Err(Failure::new(format!(
            "`images` asks for {} images, but the {name} split has {length}",
            params.images
        )));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
    let mut indices = rand::seq::index::sample(&mut rng, length, params.images).into_vec();
    indices.sort_unstable();
    Ok(indices)
}

/// The first 16 hexadecimal digits of the BLAKE3 of the indices as 64-bit little-endian integers.
fn indices_digest(indices: &[usize]) -> String {
    let mut hasher = blake3::Hasher::new();
    for index in indices {
        hasher.update(&(*index as u64).to_le_bytes());
    }
    let mut digest = format!("blake3:{}", hasher.finalize().to_hex());
    digest.truncate("blake3:".len() + 16);
    digest
}

/// The images to look at, some at a time.
struct Batches<'a> {
    dataset: &'a Path,
    split: SplitName,
    indices: &'a [usize],
    normalization: &'a Normalization,
    /// How many at a time.
    size: usize,
    /// The first image that nobody looks at yet.
    next: AtomicUsize,
    /// How many have been looked at.
    done: AtomicUsize,
}

impl Batches<'_> {
    /// Shows all of them to a copy of the observer, on `threads` threads. Each has a session of its own with one thread: so
    /// nobody waits for anybody, and the result does not depend on how many there are.
    fn observe(
        &self,
        model: Model,
        open: &(dyn Fn() -> Result<Model> + Sync),
        observer: &Observer,
        threads: usize,
        reporter: &mut Reporter<'_>,
    ) -> Result<Observer> {
        let threads = threads.min(self.indices.len().div_ceil(self.size)).max(1);
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads)
                .map(|_| scope.spawn(|| self.look(open()?, observer.clone(), &mut |_| {})))
                .collect();
            let total = self.indices.len() as f64;
            let mut observed = self.look(model, observer.clone(), &mut |done| {
                reporter.progress(Progress {
                    done: done as f64,
                    total,
                    unit: "image".into(),
                    text: String::new(),
                    milestone: false,
                });
            })?;
            for other in others {
                observed.merge(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(observed)
        })
    }

    /// Takes batches until there are no more; tells how many images everybody has looked at.
    fn look(
        &self,
        mut model: Model,
        mut observer: Observer,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Observer> {
        let input = model.input().to_owned();
        let mut sample = Sample::open(self.dataset, self.split)?;
        let mut images = Vec::new();
        loop {
            let from = self.next.fetch_add(self.size, Ordering::Relaxed);
            let rest = self.indices.get(from..).unwrap_or_default();
            let Some(batch) = rest.chunks(self.size).next() else { return Ok(observer) };
            let split = sample.take(batch)?;
            images.clear();
            self.normalization.apply_pixels(split.shape(), split.pixels(), &mut images);
            observer.observe(&[(input.as_str(), images.as_slice())], batch.len())?;
            model
                .run_all(&images, &mut |outputs| Ok(observer.observe(outputs, batch.len())?))
                .context("calibrating")?;
            tell(self.done.fetch_add(batch.len(), Ordering::Relaxed) + batch.len());
        }
    }
}

fn histograms(observer: &Observer, ranges: &Ranges, basis: &str) -> Figure {
    let marked = |(name, counted): (&str, &quant::Histogram)| {
        let marker = |label: &str, value: f32| Marker { label: label.into(), value: f64::from(value) };
        let range = ranges.tensors.get(name);
        Histogram {
            name: name.into(),
            bins: counted.coarse(BINS).bins().map(|(low, high, count)| Bin { low, high, count }).collect(),
            markers: range.map_or(vec![], |range| vec![marker("min", range.min), marker("max", range.max)]),
        }
    };
    Figure {
        id: "activations".into(),
        title: "Activations and their ranges".into(),
        caption: format!(
            "Values of each tensor on {basis}; marks are the ends of the range that was chosen."
        ),
        content: Content::Histograms {
            x: Axis::new("activation", ""),
            histograms: observer.histograms().map(marked).collect(),
        },
    }
}

fn table(ranges: &Ranges, method: Method, basis: &str) -> Figure {
    let column = |label: &str, digits| Column { label: label.into(), unit: String::new(), digits };
    let row = |(name, range): (&String, &quant::Range)| {
        vec![Cell::Text(name.clone()), Cell::Number(range.min.into()), Cell::Number(range.max.into())]
    };
    Figure {
        id: "ranges".into(),
        title: "Ranges by tensor".into(),
        caption: format!("What `{}` chose on {basis}.", method.as_str()),
        content: Content::Table {
            columns: vec![column("tensor", 0), column("min", 4), column("max", 4)],
            rows: ranges.tensors.iter().map(row).collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_says_which_numbers_make_sense() {
        let schema = manifest().params;
        for field in ["images", "batch_size"] {
            assert_eq!(schema["properties"][field]["minimum"], 1, "{field}");
        }
    }

    #[test]
    fn a_draw_repeats_and_has_no_image_twice() {
        let params = Params { images: 50, ..Params::default() };
        let indices = draw(&params, 100).unwrap();
        assert_eq!(indices, draw(&params, 100).unwrap());
        assert!(indices.len() == 50 && indices.is_sorted_by(|one, two| one < two));
        let other = draw(&Params { seed: 43, ..params }, 100).unwrap();
        assert_ne!(indices_digest(&indices), indices_digest(&other));
    }

    /// Guards the values themselves: another draw would change ranges without a change of the op's version.
    #[test]
    fn the_draw_of_the_default_seed_is_fixed() {
        let indices = draw(&Params { images: 5, ..Params::default() }, 1000).unwrap();
        assert_eq!(indices, [146, 223, 679, 772, 949]);
    }

    #[test]
    fn more_images_than_there_are_is_an_error_that_names_the_split() {
        let failure = draw(&Params { images: 11, ..Params::default() }, 10).unwrap_err();
        assert!(format!("{failure:?}").contains("the train split has 10"));
    }
}
