//! From numbers to positions: linear and logarithmic scales with round ticks. Total: any finite numbers, even none,
//! give finite positions.

use text::format;

/// A mark on an axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    /// Where.
    pub(super) at: f64,
    /// What is written there.
    pub(super) label: String,
}

/// Maps numbers to positions between two ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Scale {
    /// A scale over `values` to positions `from..to`. Logarithmic where asked for and possible.
    pub(super) fn over(values: impl IntoIterator<Item = f64>, log: bool, from: f64, to: f64) -> Self {
        let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        let log = log && values.iter().any(|value| *value > 0.0);
        let (mut low, mut high) = values
            .iter()
            .filter(|value| !log || **value > 0.0)
            .map(|value| if log { value.log10() } else { *value })
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if low == high {
            let pad = if log { 0.5 } else { (low.abs() * 0.1).max(0.5) };
            (low, high) = ((low - pad).max(f64::MIN), (high + pad).min(f64::MAX));
        }
        Self { low, high, log, from, to }
    }

    /// The same with `share` of its span added at each end, but not across zero.
    pub(super) fn padded(mut self, share: f64) -> Self {
        let half = self.high / 2.0 - self.low / 2.0;
        let pad = half * share * 2.0;
        let cross = |value: f64, padded: f64| !self.log && value != 0.0 && (padded < 0.0) != (value < 0.0);
        let (low, high) = (self.low - pad, self.high + pad);
        let low = if cross(self.low, low) || (self.low == 0.0 && !self.log) { 0.0 } else { low };
        let high = if cross(self.high, high) { 0.0 } else { high };
        self.low = low.max(f64::MIN);
        self.high = high.min(f64::MAX);
        self
    }

    /// The ends of its positions.
    pub(super) fn ends(&self) -> (f64, f64) {
        (self.from, self.to)
    }

    /// Whether a number lies within.
    pub(super) fn covers(&self, value: f64) -> bool {
        !self.log && (self.low..=self.high).contains(&value)
    }

    /// The position of a number; numbers outside are drawn at the end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = match (self.log, value > 0.0) {
            (false, _) => value,
            (true, true) => value.log10(),
            (true, false) => self.low,
        };
        // Halved, so that the span of the largest numbers is still a number.
        let span = self.high / 2.0 - self.low / 2.0;
        let share = (value / 2.0 - self.low / 2.0) / span;
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.5 };
        self.from + share * (self.to - self.from)
    }

    /// At most about `most` round ticks.
    pub(super) fn ticks(&self, most: usize) -> Vec<Tick> {
        let values = if self.log { self.log_values(most) } else { self.linear_values(most) };
        let step = match values.as_slice() {
            [first, second, ..] if !self.log => second - first,
            _ => 0.0,
        };
        values.iter().map(|value| Tick { at: self.at(*value), label: tick_label(*value, step) }).collect()
    }

    fn linear_values(&self, most: usize) -> Vec<f64> {
        let most = most.max(2);
        let rough = (self.high / 2.0 - self.low / 2.0) / most as f64 * 2.0;
        let base = 10.0f64.powf(rough.log10().floor());
        if !(base.is_finite() && base > 0.0) {
            return vec![];
        }
        let round =
            [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|round| round * base >= rough).unwrap_or(10.0);
        let step = round * base;
        let first = (self.low / step).ceil();
        let values = (0..=most * 2).map(|index| (first + index as f64) * step);
        values
            .take_while(|value| *value <= self.high + step * 1e-6)
            .filter(|value| value.is_finite())
            // The sum of rounding errors must not show as `0.30000000000000004`.
            .map(|value| if value.abs() < step * 1e-6 { 0.0 } else { value })
            .collect()
    }

    fn log_values(&self, most: usize) -> Vec<f64> {
        let decades = self.high - self.low;
        let factors: &[f64] = if decades <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let stride = (decades / most.max(1) as f64).ceil().max(1.0);
        let first = self.low.floor();
        let exponents = (0..=most + 1).map(|index| first + index as f64 * stride);
        exponents
            .flat_map(|exponent| factors.iter().map(move |factor| factor * 10.0f64.powf(exponent)))
            .filter(|value| {
                let log = value.log10();
                value.is_finite() && *value > 0.0 && log >= self.low - 1e-9 && log <= self.high + 1e-9
            })
            .collect()
    }
}

fn tick_label(value: f64, step: f64) -> String {
    let magnitude = value.abs();
    let fine = step != 0.0 && step.abs() < 1e-5;
    if magnitude >= 1e12 || fine || (magnitude > 0.0 && magnitude < 1e-5) {
        return format!("{value:.1e}").replace('-', "−");
    }
    let (scaled, scaled_step, suffix) = match magnitude {
        m if m >= 1e9 => (value / 1e9, step / 1e9, "G"),
        m if m >= 1e6 => (value / 1e6, step / 1e6, "M"),
        m if m >= 1e4 => (value / 1e3, step / 1e3, "k"),
        _ => (value, step, ""),
    };
    let digits = if scaled_step == 0.0 { decimals_of(scaled) } else { decimals_of(scaled_step) };
    format!("{}{suffix}", format::number(scaled, digits))
}

/// The decimals that show `value` without loss, up to eight.
fn decimals_of(value: f64) -> usize {
    (0..8)
        .find(|digits| {
            let scaled = value * 10.0f64.powi(*digits);
            (scaled - scaled.round()).abs() < 1e-6 * scaled.abs().max(1e-3)
        })
        .map_or(8, |digits| usize::try_from(digits).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale, most: usize) -> Vec<String> {
        scale.ticks(most).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn round_ticks() {
        assert_eq!(
            labels(&Scale::over([0.0, 1.0], false, 0.0, 1.0), 5),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(labels(&Scale::over([1.0, 150.0], false, 0.0, 1.0), 4), ["50", "100", "150"]);
        assert_eq!(labels(&Scale::over([0.0, 50_000.0], false, 0.0, 1.0), 3), ["0", "20k", "40k"]);
        assert_eq!(labels(&Scale::over([0.1, 100.0], true, 0.0, 1.0), 6), ["0.1", "1", "10", "100"]);
        assert_eq!(labels(&Scale::over([-1.0, 1.0], false, 0.0, 1.0), 2), ["−1", "0", "1"]);
    }

    #[test]
    fn positions() {
        let scale = Scale::over([10.0, 20.0], false, 100.0, 0.0);
        assert_eq!((scale.at(10.0), scale.at(15.0), scale.at(99.0)), (100.0, 50.0, 0.0));
        let constant = Scale::over([7.0, 7.0], false, 0.0, 10.0);
        assert!((constant.at(7.0) - 5.0).abs() < 1e-9);
        let padded = Scale::over([1.0, 100.0], false, 0.0, 1.0).padded(0.05);
        assert_eq!(padded.at(0.0), 0.0, "padding stops at zero");
        assert!(padded.at(1.0) > 0.0);
    }
}
