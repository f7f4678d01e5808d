//! `--check`: the stages that compare the INT8 model with the float one, and what they came to in a few lines. Knows the ops and what
//! they report; executes nothing.

use std::collections::BTreeMap;

use protocol::{Cell, Content, Figure, Metric};
use record::ActionRecord;
use serde_json::{Map, Value, json};

use super::data::{self, Images};
use super::paths::absolute;
use super::{Args, STAGE, input};
use crate::error::Error;

/// The stages.
pub(super) const EVALUATE: &str = "evaluate";
pub(super) const BENCH: &str = "bench";

/// How often both models are timed, in as many rounds as an interval takes.
const CALLS: usize = 20;
const ROUNDS: usize = 7;

/// Most layers, or samples, that are named.
const LISTED: usize = 5;

/// Adds the stages. `float` are the inputs of the model as it is; `shown` is what is calibrated on, by the name of its input.
pub(super) fn add(
    args: &Args,
    float: &Value,
    shown: Option<(&str, String)>,
    stages: &mut Map<String, Value>,
) -> Result<(), Error> {
    let own = match &args.check_data {
        Some(data) if data::is_arrays(data, args.format) => Some((data::ARRAYS, absolute(data)?)),
        Some(data) => Some(match data::images(args, data, false)? {
            Images::Dataset(dataset) => (data::DATASET, dataset),
            Images::Imported(stage) => {
                stages.insert("check_images".into(), stage);
                (data::DATASET, "check_images.dataset".into())
            }
        }),
        None => None,
    };
    let Some((name, shown)) = own.or(shown) else {
        return Err(Error::usage("--check compares on data, and there are none")
            .hint("give some with --check-data: pictures, a dataset or arrays"));
    };
    let mut inputs = json!({ "fp32": float["model"], "int8": format!("{STAGE}.model"), (name): shown });
    if let Some(weights) = float.get("weights") {
        inputs["fp32_weights"] = weights.clone();
    }
    let evaluate =
        json!({ "baseline": "fp32", "labels": args.labels, "normalization": data::normalization(args) });
    // As many as a fixed batch of arrays takes.
    let first = input::shape(&args.model).and_then(|shape| shape.first().copied().flatten());
    let batch = first.filter(|_| name == data::ARRAYS).unwrap_or(1);
    let bench = json!({
        "baseline": "fp32", "batches": [batch], "calls": [CALLS], "warmup_calls": [CALLS / 4], "rounds": ROUNDS,
    });
    for (stage, with) in [(EVALUATE, evaluate), (BENCH, bench)] {
        let uses = format!("onnx/{stage}");
        stages.insert(stage.into(), json!({ "uses": uses, "inputs": inputs, "with": with }));
    }
    Ok(())
}

/// What a stage reported.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    metrics: &'a BTreeMap<String, Metric>,
    figures: &'a [Figure],
    provisional: Option<&'a str>,
}

impl<'a> From<&'a ActionRecord> for Found<'a> {
    fn from(record: &'a ActionRecord) -> Self {
        let ActionRecord { metrics, figures, provisional, .. } = record;
        Self { metrics, figures, provisional: provisional.as_deref() }
    }
}

impl Found<'_> {
    fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.get(name)
    }

    fn answer(&self, id: &str) -> Option<&str> {
        match &self.figures.iter().find(|figure| figure.id == id)?.content {
            Content::Answer { text } => Some(text),
            _ => None,
        }
    }

    /// Whether samples have places that say something: pictures were put into an order.
    fn has_samples(&self) -> bool {
        self.metrics.values().any(|metric| metric.basis.contains(" samples of "))
    }

    /// The cells of these columns, row by row.
    fn table<const N: usize>(&self, id: &str, labels: [&str; N]) -> Vec<[&Cell; N]> {
        let Some(figure) = self.figures.iter().find(|figure| figure.id == id) else { return Vec::new() };
        let Content::Table { columns, rows } = &figure.content else { return Vec::new() };
        let places = labels.map(|label| columns.iter().position(|column| column.label == label));
        let cells = |row: &'_ Vec<Cell>| places.map(|place| place.filter(|place| *place < row.len()));
        let row = |row| cells(row).map(|place| place.map_or(&Cell::Empty, |place| &row[place]));
        rows.iter().map(row).collect()
    }
}

/// What the check came to: a line for each thing, its name in front.
pub(super) fn told(quantize: Found<'_>, evaluate: Option<Found<'_>>, bench: Option<Found<'_>>) -> String {
    let mut lines = Vec::new();
    if let Some(evaluate) = evaluate {
        lines.extend(accuracy(evaluate));
        lines.extend(outputs(evaluate));
        lines.extend(worst(evaluate).filter(|_| evaluate.has_samples()));
    }
    if let Some(bench) = bench {
        lines.extend(latency(bench));
    }
    lines.extend(floats(quantize));
    lines.extend(sentences("size", quantize.answer("bytes")));
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.iter().map(|(name, words)| format!("   {name:width$}   {words}\n")).collect()
}

