//! Figures of every kind for the made-up run. None of their numbers was measured.

use protocol::{
    Axis, Bin, Cell, Column, Content, Edge, Figure, Group, Histogram, Image, Marker, Node, Series,
};

use super::VARIANTS;
use super::png::png;

/// Numbers that look like noise, the same every time, from −1 to 1.
fn noise(index: usize) -> f64 {
    let mixed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed >> 40) as f64 / f64::from(1 << 24)) * 2.0 - 1.0
}

fn figure(id: &str, title: &str, caption: &str, content: Content) -> Figure {
    Figure { id: id.into(), title: title.into(), caption: caption.into(), content }
}

/// The figures of a stage.
pub(super) fn figures(stage: &str) -> Vec<Figure> {
    match stage {
        "train" => vec![history()],
        "export" => vec![network()],
        "calibrate" => vec![activations()],
        "quantize" => vec![layers()],
        "evaluate" => vec![answer(), confusion("ONNX FP32", 0), confusion("INT8 static", 3), wrong()],
        "bench" => vec![latencies("batch 1", 1), latencies("batch 128", 128)],
        _ => vec![],
    }
}

fn answer() -> Figure {
    let text = "`int8_static` predicts another class for 80 images of 10,000.";
    figure("kept", "Is the accuracy kept?", "", Content::Answer { text: text.into() })
}

fn history() -> Figure {
    let curve = |name: &str, axis, f: &dyn Fn(f64, usize) -> f64| Series {
        name: name.into(),
        axis,
        points: (1..=150).map(|epoch| [epoch as f64, f(epoch as f64 / 150.0, epoch)]).collect(),
    };
    figure(
        "history",
        "Training curves",
        "Mean loss on the training set with augmentation, loss and accuracy on 5,000 images held out of it.",
        Content::Series {
            x: Axis::new("epoch", ""),
            y: vec![Axis::new("loss", ""), Axis::new("accuracy", "%"), Axis::new("learning rate", "")],
            series: vec![
                curve("training", 0, &|t, i| 0.62 + 1.5 * (-4.0 * t).exp() + 0.015 * noise(i)),
                curve("validation", 0, &|t, i| {
                    0.68 + 1.3 * (-4.5 * t).exp() + 0.05 * noise(i + 500) * (1.0 - t)
                }),
                curve("validation", 1, &|t, i| {
                    92.0 - 55.0 * (-5.0 * t).exp() + 2.0 * noise(i + 900) * (1.0 - t)
                }),
                curve("cosine", 2, &|t, _| 0.025 * (1.0 + (t * std::f64::consts::PI).cos())),
            ],
        },
    )
}

fn network() -> Figure {
    let mut nodes = vec![("input".to_owned(), "Input"), ("stem".into(), "Conv")];
    let mut edges = vec![("input".to_owned(), "stem".to_owned())];
    let mut last = "stem".to_owned();
    for block in 0..7 {
        let start = last.clone();
        for (part, op) in [
            ("expand", "Conv"),
            ("depthwise", "Conv"),
            ("pool", "GlobalAveragePool"),
            ("fc1", "Conv"),
            ("fc2", "Conv"),
            ("sigmoid", "Sigmoid"),
            ("scale", "Mul"),
            ("project", "Conv"),
        ] {
            let node = format!("blocks.{block}.{part}");
            edges.push((last.clone(), node.clone()));
            if part == "scale" {
                edges.push((format!("blocks.{block}.depthwise"), node.clone()));
            }
            nodes.push((node.clone(), op));
            last = node;
        }
        if [1, 3, 5].contains(&block) {
            let add = format!("blocks.{block}.add");
            edges.push((last, add.clone()));
            edges.push((start, add.clone()));
            nodes.push((add.clone(), "Add"));
            last = add;
        }
    }
    for (node, op) in [("pool", "GlobalAveragePool"), ("fc", "Gemm")] {
        edges.push((last, node.into()));
        nodes.push((node.into(), op));
        last = node.into();
    }
    figure(
        "network",
        "The network",
        "As exported, batch norm folded into the convolutions.",
        Content::Graph {
            nodes: nodes
                .into_iter()
                .map(|(id, op)| Node {
                    label: id.clone(),
                    id,
                    group: op.into(),
                    detail: "shape: 1×24×32×32".into(),
                })
                .collect(),
            edges: edges.into_iter().map(|(from, to)| Edge { from, to, label: "24×32×32".into() }).collect(),
        },
    )
}

