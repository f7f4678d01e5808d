//! Samples as arrays by the names of a model's inputs, for models of anything but pictures: drawn by a seed, turned into the types
//! that the model takes, and shown to it. Knows arrays and sessions; knows no datasets.
//!
//! An array's first axis counts the samples. What follows is either the input without its first axis, and then samples go into a
//! call together, or the whole input, as for states whose batch is another axis, and then each has a call of its own.

mod values;

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use arrays::Source;
use onnx::Dim;
use ort::session::SessionInputValue;
use ort::value::Outlet;
use protocol::{Failure, Reporter, counted, grouped};
use quant::Outcomes;

use self::values::Values;
use crate::images::{Wanted, draw};
use crate::runtime::{Loaded, NamedValues, Scalar, scalars};
use crate::trials::{self, Files, Sessions, Setter, Work};
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

/// Arrays that fit a model's inputs, not read yet.
struct Fitted<'a> {
    source: &'a Source,
    model: &'a Loaded,
    /// By input: its array, the sizes of a sample's axes, and whether a sample is all that the input takes in a call.
    arrays: Vec<(&'a str, Vec<usize>, bool)>,
    batch: Batch,
}

impl<'a> Fitted<'a> {
    fn new(source: &'a Source, model: &'a Loaded) -> Result<Self> {
        let inputs = model.inputs();
        let (mut batches, mut arrays) = (Vec::new(), Vec::new());
        for (input, array) in inputs.iter().zip(pair(source, inputs, model.source())?) {
            let shape = source.headers().get(array).map(|header| header.shape.as_slice()).unwrap_or_default();
            let shape = shape.get(1..).unwrap_or_default();
            let (is_whole, batch) =
                fit(input, shape).with_context(|| fitting(source, array, input.name()))?;
            batches.push((input.name().to_owned(), batch));
            arrays.push((array, shape.to_vec(), is_whole));
        }
        Ok(Self { source, model, arrays, batch: common(&batches)? })
    }

    /// Reads the samples at `indices`, of which those that a fixed batch leaves over are left out.
    fn take(self, mut indices: Vec<usize>) -> Result<Samples> {
        let Self { source, model, arrays, batch } = self;
        let drawn = indices.len();
        if let Batch::Fixed(size) = batch {
            let calls = indices.len() / size;
            if calls == 0 {
                bail!(
                    "{} takes {} at a time, but there are only {} of `{}`",
                    model.source(),
                    counted(size, "sample", "samples"),
                    indices.len(),
                    source.path().display()
                );
            }
            indices.truncate(calls * size);
        }
        let mut feeds = Vec::new();
        for (input, (array, shape, is_whole)) in model.inputs().iter().zip(arrays) {
            let element = input.dtype().tensor_type();
            let element = element.ok_or_else(|| anyhow!("input `{}` is not a tensor", input.name()))?;
            let values = Values::new(&source.take(array, &indices)?, element)
                .with_context(|| fitting(source, array, input.name()))?;
            feeds.push(Feed { input: input.name().to_owned(), values, shape, is_whole });
        }
        let left_over = drawn - indices.len();
        Ok(Samples { indices, left_over, feeds, batch })
    }
}

fn fitting(source: &Source, array: &str, input: &str) -> String {
    format!("array `{array}` of `{}` for input `{input}`", source.path().display())
}

