//! Samples as arrays by the names of a model's inputs, for models of anything but pictures: drawn by a seed, turned into the types
//! that the model takes, and shown to it. Knows arrays and sessions; knows no datasets.
//!
//! An array's first axis counts the samples. What follows is either the input without its first axis, and then samples go into a
//! call together, or the whole input, as for states whose batch is another axis, and then each has a call of its own.

mod fit;
mod outputs;
mod values;

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use anyhow::{Result, bail};
use arrays::Source;
use onnx::Dim;
use ort::session::SessionInputValue;
use ort::value::TensorElementType;
use protocol::{Failure, Reporter, counted, grouped};
use quant::Outcomes;

use self::fit::{Batch, Fitted, common, fit, fit_only};
pub(crate) use self::fit::{calls, calls_of, check_names, unused};
pub(crate) use self::outputs::{Asked, Output};
pub(crate) use self::values::Values;
use crate::images::{Wanted, draw};
use crate::runtime::{Loaded, NamedValues, Scalar, scalars};
use crate::trials::{self, Setter, Work};
use crate::turns::{self, Runner, Watcher, Workload};

/// Name of the input that holds arrays.
pub(crate) const ARRAYS: &str = "arrays";

/// How many samples a model is tried on.
const TRIED: usize = 4;

/// Samples for the inputs of a model.
#[derive(Debug)]
pub(crate) struct Samples {
    /// Which of those that there are, ascending.
    pub(crate) indices: Vec<usize>,
    /// How many of those that were drawn are not among them, because a fixed batch leaves them over.
    pub(crate) left_over: usize,
    feeds: Vec<Feed>,
    /// How many go into a call.
    batch: Batch,
}

/// One input.
#[derive(Debug)]
struct Feed {
    input: String,
    element: TensorElementType,
    values: Values,
    /// Sizes of a sample's axes.
    shape: Vec<usize>,
    /// Whether a sample is all that the input takes in a call.
    is_whole: bool,
}

impl Samples {
    /// The samples at `indices` of `source` for `model`. Those that a fixed batch leaves over are not among them.
    ///
    /// # Errors
    /// Where an input has no array, an array has no input, or shape or type do not fit; and where it cannot be read.
    pub(crate) fn new(source: &Source, indices: Vec<usize>, model: &Loaded) -> Result<Self> {
        Fitted::new(source, model)?.take(indices)
    }

    /// Values of 32 bits, sample after sample of this shape, for the only input of `model`.
    ///
    /// # Errors
    /// Where it has others, or takes something else.
    pub(crate) fn of_floats(
        values: Vec<f32>,
        shape: &[usize],
        indices: Vec<usize>,
        model: &Loaded,
    ) -> Result<Self> {
        let (is_whole, batch) = fit_only(model, shape)?;
        let input = model.inputs().first().map(|input| input.name().to_owned()).unwrap_or_default();
        let (element, values) = (TensorElementType::Float32, Values::F32(values));
        let feed = Feed { input, element, values, shape: shape.to_vec(), is_whole };
        Ok(Self { indices, left_over: 0, feeds: vec![feed], batch })
    }

    /// The first `count` samples of `source` for one call of `model`, over again where there are fewer.
    ///
    /// # Errors
    /// As [`Samples::new`], and where a call takes another number.
    pub(crate) fn repeated(source: &Source, count: usize, model: &Loaded) -> Result<Self> {
        let mut fitted = Fitted::new(source, model)?;
        if let Batch::Fixed(size) = fitted.batch
            && size != count
        {
            bail!(
                "{} takes {} in a call, not {count}: set `batches: [{size}]`, with one value in `calls` and `warmup_calls`",
                model.source(),
                counted(size, "sample", "samples")
            );
        }
        if source.samples() == 0 {
            bail!("`{}` has no samples", source.path().display());
        }
        let indices: Vec<usize> = (0..count.min(source.samples())).collect();
        fitted.batch = Batch::Any;
        let mut samples = fitted.take(indices)?;
        for feed in &mut samples.feeds {
            let size: usize = feed.shape.iter().product();
            feed.values.repeat(count * size);
        }
        samples.indices = (0..count).map(|place| place % source.samples()).collect();
        Ok(samples)
    }

