//! The error of each layer as a picture and as a table.

use protocol::{Axis, Cell, Column, Content, Figure, Series};
use quant::{LayerError, Sensitivity};

use super::measure::COMPARED_IMAGES;

/// Signal to quantization noise along the graph.
pub(crate) fn errors(sensitivity: &Sensitivity, basis: &str) -> Figure {
    let series = |name: &str, of: fn(&LayerError) -> Option<f64>| {
        let points = sensitivity.layers.iter().enumerate();
        let points = points.filter_map(|(place, layer)| Some([(place + 1) as f64, of(layer)?]));
        Series { name: name.into(), axis: 0, points: points.collect() }
    };
    Figure {
        id: "error".into(),
        title: "Error by layer".into(),
        caption: format!(
            "Signal to quantization noise, FP32 against INT8; low is bad. `outcome`: of each layer's outcome where all layers \
             are integers, which shows where errors add up. `alone`: of what the model gives where only this layer is, which shows \
             what each adds. On {basis}; outcomes on the first {COMPARED_IMAGES} of them."
        ),
        content: Content::Series {
            x: Axis::new("layer, in the graph's order", ""),
            y: vec![Axis::new("SQNR", "dB")],
            series: vec![series("outcome", |layer| layer.output_db), series("alone", |layer| layer.alone_db)],
        },
    }
}

/// The same in numbers, with names.
pub(crate) fn table(sensitivity: &Sensitivity, basis: &str) -> Figure {
    let number = |value: Option<f64>| value.map_or(Cell::Empty, Cell::Number);
    let row = |(place, layer): (usize, &LayerError)| {
        let kept = sensitivity.keep_float.contains(&layer.name);
        vec![
            Cell::Number((place + 1) as f64),
            Cell::Text(layer.name.clone()),
            Cell::Text(layer.op.clone()),
            number(layer.output_db),
            number(layer.alone_db),
            Cell::Number(layer.alone_drop),
            Cell::Text(if kept { "floats" } else { "integers" }.into()),
        ]
    };
    Figure {
        id: "layers".into(),
        title: "Sensitivity of each layer".into(),
        caption: format!(
            "The same in numbers, points lost, and what each layer had better compute in. On {basis}."
        ),
        content: Content::Table {
            columns: vec![
                Column::new("", "", 0),
                Column::new("layer", "", 0),
                Column::new("operator", "", 0),
                Column::new("SQNR, outcome", "dB", 1),
                Column::new("SQNR, alone", "dB", 1),
                Column::new("drop, alone", "points", 2),
                Column::new("compute in", "", 0),
            ],
            rows: sensitivity.layers.iter().enumerate().map(row).collect(),
        },
    }
}
