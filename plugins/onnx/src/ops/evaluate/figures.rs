//! Tables and matrices of an evaluation. Knows outcomes, not how they came about.

use dataset::wilson_interval;
use protocol::{Axis, Cell, Column, Content, Figure, Series};

use super::calibration::{BINS, Calibration, Point};
use super::{Comparison, Outcome, TestSet};

/// All variants in one table.
pub(crate) fn summary(
    test_set: &TestSet,
    outcomes: &[Outcome],
    comparisons: &[Option<Comparison>],
) -> Figure {
    let total = test_set.indices.len() as u64;
    let row = |(outcome, comparison): (&Outcome, &Option<Comparison>)| {
        let [low, high] = wilson_interval(outcome.predictions.correct(), total);
        let compared = |value: &dyn Fn(&Comparison) -> f64| {
            comparison.as_ref().map_or(Cell::Empty, |comparison| Cell::Number(value(comparison)))
        };
        vec![
            Cell::Text(outcome.name.clone()),
            outcome.size_kb.map_or(Cell::Empty, Cell::Number),
            Cell::Number(outcome.predictions.accuracy()),
            Cell::Number(low),
            Cell::Number(high),
            compared(&|comparison| comparison.drop),
            compared(&|comparison| comparison.interval[0]),
            compared(&|comparison| comparison.interval[1]),
            compared(&|comparison| comparison.lost as f64),
            compared(&|comparison| comparison.won as f64),
            compared(&|comparison| comparison.p),
            compared(&|comparison| 100.0 * comparison.agreeing as f64 / (total as f64).max(1.0)),
        ]
    };
    Figure {
        id: "accuracy".into(),
        title: "Accuracy".into(),
        caption: format!(
            "On {}, with Wilson's 95 % interval; the drop against the baseline is paired by image. Lost: images that only the \
             baseline gets right; won: only the variant. p: how likely a split at least so uneven is if neither is better \
             (McNemar's exact test, two-sided).",
            test_set.basis()
        ),
        content: Content::Table {
            columns: vec![
                Column::new("variant", "", 0),
                Column::new("size", "KB", 1),
                Column::new("accuracy", "%", 2),
                Column::new("low", "%", 2),
                Column::new("high", "%", 2),
                Column::new("drop", "points", 2),
                Column::new("drop, low", "points", 2),
                Column::new("drop, high", "points", 2),
                Column::new("lost", "images", 0),
                Column::new("won", "images", 0),
                Column::new("p", "", 4),
                Column::new("agreement", "%", 2),
            ],
            rows: outcomes.iter().zip(comparisons).map(row).collect(),
        },
    }
}

/// Accuracy of every variant on the images of each class.
pub(crate) fn by_class(test_set: &TestSet, outcomes: &[Outcome]) -> Figure {
    let mut columns = vec![Column::new("class", "", 0), Column::new("images", "", 0)];
    columns.extend(outcomes.iter().map(|outcome| Column::new(&outcome.name, "%", 2)));
    let confusions: Vec<_> = outcomes.iter().map(|outcome| outcome.predictions.confusion()).collect();
    let labels = test_set.labels();
    let rows = test_set.dataset.classes.iter().enumerate().map(|(class, name)| {
        let images = labels.iter().filter(|&&label| usize::try_from(label) == Ok(class)).count();
        let share = |confusion: &Vec<Vec<u64>>| {
            let correct = confusion.get(class).and_then(|row| row.get(class))?;
            (images > 0).then(|| 100.0 * *correct as f64 / images as f64)
        };
        let mut cells = vec![Cell::Text(name.clone()), Cell::Number(images as f64)];
        cells.extend(confusions.iter().map(|confusion| share(confusion).map_or(Cell::Empty, Cell::Number)));
        cells
    });
    Figure {
        id: "by_class".into(),
        title: "Accuracy by class".into(),
        caption: format!("Share of each class's images that a variant gets right, of {}.", test_set.basis()),
        content: Content::Table { columns, rows: rows.collect() },
    }
}

/// Counts of predicted classes by true class.
pub(crate) fn confusion(test_set: &TestSet, outcome: &Outcome) -> Figure {
    let classes = &test_set.dataset.classes;
    let counts = outcome.predictions.confusion();
    Figure {
        id: format!("confusion.{}", outcome.name),
        title: format!("Confusion matrix of {}", outcome.name),
        caption: format!("Images by true and predicted class, of {}.", test_set.basis()),
        content: Content::Matrix {
            row_label: "true class".into(),
            column_label: "predicted class".into(),
            rows: classes.clone(),
            columns: classes.clone(),
            values: counts.iter().map(|row| row.iter().map(|&count| count as f64).collect()).collect(),
        },
    }
}

/// How often predictions of each confidence are right, and how many there are.
pub(crate) fn reliability(test_set: &TestSet, calibrations: &[(&str, Calibration)]) -> Figure {
    let lines = |axis: usize, value: fn(&Point) -> f64| {
        calibrations.iter().map(move |(name, calibration)| {
            let points = calibration.points().iter().map(|point| [point.confidence, value(point)]).collect();
            Series { name: (*name).to_owned(), axis, points }
        })
    };
    let perfect =
        Series { name: "perfectly calibrated".into(), axis: 0, points: vec![[0.0, 0.0], [100.0, 100.0]] };
    let series = lines(0, |point| point.accuracy).chain([perfect]).chain(lines(1, |point| point.share));
    Figure {
        id: "reliability".into(),
        title: "Confidence and accuracy".into(),
        caption: format!(
            "Images by the confidence of their prediction in {BINS} bins of equal width: mean confidence and share that is \
             right of each bin, and how many of {} are in it. Expected calibration error: {}.",
            test_set.basis(),
            calibrations
                .iter()
                .map(|(name, calibration)| format!("{name} {:.2} points", calibration.error()))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        content: Content::Series {
            x: Axis::new("confidence", "%"),
            y: vec![Axis::new("right", "%"), Axis::new("images", "%")],
            series: series.collect(),
        },
    }
}
