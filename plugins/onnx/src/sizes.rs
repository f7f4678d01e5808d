//! Sizes of images that a model leaves open, as detectors and readers of text do: they are given for the images at hand. Knows the
//! graph's input, no runtime.

use std::borrow::Cow;

use onnx::{Dim, Model};

/// Height and width where no image says them. Networks halve images up to five times.
pub(crate) const ANY: [usize; 2] = [96, 96];

/// The model with height and width given to its images: a copy, where it leaves one of them open.
pub(crate) fn fixed(model: &Model, size: [usize; 2]) -> Cow<'_, Model> {
    let shape = model.graph.inputs.first().and_then(|input| input.shape.as_deref());
    let Some([batch, channels, rest @ ..]) = shape else { return Cow::Borrowed(model) };
    if rest.len() != size.len() || rest.iter().all(|dim| matches!(dim, Dim::Known(_))) {
        return Cow::Borrowed(model);
    }
    let given = rest.iter().zip(size).map(|(dim, size)| Dim::Known(dim.known().unwrap_or(size)));
    let shape = [batch.clone(), channels.clone()].into_iter().chain(given).collect();
    let mut copy = model.clone();
    if let Some(input) = copy.graph.inputs.first_mut() {
        input.shape = Some(shape);
    }
    Cow::Owned(copy)
}

#[cfg(test)]
mod tests {
    use onnx::{ElementType, Value};

    use super::*;

    #[test]
    fn only_what_is_open_is_given() {
        let named = |name: &str| Dim::Named(name.into());
        let with = |shape: Option<Vec<Dim>>| {
            let mut model = Model::new(13);
            model.graph.inputs = vec![Value { name: "x".into(), element: ElementType::F32, shape }];
            let fixed = fixed(&model, [32, 48]);
            (matches!(fixed, Cow::Owned(_)), fixed.graph.inputs[0].shape.clone())
        };
        let shape = |height: Dim, width: Dim| Some(vec![named("n"), Dim::Known(3), height, width]);
        let known = shape(Dim::Known(8), Dim::Known(9));
        assert_eq!(with(known.clone()), (false, known));
        assert_eq!(with(shape(named("h"), Dim::Unknown)), (true, shape(Dim::Known(32), Dim::Known(48))));
        assert_eq!(with(shape(Dim::Known(8), named("w"))), (true, shape(Dim::Known(8), Dim::Known(48))));
        assert_eq!(with(Some(vec![named("n")])), (false, Some(vec![named("n")])));
        assert_eq!(with(None), (false, None));
    }
}
