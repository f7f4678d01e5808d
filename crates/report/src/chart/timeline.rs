//! When each stage ran: bars by offset and duration over a common time axis.

use std::time::Duration;

use maud::{Markup, html};
use text::format;

use super::scale::Scale;
use super::{WIDTH, anchor, picture, px, shorten, text_width};

const ROW: f64 = 24.0;
const RIGHT: f64 = 8.0;

/// One bar.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// Its name.
    pub(crate) label: String,
    /// Its class, for colour.
    pub(crate) class: &'static str,
    /// Start, milliseconds.
    pub(crate) start: u64,
    /// Length, milliseconds.
    pub(crate) length: u64,
}

/// Bars in the order given; the axis is at least `whole` milliseconds long.
pub(crate) fn timeline(title: &str, spans: &[Span], whole: u64) -> Markup {
    if spans.is_empty() {
        return html! { p.empty { "No stage ran." } };
    }
    let names = spans.iter().map(|span| text_width(&span.label)).fold(40.0, f64::max).min(120.0);
    let left = names + 14.0;
    let end = spans.iter().map(|span| span.start.saturating_add(span.length)).fold(whole.max(1), u64::max);
    let scale = Scale::over([0.0, end as f64], false, left, WIDTH - RIGHT);
    let bottom = ROW * spans.len() as f64 + 4.0;
    let body = html! {
        @for (millis, label) in ticks(end) {
            @let x = scale.at(millis as f64);
            line.grid x1=(px(x)) x2=(px(x)) y1="0" y2=(px(bottom)) {}
            text.tick x=(px(x)) y=(px(bottom + 16.0)) text-anchor=(anchor(x, &label, WIDTH)) { (label) }
        }
        @for (index, span) in spans.iter().enumerate() {
            @let y = ROW * index as f64 + ROW / 2.0;
            @let (from, to) = (scale.at(span.start as f64), scale.at(span.start.saturating_add(span.length) as f64));
            @let length = format::millis(span.length);
            @let inside = to - from > text_width(&length) + 12.0;
            @let before = to + text_width(&length) + 8.0 > WIDTH;
            g.(span.class) {
                title { (span.label) ": " (length) ", from " (format::millis(span.start)) " on" }
                text.tick x=(px(names)) y=(px(y + 4.0)) text-anchor="end" { (shorten(&span.label, names)) }
                rect.state x=(px(from)) y=(px(y - 7.0)) width=(px((to - from).max(2.0))) height="14" rx="2" {}
                @if inside {
                    text.within x=(px(to - 6.0)) y=(px(y + 4.0)) text-anchor="end" { (length) }
                } @else if before {
                    text.note x=(px(from - 6.0)) y=(px(y + 4.0)) text-anchor="end" { (length) }
                } @else {
                    text.note x=(px(to + 6.0)) y=(px(y + 4.0)) { (length) }
                }
            }
        }
    };
    let texts: Vec<String> =
        spans.iter().map(|span| format!("{} {}", span.label, format::millis(span.length))).collect();
    picture(WIDTH, bottom + 24.0, title, &texts.join("; "), &body)
}

/// At most six round times up to `end`.
fn ticks(end: u64) -> Vec<(u64, String)> {
    const SECOND: u64 = 1000;
    const MINUTE: u64 = 60 * SECOND;
    const HOUR: u64 = 60 * MINUTE;
    const STEPS: [u64; 25] = [
        1,
        2,
        5,
        10,
        20,
        50,
        100,
        200,
        500,
        SECOND,
        2 * SECOND,
        5 * SECOND,
        10 * SECOND,
        20 * SECOND,
        MINUTE / 2,
        MINUTE,
        2 * MINUTE,
        5 * MINUTE,
        10 * MINUTE,
        20 * MINUTE,
        HOUR / 2,
        HOUR,
        2 * HOUR,
        6 * HOUR,
        24 * HOUR,
    ];
    let last = 24 * HOUR;
    let step = STEPS
        .into_iter()
        .find(|step| end / step < 6)
        .unwrap_or_else(|| (end / 5).div_ceil(last).max(1) * last);
    let label = |at: u64| match at {
        0 => "0".into(),
        at if at < 10 * SECOND && at % SECOND == 0 => format!("{} s", at / SECOND),
        at => format::duration(Duration::from_millis(at)),
    };
    (0..=end / step).map(|index| (index * step, label(index * step))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let labels = |end| ticks(end).into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(labels(2_472_000), ["0", "10 min", "20 min", "30 min", "40 min"]);
        assert_eq!(labels(5_400), ["0", "1 s", "2 s", "3 s", "4 s", "5 s"]);
        for end in [0, 1, 7, 86_400_000 * 40, u64::MAX] {
            assert!((1..=7).contains(&ticks(end).len()), "{end}");
        }
    }
}
