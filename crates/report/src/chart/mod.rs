//! Charts as SVG: pure functions from figures to markup. Every number that reaches the markup is finite, every text
//! is escaped by `maud`; colours are classes, so that one style sheet serves light, dark and print.

mod bars;
mod distribution;
mod graph;
mod histogram;
mod layout;
mod matrix;
mod scale;
mod scatter;
mod series;
mod timeline;

pub(crate) use bars::{Bar, bars};
pub(crate) use distribution::distribution;
pub(crate) use graph::{GraphEdge, GraphNode, graph, too_large};
pub(crate) use histogram::histograms;
pub(crate) use matrix::{Matrix, matrix};
use maud::{Markup, html};
pub(crate) use scatter::{Dot, Plane, scatter};
pub(crate) use series::series;
pub(crate) use timeline::{Span, timeline};

/// Width of a chart in its own units. Narrow, so that text stays readable when a phone scales it down.
const WIDTH: f64 = 420.0;

/// How many series colours there are; more series start over.
const COLORS: usize = 8;

/// The style of everything in this module.
pub(crate) const STYLE: &str = include_str!("chart.css");

/// The class of the `index`-th colour.
pub(crate) fn color(index: usize) -> String {
    format!("c{}", index % COLORS)
}

/// A coordinate: at most two decimals, always finite.
fn px(value: f64) -> String {
    if !value.is_finite() {
        return "0".into();
    }
    let text = format!("{:.2}", value.clamp(-1e6, 1e6));
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// How wide a text of 12 units' height is, estimated from above for most Latin text.
fn text_width(text: &str) -> f64 {
    text.chars().map(|c| if c.is_ascii() { 6.7 } else { 9.0 }).sum()
}

/// `text` cut to `width` units.
fn shorten(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.into();
    }
    let mut taken = String::new();
    let mut used = text_width("…");
    for c in text.chars() {
        used += text_width(c.encode_utf8(&mut [0; 4]));
        if used > width {
            break;
        }
        taken.push(c);
    }
    format!("{}…", taken.trim_end())
}

/// A label with its unit: `latency (ms)`.
fn with_unit(label: &str, unit: &str) -> String {
    if unit.is_empty() { label.into() } else { format!("{label} ({unit})") }
}

/// An SVG picture with its text alternative.
fn picture(width: f64, height: f64, title: &str, description: &str, body: &Markup) -> Markup {
    html! {
        svg.chart xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (px(width)) " " (px(height)) }
            width=(px(width)) height=(px(height)) role="img" {
            title { (title) }
            @if !description.is_empty() { desc { (description) } }
            (body)
        }
    }
}

/// How a text at `x` is anchored so that it stays within `width`: in the middle where it can.
fn anchor(x: f64, text: &str, width: f64) -> &'static str {
    let half = text_width(text) / 2.0;
    if x + half > width {
        "end"
    } else if x < half {
        "start"
    } else {
        "middle"
    }
}

/// Horizontal positions of an axis below a plot: ticks, their labels and the axis' own.
fn x_axis(scale: &scale::Scale, bottom: f64, label: &str) -> Markup {
    let (left, right) = scale.ends();
    html! {
        line.axis x1=(px(left)) x2=(px(right)) y1=(px(bottom)) y2=(px(bottom)) {}
        @for tick in scale.ticks(6) {
            line.axis x1=(px(tick.at)) x2=(px(tick.at)) y1=(px(bottom)) y2=(px(bottom + 4.0)) {}
            text.tick x=(px(tick.at)) y=(px(bottom + 17.0)) text-anchor=(anchor(tick.at, &tick.label, WIDTH)) { (tick.label) }
        }
        text.label x=(px(right)) y=(px(bottom + 33.0)) text-anchor="end" { (shorten(label, right - left)) }
    }
}

#[cfg(test)]
mod tests;
