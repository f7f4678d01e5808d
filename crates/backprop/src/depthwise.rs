//! Convolutions of each channel by itself, of `[height, width, channels]`; channels are a multiple of [`LANES`]. A vector of
//! channels goes over the whole image with its filter in registers.

use crate::simd::{LANES, Simd, on_every_processor};

/// Sizes of a depthwise convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Depthwise {
    /// Height and width of what goes in.
    pub(crate) input: [usize; 2],
    /// Height and width of what comes out.
    pub(crate) output: [usize; 2],
    /// Height and width of the filter: 1, 3, 5 or 7.
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    /// With padding.
    pub(crate) channels: usize,
}

impl Depthwise {
    /// Which taps of row or column `place` lie within the `length` of the input, and the input's place of tap 0, which may
    /// lie before it.
    #[inline(always)]
    fn taps(self, place: usize, length: usize) -> (usize, usize, isize) {
        let first = (place * self.stride).cast_signed() - self.padding.cast_signed();
        let low = (-first).max(0).cast_unsigned().min(self.kernel);
        let high = (length.cast_signed() - first).max(0).cast_unsigned().min(self.kernel);
        (low, high, first)
    }

    #[inline(always)]
    fn check(self, input: &[f32], output: &[f32], weights: &[f32]) {
        assert!(self.channels.is_multiple_of(LANES));
        assert_eq!(input.len(), self.input[0] * self.input[1] * self.channels);
        assert_eq!(output.len(), self.output[0] * self.output[1] * self.channels);
        assert_eq!(weights.len(), self.kernel * self.kernel * self.channels);
    }
}

on_every_processor! {
    /// `y = x ∗ weights`; weights are `[kernel, kernel, channels]`.
    ///
    /// # Panics
    /// When an operand has another size, or the kernel has one that is not supported.
    pub(crate) fn forward = forward_on(size: Depthwise, x: &[f32], weights: &[f32], y: &mut [f32])
}

#[inline(always)]
fn forward_on<S: Simd>(size: Depthwise, x: &[f32], weights: &[f32], y: &mut [f32]) {
    match size.kernel {
        1 => gather::<S, 1>(size, x, weights, y, false, false),
        3 => gather::<S, 3>(size, x, weights, y, false, false),
        5 => gather::<S, 5>(size, x, weights, y, false, false),
        7 => gather::<S, 7>(size, x, weights, y, false, false),
        other => unsupported(other),
    }
}

on_every_processor! {
    /// The gradient with respect to `x`, from that with respect to `y`, written or added to `dx`.
    pub(crate) fn backward =
        backward_on(size: Depthwise, dy: &[f32], weights: &[f32], dx: &mut [f32], accumulate: bool)
}

#[inline(always)]
fn backward_on<S: Simd>(size: Depthwise, dy: &[f32], weights: &[f32], dx: &mut [f32], accumulate: bool) {
    if size.stride == 1 && size.kernel > size.padding {
        // Then it is a convolution with the filter turned around.
        let padding = size.kernel - 1 - size.padding;
        let turned = Depthwise { input: size.output, output: size.input, padding, ..size };
        return match size.kernel {
            1 => gather::<S, 1>(turned, dy, weights, dx, true, accumulate),
            3 => gather::<S, 3>(turned, dy, weights, dx, true, accumulate),
            5 => gather::<S, 5>(turned, dy, weights, dx, true, accumulate),
            7 => gather::<S, 7>(turned, dy, weights, dx, true, accumulate),
            other => unsupported(other),
        };
    }
    if !accumulate {
        dx.fill(0.0);
    }
    match size.kernel {
        1 => scatter::<S, 1>(size, dy, weights, dx),
        3 => scatter::<S, 3>(size, dy, weights, dx),
        5 => scatter::<S, 5>(size, dy, weights, dx),
        7 => scatter::<S, 7>(size, dy, weights, dx),
        other => unsupported(other),
    }
}

on_every_processor! {
    /// Adds the gradient with respect to the weights to `gradient`.
    pub(crate) fn weight_gradient = weight_gradient_on(size: Depthwise, x: &[f32], dy: &[f32], gradient: &mut [f32])
}

#[inline(always)]
fn weight_gradient_on<S: Simd>(size: Depthwise, x: &[f32], dy: &[f32], gradient: &mut [f32]) {
    match size.kernel {
        1 => correlate::<S, 1>(size, x, dy, gradient),
        3 => correlate::<S, 3>(size, x, dy, gradient),
        5 => correlate::<S, 5>(size, x, dy, gradient),
        7 => correlate::<S, 7>(size, x, dy, gradient),
        other => unsupported(other),
    }
}

