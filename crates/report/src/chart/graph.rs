//! A directed graph as rounded boxes in layers from top to bottom.

use std::collections::BTreeMap;

use maud::{Markup, html};
use text::format;

use super::layout::{Layout, Sizes, layout};
use super::{picture, px, shorten, text_width};

/// Larger graphs are not drawn.
const MOST_NODES: usize = 600;

/// A node.
#[derive(Debug, Clone, Default)]
pub(crate) struct GraphNode {
    /// First line.
    pub(crate) label: String,
    /// Second, fainter line; may be empty.
    pub(crate) note: String,
    /// More, for who points at it.
    pub(crate) detail: String,
    /// Class, for colour.
    pub(crate) class: String,
    /// Where a click leads, such as `#stage-train`.
    pub(crate) link: Option<String>,
}

/// An edge between two nodes by index.
#[derive(Debug, Clone, Default)]
pub(crate) struct GraphEdge {
    /// Where it leaves.
    pub(crate) from: usize,
    /// Where it enters.
    pub(crate) to: usize,
    /// What travels, for who points at it.
    pub(crate) label: String,
}

/// The sentence that stands for a graph that is too large, before anything is made of its nodes.
pub(crate) fn too_large(nodes: usize, edges: usize) -> Option<Markup> {
    (nodes > MOST_NODES).then(|| undrawn(nodes, edges))
}

fn undrawn(nodes: usize, edges: usize) -> Markup {
    let (nodes, edges) = (format::count(nodes, "node"), format::count(edges, "edge"));
    html! { p.empty { "A graph of " (nodes) " and " (edges) ": too large to be drawn." } }
}

/// A drawing of the graph, or a sentence where it is too large.
pub(crate) fn graph(title: &str, nodes: &[GraphNode], edges: &[GraphEdge]) -> Markup {
    if let Some(sentence) = too_large(nodes.len(), edges.len()) {
        return sentence;
    }
    let noted = nodes.iter().any(|node| !node.note.is_empty());
    let widest = nodes
        .iter()
        .map(|node| text_width(&node.label).max(text_width(&node.note) * 0.92))
        .fold(60.0, f64::max);
    let sizes = Sizes {
        node_width: widest.min(150.0) + 26.0,
        node_height: if noted { 42.0 } else { 28.0 },
        gap_x: 16.0,
        gap_y: if nodes.len() > 40 { 18.0 } else { 28.0 },
    };
    let ends: Vec<(usize, usize)> = edges.iter().map(|edge| (edge.from, edge.to)).collect();
    let Some(placed) = layout(nodes.len(), &ends, sizes) else {
        return undrawn(nodes.len(), edges.len());
    };
    if nodes.is_empty() {
        return html! { p.empty { "No nodes." } };
    }
    let labels = labels(edges);
    let described = {
        let (nodes, edges) = (format::count(nodes.len(), "node"), format::count(placed.edges.len(), "edge"));
        format!("{nodes}, {edges}, from top to bottom")
    };
    let body = html! {
        @for (from, to, points) in &placed.edges {
            g.edge {
                @if let Some(label) = labels.get(&(*from, *to)) { title { (label) } }
                path.line d=(path(points)) {}
                (arrow(points))
            }
        }
        @for (node, at) in nodes.iter().zip(&placed.nodes) {
            @if let Some(link) = &node.link {
                a href=(link) { (draw(node, *at, sizes)) }
            } @else {
                (draw(node, *at, sizes))
            }
        }
    };
    let Layout { width, height, .. } = placed;
    picture(width, height, title, &described, &body)
}

fn labels(edges: &[GraphEdge]) -> BTreeMap<(usize, usize), String> {
    let mut labels: BTreeMap<(usize, usize), String> = BTreeMap::new();
    for edge in edges.iter().filter(|edge| !edge.label.is_empty()) {
        let label = labels.entry((edge.from, edge.to)).or_default();
        if !label.is_empty() {
            label.push_str(", ");
        }
        label.push_str(&edge.label);
    }
    labels
}

fn draw(node: &GraphNode, (x, y): (f64, f64), sizes: Sizes) -> Markup {
    let (left, top) = (x - sizes.node_width / 2.0, y - sizes.node_height / 2.0);
    let room = sizes.node_width - 22.0;
    html! {
        g.node.(node.class) {
            title { (node.label) @if !node.detail.is_empty() { "\n" (node.detail) } }
            rect x=(px(left)) y=(px(top)) width=(px(sizes.node_width)) height=(px(sizes.node_height)) rx="7" {}
            rect.state x=(px(left)) y=(px(top + 6.0)) width="4" height=(px(sizes.node_height - 12.0)) rx="2" {}
            @let lines = if node.note.is_empty() { (4.0, None) } else { (-2.0, Some(13.0)) };
            text.name x=(px(left + 13.0)) y=(px(y + lines.0)) { (shorten(&node.label, room)) }
            @if let Some(below) = lines.1 {
                text.tick x=(px(left + 13.0)) y=(px(y + below)) { (shorten(&node.note, room / 0.92)) }
            }
        }
    }
}

/// A smooth line through the points, leaving and arriving vertically.
fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (index, point) in points.iter().enumerate() {
        let (x, y) = (px(point.0), px(point.1));
        match index.checked_sub(1).and_then(|before| points.get(before)) {
            None => path.push_str(&format!("M{x} {y}")),
            Some(before) if (before.0 - point.0).abs() < 0.5 => path.push_str(&format!("L{x} {y}")),
            Some(before) => {
                let middle = px((before.1 + point.1) / 2.0);
                path.push_str(&format!("C{} {middle} {x} {middle} {x} {y}", px(before.0)));
            }
        }
    }
    path
}

/// The head of an edge, pointing the way its last stretch runs.
fn arrow(points: &[(f64, f64)]) -> Markup {
    let (Some(end), Some(before)) = (points.last(), points.len().checked_sub(2).and_then(|i| points.get(i)))
    else {
        return html! {};
    };
    let back = if end.1 >= before.1 { -6.0 } else { 6.0 };
    html! {
        path.head d={ "M" (px(end.0)) " " (px(end.1)) "l-3.6 " (px(back)) "h7.2z" } {}
    }
}
