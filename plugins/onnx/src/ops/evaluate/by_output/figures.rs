//! Metrics, tables and words of an evaluation on arrays. Knows what it came to, not how.

use dataset::wilson_interval;
use protocol::{Cell, Column, Content, Figure, Metric, Reporter};

use super::Evaluated;
use super::judge::Judged;
use crate::contrast::{Contrast, EXACT_DB};
use crate::labels::FEW;
use crate::ops::evaluate::{Comparison, answer};

/// Most samples of a variant that are listed.
const SHOWN: usize = 10;

/// Sends all of them.
pub(super) fn report(all: &Evaluated, reporter: &mut Reporter<'_>) {
    let baseline = all.baseline.and_then(|place| all.judged.get(place));
    let others: Vec<&Judged> =
        all.judged.iter().filter(|judged| baseline.is_none_or(|it| it.name != judged.name)).collect();
    for judged in &all.judged {
        accuracy_metrics(all, judged, reporter);
    }
    let mut sentences = Vec::new();
    let mut comparisons = Vec::new();
    if let Some(baseline) = baseline {
        for judged in &others {
            let comparison = compared(baseline, judged);
            comparison_metrics(all, judged, comparison.as_ref(), reporter);
            sentences.extend(sentence(all, baseline, judged, comparison.as_ref()));
            comparisons.push(comparison);
        }
    }
    if let (Some(baseline), false) = (baseline, sentences.is_empty()) {
        let (title, begun) = match &baseline.hits {
            Some(hits) => {
                let share = percent(hits.correct(), hits.right.len());
                let text = format!("`{}` gets {share:.2} % of {} right. ", baseline.name, all.basis);
                ("Is the accuracy kept?", text)
            }
            None => ("Does it give the same?", format!("Against `{}` on {}: ", baseline.name, all.basis)),
        };
        let text = begun + &sentences.join(" ");
        let content = Content::Answer { text };
        reporter.figure(Figure { id: "kept".into(), title: title.into(), caption: String::new(), content });
    }
    if all.labels.is_some() {
        reporter.figure(accuracy(all, baseline, &others, &comparisons));
    }
    if let Some(baseline) = baseline {
        reporter.figure(outputs(all, baseline, &others));
        reporter.figure(worst(all, baseline, &others));
    }
}

fn accuracy_metrics(all: &Evaluated, judged: &Judged, reporter: &mut Reporter<'_>) {
    if let Some(size) = judged.size_kb {
        reporter.metric(&format!("{}.size_kb", judged.name), Metric::new(size, "KB"));
    }
    let Some(hits) = &judged.hits else { return };
    let total = hits.right.len();
    for (what, correct) in [("accuracy", Some(hits.correct())), ("top5_accuracy", hits.among_few)] {
        if let Some(correct) = correct {
            let [low, high] = wilson_interval(correct, total as u64);
            let metric = Metric::new(percent(correct, total), "%").interval(low, high).basis(all.plain());
            reporter.metric(&format!("{}.{what}", judged.name), metric);
        }
    }
}

/// The two by sample, where there are labels.
fn compared(baseline: &Judged, judged: &Judged) -> Option<Comparison> {
    let (before, after) = (baseline.hits.as_ref()?, judged.hits.as_ref()?);
    let count = |wanted: [bool; 2]| {
        let pairs = before.right.iter().zip(&after.right);
        pairs.filter(|(before, after)| [**before, **after] == wanted).count() as u64
    };
    let agreeing = same_class(baseline, judged)?;
    Some(Comparison::of_counts(
        count([true, false]),
        count([false, true]),
        agreeing,
        before.right.len() as u64,
    ))
}

/// How often both say the same class.
fn same_class(baseline: &Judged, judged: &Judged) -> Option<u64> {
    let ((_, before), (_, after)) = (baseline.said.as_ref()?, judged.said.as_ref()?);
    Some(before.iter().zip(after).filter(|(before, after)| before == after).count() as u64)
}

