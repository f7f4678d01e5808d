//! Where the bytes of a quantized model are, in words.

use onnx::{Data, Model};
use protocol::{Content, Figure};
use quant::Runtime;

/// Bytes of a file by what they hold.
#[derive(Debug, Default, PartialEq, Eq)]
struct Held {
    /// Weights of 8 bits.
    weights: usize,
    /// Everything else that is a tensor of integers: biases and zero points.
    integers: usize,
    /// Tensors of floating point: scales, and what was not quantized.
    floats: usize,
    /// Operators, names, metadata.
    rest: usize,
}

impl Held {
    fn of(model: &Model, total: usize) -> Self {
        let mut held = Self::default();
        for tensor in model.graph.initializers.values() {
            let bytes = tensor.data().to_bytes().len();
            match tensor.data() {
                // One value is a zero point, not a weight.
                Data::I8(values) if values.len() > 1 => held.weights += bytes,
                Data::U8(values) if values.len() > 1 => held.weights += bytes,
                Data::F32(_) => held.floats += bytes,
                _ => held.integers += bytes,
            }
        }
        held.rest = total.saturating_sub(held.weights + held.integers + held.floats);
        held
    }
}

/// Size against the float model's `float_kb`, what the file holds, and what computes it in integers: ONNX Runtime from that version on.
pub(super) fn answer(model: &Model, total: usize, float_kb: f64, integers_from: Option<Runtime>) -> Figure {
    let held = Held::of(model, total);
    let kb = |bytes: usize| bytes as f64 / 1024.0;
    let share = |bytes: usize| 100.0 * bytes as f64 / total.max(1) as f64;
    let own_kb = kb(total).max(f64::MIN_POSITIVE);
    let against = match float_kb / own_kb {
        smaller if smaller >= 1.0 => format!("{smaller:.2} times smaller"),
        larger => format!("{:.2} times larger", 1.0 / larger.max(f64::MIN_POSITIVE)),
    };
    let older = match integers_from {
        Some(runtime) if runtime > Runtime::OLDEST => format!(
            " ONNX Runtime computes it in integers from {runtime} on. Older ones that load it compute in floats, more slowly than the float \
             model: `runtime: \"{}\"` writes for these.",
            Runtime::OLDEST
        ),
        Some(runtime) => format!(" ONNX Runtime computes it in integers from {runtime} on."),
        None => String::new(),
    };
    let text = format!(
        "{:.1} KB, where the float model has {float_kb:.1}: {against}. Weights of 8 bits take {:.1} KB ({:.0} %), biases and \
         zero points {:.1} KB ({:.0} %), scales and what stays in floats {:.1} KB ({:.0} %), operators, names and metadata {:.1} KB \
         ({:.0} %).{older}",
        kb(total),
        kb(held.weights),
        share(held.weights),
        kb(held.integers),
        share(held.integers),
        kb(held.floats),
        share(held.floats),
        kb(held.rest),
        share(held.rest)
    );
    Figure {
        id: "bytes".into(),
        title: "Where are the bytes?".into(),
        caption: String::new(),
        content: Content::Answer { text },
    }
}

#[cfg(test)]
mod tests {
    use onnx::Tensor;

    use super::*;

    #[test]
    fn every_byte_is_told_once() {
        let mut model = Model::new(13);
        let mut add = |name: &str, shape: &[usize], data: Data| {
            model.graph.initializers.insert(name.into(), Tensor::new(shape.to_vec(), data).unwrap());
        };
        add("w", &[2, 3], Data::I8(vec![1; 6]));
        add("z", &[], Data::U8(vec![3]));
        add("b", &[2], Data::I32(vec![7; 2]));
        add("s", &[2], Data::F32(vec![0.5; 2]));
        let held = Held::of(&model, 100);
        assert_eq!(held, Held { weights: 6, integers: 9, floats: 8, rest: 77 });
        let Content::Answer { text } = answer(&model, 2048, 8.0, Some(Runtime::ROUNDS_BIASES)).content else {
            panic!("no answer")
        };
        assert!(text.starts_with("2.0 KB, where the float model has 8.0: 4.00 times smaller."), "{text}");
        assert!(text.contains("from 1.21 on. Older") && text.ends_with("writes for these."), "{text}");
        let Content::Answer { text } = answer(&model, 2048, 1.0, None).content else { panic!("no answer") };
        assert!(text.starts_with("2.0 KB, where the float model has 1.0: 2.00 times larger."), "{text}");
    }
}
