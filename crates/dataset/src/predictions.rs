//! What a network said of labelled images, and how sure one can be of its accuracy.
//!
//! The file is safetensors with `logits` (f32 `[N, classes]`) and `labels` (i64 `[N]`).

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::IgnoredAny;
use tensors::{Data, Tensor};

use crate::DatasetError;

/// Logits and true labels of the same images.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// Logits `[N, classes]`, row-major.
    pub logits: Vec<f32>,
    /// Number of classes, at least one.
    pub classes: usize,
    /// True labels `[N]`, each below `classes`.
    pub labels: Vec<i64>,
}

impl Predictions {
    /// Logits `[N, classes]` and labels `[N]`.
    ///
    /// # Errors
    /// [`DatasetError::Inconsistent`] where there are no classes, the logits are not one row per label, or a label
    /// has no class.
    pub fn new(logits: Vec<f32>, classes: usize, labels: Vec<i64>) -> Result<Self, DatasetError> {
        if classes == 0 || classes.checked_mul(labels.len()) != Some(logits.len()) {
            return Err(DatasetError::inconsistent(format!(
                "{} logits are not {} rows of {classes} classes",
                logits.len(),
                labels.len()
            )));
        }
        let known = |label: i64| usize::try_from(label).is_ok_and(|label| label < classes);
        if let Some(label) = labels.iter().find(|&&label| !known(label)) {
            return Err(DatasetError::inconsistent(format!(
                "there is a label {label}, but only {classes} classes"
            )));
        }
        Ok(Self { logits, classes, labels })
    }

    /// Reads a file of predictions.
    ///
    /// # Errors
    /// [`DatasetError::File`] where it is unreadable or damaged, [`DatasetError::Content`] where its tensors do not
    /// make predictions.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        let content = |reason| DatasetError::Content { path: path.into(), kind: "predictions", reason };
        let mut file = tensors::read::<IgnoredAny>(path)?;
        let (shape, logits) = file.take_f32(path, "logits")?;
        let (_, labels) = file.take_i64(path, "labels")?;
        let [count, classes] = *shape else {
            return Err(content(format!("`logits` has {} dimensions, not 2", shape.len())));
        };
        if count != labels.len() {
            return Err(content(format!("there are {count} rows of logits and {} labels", labels.len())));
        }
        Self::new(logits, classes, labels).map_err(|error| content(error.to_string()))
    }

    /// Writes a file of predictions; the same predictions give the same bytes.
    ///
    /// # Errors
    /// [`DatasetError::Inconsistent`] as [`Predictions::new`], [`DatasetError::File`] where it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), DatasetError> {
        let Self { logits, classes, labels } =
            Self::new(self.logits.clone(), self.classes, self.labels.clone())?;
        let count = labels.len();
        let unfilled = || DatasetError::inconsistent("predictions do not fill their shape");
        let logits = Tensor::new(vec![count, classes], Data::F32(logits)).ok_or_else(unfilled)?;
        let labels = Tensor::new(vec![count], Data::I64(labels)).ok_or_else(unfilled)?;
        let tensors = BTreeMap::from([("logits".to_owned(), logits), ("labels".to_owned(), labels)]);
        tensors::write(path, &tensors, &())?;
        Ok(())
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The class of the highest logit of image `index`; the first of equals. NaN is never highest.
    ///
    /// # Panics
    /// Unless `index` is below [`Predictions::len`].
    #[must_use]
    pub fn predicted(&self, index: usize) -> usize {
        let row = &self.logits[index * self.classes..(index + 1) * self.classes];
        let better = |best: (usize, f32), (class, &logit): (usize, &f32)| {
            if logit > best.1 { (class, logit) } else { best }
        };
        row.iter().enumerate().fold((0, f32::NEG_INFINITY), better).0
    }

    /// Whether the class predicted for image `index` is the true one.
    ///
    /// # Panics
    /// Unless `index` is below [`Predictions::len`].
    #[must_use]
    pub fn is_correct(&self, index: usize) -> bool {
        usize::try_from(self.labels[index]) == Ok(self.predicted(index))
    }

    /// Number of images whose predicted class is the true one.
    #[must_use]
    pub fn correct(&self) -> u64 {
        (0..self.len()).map(|index| u64::from(self.is_correct(index))).sum()
    }

    /// Share of images whose predicted class is the true one, in %; 0 where there are none.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        100.0 * self.correct() as f64 / (self.len() as f64).max(1.0)
    }

    /// Number of images by true class (rows) and predicted class (columns).
    #[must_use]
    pub fn confusion(&self) -> Vec<Vec<u64>> {
        let mut counts = vec![vec![0; self.classes]; self.classes];
        for (index, &label) in self.labels.iter().enumerate() {
            let row = usize::try_from(label).ok().and_then(|label| counts.get_mut(label));
            if let Some(count) = row.and_then(|row| row.get_mut(self.predicted(index))) {
                *count += 1;
            }
        }
        counts
    }
}