    /// Shows all of them to a copy of `watcher` on `threads` threads, up to `batch_size` at a time, with `model` and others like it
    /// that `open` makes.
    pub(crate) fn show<W: Watcher>(
        &self,
        batch_size: usize,
        model: Loaded,
        open: &(dyn Fn() -> Result<Loaded> + Sync),
        watcher: &W,
        threads: usize,
        reporter: &mut Reporter<'_>,
    ) -> Result<W> {
        let work =
            Workload { samples: self.indices.len(), batch: self.batch_size(batch_size), unit: "sample" };
        let runner = |model| SampleRunner { samples: self, model };
        turns::show(work, runner(model), &|| Ok(runner(open()?)), watcher, threads, reporter)
    }

    /// Those in `range` as a call takes them.
    pub(crate) fn inputs(&self, range: &Range<usize>) -> Result<Vec<(&str, SessionInputValue<'_>)>> {
        let mut inputs = Vec::with_capacity(self.feeds.len());
        for feed in &self.feeds {
            let lead = (!feed.is_whole).then_some(range.len());
            let shape: Vec<usize> = lead.into_iter().chain(feed.shape.iter().copied()).collect();
            inputs.push((feed.input.as_str(), feed.values.tensor(range, &feed.shape, shape)?));
        }
        Ok(inputs)
    }

    /// Whether they are for `model`, too, as they are.
    pub(crate) fn serve(&self, model: &Loaded) -> bool {
        let inputs = model.inputs();
        let batches: Option<Vec<_>> = inputs
            .iter()
            .zip(&self.feeds)
            .map(|(input, feed)| {
                let (is_whole, batch) = fit(input, &feed.shape).ok()?;
                let is_same = input.name() == feed.input
                    && input.dtype().tensor_type() == Some(feed.element)
                    && is_whole == feed.is_whole;
                is_same.then(|| (feed.input.clone(), batch))
            })
            .collect();
        inputs.len() == self.feeds.len()
            && batches.and_then(|batches| common(&batches).ok()) == Some(self.batch)
    }

    /// As [`Samples::show`], as few as go into a call at a time, but runs trials.
    pub(crate) fn try_out(
        &self,
        work: Work<'_>,
        open: &(dyn Fn(&[u8]) -> Result<Loaded> + Sync),
        threads: usize,
        reporter: &mut Reporter<'_>,
    ) -> Result<Outcomes> {
        let runner = |bytes: &[u8]| anyhow::Ok(SampleRunner { samples: self, model: open(bytes)? });
        trials::run(work, &runner, threads, reporter)
    }

    /// How many go into a call, where `wanted` would do.
    pub(crate) fn batch_size(&self, wanted: usize) -> usize {
        match self.batch {
            Batch::Any => wanted.max(1),
            Batch::Fixed(size) => size,
        }
    }

    /// The model with those sizes of its inputs, but for the first, that it leaves open and all samples have.
    pub(crate) fn sized<'m>(&self, model: &'m onnx::Model) -> Cow<'m, onnx::Model> {
        let mut sized = Cow::Borrowed(model);
        for feed in &self.feeds {
            let inputs = &model.graph.inputs;
            let Some(place) = inputs.iter().position(|input| input.name == feed.input) else { continue };
            let Some(shape) = inputs.get(place).and_then(|input| input.shape.as_deref()) else { continue };
            let kept = usize::from(!feed.is_whole);
            let first = shape.iter().take(kept).cloned();
            let rest = feed.shape.iter().map(|size| Dim::Known(*size));
            let filled: Vec<Dim> = first.chain(rest).collect();
            if filled != shape
                && let Some(input) = sized.to_mut().graph.inputs.get_mut(place)
            {
                input.shape = Some(filled);
            }
        }
        sized
    }
}

