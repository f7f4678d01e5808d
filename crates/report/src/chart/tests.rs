//! No chart panics or writes a number that is none, whatever finite numbers it is given.

use maud::Markup;
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::{Axis, Bin, Group, Histogram, Marker, Series};

use super::*;

/// Any finite number, with the awkward ones often.
fn number() -> impl Strategy<Value = f64> {
    let awkward = [0.0, -0.0, 1.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 1e15, -1e-9];
    prop_oneof![
        2 => prop::sample::select(awkward.to_vec()),
        2 => -1e3..1e3,
        1 => prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
    ]
}

fn axis() -> impl Strategy<Value = Axis> {
    any::<bool>().prop_map(|log| Axis { label: "x".into(), unit: "ms".into(), log })
}

fn sound(markup: &Markup) -> Result<(), TestCaseError> {
    for bad in ["NaN", "inf"] {
        prop_assert!(!markup.0.contains(bad), "{bad} in {}", markup.0);
    }
    Ok(())
}

fn strings(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("name {index}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn series_of_anything(
        x in axis(),
        y in vec(axis(), 0..3),
        lines in vec((0usize..4, vec((number(), number()), 0..6)), 0..4),
    ) {
        let lines: Vec<Series> = lines
            .into_iter()
            .map(|(axis, points)| Series {
                name: "line".into(),
                axis,
                points: points.into_iter().map(|(x, y)| [x, y]).collect(),
            })
            .collect();
        sound(&series("t", &x, &y, &lines))?;
    }

    #[test]
    fn matrices_of_anything(values in vec(vec(number(), 0..5), 0..5), rows in 0usize..6, columns in 0usize..6) {
        let (rows, columns) = (strings(rows), strings(columns));
        let shown = Matrix { row_label: "r", column_label: "c", rows: &rows, columns: &columns, values: &values };
        sound(&matrix("t", &shown))?;
    }

    #[test]
    fn histograms_of_anything(
        x in axis(),
        panels in vec((vec((number(), number(), any::<u64>()), 0..5), vec(number(), 0..3)), 0..3),
    ) {
        let panels: Vec<Histogram> = panels
            .into_iter()
            .map(|(bins, markers)| Histogram {
                name: "h".into(),
                bins: bins.into_iter().map(|(low, high, count)| Bin { low, high, count }).collect(),
                markers: markers.into_iter().map(|value| Marker { label: "m".into(), value }).collect(),
            })
            .collect();
        sound(&histograms("t", &x, &panels))?;
    }

    #[test]
    fn distributions_of_anything(x in axis(), groups in vec(vec(number(), 0..8), 0..4)) {
        let groups: Vec<Group> =
            groups.into_iter().map(|values| Group { name: "g".into(), values }).collect();
        sound(&distribution("t", &x, &groups))?;
    }

    #[test]
    fn bars_of_anything(
        rows in vec((prop::option::of(number()), prop::option::of([number(), number()]), prop::option::of(number())), 0..5),
    ) {
        let rows: Vec<Bar> = rows
            .into_iter()
            .map(|(value, interval, reference)| Bar {
                label: "b".into(),
                value,
                text: "v".into(),
                interval,
                reference,
                detail: String::new(),
            })
            .collect();
        sound(&bars("t", &rows))?;
    }

    #[test]
    fn graphs_of_anything(count in 0usize..12, edges in vec((0usize..14, 0usize..14), 0..30)) {
        let nodes: Vec<GraphNode> =
            (0..count).map(|index| GraphNode { label: format!("n{index}"), ..GraphNode::default() }).collect();
        let edges: Vec<GraphEdge> =
            edges.into_iter().map(|(from, to)| GraphEdge { from, to, label: String::new() }).collect();
        sound(&graph("t", &nodes, &edges))?;
    }

    #[test]
    fn timelines_of_anything(spans in vec((any::<u64>(), any::<u64>()), 0..5), whole in any::<u64>()) {
        let spans: Vec<Span> = spans
            .into_iter()
            .map(|(start, length)| Span { label: "s".into(), class: "st-ran", start, length })
            .collect();
        sound(&timeline("t", &spans, whole))?;
    }
}

#[test]
fn a_large_matrix_is_drawn_as_blocks() {
    let values = vec![vec![1.0; 1000]; 1000];
    let names = strings(1000);
    let shown = Matrix { row_label: "r", column_label: "c", rows: &names, columns: &names, values: &values };
    let markup = matrix("t", &shown);
    assert!(markup.0.contains("Sums of blocks of 21 by 21 cells"));
    assert!(markup.0.len() < 600_000, "{}", markup.0.len());
}

#[test]
fn a_large_graph_is_a_sentence() {
    let nodes = vec![GraphNode::default(); 601];
    assert!(graph("t", &nodes, &[]).0.contains("too large to be drawn"));
}

#[test]
fn coordinates_are_short() {
    for (value, text) in [
        (1.0, "1"),
        (1.5, "1.5"),
        (-0.001, "0"),
        (f64::NAN, "0"),
        (1e300, "1000000"),
        (10.0, "10"),
        (1.239, "1.24"),
    ] {
        assert_eq!(px(value), text);
    }
}

#[test]
fn texts_are_cut_to_their_room() {
    assert_eq!(shorten("short", 100.0), "short");
    assert!(text_width(&shorten("a very long name indeed", 60.0)) <= 60.0);
}