fn comparison_metrics(
    all: &Evaluated,
    judged: &Judged,
    comparison: Option<&Comparison>,
    reporter: &mut Reporter<'_>,
) {
    let name = &judged.name;
    if let Some(comparison) = comparison {
        comparison.report(name, &format!("{}, paired", all.plain()), reporter);
    }
    let [several, one] = [judged.contrasts.len() > 1, judged.contrasts.len() == 1];
    for contrast in &judged.contrasts {
        let basis = format!("output {}, {}", contrast.name, all.plain());
        if several && let Some(db) = contrast.db() {
            reporter
                .metric(&format!("{name}.{}.sqnr_db", contrast.name), Metric::new(db, "dB").basis(&basis));
        }
        if several && let Some(metric) = agreement(contrast) {
            reporter.metric(&format!("{name}.{}.agreement", contrast.name), metric.basis(&basis));
        }
        if one && let Some(metric) = agreement(contrast) {
            reporter.metric(&format!("{name}.agreement"), metric.basis(&basis));
        }
    }
    // Of several outputs that one counts which says classes.
    if several
        && let Some((output, _)) = &judged.said
        && let Some(contrast) = judged.contrasts.iter().find(|contrast| contrast.name == *output)
        && let Some(metric) = agreement(contrast)
    {
        let basis = format!("output {output}, {}", all.plain());
        reporter.metric(&format!("{name}.agreement"), metric.basis(&basis));
    }
    if let Some((contrast, db)) = least(judged) {
        let basis = match several {
            true => {
                format!("output {}, the lowest of {}, {}", contrast.name, judged.contrasts.len(), all.plain())
            }
            false => format!("output {}, {}", contrast.name, all.plain()),
        };
        reporter.metric(&format!("{name}.sqnr_db"), Metric::new(db, "dB").basis(&basis));
    }
    let parts = judged.contrasts.iter().flat_map(Contrast::parts);
    let parts = parts.filter_map(|part| Some((part.name, part.db?)));
    if let Some((part, db)) = parts.min_by(|(_, one), (_, two)| one.total_cmp(two)) {
        let basis = format!("part {part} of a joined output, {}", all.plain());
        reporter.metric(&format!("{name}.worst_part_sqnr_db"), Metric::new(db, "dB").basis(&basis));
    }
}

/// Share that agrees, with its interval where samples are independent of each other.
fn agreement(contrast: &Contrast) -> Option<Metric> {
    let metric = Metric::new(contrast.agreement()?, "%");
    Some(match contrast.is_one_a_sample() {
        true => {
            let [low, high] = wilson_interval(contrast.agreeing, contrast.compared);
            metric.interval(low, high)
        }
        false => metric,
    })
}

/// The output with the most noise.
fn least(judged: &Judged) -> Option<(&Contrast, f64)> {
    let levels = judged.contrasts.iter().filter_map(|contrast| Some((contrast, contrast.db()?)));
    levels.min_by(|(_, one), (_, two)| one.total_cmp(two))
}

/// What is said of a variant.
fn sentence(
    all: &Evaluated,
    baseline: &Judged,
    judged: &Judged,
    comparison: Option<&Comparison>,
) -> Option<String> {
    let name = &judged.name;
    let total = all.indices.len();
    let mut parts = Vec::new();
    if comparison.is_none()
        && let (Some(agreeing), Some((output, _))) = (same_class(baseline, judged), &judged.said)
    {
        let [low, high] = wilson_interval(agreeing, total as u64);
        parts.push(match usize::try_from(agreeing) == Ok(total) {
            true => format!("the same class for every sample at `{output}`"),
            false => format!(
                "the same class for {agreeing} of {total} samples at `{output}` ({:.2} %, 95 % interval {low:.2} to {high:.2})",
                percent(agreeing, total)
            ),
        });
    }
    for contrast in judged.contrasts.iter().filter(|contrast| !contrast.is_one_a_sample()) {
        if let Some(share) = contrast.agreement() {
            parts.push(format!("{share:.2} % of the same values at `{}`", contrast.name));
        }
    }
    let levels = judged.contrasts.iter().filter_map(|contrast| {
        let level = level(contrast.db()?);
        let worst = contrast.parts().into_iter().filter_map(|part| Some((part.name, part.db?)));
        let worst = worst.min_by(|(_, one), (_, two)| one.total_cmp(two));
        let of_part =
            worst.map_or(String::new(), |(part, db)| format!(" (its part `{part}`: {})", self::level(db)));
        Some(format!("{level} at `{}`{of_part}", contrast.name))
    });
    let levels: Vec<String> = levels.collect();
    if !levels.is_empty() {
        parts.push(format!("a signal to quantization noise of {}", levels.join(", ")));
    }
    if let Some((contrast, _)) = least(judged)
        && let Some((place, _)) = contrast.worst(1).first()
        && let Some(index) = all.indices.get(*place)
    {
        parts.push(format!("the largest difference for sample {index}"));
    }
    let given = parts.join("; ");
    match comparison {
        Some(comparison) => {
            let said = answer::sentence(name, comparison, total, ["sample", "samples"]);
            Some(if given.is_empty() { said } else { format!("{said} It gives {given}.") })
        }
        None => (!given.is_empty()).then(|| format!("`{name}` gives {given}.")),
    }
}

