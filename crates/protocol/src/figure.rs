//! Typed figures: what a plugin measured, in a form that a report can draw without knowing the plugin.
//!
//! All numbers are finite. Nothing here says how it is drawn.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A figure with its title.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// Unique within the stage: `history`.
    pub id: String,
    /// A few words.
    pub title: String,
    /// What it shows and on what data, in a sentence or two.
    #[serde(default)]
    pub caption: String,
    /// The numbers.
    pub content: Content,
}

/// The kinds of figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// Lines over a common x axis, such as training curves. Series that name a `y` axis of another unit belong
    /// to panels of their own above each other.
    Series {
        /// The x axis.
        x: Axis,
        /// The y axes; each becomes a panel.
        y: Vec<Axis>,
        /// The lines.
        series: Vec<Series>,
    },
    /// A table.
    Table {
        /// Columns, left to right.
        columns: Vec<Column>,
        /// Rows, top to bottom; each as long as `columns`.
        rows: Vec<Vec<Cell>>,
    },
    /// A matrix of counts or shares, such as a confusion matrix.
    Matrix {
        /// What rows are, such as `true class`.
        row_label: String,
        /// What columns are.
        column_label: String,
        /// Row names.
        rows: Vec<String>,
        /// Column names.
        columns: Vec<String>,
        /// Values, row by row.
        values: Vec<Vec<f64>>,
    },
    /// Histograms, such as activations with the chosen ranges.
    Histograms {
        /// The common axis.
        x: Axis,
        /// The histograms.
        histograms: Vec<Histogram>,
    },
    /// Raw samples by group, such as latencies by variant.
    Distribution {
        /// The common axis.
        x: Axis,
        /// The groups.
        groups: Vec<Group>,
    },
    /// Small pictures.
    Images {
        /// The pictures.
        images: Vec<Image>,
    },
    /// A directed graph, such as a network.
    Graph {
        /// Nodes.
        nodes: Vec<Node>,
        /// Edges between them.
        edges: Vec<Edge>,
    },
    /// What was found, in words: an answer to the question that the figure's title asks, with the numbers that it
    /// rests on. A report gathers the answers of all stages where its reader looks first.
    Answer {
        /// One to a few sentences. `Backticks` mark code.
        text: String,
    },
}

/// An axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Axis {
    /// What it shows.
    pub label: String,
    /// Its unit, or empty.
    #[serde(default)]
    pub unit: String,
    /// Whether it is better drawn logarithmically.
    #[serde(default)]
    pub log: bool,
}

impl Axis {
    /// A linear axis.
    #[must_use]
    pub fn new(label: &str, unit: &str) -> Self {
        Self { label: label.into(), unit: unit.into(), log: false }
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Index into the figure's y axes.
    #[serde(default)]
    pub axis: usize,
    /// Points `[x, y]`, x ascending.
    pub points: Vec<[f64; 2]>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Column {
    /// Heading.
    pub label: String,
    /// Unit of its numbers, or empty.
    #[serde(default)]
    pub unit: String,
    /// Decimals that its numbers are shown with.
    #[serde(default)]
    pub digits: usize,
}

impl Column {
    /// A column; `unit` may be empty.
    #[must_use]
    pub fn new(label: &str, unit: &str, digits: usize) -> Self {
        Self { label: label.into(), unit: unit.into(), digits }
    }
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// A number.
    Number(f64),
    /// Words.
    Text(String),
    /// Nothing.
    Empty,
}

/// A histogram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Histogram {
    /// Name in the legend.
    pub name: String,
    /// Bins, ascending, not overlapping.
    pub bins: Vec<Bin>,
    /// Places on the axis worth a mark, such as the clipping range.
    #[serde(default)]
    pub markers: Vec<Marker>,
}

/// A bin of a histogram: `[low, high)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bin {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// How many fell in.
    pub count: u64,
}

/// A marked place on an axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Marker {
    /// What is there.
    pub label: String,
    /// Where.
    pub value: f64,
}

/// Raw samples of one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Samples in the order taken.
    pub values: Vec<f64>,
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// What it shows; also its text alternative.
    pub caption: String,
    /// A PNG file in base64.
    pub png: String,
}

/// A node of a graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Unique within the graph.
    pub id: String,
    /// What is written on it.
    pub label: String,
    /// Its kind, for colour, such as `Conv`.
    #[serde(default)]
    pub group: String,
    /// More, on demand: lines of `name: value`.
    #[serde(default)]
    pub detail: String,
}

/// An edge of a graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Edge {
    /// Id of the node it leaves.
    pub from: String,
    /// Id of the node it enters.
    pub to: String,
    /// What travels, such as a shape.
    #[serde(default)]
    pub label: String,
}
