//! The whole document: every section is there, it is well-formed, and nothing hostile becomes markup.

use std::collections::BTreeMap;

use protocol::{Cell, Column, Content, Figure, Image};
use record::{Ingredient, Outcome};

use super::sample::{self, Sample};
use super::*;

/// Tags that take no end tag in HTML.
const VOID: [&str; 4] = ["meta", "img", "br", "link"];

/// A tag with its attributes.
pub(super) type Tag = (String, Vec<(String, String)>);

/// Reads a document and checks that tags are balanced and quoted; its start tags.
fn tags(html: &str) -> Vec<Tag> {
    let mut open: Vec<String> = vec![];
    let mut tags = vec![];
    let mut rest = html.strip_prefix("<!DOCTYPE html>").unwrap_or(html);
    while let Some((_, after)) = rest.split_once('<') {
        if let Some(closing) = after.strip_prefix('/') {
            let (name, after) = closing.split_once('>').unwrap();
            assert_eq!(open.pop().as_deref(), Some(name), "before {:.80}", after);
            rest = after;
            continue;
        }
        let end = after.find([' ', '>']).unwrap();
        let (name, mut after) = after.split_at(end);
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()), "`{name}`");
        let mut attributes = vec![];
        while let Some(attribute) = after.strip_prefix(' ') {
            let end = attribute.find(['=', ' ', '>']).unwrap();
            let (key, value) = attribute.split_at(end);
            match value.strip_prefix("=\"") {
                Some(value) => {
                    let (value, rest) = value.split_once('"').unwrap();
                    assert!(!value.contains('<'), "{value}");
                    attributes.push((key.to_owned(), value.to_owned()));
                    after = rest;
                }
                None => {
                    attributes.push((key.to_owned(), String::new()));
                    after = value;
                }
            }
        }
        after = after.strip_prefix('>').unwrap_or_else(|| panic!("a tag does not end: {after:.80}"));
        tags.push((name.to_owned(), attributes));
        if name == "style" || name == "script" {
            after = after.split_once(&format!("</{name}>")).unwrap().1;
        } else if !VOID.contains(&name) {
            open.push(name.to_owned());
        }
        rest = after;
    }
    assert_eq!(open, Vec::<String>::new());
    tags
}

pub(super) fn check(html: &str) -> Vec<Tag> {
    let tags = tags(html);
    assert_eq!(tags.iter().filter(|(name, _)| name == "script").count(), 1);
    assert!(html.contains(&format!("<script>{}</script>", document::SCRIPT)), "the script is our own");
    let mut ids = std::collections::BTreeSet::new();
    let mut targets = vec![];
    for (name, attributes) in &tags {
        assert!(!["iframe", "object", "embed", "form", "base", "link"].contains(&name.as_str()), "{name}");
        for (key, value) in attributes {
            assert!(!key.starts_with("on") && key != "style", "{name} {key}");
            if key == "src" || key == "href" {
                assert!(value.starts_with('#') || value.starts_with("data:image/png;base64,"), "{value:.60}");
            }
            if let Some(target) = value.strip_prefix('#').filter(|_| key == "href") {
                targets.push(target.to_owned());
            }
            if key == "popovertarget" {
                targets.push(value.clone());
            }
            let drawn = name != "svg"
                && ["d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"]
                    .contains(&key.as_str());
            assert!(!drawn || !(value.contains("NaN") || value.contains("inf")), "{name} {key} {value}");
            if key == "id" {
                assert!(ids.insert(value.clone()), "id {value} occurs twice");
            }
        }
    }
    for target in targets {
        assert!(ids.contains(&target), "nothing has the id {target}");
    }
    assert!(html.len() < 2_000_000);
    tags
}

fn render(sample: &Sample) -> String {
    html(&sample.input())
}

#[test]
fn a_good_run_has_every_section() {
    let sample = sample::tinynet();
    let html = render(&sample);
    let tags = check(&html);
    for text in [
        "TinyNet on CIFAR-10",
        "All 3 gates hold.",
        "notebook",
        "±0.55",
        "[−0.21, 0.10]",
        "×2.07",
        "7 stages ran, 1 restored from the cache and 1 fresh",
        "41 min 12 s",
        "AMD EPYC 9B14",
        "Since the run before",
        "with.label_smoothing",
        "Training curves",
        "Which one to ship?",
        "Is the accuracy kept?",
        "libtorch",
        "95 % interval 91.25 to 92.32, 10,000 test images",
    ] {
        assert!(html.contains(text), "no `{text}`");
    }
    let count = |wanted: &str| tags.iter().filter(|(name, _)| name == wanted).count();
    assert_eq!(count("article"), 9);
    assert_eq!(count("img"), 8);
    let pictures: Vec<&Tag> = tags
        .iter()
        .filter(|(name, attributes)| name == "svg" && attributes.iter().all(|(key, _)| key != "aria-hidden"))
        .collect();
    assert!(pictures.len() > 12);
    assert!(pictures.iter().all(|(_, attributes)| attributes.contains(&("role".into(), "img".into()))));
    assert!(!html.contains("/home/somebody"), "paths of this machine are nobody's business");
    let heads: Vec<&Tag> = tags.iter().filter(|(name, _)| name == "th").collect();
    assert!(heads.iter().all(|(_, attributes)| attributes.iter().any(|(key, _)| key == "scope")));
}

