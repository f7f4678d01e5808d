//! What a model's file says of itself beside its graph: how pixels become its input. Knows the keys that
//! `onnx::build` writes.

use anyhow::{Context, Result, bail};
use dataset::{Normalization, Split};
use protocol::counted;

use crate::runtime::Model;

/// Values that are no further apart are the same but for rounding.
const SAME: f32 = 1e-4;

/// What to do about a `normalization` that is not used.
pub(crate) const UNUSED: &str = "leave `normalization` (for `pipe quantize`: `--mean` and `--std`) out, or export the model with those values";

/// How to make `model`'s input from the images of `split`: what the model's own metadata says, else what is `given`.
///
/// # Errors
/// Where the images have another size than the model takes, neither says how to normalise, or both say different things.
pub(crate) fn normalization(
    model: &Model,
    split: &Split,
    given: Option<&Normalization>,
) -> Result<Normalization> {
    match normalization_of_several(model, split, given)? {
        (normalization, None) => Ok(normalization),
        (_, Some(unused)) => bail!("{unused}; {UNUSED}"),
    }
}

/// As [`normalization`] where what is `given` is for other models, too: with what is to be said where this one says another.
///
/// # Errors
/// Where the images have another size than the model takes, or neither says how to normalise.
pub(crate) fn normalization_of_several(
    model: &Model,
    split: &Split,
    given: Option<&Normalization>,
) -> Result<(Normalization, Option<String>)> {
    let source = model.source();
    check_size(source, model.image(), split.shape())?;
    let own = own(model.metadata("normalization")?.as_deref(), source)?;
    let (normalization, unused) = choose(source, own, given)?;
    let [channels, ..] = split.shape();
    check_channels(&normalization, channels, source)?;
    Ok((normalization, unused))
}

/// What a model's metadata says of it.
pub(crate) fn own(text: Option<&str>, source: &str) -> Result<Option<Normalization>> {
    let read = text.map(serde_json::from_str).transpose();
    read.with_context(|| format!("`normalization` in the metadata of {source}"))
}

/// The model's own, or else what is `given`; and what is to be said where that is another and not used.
pub(crate) fn choose(
    source: &str,
    own: Option<Normalization>,
    given: Option<&Normalization>,
) -> Result<(Normalization, Option<String>)> {
    match (own, given) {
        (None, None) => bail!(
            "{source} does not say how its images are normalised: export it with `onnx/export`, or give `normalization` \
             (for `pipe quantize`: `--mean` and `--std`)"
        ),
        (None, Some(given)) => Ok((given.clone(), None)),
        (Some(own), Some(given)) if !is_same(&own, given) => {
            let unused = format!(
                "{source} says itself that its images are normalised with {}, so that {} of `normalization` is not used",
                words(&own),
                words(given)
            );
            Ok((own, Some(unused)))
        }
        (Some(own), _) => Ok((own, None)),
    }
}

pub(crate) fn check_channels(normalization: &Normalization, channels: usize, source: &str) -> Result<()> {
    normalization.check(channels).with_context(|| format!("normalisation of {source}"))
}

fn is_same(one: &Normalization, other: &Normalization) -> bool {
    let same = |one: &[f32], other: &[f32]| {
        one.len() == other.len() && one.iter().zip(other).all(|(one, other)| (one - other).abs() <= SAME)
    };
    same(&one.mean, &other.mean) && same(&one.std, &other.std)
}

fn words(Normalization { mean, std }: &Normalization) -> String {
    format!("mean {mean:?} and std {std:?}")
}

/// `1 value`.
pub(crate) fn values(count: usize) -> String {
    counted(count, "value", "values")
}

/// The inputs of a model that are no weights.
pub(crate) fn inputs(model: &onnx::Model) -> impl Iterator<Item = &onnx::Value> {
    model.graph.inputs.iter().filter(|input| !model.graph.initializers.contains_key(&input.name))
}

/// As [`check_size`] of a model's file, as far as that says what it takes.
pub(crate) fn check_size_of(source: &str, model: &onnx::Model, given: [usize; 3]) -> Result<()> {
    let wanted = inputs(model).next().and_then(|input| input.shape.as_deref());
    match wanted {
        Some([_, channels, height, width]) => match (channels.known(), height.known(), width.known()) {
            (Some(channels), Some(height), Some(width)) => {
                check_size(source, [channels, height, width], given)
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

pub(crate) fn check_size(source: &str, wanted: [usize; 3], given: [usize; 3]) -> Result<()> {
    if wanted == given {
        return Ok(());
    }
    let [channels, height, width] = given;
    if wanted == [height, width, channels] || !matches!(wanted, [1 | 3, ..]) && matches!(wanted, [.., 1 | 3])
    {
        let [height, width, channels] = wanted;
        bail!(
            "{source} takes images of {height}×{width}×{channels} with the channels last, which are not read: export it with channels \
             first, [batch, channels, height, width]"
        );
    }
    let hint = match (wanted, given) {
        ([1, ..], [3, ..]) => "; `data/download` makes grey images of pictures with `channels: 1`",
        ([3, ..], [1, ..]) => {
            "; `data/download` makes images of three channels of pictures without `channels`"
        }
        _ => "",
    };
    bail!("{source} takes images of {}, but those of the dataset are {}{hint}", size(wanted), size(given));
}

fn size([channels, height, width]: [usize; 3]) -> String {
    format!("{channels}×{height}×{width} (channels, height, width)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normalisation_that_is_given_and_not_used_is_told_with_both() {
        let of = |mean: f32| Normalization { mean: vec![mean], std: vec![0.5] };
        let choose = |own, given: Option<Normalization>| choose("`m`", own, given.as_ref()).unwrap();
        assert_eq!(choose(None, Some(of(0.2))), (of(0.2), None));
        assert_eq!(choose(Some(of(0.25)), None), (of(0.25), None));
        assert_eq!(choose(Some(of(0.25)), Some(of(0.250_04))), (of(0.25), None), "but for rounding");
        let (chosen, unused) = choose(Some(of(0.25)), Some(of(0.5)));
        assert_eq!(chosen, of(0.25));
        assert_eq!(
            unused.unwrap(),
            "`m` says itself that its images are normalised with mean [0.25] and std [0.5], so that mean [0.5] and std [0.5] of \
             `normalization` is not used"
        );
        assert!(super::choose("`m`", None, None).unwrap_err().to_string().contains("does not say how"));
    }

    #[test]
    fn what_keeps_images_from_a_model_is_told() {
        let said = |wanted, given| check_size("`m`", wanted, given).unwrap_err().to_string();
        assert!(check_size("`m`", [3, 32, 32], [3, 32, 32]).is_ok());
        for (wanted, given) in [([32, 32, 3], [3, 32, 32]), ([28, 28, 1], [3, 32, 32])] {
            let said = said(wanted, given);
            assert!(said.contains("with the channels last, which are not read"), "{said}");
        }
        assert!(said([1, 28, 28], [3, 28, 28]).ends_with("with `channels: 1`"));
        assert_eq!(
            said([3, 32, 32], [3, 28, 28]),
            "`m` takes images of 3×32×32 (channels, height, width), but those of the dataset are 3×28×28 (channels, height, width)"
        );
    }
}
