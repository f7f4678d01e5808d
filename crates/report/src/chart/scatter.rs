//! Points in two dimensions, the line of those that no other beats in these two, and rings around some.

use maud::{Markup, html};
use text::format;

use super::scale::Scale;
use super::{WIDTH, color, picture, px, x_axis};

const LEFT: f64 = 46.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const PLOT: f64 = 210.0;
/// A span of more than this many times its low end is drawn on a logarithmic scale.
const WIDE: f64 = 20.0;

/// An axis of the plane.
#[derive(Debug, Clone)]
pub(crate) struct Plane {
    /// What it shows.
    pub(crate) label: String,
    /// Whether higher numbers are better.
    pub(crate) higher: bool,
}

/// A point.
#[derive(Debug, Clone)]
pub(crate) struct Dot {
    /// Where.
    pub(crate) at: [f64; 2],
    /// Number of its colour.
    pub(crate) color: usize,
    /// Whether it is filled.
    pub(crate) filled: bool,
    /// Whether a ring is around it.
    pub(crate) ringed: bool,
    /// More, for who points at it.
    pub(crate) detail: String,
}

/// The plane with its points.
pub(crate) fn scatter(title: &str, x: &Plane, y: &Plane, dots: &[Dot]) -> Markup {
    let bottom = TOP + PLOT;
    let scale_x = scale(dots.iter().map(|dot| dot.at[0]), LEFT, WIDTH - RIGHT);
    let scale_y = scale(dots.iter().map(|dot| dot.at[1]), bottom, TOP);
    let at = |point: [f64; 2]| [scale_x.at(point[0]), scale_y.at(point[1])];
    let line = front(x, y, dots);
    // What matters is drawn last, on top.
    let mut sorted: Vec<&Dot> = dots.iter().collect();
    sorted.sort_by_key(|dot| (dot.ringed, dot.filled));
    let body = html! {
        @for tick in scale_y.ticks(5) {
            line.grid x1=(px(LEFT)) x2=(px(WIDTH - RIGHT)) y1=(px(tick.at)) y2=(px(tick.at)) {}
            text.tick x=(px(LEFT - 7.0)) y=(px(tick.at + 4.0)) text-anchor="end" { (tick.label) }
        }
        (x_axis(&scale_x, bottom, &x.label))
        @if line.len() > 1 { path.front d=(steps(&line.iter().map(|point| at(*point)).collect::<Vec<_>>(), !x.higher)) {} }
        @for dot in &sorted {
            @let [cx, cy] = at(dot.at);
            g.(color(dot.color)) {
                @if dot.ringed { circle.ring cx=(px(cx)) cy=(px(cy)) r="8" {} }
                circle.dot.off[!dot.filled] cx=(px(cx)) cy=(px(cy)) r=(if dot.filled { "4.4" } else { "3.4" }) {}
            }
        }
        @for dot in &sorted {
            @let [cx, cy] = at(dot.at);
            g.(color(dot.color)) { circle.hit cx=(px(cx)) cy=(px(cy)) r="8" { title { (dot.detail) } } }
        }
    };
    let description =
        format!("{}, {} of them on the line of the best", format::count(dots.len(), "point"), line.len());
    picture(WIDTH, bottom + 38.0, title, &description, &body)
}

fn scale(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Scale {
    let (low, high) = values
        .clone()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let log = low > 0.0 && high / low > WIDE;
    Scale::over(values, log, from, to).padded(0.06)
}

/// The points that no other beats in these two dimensions, from left to right.
fn front(x: &Plane, y: &Plane, dots: &[Dot]) -> Vec<[f64; 2]> {
    let toward = |value: f64, higher: bool| if higher { -value } else { value };
    let mut points: Vec<[f64; 2]> = dots.iter().map(|dot| dot.at).collect();
    // The best in x first, and of those alike in x the best in y.
    points.sort_by(|a, b| {
        let by = |index: usize, higher| toward(a[index], higher).total_cmp(&toward(b[index], higher));
        by(0, x.higher).then(by(1, y.higher))
    });
    let mut best = f64::INFINITY;
    points.retain(|point| {
        let value = toward(point[1], y.higher);
        let better = value < best;
        best = best.min(value);
        better
    });
    if x.higher {
        points.reverse();
    }
    points
}

/// From left to right in steps: what is reached at a point holds until the next one, seen from the better side.
fn steps(points: &[[f64; 2]], across_first: bool) -> String {
    let mut path = String::new();
    for (index, [x, y]) in points.iter().enumerate() {
        path.push_str(&match (index, across_first) {
            (0, _) => format!("M{} {}", px(*x), px(*y)),
            (_, true) => format!("H{}V{}", px(*x), px(*y)),
            (_, false) => format!("V{}H{}", px(*y), px(*x)),
        });
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(higher: bool) -> Plane {
        Plane { label: "l".into(), higher }
    }

    fn dots(points: &[[f64; 2]]) -> Vec<Dot> {
        let dot = |at: &[f64; 2]| Dot { at: *at, color: 0, filled: true, ringed: false, detail: "d".into() };
        points.iter().map(dot).collect()
    }

    #[test]
    fn the_line_joins_what_no_other_beats() {
        let all = dots(&[[1.0, 1.0], [2.0, 3.0], [2.0, 2.0], [3.0, 2.5], [4.0, 4.0]]);
        assert_eq!(front(&plane(false), &plane(true), &all), [[1.0, 1.0], [2.0, 3.0], [4.0, 4.0]]);
        assert_eq!(front(&plane(true), &plane(true), &all), [[4.0, 4.0]]);
        assert_eq!(front(&plane(false), &plane(false), &all), [[1.0, 1.0]]);
        let falling = dots(&[[1.0, 3.0], [2.0, 2.0]]);
        assert_eq!(front(&plane(true), &plane(true), &falling), [[1.0, 3.0], [2.0, 2.0]]);
    }

    #[test]
    fn steps_go_the_way_of_what_is_reached() {
        assert_eq!(steps(&[[0.0, 9.0], [5.0, 4.0]], true), "M0 9H5V4");
        assert_eq!(steps(&[[0.0, 4.0], [5.0, 9.0]], false), "M0 4V9H5");
    }

    #[test]
    fn hostile_numbers_and_none_are_drawn_all_the_same() {
        for points in
            [&[][..], &[[f64::MAX, f64::MIN]], &[[0.0, 0.0], [0.0, 0.0]], &[[1e-300, 1e300], [1.0, -1.0]]]
        {
            let svg = scatter("t", &plane(false), &plane(true), &dots(points)).into_string();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