fn level(db: f64) -> String {
    if db >= EXACT_DB { "no end".into() } else { format!("{db:.1} dB") }
}

fn decibels(db: Option<f64>) -> Cell {
    match db {
        Some(db) if db >= EXACT_DB => Cell::Text("exact".into()),
        Some(db) => Cell::Number(db),
        None => Cell::Empty,
    }
}

fn percent(count: u64, total: usize) -> f64 {
    100.0 * count as f64 / (total as f64).max(1.0)
}

fn text(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

/// Each output, and each part of a joined one.
fn outputs(all: &Evaluated, baseline: &Judged, others: &[&Judged]) -> Figure {
    let mut rows = Vec::new();
    for judged in others {
        for contrast in &judged.contrasts {
            rows.push(vec![
                text(&judged.name),
                text(&contrast.name),
                text(format!("{:?}", contrast.shape)),
                decibels(contrast.db()),
                decibels(contrast.db().and(contrast.worst_places_db())),
                contrast.agreement().map_or(Cell::Empty, Cell::Number),
                if contrast.db().is_some() { Cell::Number(contrast.largest) } else { Cell::Empty },
                if contrast.unlike > 0 { Cell::Number(contrast.unlike as f64) } else { Cell::Empty },
            ]);
            for part in contrast.parts() {
                let mut row =
                    vec![text(&judged.name), text(format!("{}, part {}", contrast.name, part.name))];
                row.extend([Cell::Empty, decibels(part.db)]);
                row.resize_with(8, || Cell::Empty);
                rows.push(row);
            }
        }
    }
    Figure {
        id: "outputs".into(),
        title: "Outputs".into(),
        caption: format!(
            "Against {} on {}. SQNR: power of what the baseline gives over that of the difference; low is bad. Worst 1 %: what all but \
             the worst hundredth of places in a sample have at least. Agreement: rows whose best class is the same, of outputs that look \
             like scores of classes, or whole numbers that are the same. Other shape: samples that are not compared, because the two give \
             different numbers of values.",
            baseline.name, all.basis
        ),
        content: Content::Table {
            columns: vec![
                Column::new("variant", "", 0),
                Column::new("output", "", 0),
                Column::new("shape of a sample", "", 0),
                Column::new("SQNR", "dB", 1),
                Column::new("worst 1 %", "dB", 1),
                Column::new("agreement", "%", 2),
                Column::new("largest difference", "", 4),
                Column::new("other shape", "samples", 0),
            ],
            rows,
        },
    }
}

/// The samples for which variants differ the most from the baseline.
fn worst(all: &Evaluated, baseline: &Judged, others: &[&Judged]) -> Figure {
    let class = |judged: &Judged, place: usize| {
        let said = judged.said.as_ref().and_then(|(_, said)| said.get(place).copied().flatten());
        said.map_or(Cell::Empty, |class| Cell::Number(class as f64))
    };
    let mut rows = Vec::new();
    for judged in others {
        let mut found: Vec<(usize, f64, &Contrast)> = Vec::new();
        for contrast in &judged.contrasts {
            found.extend(contrast.worst(SHOWN).into_iter().map(|(place, share)| (place, share, contrast)));
        }
        found.sort_by(|(_, one, _), (_, two, _)| two.total_cmp(one));
        let mut seen = std::collections::BTreeSet::new();
        found.retain(|(place, ..)| seen.insert(*place));
        for (place, _, contrast) in found.into_iter().take(SHOWN) {
            let label = all.labels.as_ref().and_then(|labels| labels.classes.get(place));
            let db = contrast.samples.get(place).and_then(|sample| sample.powers.db());
            rows.push(vec![
                text(&judged.name),
                all.indices.get(place).map_or(Cell::Empty, |index| Cell::Number(*index as f64)),
                text(&contrast.name),
                if contrast.db().is_some() { decibels(db) } else { Cell::Empty },
                class(baseline, place),
                class(judged, place),
                label.map_or(Cell::Empty, |label| Cell::Number(*label as f64)),
            ]);
        }
    }
    Figure {
        id: "worst".into(),
        title: "Samples that differ the most".into(),
        caption: format!(
            "Of each variant up to {SHOWN}, by the power of the difference from {} at the output where that is largest for how strong the \
             output is; counted from 0 along the first axis of the arrays. Of {}.",
            baseline.name, all.basis
        ),
        content: Content::Table {
            columns: vec![
                Column::new("variant", "", 0),
                Column::new("sample", "", 0),
                Column::new("output", "", 0),
                Column::new("SQNR", "dB", 1),
                Column::new(&format!("class by {}", baseline.name), "", 0),
                Column::new("class", "", 0),
                Column::new("label", "", 0),
            ],
            rows,
        },
    }
}

/// All variants in one table, where there are labels.
fn accuracy(
    all: &Evaluated,
    baseline: Option<&Judged>,
    others: &[&Judged],
    comparisons: &[Option<Comparison>],
) -> Figure {
    let row = |judged: &Judged, comparison: Option<&Comparison>| {
        let hits = judged.hits.clone().unwrap_or_default();
        let total = hits.right.len();
        let [low, high] = wilson_interval(hits.correct(), total as u64);
        let number = |value: Option<f64>| value.map_or(Cell::Empty, Cell::Number);
        vec![
            text(&judged.name),
            number(judged.size_kb),
            Cell::Number(percent(hits.correct(), total)),
            Cell::Number(low),
            Cell::Number(high),
            number(hits.among_few.map(|few| percent(few, total))),
            number(comparison.map(|comparison| comparison.drop)),
            number(comparison.map(|comparison| comparison.interval[0])),
            number(comparison.map(|comparison| comparison.interval[1])),
            number(comparison.map(|comparison| comparison.p)),
            number(comparison.map(|comparison| percent(comparison.agreeing, total))),
        ]
    };
    let mut rows: Vec<Vec<Cell>> = baseline.map(|baseline| row(baseline, None)).into_iter().collect();
    rows.extend(
        others
            .iter()
            .enumerate()
            .map(|(place, judged)| row(judged, comparisons.get(place).and_then(Option::as_ref))),
    );
    Figure {
        id: "accuracy".into(),
        title: "Accuracy".into(),
        caption: format!(
            "On {}, with Wilson's 95 % interval; best {FEW}: the label is among the {FEW} best scores. The drop against the baseline is \
             paired by sample. p: how likely a split at least so uneven is if neither is better (McNemar's exact test, two-sided).",
            all.basis
        ),
        content: Content::Table {
            columns: vec![
                Column::new("variant", "", 0),
                Column::new("size", "KB", 1),
                Column::new("accuracy", "%", 2),
                Column::new("low", "%", 2),
                Column::new("high", "%", 2),
                Column::new(&format!("best {FEW}"), "%", 2),
                Column::new("drop", "points", 2),
                Column::new("drop, low", "points", 2),
                Column::new("drop, high", "points", 2),
                Column::new("p", "", 4),
                Column::new("agreement", "%", 2),
            ],
            rows,
        },
    }
}