fn unsupported(kernel: usize) -> ! {
    unreachable!("plans have no depthwise convolution of {kernel}×{kernel}")
}

#[inline(always)]
fn gather<S: Simd, const K: usize>(
    size: Depthwise,
    x: &[f32],
    weights: &[f32],
    y: &mut [f32],
    turned: bool,
    accumulate: bool,
) {
    size.check(x, y, weights);
    let channels = size.channels;
    // SAFETY: taps outside of the image are left out, so every offset lies within slices whose lengths were checked.
    unsafe {
        for channel in (0..channels).step_by(LANES) {
            let mut filter = [[S::splat(0.0); K]; K];
            for (row, filter) in filter.iter_mut().enumerate() {
                for (column, tap) in filter.iter_mut().enumerate() {
                    let place = if turned { K * K - 1 - (row * K + column) } else { row * K + column };
                    *tap = S::load(weights.as_ptr().add(place * channels + channel));
                }
            }
            for row in 0..size.output[0] {
                let (top, bottom, first_row) = size.taps(row, size.input[0]);
                for column in 0..size.output[1] {
                    let (left, right, first_column) = size.taps(column, size.input[1]);
                    let out = y.as_mut_ptr().add((row * size.output[1] + column) * channels + channel);
                    let mut sum = if accumulate { S::load(out) } else { S::splat(0.0) };
                    let start = first_row * size.input[1].cast_signed() + first_column;
                    let start =
                        x.as_ptr().wrapping_offset(start * channels.cast_signed()).wrapping_add(channel);
                    let line = size.input[1] * channels;
                    if (top, bottom, left, right) == (0, K, 0, K) {
                        for (r, filter) in filter.iter().enumerate() {
                            for (c, tap) in filter.iter().enumerate() {
                                sum = S::mul_add(
                                    S::load(start.wrapping_add(r * line + c * channels)),
                                    *tap,
                                    sum,
                                );
                            }
                        }
                    } else {
                        for (r, filter) in filter.iter().enumerate() {
                            for (c, tap) in filter.iter().enumerate() {
                                if top <= r && r < bottom && left <= c && c < right {
                                    let at = start.wrapping_add(r * line + c * channels);
                                    sum = S::mul_add(S::load(at), *tap, sum);
                                }
                            }
                        }
                    }
                    S::store(out, sum);
                }
            }
        }
    }
}

