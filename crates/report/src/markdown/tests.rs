//! The Markdown of made-up runs, word for word, and that nothing in it is more than text.

use history::History;
use pipeline::gate::Gate;
use pipeline::spec::ReportSpec;
use record::Outcome;

use super::*;
use crate::sample::{self, Sample};

fn brief(sample: &Sample) -> Brief {
    let history = History::new(vec![sample.previous.0.clone(), sample.run.clone()]);
    let (old, new) = (history.find("latest~").unwrap(), history.find("latest").unwrap());
    Brief::new(&sample.input(), history.digest(new, &|_| None), Some(&old.name))
}

#[test]
fn a_run_with_its_gates_results_and_changes() {
    let text = markdown(&brief(&sample::gate_inconclusive()));
    assert_eq!(text, EXPECTED, "{text}");
}

const EXPECTED: &str = "\
### ✖ TinyNet on CIFAR-10

**One of 3 gates is inconclusive and not satisfied by what was measured; one is inconclusive but satisfied.** Run `14fd` of 2026-11-20 14:03 UTC: 7 stages ran, 1 restored, 1 fresh, 41 min 12 s.

|  | gate |  |
| --- | --- | --- |
| ✖ | `evaluate.int8_static.accuracy >= 92` | **inconclusive**: 91.8, 95 % interval 91.25 to 92.32, is not shown to be \\>= 92: evaluate more images |
| ~ | `evaluate.int8_static.drop < 0.05` | **inconclusive**: -0.02, 95 % interval -0.21 to 0.10, is not shown to be \\< 0.05: evaluate more images |
| ✔ | `export.size_kb < 500` | 325.2 \\< 500 |

|  | size KB | accuracy % | Δ points | batch 1 ms | batch 128 ms | vs FP32 |
| --- | --: | --: | --: | --: | --: | --: |
| torch FP32 | 318.3 (318.3) | 91.82 ±0.55 (91.16) | – | 2.31 | 71.2 (244.5) | ×0.43 |
| ONNX FP32 | 325.2 (325.2) | 91.82 ±0.55 (91.16) | – | 0.20 | 30.8 (25.7) | ×1.00 |
| INT8 static | 104.8 (176.0) | 91.80 ±0.55 (90.91) | −0.02 \\[−0.21, 0.10\\] | 0.13 | 14.9 (22.8) | ×2.07 |
| INT8 dynamic | 160.1 (169.9) | 91.79 ±0.55 (90.92) | −0.03 \\[−0.22, 0.09\\] | 0.21 | 31.0 (321.2) | ×0.99 |

In brackets: notebook. ± and \\[low, high\\]: 95 % intervals.

#### Since run `5bbb` of 2026-11-17 07:43 UTC

| changed | before | now |
| --- | --- | --- |
| `vars.label_smoothing` | `0.1` | `0.05` |

| result | before | now | difference |  |
| --- | --: | --: | --: | --- |
| torch FP32, accuracy % | 91.45 | 91.82 | +0.37 | in both intervals |
| ONNX FP32, accuracy % | 91.45 | 91.82 | +0.37 | in both intervals |
| INT8 static, accuracy % | 91.43 | 91.80 | +0.37 | in both intervals |
| INT8 dynamic, accuracy % | 91.42 | 91.79 | +0.37 | in both intervals |
";

#[test]
fn what_failed_is_told_with_what_to_do() {
    let text = markdown(&brief(&sample::train_fails()));
    let told = "**The run failed in train; 7 stages were not reached.** Run `14fd`";
    let failure = "**train failed after 12 min 3 s**\n\n```text\nloss became NaN at step 8,190 (lr 0.8)\n```\n\n\
                   What to do: lower \\`lr\\` or set \\`clip\\_grad\\`;";
    assert!(text.contains(told) && text.contains(failure), "{text}");
}

#[test]
fn without_a_table_all_metrics_are_listed() {
    let mut sample = sample::tinynet();
    sample.definition.report = ReportSpec::default();
    let text = markdown(&brief(&sample));
    let line = "| `evaluate.int8_static.accuracy` | 91.80 \\[91.25, 92.32\\] | % | 10,000 test images |\n";
    assert!(text.contains(line), "{text}");
    let moved = "| evaluate.int8\\_static.accuracy | 91.43 | 91.80 | +0.37 | in both intervals |\n";
    assert!(text.contains(moved), "{text}");
}

#[test]
fn numbers_from_an_earlier_run_are_marked() {
    let mut sample = sample::tinynet();
    sample.run.stages.retain(|run| run.stage.as_str() != "bench");
    let text = markdown(&brief(&sample));
    snapshots::assert_message!(text);
}

#[test]
fn what_is_long_is_cut() {
    let mut sample = sample::tinynet();
    sample.run.gates = vec![sample.run.gates[0].clone(); 10_000];
    for (index, gate) in sample.run.gates.iter_mut().enumerate() {
        gate.message = format!("{index} {}", "long ".repeat(1000));
    }
    for record in sample.records.values_mut() {
        for index in 0..10_000 {
            record.metrics.insert(format!("m{index}"), protocol::Metric::new(0.5, "x"));
        }
    }
    sample.definition.report = ReportSpec::default();
    let text = markdown(&brief(&sample));
    snapshots::assert_message!(text);
    assert!(text.len() < 65_536, "{}", text.len());
}