/// Wilson's 95 % score interval of the share `correct / total`, in %. Of nothing, everything is possible.
///
/// Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
#[must_use]
pub fn wilson_interval(correct: u64, total: u64) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    if total == 0 {
        return [0.0, 100.0];
    }
    let total = total as f64;
    let share = correct as f64 / total;
    let scale = 1.0 + Z * Z / total;
    let centre = (share + Z * Z / (2.0 * total)) / scale;
    let half = Z * (share * (1.0 - share) / total + Z * Z / (4.0 * total * total)).sqrt() / scale;
    [100.0 * (centre - half).max(0.0), 100.0 * (centre + half).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Predictions {
        let logits = vec![1.0, 0.0, 0.5, 0.5, -3.0, -2.0, f32::NAN, -9.0];
        Predictions::new(logits, 2, vec![0, 1, 1, 0]).unwrap()
    }

    #[test]
    fn the_highest_logit_wins_and_the_first_of_equals() {
        let predictions = sample();
        assert_eq!((0..4).map(|index| predictions.predicted(index)).collect::<Vec<_>>(), [0, 0, 1, 1]);
        assert_eq!(predictions.correct(), 2);
        assert!((predictions.accuracy() - 50.0).abs() < 1e-12);
        assert_eq!(predictions.confusion(), [[1, 1], [1, 1]]);
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.safetensors");
        let predictions = Predictions::new(vec![1.0, 0.0, 0.5, 0.5], 2, vec![0, 1]).unwrap();
        predictions.write(&path).unwrap();
        assert_eq!(Predictions::read(&path).unwrap(), predictions);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        assert!(Predictions::new(vec![0.0; 5], 2, vec![0, 1]).is_err());
        assert!(Predictions::new(vec![], 0, vec![]).is_err());
        let error = Predictions::new(vec![0.0; 2], 2, vec![2]).unwrap_err();
        snapshots::assert_message!(error.to_string());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.safetensors");
        let logits = Tensor::new(vec![4], Data::F32(vec![0.0; 4])).unwrap();
        let labels = Tensor::new(vec![2], Data::I64(vec![0; 2])).unwrap();
        tensors::write(&path, &[("logits".into(), logits), ("labels".into(), labels)].into(), &()).unwrap();
        let message = Predictions::read(&path).unwrap_err().to_string();
        snapshots::assert_message!(message);
    }

    /// Expected values from statsmodels' `proportion_confint(…, method="wilson")`.
    #[test]
    fn wilson_agrees_with_published_values() {
        let close =
            |got: [f64; 2], want: [f64; 2]| got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-4);
        assert!(close(wilson_interval(15, 20), [53.1299, 88.8138]), "{:?}", wilson_interval(15, 20));
        assert!(close(wilson_interval(0, 10), [0.0, 27.7533]), "{:?}", wilson_interval(0, 10));
        assert!(close(wilson_interval(10, 10), [72.2467, 100.0]), "{:?}", wilson_interval(10, 10));
        assert!(close(wilson_interval(0, 0), [0.0, 100.0]));
    }
}