/// A line.
type Line = (String, String);

/// Each sentence of an answer, the first behind a name.
fn sentences(name: &str, answer: Option<&str>) -> Vec<Line> {
    let plain = answer.unwrap_or_default().replace('`', "");
    let sentences = plain.trim_end_matches('.').split(". ").filter(|sentence| !sentence.is_empty());
    let named = |(place, sentence): (usize, &str)| {
        (if place == 0 { name.to_owned() } else { String::new() }, sentence.to_owned())
    };
    sentences.enumerate().map(named).collect()
}

/// Before and after, or how often both say the same.
fn accuracy(found: Found<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (what, name) in [("accuracy", "accuracy"), ("top5_accuracy", "top-5")] {
        let pair = (found.metric(&format!("fp32.{what}")), found.metric(&format!("int8.{what}")));
        let (Some(before), Some(after)) = pair else { continue };
        let drop = match (what, found.metric("int8.drop")) {
            ("accuracy", Some(drop)) => format!(", {:.2} points lost{}", drop.value, interval(drop)),
            _ => String::new(),
        };
        let words = format!("{:.2} → {:.2} %{drop}, of {}", before.value, after.value, before.basis);
        lines.push((name.to_owned(), words));
    }
    if let Some(same) = found.metric("int8.agreement") {
        let words = format!("{:.2} % as before{}, {}", same.value, interval(same), same.basis);
        lines.push(("agreement".to_owned(), words.replace('`', "")));
    }
    lines
}

fn interval(metric: &Metric) -> String {
    metric.interval.map_or_else(String::new, |[low, high]| format!(" (95 % interval {low:.2} to {high:.2})"))
}

/// The noise of each output, and of each part of a joined one.
fn outputs(found: Found<'_>) -> Vec<Line> {
    let db = |cell: &Cell| match cell {
        Cell::Number(db) => Some(format!("{db:.1} dB")),
        Cell::Text(exact) => Some(exact.clone()),
        Cell::Empty => None,
    };
    let line = |[output, sqnr, worst]: [&Cell; 3]| {
        let Cell::Text(name) = output else { return None };
        let worst = db(worst).map_or_else(String::new, |worst| format!(", its worst hundredth {worst}"));
        Some((format!("SQNR of {name}"), db(sqnr)? + &worst))
    };
    found.table("outputs", ["output", "SQNR", "worst 1 %"]).into_iter().filter_map(line).collect()
}

/// The samples that differ the most.
fn worst(found: Found<'_>) -> Option<Line> {
    let named = |[sample]: [&Cell; 1]| match sample {
        Cell::Number(index) => Some(format!("{index}")),
        _ => None,
    };
    let worst: Vec<_> = found.table("worst", ["sample"]).into_iter().filter_map(named).take(LISTED).collect();
    (!worst.is_empty()).then(|| ("most different".to_owned(), format!("samples {}", worst.join(", "))))
}

fn latency(found: Found<'_>) -> Vec<Line> {
    let find = |variant: &str, end: &str| {
        let mut metrics = found.metrics.iter();
        metrics.find(|(name, _)| name.starts_with(variant) && name.ends_with(end)).map(|(_, metric)| metric)
    };
    let times = (find("fp32.", ".median_ms"), find("int8.", ".median_ms"), find("int8.", ".speedup"));
    let words = match times {
        (Some(before), Some(after), Some(speedup)) => format!(
            "{:.3} → {:.3} ms, ×{:.2} the speed{}",
            before.value,
            after.value,
            speedup.value,
            interval(speedup)
        ),
        // The rest has been told as a warning.
        _ => found.provisional.and_then(|why| why.split(':').next()).unwrap_or("not stated").to_owned(),
    };
    let mut lines = vec![("latency".to_owned(), words)];
    lines.extend(sentences("", found.answer("why")));
    lines
}

