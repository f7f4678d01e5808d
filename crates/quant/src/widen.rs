//! Channels of zeros for convolutions whose input has no multiple of four, such as images: ONNX Runtime's fastest integer
//! kernel wants that (`MlasConvSymPackWSize` in `mlas/lib/convsym.cpp`). The outcome is the same bit for bit.

use onnx::{Data, Node, Tensor};

/// What the kernel's input channels are a multiple of.
const MULTIPLE: usize = 4;
/// The kernel's least number of output channels.
const LEAST_OUTPUTS: usize = 16;
/// Largest window over a single channel for which four channels, three of them zeros, are less work than the general
/// kernel's: with 3×3 the whole layer takes 0.6 times as long, with 7×7 1.3 times.
const LARGEST_SINGLE_WINDOW: usize = 9;

/// How many channels of zeros a convolution's input, and the `weight` of shape `[out, in, …]`, had better get.
pub(crate) fn missing_channels(node: &Node, weight: &Tensor) -> usize {
    let [outputs, channels, height, width] = *weight.shape() else { return 0 };
    let suits = node.is("Conv") && node.int("group", 1) == 1 && outputs >= LEAST_OUTPUTS;
    // A window of one needs no gathering, which is what the general kernel loses its time with.
    let pays = match height * width {
        0 | 1 => false,
        area => channels > 1 || area <= LARGEST_SINGLE_WINDOW,
    };
    if suits && pays { channels.next_multiple_of(MULTIPLE) - channels } else { 0 }
}

/// The rounded weights `[out, in, …]` of `rounded` with `missing` channels of zeros behind the others.
pub(crate) fn widened(shape: &[usize], rounded: &[i8], missing: usize) -> Option<Tensor> {
    let [outputs, channels, window @ ..] = shape else { return None };
    let area: usize = window.iter().product();
    let zeros = vec![0; missing * area];
    let filters = rounded.chunks((channels * area).max(1));
    let wide = filters.flat_map(|filter| [filter, &zeros].concat()).collect();
    Tensor::new([&[*outputs, channels + missing], window].concat(), Data::I8(wide))
}

#[cfg(test)]
mod tests {
    use super::*;

    use onnx::Attribute;

    fn missing(shape: &[usize], groups: i64) -> usize {
        let weight = Tensor::new(shape.to_vec(), Data::F32(vec![0.0; shape.iter().product()])).unwrap();
        let node = Node::new("Conv", ["x", "w"], ["y"]).with("group", Attribute::Int(groups));
        missing_channels(&node, &weight)
    }

    #[test]
    fn only_what_the_fast_kernel_then_takes_is_widened() {
        assert_eq!(missing(&[16, 3, 3, 3], 1), 1);
        assert_eq!(missing(&[16, 1, 3, 3], 1), 3);
        assert_eq!(missing(&[64, 3, 7, 7], 1), 1);
        assert_eq!(missing(&[64, 1, 7, 7], 1), 0, "dearer than without");
        assert_eq!(missing(&[16, 8, 3, 3], 1), 0);
        assert_eq!(missing(&[15, 3, 3, 3], 1), 0);
        assert_eq!(missing(&[72, 18, 1, 1], 1), 0);
        assert_eq!(missing(&[48, 1, 3, 3], 48), 0, "depthwise");
    }

    #[test]
    fn zeros_go_behind_the_channels_of_each_filter() {
        let wide = widened(&[2, 1, 1, 2], &[1, 2, 3, 4], 1).unwrap();
        assert_eq!(wide.shape(), [2, 2, 1, 2]);
        assert_eq!(*wide.data(), Data::I8(vec![1, 2, 0, 0, 3, 4, 0, 0]));
    }
}
