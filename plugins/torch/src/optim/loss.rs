//! Cross-entropy as `torch.nn.CrossEntropyLoss` computes it, with label smoothing and weights of classes, what a teacher adds
//! to it, and the gradient of both. On the host; see [`crate::backend::libtorch`] for the same on a device. Knows logits
//! and labels; knows no network.

use crate::params::Distill;

/// What makes a loss of logits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrossEntropy<'a> {
    /// Share of the target spread evenly over all classes.
    pub(crate) smoothing: f64,
    /// A weight of each class.
    pub(crate) weights: Option<&'a [f32]>,
}

/// Mean loss of a batch, and how many images' highest logit is that of their class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) loss: f64,
    pub(crate) correct: u64,
}

/// Adds what a teacher says to a loss: with its logits t, the student's z, weight α and temperature T, an image's loss becomes
/// (1 - α)·loss + α·T²·KL(softmax(t/T) ‖ softmax(z/T)) (Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural
/// Network* (2015), §2). Both logits are `[N, classes]`; `outcome` and `gradient` are those of the loss alone before, and of
/// both afterwards.
pub(crate) fn distil(
    Distill { weight, temperature }: Distill,
    [teacher, logits]: [&[f32]; 2],
    classes: usize,
    outcome: &mut Outcome,
    gradient: &mut [f32],
) {
    let classes = classes.max(1);
    let images = (logits.len() / classes).max(1) as f64;
    let mut divergence = 0.0;
    let rows = teacher.chunks_exact(classes).zip(logits.chunks_exact(classes));
    for ((teacher, own), gradient) in rows.zip(gradient.chunks_exact_mut(classes)) {
        let (teacher, own) = (log_softmax(teacher, temperature), log_softmax(own, temperature));
        for ((teacher, own), gradient) in teacher.zip(own).zip(gradient) {
            divergence += teacher.exp() * (teacher - own);
            let slope = temperature * (own.exp() - teacher.exp()) / images;
            *gradient = ((1.0 - weight) * f64::from(*gradient) + weight * slope) as f32;
        }
    }
    outcome.loss = (1.0 - weight) * outcome.loss + weight * temperature.powi(2) * divergence / images;
}

fn log_softmax(row: &[f32], temperature: f64) -> impl Iterator<Item = f64> {
    let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let below = move |logit: &f32| f64::from(logit - highest) / temperature;
    let sum = row.iter().map(|logit| below(logit).exp()).sum::<f64>().ln();
    row.iter().map(move |logit| below(logit) - sum)
}

