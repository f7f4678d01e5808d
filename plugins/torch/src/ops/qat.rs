//! The op `qat`: trained weights go on learning on the grid of their INT8 model (quantization-aware training).

use dataset::{Dataset, Normalization, validation_split};
use model::{HeldOut, Network, Weights};
use protocol::{
    CheckRequest, Failure, InputSpec, Op, OpManifest, OutputSpec, Problem, Reporter, RunRequest, counted,
    grouped,
};
use quant::{QuantError, Ranges, Sensitivity, StaticOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::specs::{LIBTORCH, dataset, trained, training, weights};
use crate::device::Device;
use crate::net::fake_quant;
use crate::net::parameters::Parameters;
use crate::net::teacher::check_fit;
use crate::params::{AugmentParams, NormalizationParams, Schedule, SelectOn, TrainParams};
use crate::trainer::fit::fit;
use crate::trainer::setup::Setup;
use crate::trainer::{Trainer, Tuning, check};

/// How to go on. What has no default of its own is as in `torch/train`; network and normalisation are those of the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct QatParams {
    /// Passes over the training images.
    #[schemars(range(min = 1, max = 100_000))]
    pub(super) epochs: u32,
    /// Images a step.
    #[schemars(range(min = 1, max = 65_536))]
    pub(super) batch_size: usize,
    /// Learning rate at the start: a tenth of what the weights were trained with, or less.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub(super) lr: f64,
    /// Learning-rate schedule, applied at every step.
    pub(super) schedule: Schedule,
    /// Momentum of gradient descent; below 1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub(super) momentum: f64,
    /// Pull of every parameter towards zero.
    #[schemars(range(min = 0.0))]
    pub(super) weight_decay: f64,
    /// Share of the target spread evenly over all classes; below 1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub(super) label_smoothing: f64,
    /// Random changes to training images.
    pub(super) augment: AugmentParams,
    /// Images held out of the training set, as in `torch/train`: with its `seed` they are the same ones.
    #[schemars(range(min = 0.0), extend("if" = { "minimum": 1 }, "then" = { "type": ["integer", "null"] }))]
    pub(super) validation: Option<Number>,
    /// Which images choose the epoch whose weights are kept: that of the most right answers, and among several the one of the
    /// lowest loss.
    pub(super) select_on: SelectOn,
    /// Seed of everything random, and of which images are held out.
    pub(super) seed: u64,
    /// Where to compute.
    pub(super) device: Device,
    /// Options of quantization, as `onnx/quantize` will have them. Weights are rounded to the nearest.
    pub(super) quantize: StaticOptions,
}

impl Default for QatParams {
    fn default() -> Self {
        let train = TrainParams::default();
        Self {
            epochs: 5,
            batch_size: train.batch_size,
            lr: 0.005,
            schedule: train.schedule,
            momentum: train.momentum,
            weight_decay: train.weight_decay,
            label_smoothing: train.label_smoothing,
            augment: train.augment,
            validation: train.validation,
            select_on: train.select_on,
            seed: train.seed,
            device: train.device,
            quantize: StaticOptions::default(),
        }
    }
}

impl QatParams {
    /// As a recipe for the network of `weights`.
    fn recipe_for(&self, weights: &Weights) -> TrainParams {
        let double = |values: &[f32]| values.iter().copied().map(f64::from).collect();
        let Normalization { mean, std } = &weights.metadata.normalization;
        let normalization = NormalizationParams { mean: double(mean), std: double(std) };
        self.recipe(weights.metadata.network.clone(), normalization)
    }

    /// As a recipe for a network.
    pub(super) fn recipe(&self, network: Network, normalization: NormalizationParams) -> TrainParams {
        TrainParams {
            network,
            epochs: self.epochs,
            batch_size: self.batch_size,
            lr: self.lr,
            schedule: self.schedule,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            label_smoothing: self.label_smoothing,
            augment: self.augment,
            normalization,
            validation: self.validation.clone(),
            select_on: self.select_on,
            seed: self.seed,
            device: self.device,
            ..TrainParams::default()
        }
    }
}