#[inline(always)]
fn scatter<S: Simd, const K: usize>(size: Depthwise, dy: &[f32], weights: &[f32], dx: &mut [f32]) {
    size.check(dx, dy, weights);
    let channels = size.channels;
    // SAFETY: taps outside of the image are left out, so every offset lies within slices whose lengths were checked.
    unsafe {
        for channel in (0..channels).step_by(LANES) {
            let mut filter = [[S::splat(0.0); K]; K];
            for (row, filter) in filter.iter_mut().enumerate() {
                for (column, tap) in filter.iter_mut().enumerate() {
                    *tap = S::load(weights.as_ptr().add((row * K + column) * channels + channel));
                }
            }
            for row in 0..size.output[0] {
                let (top, bottom, first_row) = size.taps(row, size.input[0]);
                for column in 0..size.output[1] {
                    let (left, right, first_column) = size.taps(column, size.input[1]);
                    let value =
                        S::load(dy.as_ptr().add((row * size.output[1] + column) * channels + channel));
                    let start = first_row * size.input[1].cast_signed() + first_column;
                    let start = dx.as_mut_ptr().wrapping_offset(start * channels.cast_signed());
                    let start = start.wrapping_add(channel);
                    for (r, filter) in filter.iter().enumerate() {
                        for (c, tap) in filter.iter().enumerate() {
                            if top <= r && r < bottom && left <= c && c < right {
                                let at = start.wrapping_add((r * size.input[1] + c) * channels);
                                S::store(at, S::mul_add(value, *tap, S::load(at)));
                            }
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn correlate<S: Simd, const K: usize>(size: Depthwise, x: &[f32], dy: &[f32], gradient: &mut [f32]) {
    size.check(x, dy, gradient);
    let channels = size.channels;
    // SAFETY: taps outside of the image are left out, so every offset lies within slices whose lengths were checked.
    unsafe {
        for channel in (0..channels).step_by(LANES) {
            let mut sums = [[S::splat(0.0); K]; K];
            for row in 0..size.output[0] {
                let (top, bottom, first_row) = size.taps(row, size.input[0]);
                for column in 0..size.output[1] {
                    let (left, right, first_column) = size.taps(column, size.input[1]);
                    let value =
                        S::load(dy.as_ptr().add((row * size.output[1] + column) * channels + channel));
                    let start = first_row * size.input[1].cast_signed() + first_column;
                    let start =
                        x.as_ptr().wrapping_offset(start * channels.cast_signed()).wrapping_add(channel);
                    let line = size.input[1] * channels;
                    if (top, bottom, left, right) == (0, K, 0, K) {
                        for (r, sums) in sums.iter_mut().enumerate() {
                            for (c, sum) in sums.iter_mut().enumerate() {
                                *sum = S::mul_add(
                                    S::load(start.wrapping_add(r * line + c * channels)),
                                    value,
                                    *sum,
                                );
                            }
                        }
                    } else {
                        for (r, sums) in sums.iter_mut().enumerate() {
                            for (c, sum) in sums.iter_mut().enumerate() {
                                if top <= r && r < bottom && left <= c && c < right {
                                    let at = start.wrapping_add(r * line + c * channels);
                                    *sum = S::mul_add(S::load(at), value, *sum);
                                }
                            }
                        }
                    }
                }
            }
            for (place, sum) in sums.as_flattened().iter().enumerate() {
                let at = gradient.as_mut_ptr().add(place * channels + channel);
                S::store(at, S::add(S::load(at), *sum));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Instructions;
    use crate::testing::{assert_close, numbers};

    /// Calls `each` with the indices of x, weights and y of every product.
    fn products(size: Depthwise, mut each: impl FnMut(usize, usize, usize)) {
        for row in 0..size.output[0] {
            for column in 0..size.output[1] {
                for tap in 0..size.kernel * size.kernel {
                    let y = (row * size.stride + tap / size.kernel).checked_sub(size.padding);
                    let x = (column * size.stride + tap % size.kernel).checked_sub(size.padding);
                    let (Some(y), Some(x)) = (y, x) else { continue };
                    if y < size.input[0] && x < size.input[1] {
                        for channel in 0..size.channels {
                            each(
                                (y * size.input[1] + x) * size.channels + channel,
                                tap * size.channels + channel,
                                (row * size.output[1] + column) * size.channels + channel,
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn forward_and_backward_are_the_definitions_on_every_processor() {
        for (input, kernel, stride, padding) in [
            ([5, 7], 3, 1, 1),
            ([8, 6], 3, 2, 1),
            ([6, 6], 5, 1, 2),
            ([5, 5], 1, 2, 0),
            ([4, 9], 3, 1, 0),
            ([9, 8], 7, 2, 3),
            ([2, 2], 3, 1, 3),
        ] {
            let output = input.map(|side| (side + 2 * padding - kernel) / stride + 1);
            let size = Depthwise { input, output, kernel, stride, padding, channels: 32 };
            let [n, m, k] = [input[0] * input[1] * 32, output[0] * output[1] * 32, kernel * kernel * 32];
            let (x, weights, dy) = (numbers(1, n), numbers(2, k), numbers(3, m));
            let (mut y, mut dx, mut dw) = (vec![0.0; m], vec![0.0; n], vec![0.0; k]);
            products(size, |i, w, o| {
                y[o] += x[i] * weights[w];
                dx[i] += dy[o] * weights[w];
                dw[w] += dy[o] * x[i];
            });
            let results: Vec<_> = Instructions::all()
                .map(|on| {
                    let (mut got_y, mut got_dx, mut got_dw) = (vec![9.0; m], vec![9.0; n], vec![0.0; k]);
                    forward(on, size, &x, &weights, &mut got_y);
                    backward(on, size, &dy, &weights, &mut got_dx, false);
                    weight_gradient(on, size, &x, &dy, &mut got_dw);
                    let mut twice = got_dx.clone();
                    backward(on, size, &dy, &weights, &mut twice, true);
                    (got_y, got_dx, got_dw, twice)
                })
                .collect();
            let doubled: Vec<_> = dx.iter().map(|value| 2.0 * value).collect();
            for (got, wanted) in
                [(&results[0].0, &y), (&results[0].1, &dx), (&results[0].2, &dw), (&results[0].3, &doubled)]
            {
                assert_close(got, wanted, 1e-5);
            }
            assert!(results.iter().all(|result| result == &results[0]), "the same bits everywhere");
        }
    }
}
