//! What is computed value by value, or channel by channel, of `[pixels, channels]`; channels are a multiple of
//! [`LANES`].

use crate::simd::{LANES, Simd, on_every_processor};

/// Pixels that are summed at a time.
pub(crate) const PIXELS: usize = 16;

/// Calls `$body` for each vector, in the order of memory, with its first channel and where it lies. (Writing channel by
/// channel was seen to take half as long again.)
macro_rules! vectors {
    ($length:expr, $channels:expr, |$channel:ident, $at:ident| $body:block) => {
        let (length, channels): (usize, usize) = ($length, $channels);
        assert!(channels.is_multiple_of(LANES) && length.is_multiple_of(channels.max(1)));
        for start in (0..length).step_by(channels.max(1)) {
            for $channel in (0..channels).step_by(LANES) {
                let $at = start + $channel;
                $body
            }
        }
    };
}

/// For sums by channel, which then stay in registers: calls `$body` for each block of pixels and each vector of channels, with
/// its first channel and where it lies for each pixel of the block.
macro_rules! blocks {
    ($length:expr, $channels:expr, |$channel:ident, $offsets:ident| $body:block) => {
        let (length, channels): (usize, usize) = ($length, $channels);
        assert!(channels.is_multiple_of(LANES) && length.is_multiple_of(channels.max(1)));
        for start in (0..length).step_by((PIXELS * channels).max(1)) {
            let end = (start + PIXELS * channels).min(length);
            for $channel in (0..channels).step_by(LANES) {
                let $offsets = (start + $channel..end).step_by(channels);
                $body
            }
        }
    };
}

/// Smallest and largest value of an activation that cuts off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
    pub(crate) low: f32,
    pub(crate) high: f32,
}

impl Limits {
    /// No activation.
    pub(crate) const NONE: Self = Self { low: f32::NEG_INFINITY, high: f32::INFINITY };
    /// max(x, 0).
    pub(crate) const RELU: Self = Self { low: 0.0, high: f32::INFINITY };
    /// min(max(x, 0), 6).
    pub(crate) const RELU6: Self = Self { low: 0.0, high: 6.0 };
}

on_every_processor! {
    /// `out = limits(x · scale + shift)`.
    pub(crate) fn affine = affine_on(x: &[f32], scale: &[f32], shift: &[f32], limits: Limits, out: &mut [f32])
}

#[inline(always)]
fn affine_on<S: Simd>(x: &[f32], scale: &[f32], shift: &[f32], limits: Limits, out: &mut [f32]) {
    assert!(out.len() == x.len() && shift.len() == scale.len());
    // SAFETY: every offset is that of a vector within slices whose lengths were compared.
    unsafe {
        let (low, high) = (S::splat(limits.low), S::splat(limits.high));
        vectors!(x.len(), scale.len(), |channel, at| {
            let (scale, shift) = (S::load(scale.as_ptr().add(channel)), S::load(shift.as_ptr().add(channel)));
            let y = S::mul_add(S::load(x.as_ptr().add(at)), scale, shift);
            S::store(out.as_mut_ptr().add(at), S::at_most(S::at_least(y, low), high));
        });
    }
}

/// Batch normalisation and activation as they were computed forwards.
#[derive(Clone, Copy)]
pub(crate) struct Affine<'a> {
    pub(crate) scale: &'a [f32],
    pub(crate) shift: &'a [f32],
    pub(crate) limits: Limits,
}