impl CrossEntropy<'_> {
    /// The loss of logits `[N, classes]`; `gradient` becomes the gradient of it with respect to them.
    ///
    /// With target t = (1 - s)·onehot + s/C and weights w of classes, an image's loss is -Σ w·t·log softmax, and the mean is
    /// that over the weights of the images' classes.
    pub(crate) fn of(
        self,
        logits: &[f32],
        labels: &[i64],
        classes: usize,
        gradient: &mut Vec<f32>,
    ) -> Outcome {
        gradient.clear();
        gradient.reserve(logits.len());
        let weight = |class: usize| self.weights.map_or(1.0, |weights| f64::from(weights[class]));
        let label = |label: i64| usize::try_from(label).unwrap_or(usize::MAX);
        let total: f64 = labels.iter().map(|&own| weight(label(own))).sum::<f64>().max(f64::MIN_POSITIVE);
        let (mut loss, mut correct) = (0.0, 0);
        for (row, &own) in logits.chunks_exact(classes.max(1)).zip(labels) {
            let own = label(own);
            let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
            let target = |class: usize| {
                let spread = self.smoothing / classes as f64;
                weight(class) * (spread + if class == own { 1.0 - self.smoothing } else { 0.0 })
            };
            let targets: f64 = (0..row.len()).map(target).sum();
            for (class, &logit) in row.iter().enumerate() {
                let log_probability = f64::from(logit - highest) - sum.ln();
                loss -= target(class) * log_probability;
                gradient.push(((log_probability.exp() * targets - target(class)) / total) as f32);
            }
            correct += u64::from(row.iter().position(|&logit| logit >= highest) == Some(own));
        }
        Outcome { loss: loss / total, correct }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Reduction, Tensor};

    use super::*;
    use crate::tensor::to_host;

    #[test]
    fn loss_and_gradient_are_pytorchs() {
        let logits = [1.0_f32, 2.0, 0.5, -1.0, 0.0, 3.0, 0.2, 0.1, -0.3];
        let labels = [1, 2, 0];
        for weights in [None, Some([0.5_f32, 2.0, 1.5])] {
            for smoothing in [0.0, 0.1] {
                let tensor = Tensor::from_slice(&logits).view((3, 3)).set_requires_grad(true);
                let wanted = tensor.cross_entropy_loss(
                    &Tensor::from_slice(&labels),
                    weights.map(|weights| Tensor::from_slice(&weights)),
                    Reduction::Mean,
                    -100,
                    smoothing,
                );
                let slopes = to_host(&Tensor::run_backward(&[&wanted], &[&tensor], false, false)[0]).unwrap();
                let mut gradient = Vec::new();
                let weights = weights.as_ref().map(|weights| &weights[..]);
                let got = CrossEntropy { smoothing, weights }.of(&logits, &labels, 3, &mut gradient);
                assert!((got.loss - wanted.double_value(&[])).abs() < 1e-6, "{got:?} {wanted:?}");
                assert!(gradient.iter().zip(&slopes).all(|(got, wanted)| (got - wanted).abs() < 1e-6));
                assert_eq!(got.correct, 3);
            }
        }
    }

    #[test]
    fn what_a_teacher_adds_is_what_libtorch_makes_of_the_formula() {
        let (logits, teacher) = ([1.0_f32, 2.0, 0.5, -1.0, 0.0, 3.0], [0.5_f32, 2.5, -1.0, -1.0, 2.0, 2.5]);
        let labels = [1, 2];
        for (weight, temperature) in [(0.3, 1.0), (0.9, 4.0), (1.0, 2.0), (0.0, 2.0)] {
            let own = Tensor::from_slice(&logits).view((2, 3)).set_requires_grad(true);
            let plain = own.cross_entropy_loss::<Tensor>(
                &Tensor::from_slice(&labels),
                None,
                Reduction::Mean,
                -100,
                0.1,
            );
            let soft = |logits: &Tensor| (logits / temperature).log_softmax(1, None);
            let target = soft(&Tensor::from_slice(&teacher).view((2, 3)));
            let told = soft(&own).kl_div(&target, Reduction::Sum, true) / 2.0;
            let wanted = plain * (1.0 - weight) + told * (weight * temperature * temperature);
            let slopes = to_host(&Tensor::run_backward(&[&wanted], &[&own], false, false)[0]).unwrap();
            let mut gradient = Vec::new();
            let mut got =
                CrossEntropy { smoothing: 0.1, weights: None }.of(&logits, &labels, 3, &mut gradient);
            let distill = Distill { weight, temperature };
            distil(distill, [&teacher, &logits], 3, &mut got, &mut gradient);
            assert!((got.loss - wanted.double_value(&[])).abs() < 1e-6, "{got:?} {wanted:?}");
            assert!(gradient.iter().zip(&slopes).all(|(got, wanted)| (got - wanted).abs() < 1e-6));
        }
    }

    #[test]
    fn what_is_not_a_number_is_seen_in_the_loss() {
        let mut gradient = Vec::new();
        let loss = CrossEntropy { smoothing: 0.1, weights: None };
        assert!(loss.of(&[f32::NAN, 0.0], &[0], 2, &mut gradient).loss.is_nan());
        assert!(!loss.of(&[f32::INFINITY, 0.0], &[1], 2, &mut gradient).loss.is_finite());
    }
}
