//! Histograms over a common axis, each in a panel of its own, with marked places.

use maud::{Markup, html};
use protocol::{Axis, Histogram};

use super::scale::Scale;
use super::{WIDTH, color, picture, px, shorten, text_width, with_unit, x_axis};
use crate::format;

const LEFT: f64 = 4.0;
const RIGHT: f64 = 12.0;
const BARS: f64 = 56.0;
const HEAD: f64 = 46.0;
const PANEL: f64 = HEAD + BARS + 8.0;

/// Panels of histograms above each other.
pub(crate) fn histograms(title: &str, x: &Axis, histograms: &[Histogram]) -> Markup {
    if histograms.is_empty() {
        return html! { p.empty { "No histograms." } };
    }
    let ends = histograms.iter().flat_map(|histogram| {
        let bins = histogram.bins.iter().filter(|bin| bin.count > 0).flat_map(|bin| [bin.low, bin.high]);
        bins.chain(histogram.markers.iter().map(|marker| marker.value))
    });
    let scale = Scale::over(ends, x.log, LEFT, WIDTH - RIGHT);
    let height = PANEL * histograms.len() as f64 + 36.0;
    let body = html! {
        @for (index, histogram) in histograms.iter().enumerate() {
            g.(color(index)) { (panel(histogram, &scale, PANEL * index as f64, &x.unit)) }
        }
        (x_axis(&scale, PANEL * histograms.len() as f64, &with_unit(&x.label, &x.unit)))
    };
    let names: Vec<&str> = histograms.iter().map(|histogram| histogram.name.as_str()).collect();
    let described = format!("Bar heights by the square root of counts: {}", names.join(", "));
    picture(WIDTH, height, title, &described, &body)
}

fn panel(histogram: &Histogram, scale: &Scale, top: f64, unit: &str) -> Markup {
    let most = histogram.bins.iter().map(|bin| bin.count).max().unwrap_or(0);
    let total: u128 = histogram.bins.iter().map(|bin| u128::from(bin.count)).sum();
    let base = top + HEAD + BARS;
    html! {
        text.name x=(px(LEFT)) y=(px(top + 15.0)) { (shorten(&histogram.name, 260.0)) }
        text.tick x=(px(WIDTH - RIGHT)) y=(px(top + 15.0)) text-anchor="end" { "n = " (format::number(total as f64, 0)) }
        line.axis x1=(px(LEFT)) x2=(px(WIDTH - RIGHT)) y1=(px(base)) y2=(px(base)) {}
        @for bin in histogram.bins.iter().filter(|bin| bin.count > 0) {
            @let (left, right) = (scale.at(bin.low), scale.at(bin.high));
            @let height = (bin.count as f64 / most.max(1) as f64).sqrt() * BARS;
            rect.fill x=(px(left)) y=(px(base - height)) width=(px((right - left - 0.4).max(0.6))) height=(px(height)) {
                title {
                    (format::number_auto(bin.low)) " to " (format::number_auto(bin.high)) " " (unit) ": "
                    (format::number(bin.count as f64, 0))
                }
            }
        }
        @for (index, marker) in histogram.markers.iter().enumerate() {
            @let at = scale.at(marker.value);
            // Neighbouring labels take turns between two heights.
            @let y = top + if index % 2 == 0 { 32.0 } else { 43.0 };
            @let label = shorten(&marker.label, 150.0);
            @let half = text_width(&label) / 2.0;
            @let anchor = if at + half > WIDTH - RIGHT { "end" } else if at - half < LEFT { "start" } else { "middle" };
            line.marker x1=(px(at)) x2=(px(at)) y1=(px(y + 3.0)) y2=(px(base)) {}
            text.note x=(px(at)) y=(px(y)) text-anchor=(anchor) {
                title { (marker.label) ": " (format::number_auto(marker.value)) " " (unit) }
                (label)
            }
        }
    }
}
