//! What a network says of images, and how right it is. Knows nothing of training.

use dataset::{Normalization, Split};
use model::Graph;
use protocol::Metric;
use serde::{Deserialize, Serialize};
use tch::Device;

use super::Net;
use crate::error::TorchError;
use crate::tensor::{MemoryFormat, inference, to_host, to_images};

/// Loss and number of right answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    /// Mean cross-entropy.
    pub(crate) loss: f64,
    /// Images whose highest logit is that of their class.
    pub(crate) correct: u64,
    /// Images.
    pub(crate) total: u64,
}

impl Score {
    /// Cross-entropy with label smoothing, as `torch.nn.CrossEntropyLoss`, of logits `[N, classes]`.
    pub(crate) fn of(logits: &[f32], labels: &[i64], classes: usize, smoothing: f64) -> Self {
        let (mut loss, mut correct) = (0.0, 0);
        for (row, &label) in logits.chunks_exact(classes.max(1)).zip(labels) {
            let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let spread = row.iter().map(|&logit| f64::from(logit - highest).exp()).sum::<f64>().ln();
            let log_probability = |logit: f32| f64::from(logit - highest) - spread;
            let own =
                usize::try_from(label).ok().and_then(|label| row.get(label)).copied().unwrap_or(f32::NAN);
            let mean = row.iter().map(|&logit| log_probability(logit)).sum::<f64>() / classes as f64;
            loss -= (1.0 - smoothing) * log_probability(own) + smoothing * mean;
            let first_highest = row.iter().position(|&logit| logit >= highest);
            correct += u64::from(usize::try_from(label).ok() == first_highest);
        }
        let total = labels.len() as u64;
        Self { loss: rounded(loss / (total as f64).max(1.0)), correct, total }
    }

    /// Whether it is the better one of the same images: more right answers, and among as many the lower loss. Where both are
    /// equal neither is better, so that the earlier epoch stays: nothing was gained since, which is what `patience` counts.
    pub(crate) fn is_better_than(&self, other: &Self) -> bool {
        self.correct > other.correct || (self.correct == other.correct && self.loss < other.loss)
    }

    /// Share of right answers in %.
    pub(crate) fn accuracy(&self) -> f64 {
        100.0 * self.correct as f64 / (self.total as f64).max(1.0)
    }
}

/// Six decimals: what is written as text is then read back as the same number.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Size of the state dict.
pub(crate) fn size_metric(graph: &Graph) -> Metric {
    Metric::new(graph.state_dict_bytes() as f64 / 1024.0, "KB")
        .basis("state dict: 32-bit parameters and running statistics, counters")
}

/// What images are, and where and in what portions they are computed.
#[derive(Clone, Copy)]
pub(crate) struct Inference<'a> {
    /// How pixels become the network's input.
    pub(crate) normalization: &'a Normalization,
    /// Where.
    pub(crate) device: Device,
    /// Images at a time.
    pub(crate) batch_size: usize,
}

impl Inference<'_> {
    /// Logits `[N, classes]` of the images of `indices`. `each` is told how many are done after each batch.
    pub(crate) fn logits(
        &self,
        net: &Net,
        split: &Split,
        indices: &[usize],
        mut each: impl FnMut(usize),
    ) -> Result<Vec<f32>, TorchError> {
        let mut logits = Vec::new();
        let mut input = Vec::new();
        let mut done = 0;
        for batch in indices.chunks(self.batch_size.max(1)) {
            input.clear();
            self.normalization.apply(split, batch, &mut input);
            let images = to_images(&input, split.shape(), self.device, MemoryFormat::ChannelsLast)?;
            let outcome = inference(|| net.forward(&images, false))?;
            logits.extend(to_host(&outcome)?);
            done += batch.len();
            each(done);
        }
        Ok(logits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_pytorchs() {
        // torch.nn.functional.cross_entropy of the same logits, by its definition.
        let logits = [1.0_f32, 2.0, 0.5, -1.0, 0.0, 3.0];
        let labels = [1, 2];
        for smoothing in [0.0, 0.1] {
            let tensor = tch::Tensor::from_slice(&logits).view((2, 3));
            let target = tch::Tensor::from_slice(&labels);
            let expected = tensor
                .cross_entropy_loss::<tch::Tensor>(&target, None, tch::Reduction::Mean, -100, smoothing)
                .double_value(&[]);
            let score = Score::of(&logits, &labels, 3, smoothing);
            assert!((score.loss - expected).abs() < 1e-5, "{} instead of {expected}", score.loss);
            assert_eq!((score.correct, score.total), (2, 2));
        }
    }

    #[test]
    fn more_right_answers_are_better_and_among_as_many_the_lower_loss() {
        let score = |correct, loss| Score { loss, correct, total: 9 };
        assert!(score(8, 2.0).is_better_than(&score(7, 0.1)));
        assert!(!score(7, 0.1).is_better_than(&score(8, 2.0)));
        assert!(score(8, 0.5).is_better_than(&score(8, 0.6)));
        assert!(!score(8, 0.6).is_better_than(&score(8, 0.5)));
        assert!(!score(8, 0.5).is_better_than(&score(8, 0.5)), "the earlier one stays");
        assert!(!score(8, f64::NAN).is_better_than(&score(8, 0.5)));
    }

    #[test]
    fn the_first_of_equal_logits_counts() {
        let score = Score::of(&[1.0, 1.0, 1.0, 1.0], &[0, 1], 2, 0.0);
        assert_eq!((score.correct, score.accuracy()), (1, 50.0));
    }
}