/// The op.
pub(super) struct Qat;

impl Op for Qat {
    const NAME: &'static str = "qat";
    const VERSION: u32 = 5;
    const DESCRIPTION: &'static str =
        "Goes on training on the grid of the network's INT8 model (quantization-aware training)";
    const NATIVES: &'static [&'static str] = &[LIBTORCH];
    const CHECKS: bool = true;
    type Params = QatParams;

    fn inputs(&self) -> Vec<(&'static str, InputSpec)> {
        let ranges = "Ranges, from onnx/calibrate of the model that onnx/export makes of these weights";
        let sensitivity = "Which layers stay in floating point, from onnx/sensitivity";
        vec![
            dataset(),
            trained(),
            ("ranges", InputSpec::required(ranges)),
            ("sensitivity", InputSpec::optional(sensitivity)),
        ]
    }

    fn outputs(&self) -> Vec<(&'static str, OutputSpec)> {
        let reference = "A few normalised training images and their logits in floats";
        let ranges = "The ranges, for onnx/quantize of the new model";
        vec![
            weights(),
            ("reference", OutputSpec::new(reference, "reference.safetensors")),
            ("ranges", OutputSpec::new(ranges, "ranges.json")),
        ]
    }

    fn manifest(&self) -> OpManifest {
        training(OpManifest::of(self))
    }

    /// Network and normalisation are those of the weights, which need not be there yet.
    fn check(&self, params: &QatParams, request: &CheckRequest) -> Vec<Problem> {
        let TrainParams { network, normalization, .. } = TrainParams::default();
        let recipe = params.recipe(network, normalization);
        let mut problems = recipe.check();
        problems.extend(recipe.remarks());
        problems.extend(check::held_out(&recipe, request));
        problems.extend(check::device(&recipe));
        problems
    }

    fn run(
        &self,
        mut params: QatParams,
        request: &RunRequest,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), Failure> {
        let weights = Weights::read(request.input("weights")?)?;
        let recipe = params.recipe_for(&weights);
        let dataset = Dataset::read(request.input("dataset")?)?;
        check_fit(&weights, &dataset)?;
        let setup = Setup::new(recipe, dataset, request)?;
        check_held_out(&weights, setup.dataset.train.labels(), &setup.validation)?;
        let mut ranges = Ranges::read(request.input("ranges")?)?;
        if request.inputs.contains_key("sensitivity") {
            params.quantize.exclude.extend(Sensitivity::read(request.input("sensitivity")?)?.keep_float);
        }
        let fake_quants =
            fake_quant::of_network(&setup.graph, &weights, &ranges, &params.quantize).map_err(|error| {
                match error.downcast_ref() {
                    Some(QuantError::MissingRange { .. } | QuantError::BadRange { .. }) => error
                        .context("`ranges` must be those of the model that `onnx/export` makes of `weights`"),
                    _ => error,
                }
            })?;
        let rounded = fake_quants.iter().filter(|rounding| rounding.weights.is_some()).count();
        reporter.info(format!(
            "going on with {}, {} held out; weights of {rounded} layers, and {} activations, are rounded to 8 bits",
            counted(setup.train.len(), "image", "images"),
            grouped(setup.validation.len() as u64),
            fake_quants.iter().filter(|rounding| rounding.outcome.is_some()).count(),
        ));
        // The model that will be made of the new weights is another one, and its ranges are these all the same.
        ranges.lineage.model.clear();
        ranges.write(request.output("ranges")?)?;
        let parameters = Parameters::from_weights(&setup.graph, &weights)?;
        let tuning = Some(Tuning { parameters: &parameters, fake_quants: &fake_quants });
        let training = Trainer { tuning, ..setup.training() };
        fit(&training, request, reporter)
    }
}