/// One input.
#[derive(Debug)]
struct Feed {
    input: String,
    values: Values,
    /// Sizes of a sample's axes.
    shape: Vec<usize>,
    /// Whether a sample is all that the input takes in a call.
    is_whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Batch {
    /// As many as one likes.
    Any,
    /// So many, no more and no less.
    Fixed(usize),
}

impl Samples {
    /// The samples at `indices` of `source` for `model`. Those that a fixed batch leaves over are not among them.
    ///
    /// # Errors
    /// Where an input has no array, an array has no input, or shape or type do not fit; and where it cannot be read.
    pub(crate) fn new(source: &Source, indices: Vec<usize>, model: &Loaded) -> Result<Self> {
        Fitted::new(source, model)?.take(indices)
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

    /// As [`Samples::show`], as few as go into a call at a time, but runs trials.
    pub(crate) fn try_out(
        &self,
        work: Work<'_>,
        files: Files<'_>,
        open: &(dyn Fn(&[u8]) -> Result<Loaded> + Sync),
        threads: usize,
        reporter: &mut Reporter<'_>,
    ) -> Result<Outcomes> {
        let runner = |bytes: &[u8]| anyhow::Ok(SampleRunner { samples: self, model: open(bytes)? });
        let both = || Ok(Sessions { exact: runner(files.exact)?, rounded: runner(files.rounded)? });
        trials::run(work, both()?, &both, threads, reporter)
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

/// Runs `model` on a few samples of what is at `path`, and checks that what it gives is finite.
///
/// # Errors
/// Where it is not, or the samples do not fit.
pub(crate) fn check(model: Loaded, path: &Path) -> Result<()> {
    let source = Source::open(path)?;
    let fitted = Fitted::new(&source, &model)?;
    let count = match fitted.batch {
        Batch::Any => TRIED.min(source.samples()),
        Batch::Fixed(size) => size,
    };
    if source.samples() == 0 {
        bail!("`{}` has no samples, on which {} could be tried", path.display(), model.source());
    }
    let samples = fitted.take((0..count.min(source.samples())).collect())?;
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
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = Vec::new();
        for feed in &self.samples.feeds {
            let lead = (!feed.is_whole).then_some(range.len());
            let shape: Vec<usize> = lead.into_iter().chain(feed.shape.iter().copied()).collect();
            inputs.push((&feed.input, feed.values.tensor(&range, &feed.shape, shape)?));
        }
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

/// The array of each input. The only one of a file of its own is that of the only input.
fn pair<'s>(source: &'s Source, inputs: &[Outlet], model: &str) -> Result<Vec<&'s str>> {
    let arrays: Vec<&str> = source.headers().keys().map(String::as_str).collect();
    if let ([array], [_], true) = (arrays.as_slice(), inputs, source.is_single()) {
        return Ok(vec![array]);
    }
    let quoted = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    let wanted: Vec<&str> = inputs.iter().map(Outlet::name).collect();
    let missing: Vec<&str> = wanted.iter().filter(|name| !arrays.contains(name)).copied().collect();
    let unknown: Vec<&str> = arrays.iter().filter(|name| !wanted.contains(name)).copied().collect();
    if !missing.is_empty() || !unknown.is_empty() {
        let mut parts = Vec::new();
        if !missing.is_empty() {
            parts.push(format!("none for {}", quoted(&missing)));
        }
        if !unknown.is_empty() {
            parts.push(format!("{}, for which there is no input", quoted(&unknown)));
        }
        bail!(
            "`{}` has {}; {model} takes {}: one array for each input, called as it is",
            source.path().display(),
            parts.join(" and "),
            quoted(&wanted)
        );
    }
    let order = wanted.iter().filter_map(|name| arrays.iter().find(|array| *array == name).copied());
    Ok(order.collect())
}

/// Whether samples of these sizes are each the whole input, and how many samples a call takes.
fn fit(input: &Outlet, sample: &[usize]) -> Result<(bool, Batch)> {
    let Some(shape) = input.dtype().tensor_shape() else { bail!("it is not a tensor") };
    let fits = |wanted: &[i64]| {
        wanted.len() == sample.len()
            && wanted
                .iter()
                .zip(sample)
                .all(|(wanted, size)| usize::try_from(*wanted).map_or(true, |wanted| wanted == *size))
    };
    let open = |wanted: &[i64]| {
        let sizes: Vec<_> =
            wanted.iter().map(|size| if *size < 0 { "any".to_owned() } else { size.to_string() }).collect();
        sizes.join(", ")
    };
    if let [batch, rest @ ..] = &shape[..]
        && fits(rest)
    {
        return Ok((false, usize::try_from(*batch).map_or(Batch::Any, Batch::Fixed)));
    }
    if fits(shape) {
        return Ok((true, Batch::Fixed(1)));
    }
    bail!("each of its samples has shape {sample:?}, but the model takes [{}]", open(shape))
}

/// How many samples all inputs take in a call.
fn common(batches: &[(String, Batch)]) -> Result<Batch> {
    let mut fixed: Option<(&String, usize)> = None;
    for (input, batch) in batches {
        let Batch::Fixed(size) = *batch else { continue };
        if size == 0 {
            bail!("input `{input}` takes no samples at all");
        }
        match fixed {
            Some((other, before)) if before != size => bail!(
                "input `{input}` takes {} in a call, but `{other}` takes {before}: give each sample the whole of what \
                 an input takes, as [samples, *shape of the input]",
                counted(size, "sample", "samples")
            ),
            _ => fixed = Some((input, size)),
        }
    }
    Ok(fixed.map_or(Batch::Any, |(_, size)| Batch::Fixed(size)))
}

/// What was drawn, in words.
pub(crate) fn basis(indices: usize, source: &Path) -> String {
    format!("{} samples of `{}`", grouped(indices), source.file_name().unwrap_or_default().to_string_lossy())
}