#[test]
fn however_much_there_is_it_fits_into_a_comment() {
    let mut sample = sample::train_fails();
    sample.records = sample::tinynet().base.records;
    let stage = sample.run.stages.iter().find(|stage| matches!(stage.outcome, Outcome::Failed { .. }));
    let mut stage = stage.unwrap().clone();
    let hint = Some("@".repeat(MOST_TEXT));
    stage.outcome =
        Outcome::Failed { message: format!("{}\n", "é".repeat(MOST_TEXT)).repeat(MOST_LINES), hint };
    sample.run.stages = vec![stage; MOST_CHANGES];
    sample.run.gates = vec![sample::gate_fails().base.run.gates[1].clone(); MOST_ROWS];
    for gate in &mut sample.run.gates {
        (gate.expression, gate.message) = ("`".repeat(MOST_TEXT), "<".repeat(MOST_TEXT));
    }
    let wide = sample.definition.report.columns[0].clone();
    for count in [2, 5_000] {
        sample.definition.report.columns = vec![wide.clone(); count];
        let text = markdown(&brief(&sample));
        assert!(text.len() < 65_536, "{}", text.len());
        for part in ["more stages that failed", "more gates", "vars.label_smoothing"] {
            assert!(text.contains(part), "no {part}: {text}");
        }
        let left_out = text.contains("4 rows too long to be shown here");
        assert_eq!(left_out, count == 5_000, "{text}");
    }
}

#[test]
fn names_that_are_no_links_stay_as_they_are() {
    assert_eq!(text("raw.accuracy w.x"), "raw.accuracy w.x");
    for link in ["www.example.org", "WwW.example.org"] {
        assert_eq!(text(link), link.replacen('.', &format!("{JOINER}."), 1));
    }
}

/// Cells of a row as GitHub splits them: at every `|` that no backslash escapes.
fn cells(line: &str) -> usize {
    let mut escaped = false;
    let mut count = 0;
    for c in line.chars() {
        count += usize::from(c == '|' && !escaped);
        escaped = c == '\\' && !escaped;
    }
    count
}

#[test]
fn hostile_text_stays_text() {
    let evils = [
        "<script>alert(1)</script> <img src=x onerror=alert(1)>",
        "a|b\\|c\\\\|d`e``f`|",
        "![x](https://example.org/x.png) [y](javascript:alert(1)) @somebody #12 https://example.org www.example.org",
        "</td></table><!-- \n\n# heading\r\n| a | b |\u{1b}[31m **bold** _it_ ~~no~~ &lt;b&gt; $x$",
        "`",
        "",
    ];
    for evil in evils {
        let mut sample = sample::train_fails();
        sample.definition.report.title = Some(evil.into());
        sample.definition.report.reference_name = Some(evil.into());
        for column in &mut sample.definition.report.columns {
            (column.label, column.prefix) = (evil.into(), evil.into());
        }
        sample.definition.report.rows.insert(evil.into(), "fp32".into());
        sample.records = sample::tinynet().base.records;
        sample.run.profile = Some(evil.into());
        sample.run.vars.insert(evil.into(), evil.into());
        sample.run.gates = sample::gate_fails().base.run.gates;
        for gate in &mut sample.run.gates {
            (gate.expression, gate.message) = (evil.into(), evil.into());
        }
        for stage in &mut sample.run.stages {
            if let Outcome::Failed { message, hint } = &mut stage.outcome {
                (*message, *hint) = (format!("{evil}\n```\nout of it"), Some(evil.into()));
            }
        }
        for spec in [sample.definition.report.clone(), ReportSpec::default()] {
            sample.definition.report = spec;
            let text = markdown(&brief(&sample));
            assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text}");
            let (mut fence, mut columns) = (None, 0);
            for line in text.lines() {
                if fence.is_some() || line.starts_with("```") {
                    fence = if fence == Some(line) { None } else { fence.or(line.strip_suffix("text")) };
                    continue;
                }
                let is_row = line.starts_with("| ");
                if is_row && columns == 0 {
                    columns = cells(line);
                }
                columns = if is_row { columns } else { 0 };
                assert!(!is_row || cells(line) == columns, "a cell ends early: {line}");
                check_inert(line);
            }
            assert_eq!(fence, None, "{text}");
        }
    }
}

/// No tag, picture, link or mention outside of code.
fn check_inert(line: &str) {
    let mut plain = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('`') {
        let is_escaped = rest[..at].chars().rev().take_while(|c| *c == '\\').count() % 2 == 1;
        if is_escaped {
            plain.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
            continue;
        }
        plain.push_str(&rest[..at]);
        let run = rest[at..].len() - rest[at..].trim_start_matches('`').len();
        let inside = &rest[at + run..];
        let end = inside
            .match_indices(&"`".repeat(run))
            .map(|(end, _)| end)
            .find(|end| !inside[..*end].ends_with('`') && !inside[end + run..].starts_with('`'));
        rest = &inside[end.unwrap_or_else(|| panic!("code does not end: {line}")) + run..];
    }
    plain.push_str(rest);
    let mut escaped = false;
    for (at, c) in plain.char_indices() {
        assert!(escaped || !"<>`[]!&".contains(c), "`{c}` is live: {plain}");
        escaped = c == '\\' && !escaped;
        if c == '@' {
            assert!(plain[at + 1..].starts_with(JOINER), "{plain}");
        }
    }
    assert!(!plain.contains("://") && !plain.contains("www."), "{plain}");
}

#[test]
fn code_in_cells() {
    assert_eq!(code("a.b >= 3"), "`a.b >= 3`");
    assert_eq!(code("a|b"), "`a\\|b`");
    assert_eq!(code("a`b"), "``a`b``");
    assert_eq!(code("`b"), "`` `b ``");
    assert_eq!(code("a\\|b"), "a\\\\\\|b");
    assert!(Gate::parse("a`b > 1").is_err(), "gates themselves have no backticks");
}
