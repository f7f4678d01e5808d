//! Lines over a common x axis: one panel a y axis, each with its own legend.

use indexmap::IndexSet;
use maud::{Markup, html};
use protocol::{Axis, Series};
use text::format;

use super::scale::Scale;
use super::{WIDTH, color, picture, px, with_unit, x_axis};

const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const PLOT: f64 = 150.0;
/// More points than this are thinned to the lowest and highest of each bucket.
const MOST_POINTS: usize = 400;
/// Up to this many points each has a mark that tells its numbers.
const MOST_MARKS: usize = 160;

/// Panels of lines above each other.
pub(crate) fn series(title: &str, x: &Axis, y: &[Axis], series: &[Series]) -> Markup {
    let all_x = series.iter().flat_map(|line| line.points.iter().map(|point| point[0]));
    let scale_x = Scale::over(all_x, x.log, LEFT, WIDTH - RIGHT);
    // The same name has the same colour in every panel.
    let names: IndexSet<&str> = series.iter().map(|line| line.name.as_str()).collect();
    let color_of = |line: &Series| names.get_index_of(line.name.as_str()).unwrap_or(0);
    let mut panels: Vec<(&Axis, Vec<Line>)> = y.iter().map(|axis| (axis, vec![])).collect();
    for line in series {
        if let Some((_, lines)) = panels.get_mut(line.axis) {
            lines.push(Line { color: color_of(line), dash: dash(lines.len()), line });
        }
    }
    panels.retain(|(_, lines)| !lines.is_empty());
    let last = panels.len().saturating_sub(1);
    html! {
        @if panels.is_empty() { p.empty { "No points." } }
        @for (index, (axis, lines)) in panels.iter().enumerate() {
            div.panel {
                div."panel-head" {
                    strong { (with_unit(&axis.label, &axis.unit)) }
                    ul.legend {
                        @for Line { color, dash, line } in lines {
                            li { (key(*color, dash)) (line.name)
                                @if let Some(last) = line.points.last() {
                                    " " span.last title="last value" { (format::number_auto(last[1])) }
                                }
                            }
                        }
                    }
                }
                (panel(&format!("{title}: {}", axis.label), x, axis, lines, &scale_x, index == last))
            }
        }
    }
}

/// A line as it is drawn.
struct Line<'a> {
    color: usize,
    dash: &'static str,
    line: &'a Series,
}

/// The sample of a line in the legend.
fn key(index: usize, dash: &str) -> Markup {
    html! {
        svg.key.(color(index)).(dash) width="18" height="8" viewBox="0 0 18 8" aria-hidden="true" {
            path.line d="M0 4H18" {}
        }
    }
}

/// Lines of one panel are told apart by dashes too, for print and for eyes that see colours differently.
fn dash(index: usize) -> &'static str {
    match index % 4 {
        0 => "d0",
        1 => "d1",
        2 => "d2",
        _ => "d3",
    }
}

fn panel(title: &str, x: &Axis, y: &Axis, lines: &[Line], scale_x: &Scale, with_x: bool) -> Markup {
    let top = 8.0;
    let bottom = top + PLOT;
    let all_y = lines.iter().flat_map(|line| line.line.points.iter().map(|point| point[1]));
    let scale_y = Scale::over(all_y, y.log, bottom, top).padded(0.05);
    let height = if with_x { bottom + 38.0 } else { bottom + 8.0 };
    let names: Vec<String> = lines.iter().map(|line| describe(line.line)).collect();
    let body = html! {
        @for tick in scale_y.ticks(4) {
            line.grid x1=(px(LEFT)) x2=(px(WIDTH - RIGHT)) y1=(px(tick.at)) y2=(px(tick.at)) {}
            text.tick x=(px(LEFT - 7.0)) y=(px(tick.at + 4.0)) text-anchor="end" { (tick.label) }
        }
        @if with_x { (x_axis(scale_x, bottom, &with_unit(&x.label, &x.unit))) }
        @for Line { color: index, dash, line } in lines {
            @let points = thin(&line.points);
            g.(color(*index)).(dash) {
                @if points.len() > 1 { path.line d=(path(&points, scale_x, &scale_y)) {} }
                @if let Some(end) = points.last() {
                    circle.dot cx=(px(scale_x.at(end[0]))) cy=(px(scale_y.at(end[1]))) r="2.6" {}
                }
                @if points.len() <= MOST_MARKS {
                    @for point in &points {
                        circle.hit cx=(px(scale_x.at(point[0]))) cy=(px(scale_y.at(point[1]))) r="5" {
                            title {
                                (line.name) ", " (x.label) " " (format::number_auto(point[0])) ": "
                                (format::number_auto(point[1])) " " (y.unit)
                            }
                        }
                    }
                }
            }
        }
    };
    picture(WIDTH, height, title, &names.join("; "), &body)
}