fn activations() -> Figure {
    let histogram = |name: &str, mean: f64, spread: f64| Histogram {
        name: name.into(),
        bins: (0..60)
            .map(|bin| {
                let low = f64::from(bin) * 0.1;
                let height = (-((low - mean) / spread).powi(2)).exp();
                Bin { low, high: low + 0.1, count: (height * 90_000.0) as u64 }
            })
            .collect(),
        markers: vec![
            Marker { label: "min".into(), value: 0.0 },
            Marker { label: "max".into(), value: mean + 2.2 * spread },
        ],
    };
    figure(
        "activations",
        "Activations",
        "512 images of the training set, before quantization, with the chosen ranges.",
        Content::Histograms {
            x: Axis::new("value", ""),
            histograms: vec![
                histogram("stem", 1.0, 0.9),
                histogram("blocks.0.expand", 2.2, 1.0),
                histogram("blocks.3.project", 0.4, 0.5),
            ],
        },
    )
}

fn layers() -> Figure {
    let column = |label: &str, unit: &str, digits| Column { label: label.into(), unit: unit.into(), digits };
    figure(
        "layers",
        "Error by layer",
        "Difference between FP32 and INT8 outputs on the calibration images.",
        Content::Table {
            columns: vec![
                column("layer", "", 0),
                column("op", "", 0),
                column("SQNR", "dB", 1),
                column("scale", "", 5),
            ],
            rows: (0..12)
                .map(|i| {
                    vec![
                        Cell::Text(format!(
                            "blocks.{}.{}",
                            i / 2,
                            if i % 2 == 0 { "expand" } else { "project" }
                        )),
                        Cell::Text("Conv".into()),
                        Cell::Number(32.0 + 6.0 * noise(i)),
                        if i == 5 { Cell::Empty } else { Cell::Number(0.02 + 0.01 * noise(i + 20)) },
                    ]
                })
                .collect(),
        },
    )
}

const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

fn confusion(variant: &str, salt: usize) -> Figure {
    let names: Vec<String> = CLASSES.iter().map(ToString::to_string).collect();
    let values = (0..10)
        .map(|row| {
            let wrong: Vec<f64> = (0..10)
                .map(|column| {
                    let alike = [(3, 5), (5, 3), (0, 8), (1, 9), (9, 1)].contains(&(row, column));
                    if row == column {
                        0.0
                    } else {
                        (noise(row * 10 + column + salt).abs() * if alike { 90.0 } else { 12.0 }).floor()
                    }
                })
                .collect();
            let missed: f64 = wrong.iter().sum();
            wrong
                .iter()
                .enumerate()
                .map(|(column, n)| if row == column { 1000.0 - missed } else { *n })
                .collect()
        })
        .collect();
    figure(
        &format!("confusion-{salt}"),
        &format!("Confusion matrix, {variant}"),
        "All 10,000 test images.",
        Content::Matrix {
            row_label: "true class".into(),
            column_label: "predicted class".into(),
            rows: names.clone(),
            columns: names,
            values,
        },
    )
}

fn wrong() -> Figure {
    figure(
        "wrong",
        "Right in FP32, wrong in INT8",
        "The first eight such test images.",
        Content::Images {
            images: (0..8)
                .map(|i| Image {
                    caption: format!("{}, taken for {}", CLASSES[i], CLASSES[(i * 7 + 3) % 10]),
                    png: png(32, |x, y| {
                        let round = (x as f64 - 16.0).hypot(y as f64 - 14.0 - noise(i) * 4.0) < 9.0;
                        let shade = |c: usize| {
                            (120.0 + 90.0 * noise(i * 3 + c) * if round { -1.0 } else { 0.6 } + y as f64)
                                as u8
                        };
                        [shade(0), shade(1), shade(2)]
                    }),
                })
                .collect(),
        },
    )
}

fn latencies(title: &str, batch: usize) -> Figure {
    figure(
        &format!("latency-{batch}"),
        &format!("Latency, {title}"),
        "Wall time of a call, 140 calls in 7 alternating rounds.",
        Content::Distribution {
            x: Axis::new("time", "ms"),
            groups: VARIANTS
                .iter()
                .enumerate()
                .map(|(index, (variant, _, _, one, many))| Group {
                    name: (*variant).into(),
                    values: (0..140)
                        .map(|call| {
                            let wobble = noise(call * 7 + index * 1000);
                            let late = if call % 47 == 13 { 1.5 } else { 1.0 };
                            *(if batch == 1 { one } else { many })
                                * late
                                * (1.0 + 0.05 * wobble * wobble.abs())
                        })
                        .collect(),
                })
                .collect(),
        },
    )
}