/// What computes in floats, and why.
fn floats(found: Found<'_>) -> Vec<Line> {
    let reason = |[layer, operator, form]: [&Cell; 3]| match (layer, operator, form) {
        (Cell::Text(layer), Cell::Text(operator), Cell::Text(form)) => {
            let reason = form.strip_prefix("floats")?.trim_start_matches([':', ',', ' ']);
            Some(format!("{layer} ({operator}): {reason}"))
        }
        _ => None,
    };
    let table = found.table("layers", ["layer", "operator", "computes in"]);
    let all: Vec<String> = table.into_iter().filter_map(reason).collect();
    let mut words: Vec<String> = all.iter().take(LISTED).cloned().collect();
    if all.len() > LISTED {
        words.push(format!("and {} more", all.len() - LISTED));
    }
    let named = |(place, words): (usize, String)| {
        (if place == 0 { "in floats".to_owned() } else { String::new() }, words)
    };
    words.into_iter().enumerate().map(named).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::Parser;
    use protocol::Column;

    use super::super::pipeline::pipeline;
    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn made(words: &[&str]) -> Result<Value, String> {
        let args = Line::try_parse_from([&["quantize"], words].concat()).unwrap().args;
        pipeline(&args, Path::new("/nowhere")).map_err(|error| error.to_string())
    }

    #[test]
    fn both_models_are_compared_on_what_was_calibrated_on_or_on_other_data() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for name in ["m.onnx", "m.onnx.data", "a.npz", "b.npz", "d.safetensors"] {
            fs::write(at(name), "").unwrap();
        }
        fs::create_dir(at("photos")).unwrap();
        let model = at("m.onnx");
        let stages =
            made(&[&model, "--data", &at("a.npz"), "--check", "--labels", "y"]).unwrap()["stages"].clone();
        let inputs = json!({
            "fp32": model, "int8": "quantize.model", "fp32_weights": at("m.onnx.data"), "arrays": at("a.npz"),
        });
        assert_eq!((&stages[EVALUATE]["inputs"], &stages[BENCH]["inputs"]), (&inputs, &inputs));
        assert_eq!(stages[EVALUATE]["with"]["labels"], "y");
        let other = made(&[&model, "--data", &at("a.npz"), "--check", "--check-data", &at("b.npz")]).unwrap();
        assert_eq!(other["stages"][EVALUATE]["inputs"]["arrays"], at("b.npz"));
        let pictures =
            made(&[&model, "--data", &at("d.safetensors"), "--check", "--check-data", &at("photos")])
                .unwrap();
        assert_eq!(pictures["stages"][BENCH]["inputs"]["dataset"], "check_images.dataset");
        assert_eq!(pictures["stages"]["calibrate"]["inputs"]["dataset"], at("d.safetensors"));
        snapshots::assert_message!(made(&[&model, "--dynamic", "--check"]).unwrap_err());
        let dynamic = made(&[&model, "--dynamic", "--check", "--check-data", &at("b.npz")]).unwrap();
        assert_eq!(dynamic["stages"][EVALUATE]["inputs"]["int8"], "quantize.model");
        assert!(made(&[&model, "--data", &at("a.npz")]).unwrap()["stages"].get(EVALUATE).is_none());
    }

    #[test]
    fn what_was_found_is_told_in_lines() {
        let metrics = |named: &[(&str, Metric)]| -> BTreeMap<String, Metric> {
            named.iter().map(|(name, metric)| ((*name).to_owned(), metric.clone())).collect()
        };
        let text = |text: &str| Cell::Text(text.into());
        let figure =
            |id: &str, content| Figure { id: id.into(), title: id.into(), caption: String::new(), content };
        let table = |id: &str, labels: &[&str], rows| {
            let columns = labels.iter().map(|label| Column::new(label, "", 0)).collect();
            figure(id, Content::Table { columns, rows })
        };
        let agreement =
            Metric::new(98.4375, "%").interval(91.67, 99.72).basis("output y, 64 samples of x.npz");
        let evaluated = metrics(&[("int8.agreement", agreement)]);
        let outputs = vec![
            vec![text("y"), Cell::Number(41.74), Cell::Number(38.0)],
            vec![text("y, part a"), text("exact"), Cell::Empty],
        ];
        let figures = [
            table("outputs", &["output", "SQNR", "worst 1 %"], outputs),
            table("worst", &["variant", "sample"], vec![vec![text("int8"), Cell::Number(46.0)]]),
        ];
        let evaluate = Found { metrics: &evaluated, figures: &figures, provisional: None };
        let none = BTreeMap::new();
        let bench =
            Found { metrics: &none, figures: &[], provisional: Some("too noisy to state a latency: `fp32`") };
        let layers = vec![
            vec![text("r"), text("Resize"), text("floats: no integer form")],
            vec![text("c"), text("Conv"), text("integers")],
        ];
        let quantized = [
            table("layers", &["layer", "operator", "computes in"], layers),
            figure("bytes", Content::Answer { text: "2 KB of 8. Weights take 1.5 KB.".into() }),
        ];
        let quantize = Found { metrics: &none, figures: &quantized, provisional: None };
        let timed = metrics(&[
            ("fp32.batch1.median_ms", Metric::new(2.5, "ms")),
            ("int8.batch1.median_ms", Metric::new(1.25, "ms")),
            ("int8.batch1.speedup", Metric::new(2.0, "×").interval(1.9, 2.1)),
        ]);
        let stated = Found { metrics: &timed, figures: &[], provisional: None };
        let said = told(quantize, None, Some(stated));
        snapshots::assert_message!(said);
        assert_eq!(
            told(quantize, Some(evaluate), Some(bench)),
            "   agreement           98.44 % as before (95 % interval 91.67 to 99.72), output y, 64 samples of x.npz\n\
             \x20  SQNR of y           41.7 dB, its worst hundredth 38.0 dB\n\
             \x20  SQNR of y, part a   exact\n\
             \x20  most different      samples 46\n\
             \x20  latency             too noisy to state a latency\n\
             \x20  in floats           r (Resize): no integer form\n\
             \x20  size                2 KB of 8\n\
             \x20                      Weights take 1.5 KB\n"
        );
    }
}
