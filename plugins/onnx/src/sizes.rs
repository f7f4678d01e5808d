//! Sizes of images that a model leaves open, as detectors and readers of text do: they are given for the images at hand. Knows the
//! graph's input, no runtime.

use onnx::{Dim, Model};

/// Height and width where no image says them. Networks halve images up to five times.
pub(crate) const ANY: [usize; 2] = [96, 96];

/// Gives the model's images height and width, where it leaves them open, and says whether it did.
pub(crate) fn fix(model: &mut Model, size: [usize; 2]) -> bool {
    let Some([_, _, height, width]) =
        model.graph.inputs.first_mut().and_then(|input| input.shape.as_deref_mut())
    else {
        return false;
    };
    let mut fixed = false;
    for (dim, size) in [height, width].into_iter().zip(size) {
        if !matches!(dim, Dim::Known(_)) {
            *dim = Dim::Known(size);
            fixed = true;
        }
    }
    fixed
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
            let fixed = fix(&mut model, [32, 48]);
            (fixed, model.graph.inputs.remove(0).shape)
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