/// Refuses to judge by images that the weights learned from: they would flatter.
fn check_held_out(weights: &Weights, labels: &[i64], validation: &[usize]) -> Result<(), Problem> {
    // Of other images nothing is known.
    let Some(HeldOut { seed, images, .. }) = weights.metadata.held_out.filter(|then| then.of == labels.len())
    else {
        return Ok(());
    };
    let (_, held_out) = validation_split(labels, images, seed);
    let learned = validation.iter().filter(|image| held_out.binary_search(image).is_err()).count();
    if learned == 0 {
        return Ok(());
    }
    let way = match images {
        0 => "they were trained on all images: set `validation: 0`".to_owned(),
        _ => format!("set `validation: {images}` and `seed: {seed}`, as they were trained with"),
    };
    let message = format!(
        "of the {} images held out, the weights were trained on {}, which would flatter the accuracy on them; {way}",
        grouped(validation.len() as u64),
        grouped(learned as u64)
    );
    Err(Problem::new(message).param("validation"))
}

#[cfg(test)]
mod tests {
    use quant::{Range, tensors_to_observe};
    use serde_json::json;
    use tch::{Device as Place, Tensor};

    use super::*;
    use crate::fixtures::{alone, request, serve_op, synthetic, train_params, weights};
    use crate::net::Net;
    use crate::ops::train::Train;
    use crate::tensor::to_host;

    /// Made-up ranges of what export makes of `weights`.
    fn ranges(weights: &Weights) -> Ranges {
        let graph = weights.graph().unwrap();
        let model =
            onnx::build::from_network(&graph, weights, &onnx::build::BuildOptions::default()).unwrap();
        let range = |name| (name, Range { min: -5.0, max: 6.0 });
        let tensors = tensors_to_observe(&model).unwrap().into_iter().map(range).collect();
        Ranges { tensors, ..Ranges::default() }
    }

    #[test]
    fn every_layer_with_weights_is_rounded_and_so_is_every_activation_that_the_model_rounds() {
        let weights = weights(7);
        let graph = weights.graph().unwrap();
        let fake_quants =
            fake_quant::of_network(&graph, &weights, &ranges(&weights), &StaticOptions::default()).unwrap();
        let names = |pick: fn(&fake_quant::NodeFakeQuant) -> bool| -> Vec<&str> {
            let nodes = graph.nodes().iter().zip(&fake_quants);
            nodes.filter(|(_, rounding)| pick(rounding)).map(|(node, _)| node.name.as_str()).collect()
        };
        let rounded = names(|rounding| rounding.weights.is_some());
        let weighty =
            graph.nodes().iter().filter(|node| node.op.params().iter().any(|param| param.shape.len() > 1));
        assert_eq!(rounded, weighty.map(|node| node.name.as_str()).collect::<Vec<_>>());
        let outcomes = names(|rounding| rounding.outcome.is_some());
        // What an activation clips is rounded behind it; logits are floats.
        assert!(outcomes.contains(&graph.nodes()[0].name.as_str()), "{outcomes:?}");
        assert!(!outcomes.contains(&graph.nodes().last().unwrap().name.as_str()), "{outcomes:?}");
        assert!(outcomes.iter().any(|name| name.ends_with(".gate")), "{outcomes:?}");
    }

    /// A convolution that stays in floats is not folded: what is rounded is the outcome of its normalisation.
    #[test]
    fn behind_a_float_convolution_its_normalisation_is_rounded() {
        let weights = weights(7);
        let graph = weights.graph().unwrap();
        let options =
            StaticOptions { exclude: vec!["blocks.0.project.0".into()], ..StaticOptions::default() };
        let fake_quants = fake_quant::of_network(&graph, &weights, &ranges(&weights), &options).unwrap();
        let of = |name: &str| {
            let place = graph.nodes().iter().position(|node| node.name == name).unwrap();
            &fake_quants[place]
        };
        assert_eq!(*of("blocks.0.project.0"), fake_quant::NodeFakeQuant::default());
        assert!(of("blocks.0.project.1").outcome.is_some());
    }

