//! The images that a variant loses: right by the baseline, wrong by the variant. Knows PNG and base64.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dataset::Predictions;
use protocol::{Content, Figure, Image};

use super::{Outcome, TestSet};

/// Most pictures in a figure.
const SHOWN: usize = 24;

/// The images that `baseline` gets right and `variant` wrong, those first of which the baseline was surest. None
/// where there is no such image, or images are neither grey nor RGB.
pub(crate) fn lost(test_set: &TestSet, baseline: &Outcome, variant: &Outcome) -> Result<Option<Figure>> {
    let [channels, ..] = test_set.dataset.test.shape();
    let (right, wrong) = (&baseline.predictions, &variant.predictions);
    let mut places: Vec<usize> = (0..test_set.indices.len())
        .filter(|&place| right.is_correct(place) && !wrong.is_correct(place))
        .collect();
    if places.is_empty() || !matches!(channels, 1 | 3) {
        return Ok(None);
    }
    let count = places.len();
    places.sort_by(|&one, &two| confidence(right, two).total_cmp(&confidence(right, one)));
    places.truncate(SHOWN);
    let images =
        places.iter().map(|&place| picture(test_set, baseline, variant, place)).collect::<Result<_>>()?;
    Ok(Some(Figure {
        id: format!("lost.{}", variant.name),
        title: format!("Images that {} gets wrong and {} right", variant.name, baseline.name),
        caption: format!(
            "{} of {count} such images, those first of which {} is surest; of {}.",
            places.len(),
            baseline.name,
            test_set.basis()
        ),
        content: Content::Images { images },
    }))
}

fn picture(test_set: &TestSet, baseline: &Outcome, variant: &Outcome, place: usize) -> Result<Image> {
    let split = &test_set.dataset.test;
    let index = *test_set.indices.get(place).context("a picture outside the test set")?;
    let class = |index: usize| test_set.dataset.classes.get(index).map_or("?", String::as_str);
    let right = baseline.predictions.predicted(place);
    let wrong = variant.predictions.predicted(place);
    let caption = format!(
        "{} ({:.0} %), taken for {} ({:.0} %)",
        class(right),
        100.0 * confidence(&baseline.predictions, place),
        class(wrong),
        100.0 * confidence(&variant.predictions, place)
    );
    Ok(Image { caption, png: STANDARD.encode(png(split.shape(), split.image(index))?) })
}

/// Softmax of the predicted class's logit.
pub(super) fn confidence(predictions: &Predictions, place: usize) -> f64 {
    let rows = predictions.logits.chunks_exact(predictions.classes.max(1));
    let Some(row) = rows.into_iter().nth(place) else { return 0.0 };
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    1.0 / row.iter().map(|logit| f64::from(logit - most).exp()).sum::<f64>()
}

/// A PNG file of pixels `[C, H, W]`; one channel is grey, three are RGB.
fn png(shape: [usize; 3], pixels: &[u8]) -> Result<Vec<u8>> {
    let [channels, height, width] = shape;
    let plane = height * width;
    let interleaved: Vec<u8> = (0..plane)
        .flat_map(|place| (0..channels).filter_map(move |channel| pixels.get(channel * plane + place)))
        .copied()
        .collect();
    Ok(dataset::encode_png([u32::try_from(width)?, u32::try_from(height)?], channels, &interleaved)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_png_holds_the_pixels_interleaved() {
        let pixels = [1, 2, 10, 20, 100, 200];
        let file = png([3, 1, 2], &pixels).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut out = vec![0; 6];
        reader.next_frame(&mut out).unwrap();
        assert_eq!(out, [1, 10, 100, 2, 20, 200]);
    }

    #[test]
    fn confidence_is_a_softmax() {
        let predictions = Predictions::new(vec![0.0, 0.0, 900.0, 0.0], 2, vec![0, 0]).unwrap();
        assert!((confidence(&predictions, 0) - 0.5).abs() < 1e-12);
        assert!((confidence(&predictions, 1) - 1.0).abs() < 1e-12);
    }
}
