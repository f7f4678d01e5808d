//! What a model's file says of itself beside its graph: how pixels become its input. Knows the keys that
//! `onnx::build` writes.

use anyhow::{Context, Result, anyhow, bail};
use dataset::{Normalization, Split};

use crate::runtime::Model;

/// How to make `model`'s input from the images of `split`: the model's own metadata, else `fallback`.
///
/// # Errors
/// Where the images have another size than the model takes, or neither says how to normalise.
pub(crate) fn normalization(
    model: &Model,
    split: &Split,
    fallback: Option<&Normalization>,
) -> Result<Normalization> {
    let source = model.source();
    check_size(source, model.image(), split.shape())?;
    let own = model
        .metadata("normalization")?
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .with_context(|| format!("`normalization` in the metadata of {source}"))?;
    let normalization = own.or_else(|| fallback.cloned()).ok_or_else(|| {
        anyhow!(
            "{source} does not say how its images are normalised: export it with `onnx/export`, or give `normalization` \
             (for `pipe quantize`: `--mean` and `--std`)"
        )
    })?;
    let [channels, ..] = split.shape();
    normalization.check(channels).with_context(|| format!("normalisation of {source}"))?;
    Ok(normalization)
}

fn check_size(source: &str, wanted: [usize; 3], given: [usize; 3]) -> Result<()> {
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
