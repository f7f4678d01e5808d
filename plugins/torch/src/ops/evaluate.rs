//! The op `evaluate`: what weights say of all test images.

use dataset::{Dataset, Predictions, wilson_interval};
use model::Weights;
use protocol::{Content, Failure, Figure, Metric, Progress, Reporter, RunRequest};

use crate::net::Net;
use crate::params::{EvaluateParams, parse};
use crate::plugin::{grouped, input, output};
use crate::score::Inference;
use crate::state::State;
use crate::train::size_metric;

/// Runs the op.
pub(crate) fn run(request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
    let params: EvaluateParams = parse(&request.params)?;
    let weights = Weights::read(input(request, "weights")?)?;
    let dataset = Dataset::read(input(request, "dataset")?)?;
    check_fit(&weights, &dataset)?;
    let graph = weights.graph()?;
    let device = params.device.resolve()?;
    let net = Net::new(&graph, &State::from_weights(&graph, &weights)?, device, false, None)?;

    let indices: Vec<_> = (0..dataset.test.len()).collect();
    let inference =
        Inference { normalization: &weights.metadata.normalization, device, batch_size: params.batch_size };
    let total = indices.len() as f64;
    let logits = inference.logits(&net, &dataset.test, &indices, |done| {
        let progress = Progress {
            done: done as f64,
            total,
            unit: "image".into(),
            text: String::new(),
            milestone: false,
        };
        reporter.progress(progress);
    })?;
    let predictions = Predictions::new(logits, dataset.classes.len(), dataset.test.labels().to_vec())?;
    predictions.write(output(request, "predictions")?)?;

    let [low, high] = wilson_interval(predictions.correct(), predictions.len() as u64);
    let basis = format!("{} test images", grouped(predictions.len() as u64));
    let accuracy = Metric::new(predictions.accuracy(), "%").interval(low, high).basis(&basis);
    reporter.metric("accuracy", accuracy);
    reporter.metric("size_kb", size_metric(&graph));
    reporter.figure(confusion(&predictions, &dataset.classes, &basis));
    Ok(())
}

/// Checks that the dataset is of the kind that the weights were trained on.
pub(crate) fn check_fit(weights: &Weights, dataset: &Dataset) -> anyhow::Result<()> {
    anyhow::ensure!(
        weights.metadata.classes == dataset.classes,
        "the weights know the classes {}, but the dataset has {}; take the dataset that they were trained on",
        weights.metadata.classes.join(", "),
        dataset.classes.join(", ")
    );
    let ([c, h, w], [ic, ih, iw]) = (weights.metadata.network.input, dataset.shape());
    anyhow::ensure!(
        weights.metadata.network.input == dataset.shape(),
        "the weights are for images of {c}×{h}×{w}, but those of the dataset are {ic}×{ih}×{iw}"
    );
    Ok(())
}

fn confusion(predictions: &Predictions, classes: &[String], basis: &str) -> Figure {
    let values = predictions.confusion();
    Figure {
        id: "confusion".into(),
        title: "Confusion matrix, FP32 torch".into(),
        caption: format!("How many of {basis} of each class (row) were taken for which class (column)."),
        content: Content::Matrix {
            row_label: "true class".into(),
            column_label: "predicted class".into(),
            rows: classes.to_vec(),
            columns: classes.to_vec(),
            values: values.iter().map(|row| row.iter().map(|&count| count as f64).collect()).collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use model::{Network, WeightsMetadata};
    use serde_json::json;

    use super::*;
    use crate::fixtures::{request, serve_op, synthetic, weights};

    #[test]
    fn predictions_accuracy_and_confusion_agree() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let dataset = synthetic(40, 23);
        dataset.write(&at("d.safetensors")).unwrap();
        weights(7).write(&at("w.safetensors")).unwrap();
        let inputs = [("dataset", at("d.safetensors")), ("weights", at("w.safetensors"))];
        let run = |batch_size: usize, out: &str| {
            let params = json!({"batch_size": batch_size, "device": "cpu"});
            serve_op(run, &request("evaluate", params, &inputs, &[("predictions", at(out))], folder.path()))
        };
        let reported = run(8, "p.safetensors").unwrap();
        let predictions = Predictions::read(&at("p.safetensors")).unwrap();
        assert_eq!(predictions.labels, dataset.test.labels());
        let metric = reported.metric("accuracy");
        assert_eq!(metric.value, predictions.accuracy());
        assert_eq!(metric.basis, "23 test images");
        assert!(metric.interval.is_some());
        let Content::Matrix { values, .. } = &reported.figure("confusion").content else { panic!() };
        assert_eq!(values.iter().flatten().sum::<f64>(), 23.0);
        run(23, "q.safetensors").unwrap();
        let other = Predictions::read(&at("q.safetensors")).unwrap();
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(predictions.logits.iter().zip(&other.logits).all(close), "batches do not matter");
    }

    #[test]
    fn other_classes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut dataset = synthetic(10, 10);
        dataset.classes[0] = "other".into();
        dataset.write(&at("d.safetensors")).unwrap();
        weights(7).write(&at("w.safetensors")).unwrap();
        let inputs = [("dataset", at("d.safetensors")), ("weights", at("w.safetensors"))];
        let request = request("evaluate", json!({}), &inputs, &[("predictions", at("p"))], folder.path());
        let message = serve_op(run, &request).unwrap_err();
        assert!(message.contains("but the dataset has other, bright"), "{message}");
    }

    #[test]
    fn the_notebooks_weights_reach_the_notebooks_accuracy() {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
        let images = shared.join("data/cifar10-binary-sample.tar.gz");
        let state_dict = shared.join("reference/notebook-model/best_model.safetensors");
        if !images.exists() || !state_dict.exists() {
            eprintln!("skipped: no reference model or no images");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let dataset = dataset::cifar10_binary(
            &dataset::Source::open(&images).unwrap(),
            dataset::MAX_BYTES,
            &mut |_| {},
        )
        .unwrap();
        dataset.write(&at("d.safetensors")).unwrap();
        let metadata = WeightsMetadata {
            network: Network::tinynet(),
            classes: dataset.classes.clone(),
            normalization: dataset::Normalization::cifar10(),
            held_out: None,
        };
        let weights = Weights::read_state_dict(&state_dict, metadata).unwrap();
        weights.write(&at("w.safetensors")).unwrap();
        let inputs = [("dataset", at("d.safetensors")), ("weights", at("w.safetensors"))];
        let request = request("evaluate", json!({}), &inputs, &[("predictions", at("p"))], folder.path());
        let reported = serve_op(run, &request).unwrap();
        // ONNX Runtime got 91.05 % of the same 1,017 images right.
        assert_eq!(format!("{:.2}", reported.metric("accuracy").value), "91.05");
        assert_eq!(format!("{:.1}", reported.metric("size_kb").value), "318.3");
    }
}