on_every_processor! {
    /// From the gradient with respect to the activation's output that with respect to its input, written or added to `into`. `x` is
    /// what went into the normalisation.
    pub(crate) fn affine_gradient =
        affine_gradient_on(gradient: &[f32], x: &[f32], affine: Affine<'_>, into: &mut [f32], accumulate: bool)
}

#[inline(always)]
fn affine_gradient_on<S: Simd>(
    gradient: &[f32],
    x: &[f32],
    affine: Affine<'_>,
    into: &mut [f32],
    accumulate: bool,
) {
    let Affine { scale, shift, limits } = affine;
    assert!(gradient.len() == x.len() && into.len() == x.len() && shift.len() == scale.len());
    // SAFETY: every offset is that of a vector within slices whose lengths were compared.
    unsafe {
        let (low, high) = (S::splat(limits.low), S::splat(limits.high));
        vectors!(x.len(), scale.len(), |channel, at| {
            let (scale, shift) = (S::load(scale.as_ptr().add(channel)), S::load(shift.as_ptr().add(channel)));
            let y = S::mul_add(S::load(x.as_ptr().add(at)), scale, shift);
            let passed = S::where_between(y, low, high, S::load(gradient.as_ptr().add(at)));
            let into = into.as_mut_ptr().add(at);
            S::store(into, if accumulate { S::add(S::load(into), passed) } else { passed });
        });
    }
}

on_every_processor! {
    /// Adds to `sums` and `products`, by channel, `gradient` and `gradient · (x - mean)`.
    pub(crate) fn gradient_sums =
        gradient_sums_on(gradient: &[f32], x: &[f32], mean: &[f32], sums: &mut [f32], products: &mut [f32])
}

#[inline(always)]
fn gradient_sums_on<S: Simd>(
    gradient: &[f32],
    x: &[f32],
    mean: &[f32],
    sums: &mut [f32],
    products: &mut [f32],
) {
    assert!(gradient.len() == x.len() && sums.len() == mean.len() && products.len() == mean.len());
    // SAFETY: every offset is that of a vector within slices whose lengths were compared.
    unsafe {
        blocks!(x.len(), mean.len(), |channel, offsets| {
            let mean = S::load(mean.as_ptr().add(channel));
            let (sum_at, product_at) = (sums.as_mut_ptr().add(channel), products.as_mut_ptr().add(channel));
            let (mut sum, mut product) = ([S::splat(0.0); 2], [S::splat(0.0); 2]);
            for (index, at) in offsets.enumerate() {
                let gradient = S::load(gradient.as_ptr().add(at));
                let centred = S::sub(S::load(x.as_ptr().add(at)), mean);
                // Two sums each, because an addition waits for the one before it.
                sum[index % 2] = S::add(sum[index % 2], gradient);
                product[index % 2] = S::mul_add(gradient, centred, product[index % 2]);
            }
            S::store(sum_at, S::add(S::load(sum_at), S::add(sum[0], sum[1])));
            S::store(product_at, S::add(S::load(product_at), S::add(product[0], product[1])));
        });
    }
}

on_every_processor! {
    /// `out = gradient · factor + x · slope + offset`: the gradient with respect to what went into a batch normalisation.
    pub(crate) fn norm_gradient = norm_gradient_on(
        gradient: &[f32],
        x: &[f32],
        factor: &[f32],
        slope: &[f32],
        offset: &[f32],
        out: &mut [f32],
    )
}

#[inline(always)]
fn norm_gradient_on<S: Simd>(
    gradient: &[f32],
    x: &[f32],
    factor: &[f32],
    slope: &[f32],
    offset: &[f32],
    out: &mut [f32],
) {
    assert!(gradient.len() == x.len() && out.len() == x.len());
    assert!(slope.len() == factor.len() && offset.len() == factor.len());
    // SAFETY: every offset is that of a vector within slices whose lengths were compared.
    unsafe {
        vectors!(x.len(), factor.len(), |channel, at| {
            let factor = S::load(factor.as_ptr().add(channel));
            let (slope, offset) =
                (S::load(slope.as_ptr().add(channel)), S::load(offset.as_ptr().add(channel)));
            let rest = S::mul_add(S::load(x.as_ptr().add(at)), slope, offset);
            S::store(out.as_mut_ptr().add(at), S::mul_add(S::load(gradient.as_ptr().add(at)), factor, rest));
        });
    }
}

on_every_processor! {
    /// Adds to `sums`, by channel, `x - shift`; with `square`, its square.
    pub(crate) fn channel_sums = channel_sums_on(x: &[f32], shift: &[f32], square: bool, sums: &mut [f32])
}

#[inline(always)]
fn channel_sums_on<S: Simd>(x: &[f32], shift: &[f32], square: bool, sums: &mut [f32]) {
    assert!(sums.len() == shift.len());
    // SAFETY: every offset is that of a vector within slices whose lengths were compared.
    unsafe {
        blocks!(x.len(), shift.len(), |channel, offsets| {
            let shift = S::load(shift.as_ptr().add(channel));
            let mut sum = [S::splat(0.0); 2];
            for (index, at) in offsets.enumerate() {
                let value = S::sub(S::load(x.as_ptr().add(at)), shift);
                let sum = &mut sum[index % 2];
                *sum = if square { S::mul_add(value, value, *sum) } else { S::add(*sum, value) };
            }
            let sum_at = sums.as_mut_ptr().add(channel);
            S::store(sum_at, S::add(S::load(sum_at), S::add(sum[0], sum[1])));
        });
    }
}

on_every_processor! {
    /// `out = x · gate`, each channel by its own.
    pub(crate) fn gated = gated_on(x: &[f32], gate: &[f32], out: &mut [f32], accumulate: bool)
}

#[inline(always)]
fn gated_on<S: Simd>(x: &[f32], gate: &[f32], out: &mut [f32], accumulate: bool) {
    assert!(out.len() == x.len());
    // SAFETY: every offset is that of a vector within slices whose lengths were compared.
    unsafe {
        vectors!(x.len(), gate.len(), |channel, at| {
            let gate = S::load(gate.as_ptr().add(channel));
            let (x, out) = (S::load(x.as_ptr().add(at)), out.as_mut_ptr().add(at));
            S::store(out, if accumulate { S::mul_add(x, gate, S::load(out)) } else { S::mul(x, gate) });
        });
    }
}

on_every_processor! {
    /// Adds to `sums`, by channel, `left · right`.
    pub(crate) fn channel_products = channel_products_on(left: &[f32], right: &[f32], sums: &mut [f32])
}

#[inline(always)]
fn channel_products_on<S: Simd>(left: &[f32], right: &[f32], sums: &mut [f32]) {
    assert!(left.len() == right.len());
    // SAFETY: every offset is that of a vector within slices whose lengths were compared.
    unsafe {
        blocks!(left.len(), sums.len(), |channel, offsets| {
            let mut sum = [S::splat(0.0); 2];
            for (index, at) in offsets.enumerate() {
                let sum = &mut sum[index % 2];
                *sum = S::mul_add(S::load(left.as_ptr().add(at)), S::load(right.as_ptr().add(at)), *sum);
            }
            let sum_at = sums.as_mut_ptr().add(channel);
            S::store(sum_at, S::add(S::load(sum_at), S::add(sum[0], sum[1])));
        });
    }
}

on_every_processor! {
    /// `out += values`, by channel, for each pixel of `out`.
    pub(crate) fn spread = spread_on(values: &[f32], out: &mut [f32])
}

#[inline(always)]
fn spread_on<S: Simd>(values: &[f32], out: &mut [f32]) {
    // SAFETY: every offset is that of a vector within `out`.
    unsafe {
        vectors!(out.len(), values.len(), |channel, at| {
            let (value, out) = (S::load(values.as_ptr().add(channel)), out.as_mut_ptr().add(at));
            S::store(out, S::add(S::load(out), value));
        });
    }
}

on_every_processor! {
    /// `out += x + shift`, each channel by its own.
    pub(crate) fn add_shifted = add_shifted_on(x: &[f32], shift: &[f32], out: &mut [f32])
}

#[inline(always)]
fn add_shifted_on<S: Simd>(x: &[f32], shift: &[f32], out: &mut [f32]) {
    assert!(out.len() == x.len());
    // SAFETY: every offset is that of a vector within slices whose lengths were compared.
    unsafe {
        vectors!(x.len(), shift.len(), |channel, at| {
            let shift = S::load(shift.as_ptr().add(channel));
            let (x, out) = (S::load(x.as_ptr().add(at)), out.as_mut_ptr().add(at));
            S::store(out, S::add(S::load(out), S::add(x, shift)));
        });
    }
}

/// `out += x`.
pub(crate) fn add_to(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

/// `out = x`, or `out += x`.
pub(crate) fn put(x: &[f32], out: &mut [f32], accumulate: bool) {
    if accumulate { add_to(x, out) } else { out.copy_from_slice(x) }
}

#[cfg(test)]
mod tests;