    #[test]
    fn rounding_is_seen_in_the_logits_and_fine_grids_leave_them_as_they_are() {
        let weights = weights(7);
        let graph = weights.graph().unwrap();
        let parameters = Parameters::from_weights(&graph, &weights).unwrap();
        let options = StaticOptions::default();
        let mut fake_quants = fake_quant::of_network(&graph, &weights, &ranges(&weights), &options).unwrap();
        let images = Tensor::from_slice(&(0..128).map(|i| (i % 7) as f32 / 7.0).collect::<Vec<_>>())
            .view([1, 2, 8, 8]);
        let logits = |fake_quants: Option<&[fake_quant::NodeFakeQuant]>| {
            let net = Net::new(&graph, &parameters, Place::Cpu, false, fake_quants).unwrap();
            to_host(&net.forward(&images, false).unwrap()).unwrap()
        };
        let difference = |one: &[f32], other: &[f32]| {
            one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        let float = logits(None);
        let rounded = difference(&logits(Some(&fake_quants)), &float);
        assert!(rounded > 0.0 && rounded < 0.5, "{rounded}");
        // Batch normalisation in the weights, and nothing rounded, is the same function.
        for rounding in &mut fake_quants {
            rounding.outcome = None;
        }
        let folded = difference(&logits(Some(&fake_quants)), &float);
        assert!(folded < rounded, "{folded} {rounded}");
    }

    #[test]
    fn it_goes_on_from_the_weights_and_hands_their_ranges_on() {
        let _turn = alone();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let dataset = synthetic(80, 20);
        dataset.write(&at("d.safetensors")).unwrap();
        let trained = [("weights", at("w.safetensors")), ("reference", at("first"))];
        let request_of = |op: &str, params, inputs: &[_], outputs: &[_]| {
            request(op, params, inputs, outputs, &folder.path().join(op))
        };
        let first = request_of("train", train_params(), &[("dataset", at("d.safetensors"))], &trained);
        let before = serve_op(Train, &first).unwrap().metric("val_accuracy").value;
        let weights = Weights::read(&at("w.safetensors")).unwrap();
        let mut known = ranges(&weights);
        known.lineage.model = "blake3:0".into();
        known.write(&at("r.json")).unwrap();
        let inputs =
            [("dataset", at("d.safetensors")), ("weights", at("w.safetensors")), ("ranges", at("r.json"))];
        let outputs = [("weights", at("w2")), ("reference", at("reference")), ("ranges", at("r2.json"))];
        let tuned = |params: serde_json::Value| serve_op(Qat, &request_of("qat", params, &inputs, &outputs));
        let params = json!({"epochs": 3, "batch_size": 16, "validation": 20, "device": "cpu"});
        let reported = tuned(params).unwrap();
        assert!(reported.logs().contains("are rounded to 8 bits"), "{}", reported.logs());
        let after = reported.metric("val_accuracy").value;
        assert!(before > 80.0 && after >= before - 10.0, "{before} {after}");
        let after = Weights::read(&at("w2")).unwrap();
        assert_eq!(after.metadata, weights.metadata);
        assert_ne!(after.tensors, weights.tensors);
        let statistics = |weights: &Weights| -> Vec<_> {
            let running = weights.tensors.iter().filter(|(name, _)| name.contains("running_"));
            running.map(|(_, tensor)| tensor.clone()).collect()
        };
        assert_eq!(statistics(&after), statistics(&weights), "statistics are not touched");
        let handed_on = Ranges::read(&at("r2.json")).unwrap();
        assert_eq!((handed_on.lineage.model.as_str(), handed_on.tensors), ("", known.tensors));

        let learned = |params| tuned(params).unwrap_err();
        let message = learned(json!({"device": "cpu", "validation": 20, "seed": 7}));
        assert!(message.contains("set `validation: 20` and `seed: 42`"), "{message}");
        let message = learned(json!({"device": "cpu", "validation": 0.5}));
        assert!(message.contains("of the 40 images held out, the weights were trained on 20"), "{message}");

        Ranges::default().write(&at("r.json")).unwrap();
        let message = tuned(json!({"device": "cpu", "validation": 20})).unwrap_err();
        assert!(message.contains("must be those of the model that `onnx/export` makes"), "{message}");
    }
}