/// A few samples of what is at `path`, on which `model` is tried.
///
/// # Errors
/// Where there are none, or they do not fit.
pub(crate) fn few(model: &Loaded, path: &Path) -> Result<Samples> {
    let source = Source::open(path)?;
    let fitted = Fitted::new(&source, model)?;
    let count = match fitted.batch {
        Batch::Any => TRIED.min(source.samples()),
        Batch::Fixed(size) => size,
    };
    if source.samples() == 0 {
        bail!("`{}` has no samples, on which {} could be tried", path.display(), model.source());
    }
    fitted.take((0..count.min(source.samples())).collect())
}

/// Runs `model` on a few samples of what is at `path`, and checks that what it gives is finite.
///
/// # Errors
/// Where it is not, or the samples do not fit.
pub(crate) fn check(model: Loaded, path: &Path) -> Result<()> {
    let samples = few(&model, path)?;
    let count = samples.indices.len();
    let name = model.source().to_owned();
    let mut runner = SampleRunner { samples: &samples, model };
    let gave = std::cell::Cell::new(false);
    let mut finite = |outputs: &[NamedValues<'_>]| {
        gave.set(true);
        match outputs.iter().find(|(_, values)| values.iter().any(|value| !value.is_finite())) {
            Some((output, _)) => bail!("{name} gives values of `{output}` that are not finite"),
            None => Ok(()),
        }
    };
    let ran = runner.run_outputs(0..count, &mut finite);
    match ran {
        // A batch may be open and a Reshape behind it take one sample and no more.
        Err(error) if count > 1 && !gave.get() => runner.run_outputs(0..1, &mut finite).map_err(|_| error),
        ran => ran,
    }
}

/// Which of the samples of `source` are drawn.
pub(crate) fn drawn(source: &Source, wanted: Wanted, seed: u64) -> Result<Vec<usize>, Failure> {
    draw(
        Wanted { unit: "samples", ..wanted },
        seed,
        source.samples(),
        &format!("`{}`", source.path().display()),
    )
}

/// A model with the samples that it is shown.
struct SampleRunner<'a> {
    samples: &'a Samples,
    model: Loaded,
}

impl SampleRunner<'_> {
    fn run_outputs(
        &mut self,
        range: Range<usize>,
        take: &mut dyn FnMut(&[NamedValues<'_>]) -> Result<()>,
    ) -> Result<()> {
        self.run_set(range, &[], take)
    }
}

impl Setter for SampleRunner<'_> {
    fn run_set(
        &mut self,
        range: Range<usize>,
        set: &[Scalar],
        take: &mut dyn FnMut(&[NamedValues<'_>]) -> Result<()>,
    ) -> Result<()> {
        let mut inputs = self.samples.inputs(&range)?;
        for scalar in scalars(set) {
            inputs.push(scalar?);
        }
        self.model.run(inputs, take)
    }
}

impl Runner for SampleRunner<'_> {
    fn run(
        &mut self,
        range: Range<usize>,
        take: &mut dyn FnMut(&[NamedValues<'_>]) -> Result<()>,
    ) -> Result<()> {
        let feeds = &self.samples.feeds;
        self.run_outputs(range.clone(), &mut |outputs| {
            let mut tensors = outputs.to_vec();
            let floats = feeds
                .iter()
                .filter_map(|feed| Some((feed.input.as_str(), feed.values.floats(&range, &feed.shape)?)));
            tensors.extend(floats);
            take(&tensors)
        })
    }
}

/// What was drawn, in words.
pub(crate) fn basis(indices: usize, source: &Path) -> String {
    format!("{} samples of `{}`", grouped(indices), source.file_name().unwrap_or_default().to_string_lossy())
}
