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
    if model.image() != split.shape() {
        bail!(
            "{source} takes images of {}, but those of the dataset are {}",
            size(model.image()),
            size(split.shape())
        );
    }
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

fn size([channels, height, width]: [usize; 3]) -> String {
    format!("{channels}×{height}×{width} (channels, height, width)")
}
