//! Histograms over a common axis, each in a panel of its own, with marked places.

use maud::{Markup, html};
use protocol::{Axis, Histogram};
use text::format;

use super::scale::Scale;
use super::{WIDTH, anchor, color, picture, px, shorten, with_unit, x_axis};

const LEFT: f64 = 4.0;
const RIGHT: f64 = 12.0;
const BARS: f64 = 56.0;
const HEAD: f64 = 46.0;
const PANEL: f64 = HEAD + BARS + 8.0;

/// More panels than this are folded away.
const MOST_PANELS: usize = 8;

/// Panels of histograms above each other, all on one scale; many of them come folded.
pub(crate) fn histograms(title: &str, x: &Axis, histograms: &[Histogram]) -> Markup {
    let ends = histograms.iter().flat_map(|histogram| {
        let bins = histogram.bins.iter().filter(|bin| bin.count > 0).flat_map(|bin| [bin.low, bin.high]);
        bins.chain(histogram.markers.iter().map(|marker| marker.value))
    });
    let scale = Scale::over(ends, x.log, LEFT, WIDTH - RIGHT);
    let first = histograms.len().min(MOST_PANELS);
    let (shown, folded) = histograms.split_at(first);
    html! {
        @if shown.is_empty() { p.empty { "No histograms." } } @else { (panels(title, x, shown, &scale)) }
        @if !folded.is_empty() {
            details.more {
                summary { (folded.len()) " more" }
                (panels(title, x, folded, &scale))
            }
        }
    }
}

fn panels(title: &str, x: &Axis, histograms: &[Histogram], scale: &Scale) -> Markup {
    let height = PANEL * histograms.len() as f64 + 36.0;
    let body = html! {
        @for (index, histogram) in histograms.iter().enumerate() {
            g.(color(index)) { (panel(histogram, scale, PANEL * index as f64, &x.unit)) }
        }
        (x_axis(scale, PANEL * histograms.len() as f64, &with_unit(&x.label, &x.unit)))
    };
    let names: Vec<&str> = histograms.iter().map(|histogram| histogram.name.as_str()).collect();
    let described = format!("Bar heights by the square root of counts: {}", names.join(", "));
    picture(WIDTH, height, title, &described, &body)
}

/// The outline of a panel's bars.
fn bars(histogram: &Histogram, scale: &Scale, base: f64) -> String {
    let most = histogram.bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(1);
    let mut path = String::new();
    for bin in histogram.bins.iter().filter(|bin| bin.count > 0) {
        let (left, right) = (scale.at(bin.low), scale.at(bin.high));
        let height = px((bin.count as f64 / most as f64).sqrt() * BARS);
        let width = px((right - left - 0.4).max(0.6));
        path.push_str(&format!("M{} {}v-{height}h{width}v{height}z", px(left), px(base)));
    }
    path
}

fn panel(histogram: &Histogram, scale: &Scale, top: f64, unit: &str) -> Markup {
    let total: u128 = histogram.bins.iter().map(|bin| u128::from(bin.count)).sum();
    let base = top + HEAD + BARS;
    html! {
        text.name x=(px(LEFT)) y=(px(top + 15.0)) { (shorten(&histogram.name, 260.0)) }
        text.tick x=(px(WIDTH - RIGHT)) y=(px(top + 15.0)) text-anchor="end" { "n = " (format::number(total as f64, 0)) }
        line.axis x1=(px(LEFT)) x2=(px(WIDTH - RIGHT)) y1=(px(base)) y2=(px(base)) {}
        path.fill d=(bars(histogram, scale, base)) {}
        @for (index, marker) in histogram.markers.iter().enumerate() {
            @let at = scale.at(marker.value);
            // Neighbouring labels take turns between two heights.
            @let y = top + if index % 2 == 0 { 32.0 } else { 43.0 };
            @let label = shorten(&marker.label, 150.0);
            line.marker x1=(px(at)) x2=(px(at)) y1=(px(y + 3.0)) y2=(px(base)) {}
            text.note x=(px(at)) y=(px(y)) text-anchor=(anchor(at, &label, WIDTH)) {
                title { (marker.label) ": " (format::number_auto(marker.value)) " " (unit) }
                (label)
            }
        }
    }
}
