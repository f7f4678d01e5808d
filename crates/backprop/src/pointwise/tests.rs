//! Every kernel against its definition, with all instructions.

use super::*;
use crate::simd::Instructions;
use crate::testing::{assert_close, numbers};

/// Runs `kernel` with all instructions, checks that all come to the same bits, and returns them.
fn everywhere(kernel: impl Fn(Instructions) -> Vec<f32>) -> Vec<f32> {
    let results: Vec<_> = Instructions::all().map(kernel).collect();
    assert!(results.iter().all(|result| result == &results[0]));
    results[0].clone()
}

/// By value: the value's index, its channel.
fn each(length: usize, channels: usize, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    (0..length).map(|index| value(index, index % channels)).collect()
}

/// By channel: the sum over pixels.
fn sums(channels: usize, values: &[f32]) -> Vec<f32> {
    (0..channels)
        .map(|channel| {
            values.iter().skip(channel).step_by(channels).map(|&v| f64::from(v)).sum::<f64>() as f32
        })
        .collect()
}

#[test]
fn every_kernel_is_its_definition() {
    for (pixels, channels) in [(1, 16), (37, 32), (64, 80)] {
        let length = pixels * channels;
        let (x, g) = (numbers(1, length), numbers(2, length));
        let [scale, shift, mean] = [3, 4, 5].map(|seed| numbers(seed, channels));
        let limits = Limits { low: 0.0, high: 0.4 };
        let y = each(length, channels, |at, c| x[at].mul_add(scale[c], shift[c]));
        let got = everywhere(|on| {
            let mut out = vec![9.0; length];
            affine(on, &x, &scale, &shift, limits, &mut out);
            out
        });
        assert_close(&got, &each(length, channels, |at, _| y[at].clamp(0.0, 0.4)), 1e-6);

        let masked = each(length, channels, |at, _| if 0.0 < y[at] && y[at] < 0.4 { g[at] } else { 0.0 });
        for accumulate in [false, true] {
            let got = everywhere(|on| {
                let mut out = x.clone();
                let affine = Affine { scale: &scale, shift: &shift, limits };
                affine_gradient(on, &g, &x, affine, &mut out, accumulate);
                out
            });
            let before = |at| if accumulate { x[at] } else { 0.0 };
            assert_close(&got, &each(length, channels, |at, _| masked[at] + before(at)), 1e-6);
            let got = everywhere(|on| {
                let mut out = x.clone();
                gated(on, &g, &scale, &mut out, accumulate);
                out
            });
            assert_close(&got, &each(length, channels, |at, c| g[at] * scale[c] + before(at)), 1e-6);
        }

        let got = everywhere(|on| {
            let (mut plain, mut products) = (vec![0.0; channels], vec![0.0; channels]);
            gradient_sums(on, &g, &x, &mean, &mut plain, &mut products);
            [plain, products].concat()
        });
        let products = each(length, channels, |at, c| g[at] * (x[at] - mean[c]));
        assert_close(&got, &[sums(channels, &g), sums(channels, &products)].concat(), 1e-5);

        let got = everywhere(|on| {
            let mut out = vec![9.0; length];
            norm_gradient(on, &g, &x, &scale, &shift, &mean, &mut out);
            out
        });
        assert_close(
            &got,
            &each(length, channels, |at, c| g[at] * scale[c] + x[at] * shift[c] + mean[c]),
            1e-6,
        );

        for square in [false, true] {
            let got = everywhere(|on| {
                let mut out = vec![0.0; channels];
                channel_sums(on, &x, &mean, square, &mut out);
                out
            });
            let power = if square { 2 } else { 1 };
            assert_close(
                &got,
                &sums(channels, &each(length, channels, |at, c| (x[at] - mean[c]).powi(power))),
                1e-5,
            );
        }

        let got = everywhere(|on| {
            let mut out = vec![0.0; channels];
            channel_products(on, &x, &g, &mut out);
            out
        });
        assert_close(&got, &sums(channels, &each(length, channels, |at, _| x[at] * g[at])), 1e-5);

        let got = everywhere(|on| {
            let mut out = x.clone();
            add_shifted(on, &g, &scale, &mut out);
            out
        });
        assert_close(&got, &each(length, channels, |at, c| x[at] + g[at] + scale[c]), 1e-6);

        let got = everywhere(|on| {
            let mut out = x.clone();
            spread(on, &scale, &mut out);
            out
        });
        assert_close(&got, &each(length, channels, |at, c| x[at] + scale[c]), 1e-6);
    }
}

#[test]
fn what_is_not_a_number_stays_that() {
    for on in Instructions::all() {
        let mut out = [0.0; 16];
        affine(on, &[f32::NAN; 16], &[1.0; 16], &[0.0; 16], Limits::RELU6, &mut out);
        assert!(out.iter().all(|value| value.is_nan()));
    }
}
