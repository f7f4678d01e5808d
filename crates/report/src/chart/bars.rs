//! Small horizontal bars: a few values of one quantity beside each other, each with an interval and a value to
//! compare with where there is one.

use maud::{Markup, html};

use super::scale::Scale;
use super::{color, picture, px, shorten};

const WIDTH: f64 = 300.0;
const ROW: f64 = 36.0;
const LEFT: f64 = 6.0;
const RIGHT: f64 = 8.0;

/// One bar.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    /// Its name.
    pub(crate) label: String,
    /// Its value, or nothing.
    pub(crate) value: Option<f64>,
    /// Its value as written.
    pub(crate) text: String,
    /// Lower and upper end of its interval.
    pub(crate) interval: Option<[f64; 2]>,
    /// What to compare with.
    pub(crate) reference: Option<f64>,
    /// More, for who points at it.
    pub(crate) detail: String,
}

/// Bars from zero where the values differ much; dots on a cut axis, with a note, where bars would all look alike.
pub(crate) fn bars(title: &str, bars: &[Bar]) -> Markup {
    let numbers = || {
        let of = |bar: &Bar| [bar.value, bar.reference].into_iter().flatten().collect::<Vec<_>>();
        bars.iter().flat_map(of).filter(|value| value.is_finite())
    };
    let (low, high) =
        numbers().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let intervals = || bars.iter().filter_map(|bar| bar.interval).flatten().filter(|end| end.is_finite());
    let positive = low >= 0.0 && intervals().all(|end| end >= 0.0);
    let from_zero = low > high || (positive && low < high * 0.75);
    let zero = from_zero.then_some(0.0);
    let scale =
        Scale::over(numbers().chain(intervals()).chain(zero), false, LEFT, WIDTH - RIGHT).padded(0.04);
    let zero_line = (!from_zero && scale.covers(0.0)).then(|| scale.at(0.0));
    let height = ROW * bars.len() as f64 + 4.0;
    let body = html! {
        @for (index, bar) in bars.iter().enumerate() {
            @let top = ROW * index as f64;
            @let y = top + 26.0;
            g.(color(index)) {
                title { (bar.detail) }
                text.tick x=(px(LEFT)) y=(px(top + 15.0)) { (shorten(&bar.label, 170.0)) }
                text.value x=(px(WIDTH - RIGHT)) y=(px(top + 15.0)) text-anchor="end" { (bar.text) }
                line.track x1=(px(LEFT)) x2=(px(WIDTH - RIGHT)) y1=(px(y)) y2=(px(y)) {}
                @if let Some(x) = zero_line {
                    line.axis x1=(px(x)) x2=(px(x)) y1=(px(y - 6.0)) y2=(px(y + 6.0)) {}
                }
                @if let Some(value) = bar.value {
                    @if from_zero {
                        @let (left, right) = (scale.at(0.0).min(scale.at(value)), scale.at(0.0).max(scale.at(value)));
                        rect.fill x=(px(left)) y=(px(y - 4.0)) width=(px((right - left).max(1.0))) height="8" rx="1.5" {}
                    } @else {
                        circle.dot cx=(px(scale.at(value))) cy=(px(y)) r="4.5" {}
                    }
                    @if let Some([low, high]) = bar.interval {
                        line.whisker x1=(px(scale.at(low))) x2=(px(scale.at(high))) y1=(px(y)) y2=(px(y)) {}
                    }
                }
                @if let Some(reference) = bar.reference {
                    @let x = scale.at(reference);
                    path.reference d={ "M" (px(x)) " " (px(y - 6.0)) "l4.5 6l-4.5 6l-4.5 -6z" } {}
                }
            }
        }
    };
    let texts: Vec<String> = bars.iter().map(|bar| format!("{}: {}", bar.label, bar.text)).collect();
    let described = if from_zero {
        texts.join("; ")
    } else {
        format!("{}. The axis does not start at zero.", texts.join("; "))
    };
    picture(WIDTH, height, title, &described, &body)
}
