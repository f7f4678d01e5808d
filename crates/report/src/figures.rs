//! Any figure of any plugin: which chart it becomes. A budget keeps the file small.

use std::cell::Cell as Counter;
use std::collections::BTreeMap;

use indexmap::IndexSet;
use maud::{Markup, html};
use protocol::{Cell, Column, Content, Figure, Image};
use text::format;

use super::{chart, prose};

/// Bytes of figures in all; what would go beyond is left out and says so.
const MOST_BYTES: usize = 1_600_000;
/// Rows of a table that are shown.
const MOST_ROWS: usize = 400;

/// What is left of the file's size.
#[derive(Debug)]
pub(super) struct Budget(Counter<usize>);

impl Default for Budget {
    fn default() -> Self {
        Self(Counter::new(MOST_BYTES))
    }
}

impl Budget {
    fn take(&self, bytes: usize) -> bool {
        let left = self.0.get();
        if bytes <= left {
            self.0.set(left - bytes);
        }
        bytes <= left
    }
}

/// The figures of a stage.
pub(super) fn figures<'a>(figures: impl IntoIterator<Item = &'a Figure>, budget: &Budget) -> Markup {
    html! { @for figure in figures { (self::figure(figure, budget)) } }
}

fn figure(figure: &Figure, budget: &Budget) -> Markup {
    let wide = match &figure.content {
        Content::Table { columns, .. } => columns.len() > 4,
        Content::Images { .. } => true,
        _ => false,
    };
    let drawn = content(&figure.title, &figure.content, budget);
    let fits = budget.take(drawn.0.len());
    html! {
        figure.card.wide[wide] {
            figcaption {
                strong { (figure.title) }
                @if !figure.caption.is_empty() { p { (prose(&figure.caption)) } }
            }
            @if fits { (drawn) } @else {
                p.empty { "Left out to keep this file small: the figure alone takes " (format::bytes(drawn.0.len() as u64)) "." }
            }
        }
    }
}

fn content(title: &str, content: &Content, budget: &Budget) -> Markup {
    match content {
        Content::Series { x, y, series } => chart::series(title, x, y, series),
        Content::Table { columns, rows } => table(title, columns, rows),
        Content::Matrix { row_label, column_label, rows, columns, values } => {
            chart::matrix(title, &chart::Matrix { row_label, column_label, rows, columns, values })
        }
        Content::Histograms { x, histograms } => chart::histograms(title, x, histograms),
        Content::Distribution { x, groups } => chart::distribution(title, x, groups),
        Content::Images { images } => self::images(images, budget),
        Content::Graph { nodes, edges } => graph(title, nodes, edges),
        Content::Answer { text } => maud::html! { p { (prose(text)) } },
    }
}

fn table(title: &str, columns: &[Column], rows: &[Vec<Cell>]) -> Markup {
    let numeric: Vec<bool> = (0..columns.len())
        .map(|index| rows.iter().any(|row| matches!(row.get(index), Some(Cell::Number(_)))))
        .collect();
    let is_numeric = |index: usize| numeric.get(index).copied().unwrap_or(false);
    let show = |cell: &Cell, column: usize| match cell {
        Cell::Number(value) => columns
            .get(column)
            .map_or_else(|| format::number_auto(*value), |column| format::number(*value, column.digits)),
        Cell::Text(text) => text.clone(),
        Cell::Empty => String::new(),
    };
    html! {
        div.scroll.tall tabindex="0" role="region" aria-label=(title) { table.data {
            thead { tr { @for (index, column) in columns.iter().enumerate() {
                th.num[is_numeric(index)] scope="col" { (column.label) @if !column.unit.is_empty() { " " span.unit { (column.unit) } } }
            } } }
            tbody { @for row in rows.iter().take(MOST_ROWS) { tr {
                @for (index, cell) in row.iter().enumerate() {
                    @if index == 0 && !is_numeric(0) { th scope="row" { (show(cell, index)) } }
                    @else { td.num[matches!(cell, Cell::Number(_))] { (show(cell, index)) } }
                }
            } } }
        } }
        @if rows.len() > MOST_ROWS { p.small { "The first " (MOST_ROWS) " of " (format::count(rows.len(), "row")) "." } }
    }
}

fn images(images: &[Image], budget: &Budget) -> Markup {
    html! {
        @if images.is_empty() { p.empty { "No pictures." } }
        ul.images {
            @for image in images {
                li {
                    @if !is_base64(&image.png) { span.broken { "not a picture" } }
                    @else if budget.take(image.png.len()) {
                        img src={ "data:image/png;base64," (image.png) } alt=(image.caption);
                    } @else { span.broken { "left out" } }
                    span { (image.caption) }
                }
            }
        }
    }
}

fn is_base64(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}

fn graph(title: &str, nodes: &[protocol::Node], edges: &[protocol::Edge]) -> Markup {
    if let Some(sentence) = chart::too_large(nodes.len(), edges.len()) {
        return sentence;
    }
    let groups: IndexSet<&str> = nodes.iter().map(|node| node.group.as_str()).collect();
    let group_of = |group: &str| groups.get_index_of(group).unwrap_or(0);
    let index: BTreeMap<&str, usize> =
        nodes.iter().enumerate().map(|(index, node)| (node.id.as_str(), index)).collect();
    let drawn: Vec<chart::GraphNode> = nodes
        .iter()
        .map(|node| chart::GraphNode {
            label: node.label.clone(),
            note: if node.group == node.label { String::new() } else { node.group.clone() },
            detail: node.detail.clone(),
            class: chart::color(group_of(&node.group)),
            link: None,
        })
        .collect();
    let joined: Vec<chart::GraphEdge> = edges
        .iter()
        .filter_map(|edge| {
            let (from, to) = (*index.get(edge.from.as_str())?, *index.get(edge.to.as_str())?);
            Some(chart::GraphEdge { from, to, label: edge.label.clone() })
        })
        .collect();
    html! {
        div.scroll.tall.drawing tabindex="0" role="region" aria-label=(title) { (chart::graph(title, &drawn, &joined)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: usize, groups: usize) -> Vec<protocol::Node> {
        let node = |index: usize| protocol::Node {
            id: index.to_string(),
            label: format!("n{index}"),
            group: format!("g{}", index % groups),
            detail: String::new(),
        };
        (0..count).map(node).collect()
    }

    #[test]
    fn a_graph_of_a_hundred_thousand_nodes_in_groups_is_refused_at_once() {
        let drawn = graph("t", &nodes(100_000, 100_000), &[]).0;
        assert!(drawn.contains("A graph of 100,000 nodes and 0 edges: too large to be drawn."), "{drawn}");
    }

    #[test]
    fn groups_have_colours_in_the_order_in_which_they_come() {
        let drawn = graph("t", &nodes(4, 2), &[]).0;
        let classes: Vec<&str> =
            drawn.split("<g class=\"node ").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert_eq!(classes, ["c0", "c1", "c0", "c1"]);
    }
}