/// The text of a document: a line for each piece between tags, without style and script.
fn text(html: &str) -> String {
    let mut lines = vec![];
    let mut rest = html;
    while let Some((piece, after)) = rest.split_once('<') {
        lines.extend(Some(piece.trim()).filter(|piece| !piece.is_empty()));
        let (tag, after) = after.split_once('>').unwrap();
        let is_code = ["style", "script"].into_iter().find(|name| tag.starts_with(name));
        rest = is_code.map_or(after, |name| after.split_once(&format!("</{name}>")).unwrap().1);
    }
    lines.join("\n")
}

#[test]
fn reports_read_as_agreed_on() {
    snapshots::assert_message!(text(&render(&sample::tinynet())));
    snapshots::assert_message!(text(&render(&sample::train_fails())));
}

#[test]
fn the_policy_names_the_style_it_allows() {
    use base64::Engine;
    use sha2::Digest;
    let html = render(&sample::tinynet());
    let style = html.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let digest = base64::prelude::BASE64_STANDARD.encode(sha2::Sha256::digest(style.as_bytes()));
    assert!(html.contains("default-src 'none'"));
    assert!(html.contains(&format!("style-src 'sha256-{digest}'")));
}

#[test]
fn a_failing_gate_comes_first() {
    let html = render(&sample::gate_fails());
    check(&html);
    let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("no `{text}`"));
    assert!(at("One of 3 gates fails.") < at("79.29 is not &gt;= 85"));
    assert!(at("79.29 is not &gt;= 85") < at("export.size_kb &lt; 500"));
}

#[test]
fn a_failed_stage_is_told_with_its_log() {
    let html = render(&sample::train_fails());
    check(&html);
    for text in [
        "The run failed in train; 7 stages were not reached.",
        "loss became NaN at step 8,190",
        "What to do: ",
        "epoch 21/150",
        "waits for train",
        "pipe log train",
    ] {
        assert!(html.contains(text), "no `{text}`");
    }
}

#[test]
fn stages_that_were_not_part_of_the_run_are_shown_and_marked() {
    let mut sample = sample::tinynet();
    sample.run.stages.retain(|run| run.stage.as_str() == "download");
    sample.records.remove(&sample::name("torch_eval"));
    let html = render(&sample);
    let tags = check(&html);
    assert_eq!(tags.iter().filter(|(name, _)| name == "article").count(), 8);
    for text in ["not part of this run", "Training curves", "×2.07", "From an earlier run: executed on "] {
        assert!(html.contains(text), "no `{text}`");
    }
    assert!(!render(&sample::tinynet()).contains("not part of this run"));
    sample.definition.report = pipeline::spec::ReportSpec::default();
    check(&render(&sample));
}

#[test]
fn a_selected_stage_names_inputs_that_nothing_is_known_of() {
    let mut sample = sample::tinynet();
    sample.run.stages.retain(|run| run.stage.as_str() == "train");
    sample.records.retain(|stage, _| stage.as_str() == "train");
    let html = render(&sample);
    check(&html);
    assert!(html.contains("download.dataset"));
}

#[test]
fn a_run_without_anything_is_a_report_too() {
    let mut sample = sample::tinynet();
    sample.records.clear();
    sample.run.stages.clear();
    sample.run.gates.clear();
    sample.run.vars.clear();
    check(&html(&Input { previous: None, ..sample.input() }));
    sample.definition.report = pipeline::spec::ReportSpec::default();
    check(&html(&Input { previous: None, ..sample.input() }));
}

#[test]
fn without_a_table_all_metrics_are_shown() {
    let mut sample = sample::tinynet();
    sample.definition.report = pipeline::spec::ReportSpec::default();
    let html = render(&sample);
    check(&html);
    assert!(html.contains("evaluate.int8_static.accuracy"));
}

