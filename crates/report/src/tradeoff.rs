//! The section on the trade-off: a chart for each thing that is traded against the first, and a table of all points with
//! the vars that tell the runs apart.

use maud::{Markup, html};
use pipeline::gate::Better;
use pipeline::spec::ReportSpec;
use record::RunRecord;
use text::format;

use super::chart::{Dot, Plane, color, scatter};
use super::front::{Front, PastRun, Point, var, varying};

/// Points in the table; the best come first.
const MOST_ROWS: usize = 200;
/// Up to this many the table stands open.
const FEW_ROWS: usize = 16;
/// Vars in the table.
const MOST_VARS: usize = 6;

/// The section, or nothing where the pipeline names no trade-off or there is nothing to compare. `run` is ringed, and called
/// what `called` says, such as `this run`.
pub(super) fn section(spec: &ReportSpec, past: &[PastRun], run: &RunRecord, called: &str) -> Option<Markup> {
    let front = Front::new(spec, past, &run.machine.cpu)?;
    if front.points.len() < 2 {
        return None;
    }
    let best = front.points.iter().filter(|point| point.best).count();
    let runs = runs(&front).len();
    Some(html! {
        section #tradeoff {
            h2 { "Trade-off" }
            p { (format::count(front.points.len(), "point")) " from " (format::count(runs, "run")) "; "
                strong { (best) } " on the Pareto front of " (dimensions(&front)) "." }
            ul.legend."front-legend" {
                @for (index, row) in rows(&front) {
                    li.(color(index)) { span.swatch.round aria-hidden="true" {} (row) }
                }
                li { span.swatch.round.best aria-hidden="true" {} "filled: on the Pareto front" }
                li { span.swatch.round.now aria-hidden="true" {} "ringed: " (called) }
                li { "dashed: the best of the two things drawn" }
            }
            div.pair { @for chart in charts(&run.id, &front) { (chart) } }
            @if front.elsewhere > 0 {
                p.small { (format::count(front.elsewhere, "point")) " measured on another CPU left out." }
            }
            details.points open[front.points.len() <= FEW_ROWS] {
                summary { "All points as a table" }
                (table(&run.id, called, &front))
            }
        }
    })
}

fn dimensions(front: &Front) -> String {
    let names: Vec<String> = front.dimensions.iter().map(|(column, _)| column.label.clone()).collect();
    format::list(&names)
}

/// Rows that have a point, with their colours, in the order of the table.
fn rows<'a>(front: &Front<'a>) -> Vec<(usize, &'a str)> {
    let mut rows: Vec<(usize, &str)> = front.points.iter().map(|point| (point.index, point.row)).collect();
    rows.sort_unstable();
    rows.dedup();
    rows
}

fn runs<'a>(front: &Front<'a>) -> Vec<&'a PastRun> {
    let mut runs: Vec<&PastRun> = front.points.iter().map(|point| point.run).collect();
    runs.dedup_by(|a, b| a.run.id == b.run.id);
    runs
}

/// What the others are traded against: the first dimension of which more is better, else the first.
fn main_dimension(front: &Front) -> usize {
    front.dimensions.iter().position(|(_, better)| *better == Better::Higher).unwrap_or(0)
}

fn charts(now: &str, front: &Front) -> Vec<Markup> {
    let main = main_dimension(front);
    let plane = |index: usize| {
        front.dimensions.get(index).map(|(column, better)| Plane {
            label: format!("{} {}", column.label, if *better == Better::Higher { "→" } else { "← better" }),
            higher: *better == Better::Higher,
        })
    };
    let others = (0..front.dimensions.len()).filter(|index| *index != main);
    others
        .filter_map(|other| {
            let (x, y) = (plane(other)?, plane(main)?);
            let (x_label, y_label) =
                (&front.dimensions.get(other)?.0.label, &front.dimensions.get(main)?.0.label);
            let dots: Vec<Dot> = front
                .points
                .iter()
                .filter_map(|point| {
                    Some(Dot {
                        at: [*point.values.get(other)?, *point.values.get(main)?],
                        color: point.index,
                        filled: point.best,
                        ringed: is_now(now, point),
                        detail: detail(front, point),
                    })
                })
                .collect();
            let title = format!("{y_label} and {x_label}");
            Some(html! {
                figure.card {
                    figcaption { strong { (y_label) } " by " strong { (x_label) } }
                    (scatter(&title, &x, &y, &dots))
                }
            })
        })
        .collect()
}

fn is_now(now: &str, point: &Point) -> bool {
    point.run.run.id == now
}

/// `INT8 static of run 7f3a, 2026-11-20 14:03 UTC: size KB 104.8, accuracy % 91.80`.
fn detail(front: &Front, point: &Point) -> String {
    let values = front.dimensions.iter().zip(&point.values).enumerate();
    let values: Vec<String> = values
        .map(|(index, ((column, _), value))| format!("{} {}", column.label, front.text(index, *value)))
        .collect();
    let run = &point.run;
    format!(
        "{} of run {}, {} UTC: {}",
        point.row,
        run.name,
        format::date_time(run.run.started_ms),
        values.join(", ")
    )
}

fn table(now: &str, called: &str, front: &Front) -> Markup {
    let mut points: Vec<&Point> = front.points.iter().collect();
    let main = main_dimension(front);
    let higher = front.dimensions.get(main).is_some_and(|(_, better)| *better == Better::Higher);
    let value = |point: &Point| point.values.get(main).copied().unwrap_or_default();
    points.sort_by(|a, b| {
        let by_value = if higher { value(b).total_cmp(&value(a)) } else { value(a).total_cmp(&value(b)) };
        b.best.cmp(&a.best).then(by_value)
    });
    let mut vars = varying(&runs(front));
    vars.truncate(MOST_VARS);
    html! {
        div.scroll.tall tabindex="0" role="region" aria-label="All points" {
            table.data.points {
                thead { tr {
                    th scope="col" { span.sr { "best" } }
                    th scope="col" { "run" }
                    th scope="col" { "row" }
                    @for (column, _) in &front.dimensions { th.num scope="col" { (column.label) } }
                    @for var in &vars { th scope="col" { code { (var.trim_start_matches("vars.")) } } }
                } }
                tbody {
                    @for point in points.iter().take(MOST_ROWS) {
                        tr.now[is_now(now, point)] {
                            td { @if point.best { span title="on the Pareto front" { "★" } } }
                            th scope="row" title=(format::date_time(point.run.run.started_ms)) {
                                code { (point.run.name) }
                                @if is_now(now, point) { " " (called) }
                                @if point.earlier > 0 { span.count { " and " (point.earlier) " before" } }
                            }
                            td { (point.row) }
                            @for (index, value) in point.values.iter().enumerate() { td.num { (front.text(index, *value)) } }
                            @for path in &vars { td { code { (var(&point.run.run, path)) } } }
                        }
                    }
                }
            }
        }
        @if points.len() > MOST_ROWS {
            p.small { "and " (points.len() - MOST_ROWS) " more" }
        }
    }
}
