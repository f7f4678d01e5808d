//! The op `evaluate`: what weights say of all test images. Knows its request; leaves computing to `net`.

use dataset::{Dataset, Predictions, wilson_interval};
use model::Weights;
use protocol::{
    CheckRequest, Content, Failure, Figure, InputSpec, KeyScope, Metric, Op, OpManifest, OutputSpec, Problem,
    Progress, Reporter, RunRequest, grouped,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::specs::{LIBTORCH, dataset, trained};
use crate::device::Device;
use crate::net::Net;
use crate::net::parameters::Parameters;
use crate::net::score::{Inference, size_metric};
use crate::net::teacher::check_fit;

/// How to evaluate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EvaluateParams {
    /// Images at a time.
    #[schemars(range(min = 1, max = 65_536))]
    pub(super) batch_size: usize,
    /// Where to compute.
    pub(super) device: Device,
}

impl Default for EvaluateParams {
    fn default() -> Self {
        Self { batch_size: 256, device: Device::Auto }
    }
}

/// The op.
pub(super) struct Evaluate;

impl Op for Evaluate {
    const NAME: &'static str = "evaluate";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Computes logits and accuracy on all test images";
    const NATIVES: &'static [&'static str] = &[LIBTORCH];
    const CHECKS: bool = true;
    type Params = EvaluateParams;

    fn inputs(&self) -> Vec<(&'static str, InputSpec)> {
        vec![dataset(), trained()]
    }

    fn outputs(&self) -> Vec<(&'static str, OutputSpec)> {
        let description = "Logits and labels of all test images";
        vec![("predictions", OutputSpec::new(description, "predictions.safetensors"))]
    }

    fn manifest(&self) -> OpManifest {
        let manifest = OpManifest::of(self).on_all_threads().with_metrics(&["accuracy", "size_kb"]);
        OpManifest { scope: KeyScope::Hardware, ..manifest }.with_time(&["inputs.dataset"], &[])
    }

    fn check(&self, params: &EvaluateParams, _: &CheckRequest) -> Vec<Problem> {
        let resolved = params.device.resolve();
        resolved.err().map(|error| Problem::new(error.to_string()).param("device")).into_iter().collect()
    }

    fn run(
        &self,
        params: EvaluateParams,
        request: &RunRequest,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), Failure> {
        let weights = Weights::read(request.input("weights")?)?;
        let dataset = Dataset::read(request.input("dataset")?)?;
        check_fit(&weights, &dataset)?;
        let graph = weights.graph()?;
        let device = params.device.resolve()?;
        let net = Net::new(&graph, &Parameters::from_weights(&graph, &weights)?, device, false, None)?;

        let indices: Vec<_> = (0..dataset.test.len()).collect();
        let inference = Inference {
            normalization: &weights.metadata.normalization,
            device,
            batch_size: params.batch_size,
        };
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
        predictions.write(request.output("predictions")?)?;

        let [low, high] = wilson_interval(predictions.correct(), predictions.len() as u64);
        let basis = format!("{} test images", grouped(predictions.len() as u64));
        let accuracy = Metric::new(predictions.accuracy(), "%").interval(low, high).basis(&basis);
        reporter.metric("accuracy", accuracy);
        reporter.metric("size_kb", size_metric(&graph));
        reporter.figure(confusion(&predictions, &dataset.classes, &basis));
        Ok(())
    }
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
            serve_op(
                Evaluate,
                &request("evaluate", params, &inputs, &[("predictions", at(out))], folder.path()),
            )
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
        let message = serve_op(Evaluate, &request).unwrap_err();
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
        let reported = serve_op(Evaluate, &request).unwrap();
        // ONNX Runtime got 91.05 % of the same 1,017 images right.
        assert_eq!(format!("{:.2}", reported.metric("accuracy").value), "91.05");
        assert_eq!(format!("{:.1}", reported.metric("size_kb").value), "318.3");
    }
}