#[test]
fn hostile_text_stays_text() {
    let evil = "<script>alert(1)</script>\"onload=\"x' onerror='y<!--";
    let text = || evil.to_owned();
    let mut sample = sample::train_fails();
    sample.definition.report.title = Some(text());
    sample.definition.report.description = Some(text());
    sample.definition.report.reference_name = Some(text());
    sample.definition.report.rows.insert(text(), text());
    for column in &mut sample.definition.report.columns {
        column.label = text();
        column.prefix = text();
        column.reference.insert(text(), 1.0);
    }
    let run = &mut sample.run;
    run.pipeline = text();
    run.id = text();
    run.profile = Some(text());
    run.version = text();
    run.vars.insert(text(), serde_json::json!({ evil: [evil, evil, evil, evil] }));
    run.machine.cpu = text();
    run.gates = sample::gate_fails().base.run.gates;
    for gate in &mut run.gates {
        gate.expression = text();
        gate.message = text();
    }
    for stage in &mut run.stages {
        if let Outcome::Failed { message, hint } = &mut stage.outcome {
            (*message, *hint) = (text(), Some(text()));
        }
        stage.changes.push(record::Change { name: text(), old: Some(text()), new: None });
    }
    for log in sample.logs.values_mut() {
        *log = text();
    }
    for record in sample.records.values_mut() {
        record.ingredients.push(Ingredient { name: format!("natives.{evil}"), value: text() });
        record.metrics.insert(text(), protocol::Metric::new(1.0, evil).basis(evil));
        let column = Column { label: text(), unit: text(), digits: 99 };
        record.figures = vec![
            Figure {
                id: text(),
                title: text(),
                caption: text(),
                content: Content::Images { images: vec![Image { caption: text(), png: text() }] },
            },
            Figure {
                id: text(),
                title: text(),
                caption: text(),
                content: Content::Table { columns: vec![column], rows: vec![vec![Cell::Text(text()); 3]] },
            },
        ];
    }
    for stage in sample.definition.stages.values_mut() {
        (stage.action, stage.description) = (text(), Some(text()));
        stage.params.insert(text(), record::Param { value: evil.into(), is_default: true });
        stage.inputs.insert(text(), record::Source::Path { name: text() });
        stage.inputs.insert(format!("{evil}2"), record::Source::Content { digest: text() });
    }
    let html = render(&sample);
    check(&html);
}

#[test]
fn too_many_figures_are_left_out_rather_than_a_huge_file() {
    let mut sample = sample::tinynet();
    if let Some(record) = sample.records.get_mut(&sample::name("evaluate")) {
        let many: Vec<Figure> =
            std::iter::repeat_with(|| record.figures.clone()).take(60).flatten().collect();
        record.figures = many;
    }
    let html = render(&sample);
    assert!(html.contains("Left out to keep this file small"));
    check(&html);
}

#[test]
fn stages_alone_are_a_whole_svg_file() {
    let sample = sample::tinynet();
    let states: Vec<StageState> = sample
        .run
        .stages
        .iter()
        .map(|run| StageState { stage: run.stage.clone(), class: "st-none", note: String::new() })
        .collect();
    let svg = stages_svg(&sample.pipeline, &states);
    assert!(svg.starts_with("<svg ") && svg.contains("xmlns=") && svg.contains("<style>"));
    tags(&svg);
}

#[test]
fn the_trade_off_marks_the_best_and_rings_this_run() {
    let sample = sample::tinynet();
    let html = render(&sample);
    let (_, section) = html.split_once("<section id=\"tradeoff\">").unwrap();
    let (section, _) = section.split_once("</section>").unwrap();
    assert!(section.contains("28 points from 7 runs; <strong>7</strong> on the Pareto front"), "{section}");
    assert_eq!(section.matches("class=\"ring\"").count(), 8, "four rows in two charts");
    assert_eq!(section.matches("★").count(), 7);
    assert!(
        section.contains("INT8 static of run 14fd, 2026-11-20 14:03 UTC: size KB 104.8, accuracy % 91.80")
    );
    let mut alone = sample;
    alone.past.clear();
    assert!(!render(&alone).contains("tradeoff"));
}

/// Renders the samples where a person can look at them: `PIPE_REPORT_SAMPLES=FOLDER cargo test -p report samples`.
#[test]
fn samples_are_written_on_demand() {
    let Some(folder) = std::env::var_os("PIPE_REPORT_SAMPLES") else { return };
    let folder = std::path::PathBuf::from(folder);
    let samples: BTreeMap<&str, Sample> = [
        ("sample", sample::tinynet()),
        ("gate-fails", sample::gate_fails()),
        ("gate-inconclusive", sample::gate_inconclusive()),
        ("train-fails", sample::train_fails()),
    ]
    .into();
    for (name, sample) in samples {
        std::fs::write(folder.join(format!("report-{name}.html")), render(&sample)).unwrap();
    }
}

#[test]
fn what_is_under_way_shows_its_figures() {
    let mut sample = super::sample::tinynet();
    assert!(!html(&sample.input()).contains("Not finished"));
    let stage = sample.run.stages[1].stage.clone();
    let figures =
        sample.records.values().flat_map(|record| record.figures.clone()).take(1).collect::<Vec<_>>();
    let title = figures[0].title.clone();
    sample.unfinished.insert(stage, figures);
    let page = html(&sample.input());
    let section = &page[page.find("id=\"unfinished\"").unwrap()..];
    let section = &section[..section.find("</section>").unwrap()];
    assert!(section.contains("Not finished") && section.contains(&title), "{section}");
}