fn describe(line: &Series) -> String {
    match (line.points.first(), line.points.last()) {
        (Some(first), Some(last)) => format!(
            "{} from {} to {}",
            line.name,
            format::number_auto(first[1]),
            format::number_auto(last[1])
        ),
        _ => format!("{} without points", line.name),
    }
}

fn path(points: &[[f64; 2]], scale_x: &Scale, scale_y: &Scale) -> String {
    let mut path = String::new();
    for (index, point) in points.iter().enumerate() {
        path.push(if index == 0 { 'M' } else { 'L' });
        path.push_str(&format!("{} {}", px(scale_x.at(point[0])), px(scale_y.at(point[1]))));
    }
    path
}

/// Keeps the lowest and the highest point of each bucket, so that no spike is lost.
fn thin(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let finite: Vec<[f64; 2]> = points.iter().copied().filter(|p| p.iter().all(|v| v.is_finite())).collect();
    if finite.len() <= MOST_POINTS {
        return finite;
    }
    let bucket = finite.len().div_ceil(MOST_POINTS / 2);
    let mut kept = vec![];
    for chunk in finite.chunks(bucket) {
        let by_y = |a: &(usize, &[f64; 2]), b: &(usize, &[f64; 2])| a.1[1].total_cmp(&b.1[1]);
        let low = chunk.iter().enumerate().min_by(by_y);
        let high = chunk.iter().enumerate().max_by(by_y);
        if let (Some(low), Some(high)) = (low, high) {
            let (first, second) = if low.0 <= high.0 { (low, high) } else { (high, low) };
            kept.push(*first.1);
            if first.0 != second.0 {
                kept.push(*second.1);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_has_the_same_colour_in_every_panel_and_thousands_are_found_at_once() {
        let line = |index: usize| Series {
            name: format!("n{}", index % 30_000),
            axis: index / 30_000,
            points: vec![],
        };
        let lines: Vec<Series> = (0..60_000).map(line).collect();
        let axes = [Axis::new("a", ""), Axis::new("b", ""), Axis::new("empty", "")];
        let drawn = series("t", &Axis::new("x", ""), &axes, &lines).0;
        assert_eq!(drawn.matches("<div class=\"panel\">").count(), 2);
        let keys = |panel: usize| -> Vec<&str> {
            let panel = drawn.split("<div class=\"panel\">").nth(panel).unwrap();
            panel
                .split("<svg class=\"key ")
                .skip(1)
                .take(20)
                .map(|key| key.split('"').next().unwrap())
                .collect()
        };
        assert_eq!(keys(1), keys(2));
        assert!(keys(1)[0] != keys(1)[1]);
    }

    #[test]
    fn thinning_keeps_spikes() {
        let mut points: Vec<[f64; 2]> = (0..10_000).map(|x| [f64::from(x), 1.0]).collect();
        points[5_003][1] = 99.0;
        let kept = thin(&points);
        assert!(kept.len() <= MOST_POINTS + 2);
        assert!(kept.contains(&[5_003.0, 99.0]));
        assert!(kept.is_sorted_by(|a, b| a[0] <= b[0]));
    }
}
