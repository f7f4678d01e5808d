//! Whether arrays fit the inputs of a model: by name, by shape and by type, and how many samples a call takes. Knows what a model
//! declares; runs none.

use anyhow::{Context, Result, anyhow, bail};
use arrays::Source;
use ort::value::{Outlet, TensorElementType};
use protocol::counted;

use super::{Feed, Samples, Values};
use crate::runtime::Loaded;

/// Arrays that fit a model's inputs, not read yet.
pub(super) struct Fitted<'a> {
    source: &'a Source,
    model: &'a Loaded,
    /// By input: its array, the sizes of a sample's axes, and whether a sample is all that the input takes in a call.
    arrays: Vec<(&'a str, Vec<usize>, bool)>,
    pub(super) batch: Batch,
}

impl<'a> Fitted<'a> {
    pub(super) fn new(source: &'a Source, model: &'a Loaded) -> Result<Self> {
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
    pub(super) fn take(self, mut indices: Vec<usize>) -> Result<Samples> {
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
            let values = Values::new(&source.take(array, &indices)?, &indices, element)
                .with_context(|| fitting(source, array, input.name()))?;
            feeds.push(Feed { input: input.name().to_owned(), element, values, shape, is_whole });
        }
        let left_over = drawn - indices.len();
        Ok(Samples { indices, left_over, feeds, batch })
    }
}

fn fitting(source: &Source, array: &str, input: &str) -> String {
    format!("array `{array}` of `{}` for input `{input}`", source.path().display())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Batch {
    /// As many as one likes.
    Any,
    /// So many, no more and no less.
    Fixed(usize),
}

/// The array of each input. The only one of a file of its own is that of the only input.
fn pair<'s>(source: &'s Source, inputs: &[Outlet], model: &str) -> Result<Vec<&'s str>> {
    let wanted: Vec<&str> = inputs.iter().map(Outlet::name).collect();
    check_names(source, &wanted, model)?;
    let arrays = || source.headers().keys().map(String::as_str);
    if source.is_single() {
        return Ok(arrays().collect());
    }
    Ok(wanted.iter().filter_map(|name| arrays().find(|array| array == name)).collect())
}

/// Checks that there is an array for each input of `model` that is `wanted`.
///
/// # Errors
/// Which are missing, and what there is instead.
pub(crate) fn check_names(source: &Source, wanted: &[&str], model: &str) -> Result<()> {
    let arrays: Vec<&str> = source.headers().keys().map(String::as_str).collect();
    if source.is_single() && wanted.len() == 1 {
        return Ok(());
    }
    let quoted = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    let missing: Vec<&str> = wanted.iter().filter(|name| !arrays.contains(name)).copied().collect();
    let unknown: Vec<&str> = arrays.iter().filter(|name| !wanted.contains(name)).copied().collect();
    if let Some((name, reason)) = missing.iter().find_map(|name| Some((name, source.why_not(name)?))) {
        bail!("array `{name}` of `{}`, for an input of {model}, {reason}", source.path().display());
    }
    // What else is there may be labels, or for another model.
    if missing.is_empty() {
        return Ok(());
    }
    let mut parts = vec![format!("none for {}", quoted(&missing))];
    if !unknown.is_empty() {
        parts.push(format!("{}, for which there is no input", quoted(&unknown)));
    }
    bail!(
        "`{}` has {}; {model} takes {}: one array for each input, called as it is",
        source.path().display(),
        parts.join(" and "),
        quoted(wanted)
    )
}

/// Whether samples of these sizes are each the whole input, and how many samples a call takes.
pub(super) fn fit(input: &Outlet, sample: &[usize]) -> Result<(bool, Batch)> {
    let Some(shape) = input.dtype().tensor_shape() else { bail!("it is not a tensor") };
    let fits = |wanted: &[i64]| {
        wanted.len() == sample.len()
            && wanted
                .iter()
                .zip(sample)
                .all(|(wanted, size)| usize::try_from(*wanted).map_or(true, |wanted| wanted == *size))
    };
    let sizes = |wanted: &[i64]| -> Vec<String> {
        wanted.iter().map(|size| if *size < 0 { "any".to_owned() } else { size.to_string() }).collect()
    };
    if let [batch, rest @ ..] = &shape[..]
        && fits(rest)
    {
        return Ok((false, usize::try_from(*batch).map_or(Batch::Any, Batch::Fixed)));
    }
    if fits(shape) {
        return Ok((true, Batch::Fixed(1)));
    }
    let array = match &shape[..] {
        [_, rest @ ..] => {
            format!(": save it as [{}]", [&["samples".to_owned()][..], &sizes(rest)].concat().join(", "))
        }
        [] => String::new(),
    };
    bail!(
        "each of its samples has shape {sample:?}, but the model takes [{}]{array}",
        sizes(shape).join(", ")
    )
}

/// How many samples all inputs take in a call.
pub(super) fn common(batches: &[(String, Batch)]) -> Result<Batch> {
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

/// As [`fit`] of the only input of a model, which must take 32-bit floats.
pub(super) fn fit_only(model: &Loaded, sample: &[usize]) -> Result<(bool, Batch)> {
    match model.inputs() {
        [input] if input.dtype().tensor_type() == Some(TensorElementType::Float32) => {
            fit(input, sample).with_context(|| format!("input `{}` of {}", input.name(), model.source()))
        }
        [input] => bail!(
            "input `{}` of {} takes no pictures, which are 32-bit floats: give `arrays`",
            input.name(),
            model.source()
        ),
        inputs => bail!(
            "{} has {} inputs, and only models with one are shown pictures: give `arrays` for its inputs",
            model.source(),
            inputs.len()
        ),
    }
}

/// How many samples each of some models takes in a call, where one of them takes so many and no more.
///
/// # Errors
/// Where arrays do not fit a model, or two of them take different numbers.
pub(crate) fn calls(source: &Source, models: &[Loaded]) -> Result<Option<usize>> {
    one_number(models, |model| Ok(Fitted::new(source, model)?.batch))
}

/// As [`calls`], of samples of this shape for the only input of each.
pub(crate) fn calls_of(sample: &[usize], models: &[Loaded]) -> Result<Option<usize>> {
    one_number(models, |model| Ok(fit_only(model, sample)?.1))
}

fn one_number(models: &[Loaded], batch: impl Fn(&Loaded) -> Result<Batch>) -> Result<Option<usize>> {
    let mut fixed: Option<(&str, usize)> = None;
    for model in models {
        let Batch::Fixed(size) = batch(model)? else { continue };
        match fixed {
            Some((other, before)) if before != size => bail!(
                "{} takes {} in a call, but {other} takes {before}: export both for as many",
                model.source(),
                counted(size, "sample", "samples")
            ),
            _ => fixed = Some((model.source(), size)),
        }
    }
    Ok(fixed.map(|(_, size)| size))
}

/// The arrays that are for no input of `model`.
pub(crate) fn unused<'s>(source: &'s Source, model: &Loaded) -> Vec<&'s str> {
    let is_input = |name: &str| model.inputs().iter().any(|input| input.name() == name);
    let names = source.headers().keys().map(String::as_str);
    names.filter(|name| !source.is_single() && !is_input(name)).collect()
}
