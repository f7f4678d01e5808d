//! Calibration by streaming: every batch is looked at once and forgotten.

use std::collections::BTreeMap;

use onnx::{ElementType, Model, Shapes, Value};

use crate::error::QuantError;
use crate::histogram::Histogram;
use crate::plan::Plan;
use crate::prepare::prepare;
use crate::ranges::{Lineage, Range, Ranges};

/// Names of the tensors whose ranges [`crate::quantize_static`] may need.
///
/// # Errors
/// As [`observed_model`].
pub fn tensors_to_observe(model: &Model) -> Result<Vec<String>, QuantError> {
    Plan::observing(&prepare(model, None)?).map(|plan| plan.roots())
}

/// A copy of the model whose outputs are its own and then those of [`tensors_to_observe`] that are neither outputs
/// nor inputs already: feed an [`Observer`] with a session's outputs, and with the inputs given to it.
///
/// # Errors
/// [`QuantError::AlreadyQuantized`], [`QuantError::NothingToQuantize`], [`QuantError::Opset`], or an
/// [`onnx::Error`] for a model that contradicts itself.
pub fn observed_model(model: &Model) -> Result<Model, QuantError> {
    let mut observed = prepare(model, None)?;
    let shapes = Shapes::infer(&observed.graph)?;
    for name in Plan::observing(&observed)?.roots() {
        let graph = &mut observed.graph;
        if !graph.is_output(&name) && !graph.inputs.iter().any(|value| value.name == name) {
            let shape = shapes.dims(&name).map(<[_]>::to_vec);
            graph.outputs.push(Value { name, element: ElementType::F32, shape });
        }
    }
    Ok(observed)
}

/// Gathers the smallest and largest value of each tensor, and a histogram, batch by batch. Its memory does not
/// grow with the number of batches.
#[derive(Debug, Clone)]
pub struct Observer {
    tensors: BTreeMap<String, Option<Observed>>,
}

#[derive(Debug, Clone)]
struct Observed {
    range: Range,
    histogram: Histogram,
}

impl Observer {
    /// An observer of these tensors, which are best [`tensors_to_observe`].
    pub fn new(tensors: impl IntoIterator<Item = String>) -> Self {
        Self { tensors: tensors.into_iter().map(|name| (name, None)).collect() }
    }

    /// Whether `tensor` is one of those observed.
    #[must_use]
    pub fn wants(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// Takes in the values that `tensor` took in one batch.
    ///
    /// # Errors
    /// [`QuantError::NotFinite`] for values that are not numbers; [`QuantError::NotObserved`].
    pub fn observe(&mut self, tensor: &str, values: &[f32]) -> Result<(), QuantError> {
        let slot = self
            .tensors
            .get_mut(tensor)
            .ok_or_else(|| QuantError::NotObserved { tensor: tensor.to_owned() })?;
        if let Some(&value) = values.iter().find(|value| !value.is_finite()) {
            return Err(QuantError::NotFinite { tensor: tensor.to_owned(), value });
        }
        let Some(&first) = values.first() else { return Ok(()) };
        let (min, max) =
            values.iter().fold((first, first), |(min, max), &value| (min.min(value), max.max(value)));
        let observed = slot.get_or_insert_with(|| Observed {
            range: Range { min, max },
            histogram: Histogram::new(min, max),
        });
        observed.range.min = observed.range.min.min(min);
        observed.range.max = observed.range.max.max(max);
        observed.histogram.add(values, min, max);
        Ok(())
    }

    /// The ranges gathered.
    ///
    /// # Errors
    /// [`QuantError::MissingRange`] for a tensor that no batch had.
    pub fn ranges(&self, lineage: Lineage) -> Result<Ranges, QuantError> {
        let mut tensors = BTreeMap::new();
        for (name, observed) in &self.tensors {
            let observed =
                observed.as_ref().ok_or_else(|| QuantError::MissingRange { tensor: name.clone() })?;
            tensors.insert(name.clone(), observed.range);
        }
        Ok(Ranges { lineage, tensors })
    }

    /// Tensor name → histogram, for those that took any value.
    pub fn histograms(&self) -> impl Iterator<Item = (&str, &Histogram)> {
        self.tensors
            .iter()
            .filter_map(|(name, observed)| Some((name.as_str(), &observed.as_ref()?.histogram)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_all_batches() {
        let mut observer = Observer::new(["x".to_owned(), "y".to_owned()]);
        observer.observe("x", &[1.0, 2.0]).unwrap();
        observer.observe("x", &[]).unwrap();
        observer.observe("x", &[-3.0, 1.5]).unwrap();
        let error = observer.ranges(Lineage::default()).unwrap_err();
        assert!(matches!(error, QuantError::MissingRange { tensor } if tensor == "y"));
        observer.observe("y", &[0.0]).unwrap();
        let ranges = observer.ranges(Lineage::default()).unwrap();
        assert_eq!(ranges.tensors["x"], Range { min: -3.0, max: 2.0 });
        assert_eq!(ranges.tensors["y"], Range { min: 0.0, max: 0.0 });
        assert_eq!(observer.histograms().map(|(name, _)| name).collect::<Vec<_>>(), ["x", "y"]);
    }

    #[test]
    fn broken_values_are_named() {
        let mut observer = Observer::new(["x".to_owned()]);
        let message = observer.observe("x", &[0.0, f32::NAN]).unwrap_err().to_string();
        assert!(message.contains("`x` took the value NaN"), "{message}");
        assert!(matches!(observer.observe("z", &[0.0]), Err(QuantError::NotObserved { .. })));
        assert!(observer.wants("x") && !observer.wants("z"));
    }
}
