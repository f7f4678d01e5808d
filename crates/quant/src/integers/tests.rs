//! Properties of rounding to 8 bits.

use super::*;
use proptest::prelude::*;

fn kind() -> impl Strategy<Value = ActivationType> {
    prop_oneof![Just(ActivationType::U8), Just(ActivationType::S8)]
}

proptest! {
    #[test]
    fn steps_are_what_quantizing_gives(
        a in -1e3_f32..1e3,
        b in -1e3_f32..1e3,
        value in -4e3_f32..4e3,
        kind in kind(),
    ) {
        let grid = Grid::spanning(Range { min: a.min(b), max: a.max(b) }, None, kind);
        for value in [value, grid.scale * value.round(), grid.scale * (value.round() + 0.5), f32::MAX, -1e38] {
            let exact = grid.quantize(value) - grid.zero_point;
            prop_assert_eq!(grid.steps(value), exact as f32, "{:?} {}", grid, value);
        }
    }

    #[test]
    fn zero_is_exact(a in -1e3_f32..1e3, b in -1e3_f32..1e3, kind in kind()) {
        let grid = Grid::spanning(Range { min: a.min(b), max: a.max(b) }, None, kind);
        prop_assert_eq!(grid.dequantize(grid.quantize(0.0)), 0.0);
    }

    #[test]
    fn error_is_half_a_step_within_the_range(
        a in -1e3_f32..1e3, b in -1e3_f32..1e3, share in 0.0_f32..1.0, kind in kind()
    ) {
        let (min, max) = (a.min(b).min(0.0), a.max(b).max(0.0));
        let grid = Grid::spanning(Range { min, max }, None, kind);
        let value = min + (max - min) * share;
        let error = (grid.dequantize(grid.quantize(value)) - value).abs();
        // The zero point is rounded too, which moves either end by up to half a step.
        let (low, high) = grid.span();
        let outside = (low - value).max(value - high).max(0.0);
        prop_assert!(outside <= grid.scale * 0.5001);
        prop_assert!(error <= grid.scale * 0.5001 + outside, "{} {}", error, grid.scale);
    }

    #[test]
    fn values_outside_saturate(max in 1e-3_f32..1e3, beyond in 1.0_f32..1e6, kind in kind()) {
        let grid = Grid::spanning(Range { min: -max, max }, None, kind);
        let (low, high) = grid.span();
        prop_assert_eq!(grid.dequantize(grid.quantize(max * 1.01 + beyond)), high);
        prop_assert_eq!(grid.dequantize(grid.quantize(-max * 1.01 - beyond)), low);
    }

    #[test]
    fn weights_are_within_half_a_step_of_their_channel(
        values in prop::collection::vec(-10.0_f32..10.0, 24), per_channel: bool, last: bool
    ) {
        let channels = if last { Channels::Last(4) } else { Channels::First(4) };
        let weight = SymmetricWeight::new(&values, channels, per_channel, &[0.0; 4], None);
        prop_assert_eq!(weight.scales.len(), if per_channel { 4 } else { 1 });
        prop_assert_eq!(weight.raised, 0);
        for (element, (value, rounded)) in values.iter().zip(weight.dequantize(channels)).enumerate() {
            let scale = weight.scales[if per_channel { channels.of(element, 24) } else { 0 }];
            prop_assert!((value - rounded).abs() <= scale * 0.5001);
        }
        prop_assert!(weight.integers.iter().all(|&integer| integer >= -127));
    }

    #[test]
    fn a_bias_fits_after_its_floor(bias in -1e6_f32..1e6, input_scale in 1e-6_f32..1.0, weight in 1e-12_f32..1.0) {
        let floor = bias_floor(bias, input_scale);
        let rounded = SymmetricWeight::new(&[weight, 0.0], Channels::First(1), true, &[floor], None);
        let steps = quantize_bias(bias, input_scale * rounded.scales[0]);
        prop_assert!(steps.unsigned_abs() <= (1 << 30) + 256, "{}", steps);
        prop_assert_eq!(rounded.raised > 0, floor > weight / 127.0);
    }
}

#[test]
fn channels_are_found_on_either_axis() {
    let values = [1.0, -2.0, 3.0, 4.0, 5.0, -6.0];
    let first = SymmetricWeight::new(&values, Channels::First(2), true, &[], None);
    assert_eq!(first.scales, [3.0 / 127.0, 6.0 / 127.0]);
    let last = SymmetricWeight::new(&values, Channels::Last(3), true, &[], None);
    assert_eq!(last.scales, [4.0 / 127.0, 5.0 / 127.0, 6.0 / 127.0]);
}

#[test]
fn nothing_gives_a_usable_scale() {
    for kind in [ActivationType::U8, ActivationType::S8] {
        for max in [0.0, 1e-44] {
            let grid = Grid::spanning(Range { min: 0.0, max }, None, kind);
            assert_eq!((grid.scale, grid.dequantize(grid.quantize(0.0))), (1.0, 0.0));
        }
    }
    let weight = SymmetricWeight::new(&[0.0; 4], Channels::First(2), true, &[0.0, 1e-9], None);
    assert_eq!((weight.scales.as_slice(), weight.raised), (&[1.0, 1e-9][..], 0));
    assert_eq!(weight.sqnr_db(&[0.0; 4], Channels::First(2)), None);
}

#[test]
fn bounds_cut_the_range() {
    let bounds = Bounds { low: 0.0, high: 6.0 };
    let wide = Grid::spanning(Range { min: -3.0, max: 9.0 }, Some(bounds), ActivationType::U8);
    assert_eq!((wide.zero_point, wide.scale), (0, 6.0 / 255.0));
    assert_eq!((wide.quantize(7.0), wide.quantize(-1.0)), (255, 0));
    let narrow = Grid::spanning(Range { min: 0.0, max: 3.0 }, Some(bounds), ActivationType::S8);
    assert_eq!((narrow.zero_point, narrow.scale), (-128, 3.0 / 255.0));
}

#[test]
fn a_range_wider_than_a_float_still_gives_a_scale() {
    let grid = Grid::spanning(Range { min: f32::MIN, max: f32::MAX }, None, ActivationType::U8);
    assert!(grid.scale.is_finite());
    assert_eq!(grid.quantize(f32::MAX), 255);
}

#[test]
fn finer_weights_have_less_noise() {
    let values: Vec<f32> =
        (0..64).map(|i| (i as f32 * 0.37).sin() * if i < 32 { 1.0 } else { 0.01 }).collect();
    let channels = Channels::First(2);
    let sqnr = |per_channel| {
        SymmetricWeight::new(&values, channels, per_channel, &[], None).sqnr_db(&values, channels).unwrap()
    };
    assert!(sqnr(true) > sqnr(false));
}
