//! Raw samples by group: every sample as a dot, quartiles as a box, the median as a line and a number.

use maud::{Markup, html};
use protocol::{Axis, Group};
use text::format;

use super::scale::Scale;
use super::{WIDTH, color, picture, px, shorten, with_unit, x_axis};

const LEFT: f64 = 6.0;
const RIGHT: f64 = 14.0;
const ROW: f64 = 54.0;
const MOST_DOTS: usize = 240;
/// Medians further apart than this factor are drawn logarithmically.
const WIDE: f64 = 25.0;

/// One row a group over a common axis.
pub(crate) fn distribution(title: &str, x: &Axis, groups: &[Group]) -> Markup {
    let rows: Vec<Row> = groups.iter().map(Row::new).collect();
    if rows.iter().all(|row| row.sorted.is_empty()) {
        return html! { p.empty { "No samples." } };
    }
    // The axis covers nearly all samples: a single outlier must not squeeze the rest together.
    let seen =
        || rows.iter().filter(|row| !row.sorted.is_empty()).flat_map(|row| [row.at(0.01), row.at(0.98)]);
    let (low, high) =
        seen().fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    let log = x.log || (low > 0.0 && high / low > WIDE);
    let zero = (!log && low >= 0.0 && low < high * 0.5).then_some(0.0);
    let scale = Scale::over(seen().chain(zero), log, LEFT, WIDTH - RIGHT).padded(0.03);
    let height = ROW * rows.len() as f64 + 44.0;
    let body = html! {
        @for tick in scale.ticks(6) {
            line.grid x1=(px(tick.at)) x2=(px(tick.at)) y1="4" y2=(px(ROW * rows.len() as f64 + 6.0)) {}
        }
        @for (index, row) in rows.iter().enumerate() {
            g.(color(index)) { (strip(row, &scale, ROW * index as f64, &x.unit)) }
        }
        @let label = with_unit(&x.label, &x.unit);
        (x_axis(&scale, ROW * rows.len() as f64 + 6.0, &if log { format!("{label}, logarithmic") } else { label }))
    };
    let medians: Vec<String> = rows
        .iter()
        .map(|row| format!("{}: median {} {}", row.name, format::number_auto(row.at(0.5)), x.unit))
        .collect();
    picture(WIDTH, height, title, &medians.join("; "), &body)
}

struct Row<'a> {
    name: &'a str,
    values: Vec<f64>,
    sorted: Vec<f64>,
}

impl<'a> Row<'a> {
    fn new(group: &'a Group) -> Self {
        let values: Vec<f64> = group.values.iter().copied().filter(|value| value.is_finite()).collect();
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        Self { name: &group.name, values, sorted }
    }

    /// The quantile `share`, interpolated between neighbours.
    fn at(&self, share: f64) -> f64 {
        let place = share * self.sorted.len().saturating_sub(1) as f64;
        let get = |index: f64| self.sorted.get(index as usize).copied().unwrap_or(0.0);
        let (low, high) = (get(place.floor()), get(place.ceil()));
        let part = place.fract();
        low * (1.0 - part) + high * part
    }
}

fn strip(row: &Row, scale: &Scale, top: f64, unit: &str) -> Markup {
    let middle = top + 37.0;
    let [q1, median, q3] = [0.25, 0.5, 0.75].map(|share| row.at(share));
    let (left, right) = (scale.at(q1), scale.at(q3));
    let stride = row.values.len().div_ceil(MOST_DOTS).max(1);
    html! {
        title {
            (row.name) ": median " (format::number_auto(median)) " " (unit) ", quartiles " (format::number_auto(q1)) " and "
            (format::number_auto(q3)) ", from " (format::number_auto(row.at(0.0))) " to " (format::number_auto(row.at(1.0)))
            ", " (format::count(row.values.len(), "sample"))
        }
        text.name x=(px(LEFT)) y=(px(top + 17.0)) { (shorten(row.name, 280.0)) }
        @if row.values.is_empty() {
            text.tick x=(px(WIDTH - RIGHT)) y=(px(top + 17.0)) text-anchor="end" { "no samples" }
        } @else {
            text.tick x=(px(WIDTH - RIGHT)) y=(px(top + 17.0)) text-anchor="end" {
                "median " tspan.strong { (format::number_auto(median)) } " " (unit) " · n = " (row.values.len())
            }
            rect.box x=(px(left)) y=(px(middle - 9.0)) width=(px((right - left).max(1.0))) height="18" rx="2" {}
            @for (index, value) in row.values.iter().step_by(stride).enumerate() {
                circle.sample cx=(px(scale.at(*value))) cy=(px(middle + jitter(index))) r="1.7" {}
            }
            line.median x1=(px(scale.at(median))) x2=(px(scale.at(median))) y1=(px(middle - 11.0)) y2=(px(middle + 11.0)) {}
        }
    }
}

/// Spreads dots over the height of the strip, evenly and always the same.
fn jitter(index: usize) -> f64 {
    ((index as f64 * 0.618_034).fract() - 0.5) * 13.0
}
