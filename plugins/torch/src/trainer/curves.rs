//! The training curves as a figure. Knows what epochs came to; knows nothing of how.

use protocol::{Axis, Content, Figure, Series};

use crate::net::score::Score;
use crate::params::{Distill, TrainParams};
use crate::trainer::snapshot::{EpochRecord, Snapshot};

const LOSS: usize = 0;
const ACCURACY: usize = 1;
const LEARNING_RATE: usize = 2;

/// Which score of an epoch.
type Pick = fn(&EpochRecord) -> Option<Score>;

/// Loss, accuracy and learning rate by epoch.
pub(crate) fn figure(snapshot: &Snapshot, params: &TrainParams) -> Figure {
    let history = &snapshot.history;
    let mut series = Vec::new();
    let mut add = |name: &str, axis: usize, value: &dyn Fn(&EpochRecord) -> Option<f64>| {
        let points: Vec<_> =
            history.iter().filter_map(|record| Some([f64::from(record.epoch), value(record)?])).collect();
        if !points.is_empty() {
            series.push(Series { name: name.into(), axis, points });
        }
    };
    let scores: [(&str, Pick); 3] = [
        ("training", |record| Some(record.train)),
        ("validation", |record| record.validation),
        ("test", |record| record.test),
    ];
    for (name, score) in scores {
        add(name, LOSS, &|record| Some(score(record)?.loss));
    }
    for (name, score) in scores {
        add(name, ACCURACY, &|record| Some(score(record)?.accuracy()));
    }
    add("learning rate", LEARNING_RATE, &|record| Some(record.lr));
    Figure {
        id: "history".into(),
        title: "Training".into(),
        caption: caption(snapshot.continued, params),
        content: Content::Series {
            x: Axis::new("epoch", ""),
            y: vec![Axis::new("loss", ""), Axis::new("accuracy", "%"), Axis::new("learning rate", "")],
            series,
        },
    }
}

fn caption(continued: Option<u32>, params: &TrainParams) -> String {
    let continued = continued.map_or_else(String::new, |epoch| {
        format!(" Up to epoch {epoch} it is an earlier training with fewer epochs, which this one continues.")
    });
    let taught = params.distill.map_or_else(String::new, |Distill { weight, temperature }| {
        format!(
            " {:.0} % of what is learned from is the divergence from the teacher (temperature {temperature}); validation knows \
             labels alone.",
            100.0 * weight
        )
    });
    format!(
        "Loss is cross-entropy with label smoothing {}; `class_weights` count in the training curve only.{taught} The training \
         curve is measured while learning, on augmented images, which makes it look worse than it is.{continued}",
        params.label_smoothing
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::TrainState;
    use crate::net::parameters::Parameters;

    #[test]
    fn curves_are_drawn_for_what_was_measured() {
        let score = Score { loss: 1.5, correct: 3, total: 4 };
        let record =
            |epoch| EpochRecord { epoch, lr: 0.05, train: score, validation: Some(score), test: None };
        let parameters = Parameters { values: Vec::new(), stats: Vec::new() };
        let train_state = TrainState { parameters, velocity: Vec::new(), average: None };
        let history = vec![record(1), record(2)];
        let snapshot = Snapshot { epochs_done: 2, train_state, best: None, history, continued: None };
        let figure = figure(&snapshot, &TrainParams::default());
        let Content::Series { series, y, .. } = figure.content else { panic!() };
        let names: Vec<_> = series.iter().map(|line| (line.name.as_str(), line.axis)).collect();
        assert_eq!(
            names,
            [("training", 0), ("validation", 0), ("training", 1), ("validation", 1), ("learning rate", 2)]
        );
        assert_eq!(series[3].points, [[1.0, 75.0], [2.0, 75.0]]);
        assert_eq!(y[series[4].axis].label, "learning rate");
        assert_eq!(series[4].points[0], [1.0, 0.05]);
        assert!(!figure.caption.contains("teacher"));
        let taught = TrainParams { distill: Some(Distill::default()), ..TrainParams::default() };
        let caption = caption(Some(1), &taught);
        assert!(caption.contains("90 % of what is learned from"), "{caption}");
        assert!(caption.contains("Up to epoch 1 it is an earlier training"), "{caption}");
    }
}
