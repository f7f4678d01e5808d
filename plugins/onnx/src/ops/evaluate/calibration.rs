//! How far a variant's confidence is from how often it is right: expected calibration error. Knows
//! counts, not images.
//!
//! Source: C. Guo et al., "On calibration of modern neural networks", 2017.

use super::pictures::confidence;
use dataset::Predictions;

/// Bins of equal width that confidences from 0 to 1 fall into.
pub(super) const BINS: usize = 15;

/// Images of one bin that are all right or all wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Cell {
    images: u64,
    /// Sum of their confidences.
    confidence: f64,
}

/// The images whose confidence lies between two marks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bin {
    right: Cell,
    wrong: Cell,
}

/// A bin with images in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// Mean confidence, in %.
    pub(super) confidence: f64,
    /// Share of images that are right, in %.
    pub(super) accuracy: f64,
    /// Share of all images that are in it, in %.
    pub(super) share: f64,
}

/// Confidences of a variant's predictions, and how often they were right.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Calibration {
    bins: [Bin; BINS],
    images: u64,
}

impl Calibration {
    pub(super) fn of(predictions: &Predictions) -> Self {
        let mut bins = [Bin::default(); BINS];
        for image in 0..predictions.len() {
            let confidence = confidence(predictions, image);
            // A confidence of 1 belongs to the last bin.
            let place = ((confidence * BINS as f64) as usize).min(BINS - 1);
            let Some(bin) = bins.get_mut(place) else { continue };
            let cell = if predictions.is_correct(image) { &mut bin.right } else { &mut bin.wrong };
            cell.images += 1;
            cell.confidence += confidence;
        }
        Self { bins, images: predictions.len() as u64 }
    }

    /// The bins that have images, from the least confidence to the most.
    pub(super) fn points(&self) -> Vec<Point> {
        let point = |Bin { right, wrong }: &Bin| {
            let images = (right.images + wrong.images) as f64;
            (images > 0.0).then(|| Point {
                confidence: 100.0 * (right.confidence + wrong.confidence) / images,
                accuracy: 100.0 * right.images as f64 / images,
                share: 100.0 * images / self.images as f64,
            })
        };
        self.bins.iter().filter_map(point).collect()
    }

    /// Expected calibration error in points: how far confidence and accuracy of a bin are apart, on average over images.
    /// Chance alone makes them differ, so it is above 0 for a perfectly calibrated model, too; no interval that is known
    /// to hold as often as it says allows for that, so there is none.
    pub(super) fn error(&self) -> f64 {
        error(&self.bins, self.images)
    }
}

fn error(bins: &[Bin], images: u64) -> f64 {
    let gap = |Bin { right, wrong }: &Bin| (right.images as f64 - right.confidence - wrong.confidence).abs();
    100.0 * bins.iter().map(gap).sum::<f64>() / (images as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Predictions of two classes with these confidences, right or wrong.
    fn predictions(images: &[(f64, bool)]) -> Predictions {
        let logits =
            images.iter().flat_map(|(confidence, _)| [(confidence / (1.0 - confidence)).ln() as f32, 0.0]);
        let labels = images.iter().map(|&(_, right)| i64::from(!right)).collect();
        Predictions::new(logits.collect(), 2, labels).unwrap()
    }

    /// 100 images at 0.9 of which 80 are right, 100 at 0.6 of which 70 are: (0.1·100 + 0.1·100) / 200.
    fn off_by_ten() -> Vec<(f64, bool)> {
        let group = |confidence, right| (0..100).map(move |image| (confidence, image < right));
        group(0.9, 80).chain(group(0.6, 70)).collect()
    }

    #[test]
    fn the_error_is_the_mean_gap_between_confidence_and_accuracy() {
        let calibration = Calibration::of(&predictions(&off_by_ten()));
        assert!((calibration.error() - 10.0).abs() < 1e-4, "{}", calibration.error());
        let points = calibration.points();
        assert_eq!(points.len(), 2);
        assert!((points[0].confidence - 60.0).abs() < 1e-4 && (points[1].confidence - 90.0).abs() < 1e-4);
        assert_eq!((points[0].accuracy, points[1].accuracy, points[0].share), (70.0, 80.0, 50.0));
    }

    /// In one bin, confidence that is too high for some images makes up for what is too low for others.
    #[test]
    fn gaps_of_one_bin_cancel() {
        let images = [(0.94, true), (0.95, true), (0.96, true), (0.99, false)];
        let calibration = Calibration::of(&predictions(&images));
        assert!((calibration.error() - 100.0 * (3.84 - 3.0) / 4.0).abs() < 1e-4);
        let sure = Predictions::new(vec![900.0, 0.0], 2, vec![0]).unwrap();
        assert_eq!(Calibration::of(&sure).error(), 0.0);
    }

    #[test]
    fn no_image_has_no_error() {
        let none = Calibration::of(&predictions(&[]));
        assert_eq!((none.error(), none.points()), (0.0, vec![]));
    }
}
