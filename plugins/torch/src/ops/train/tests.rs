//! The op as the runner sees it, on a training that takes a moment.

mod longer;
mod seed;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use model::Weights;
use protocol::{Content, FromPlugin};
use serde_json::{Value, json};
use tensors::Data;

use super::*;
use crate::fixtures::{Reported, alone, request, serve_op, synthetic, train_params};
use crate::trainer::checkpoint::Checkpoint;
use crate::trainer::observer::{Observer, StepReport};
use crate::trainer::snapshot::Snapshot;

/// Runs the op in `folder`; outputs are `weights` and `reference` there.
fn train(folder: &Path, params: Value) -> Result<Reported, String> {
    train_with(folder, params, &synthetic(120, 30), &[])
}

fn train_with(
    folder: &Path,
    params: Value,
    dataset: &dataset::Dataset,
    more: &[(&str, PathBuf)],
) -> Result<Reported, String> {
    let data = folder.join("dataset");
    dataset.write(&data).unwrap();
    let inputs: Vec<_> = [("dataset", data)].into_iter().chain(more.iter().cloned()).collect();
    let outputs = [("weights", folder.join("weights")), ("reference", folder.join("reference"))];
    let request = request("train", params, &inputs, &outputs, folder);
    tch::set_num_threads(1);
    serve_op(Train, &request)
}

fn with(changes: &Value) -> Value {
    let mut params = train_params();
    for (key, value) in changes.as_object().unwrap() {
        params[key] = value.clone();
    }
    params
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_learns() {
    let _turn = alone();
    let (one, two, other) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let reported = train(one.path(), train_params()).unwrap();
    train(two.path(), train_params()).unwrap();
    train(other.path(), with(&json!({"seed": 43}))).unwrap();
    let weights = |folder: &tempfile::TempDir| fs::read(folder.path().join("weights")).unwrap();
    assert!(weights(&one) == weights(&two), "same seed, same bytes");
    assert!(weights(&one) != weights(&other), "another seed, other bytes");
    assert_eq!(
        fs::read(one.path().join("reference")).unwrap(),
        fs::read(two.path().join("reference")).unwrap()
    );

    assert!(reported.metric("val_accuracy").value > 80.0, "{:?}", reported.metric("val_accuracy"));
    assert_eq!(reported.metric("val_accuracy").basis, "20 validation images");
    let epoch = reported.metric("best_epoch").value;
    assert!((1.0..=4.0).contains(&epoch));
    assert!(reported.metric("train_loss").value < 0.8);
    let Content::Series { series, .. } = &reported.figure("history").content else { panic!() };
    assert_eq!(series[0].points.len(), 4);
    let milestones =
        reported.0.iter().filter(|message| matches!(message, FromPlugin::Progress(at) if at.milestone));
    assert_eq!(milestones.count(), 4);
}

#[test]
fn outputs_are_complete() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), with(&json!({"epochs": 2, "select_on": "last", "validation": 0}))).unwrap();
    let weights = Weights::read(&folder.path().join("weights")).unwrap();
    assert_eq!(weights.metadata.classes, ["dark", "bright"]);
    assert_eq!(weights.tensors["stem.1.num_batches_tracked"].data(), &Data::I64(vec![16]));
    let path = folder.path().join("reference");
    let mut file = tensors::read::<Value>(&path).unwrap();
    let (shape, input) = file.take_f32(&path, "input").unwrap();
    assert_eq!(shape, [8, 2, 8, 8]);
    let mut expected = Vec::new();
    let data = synthetic(120, 30);
    weights.metadata.normalization.apply(&data.train, &[0, 1, 2, 3, 4, 5, 6, 7], &mut expected);
    assert_eq!(input, expected);
    let (shape, logits) = file.take_f32(&path, "logits").unwrap();
    assert_eq!(shape, [8, 2]);
    assert!(logits.iter().all(|logit| logit.is_finite()));
}

/// Stops after some epochs, keeping the checkpoint, as a kill would.
struct StopAfter<'a>(u32, &'a Checkpoint);

impl Observer for StopAfter<'_> {
    fn starts(&mut self, _: &str) {}

    fn step(&mut self, _: &StepReport) {}

    fn epoch(&mut self, snapshot: &Snapshot, _: f64) -> ControlFlow<()> {
        self.1.write(snapshot).unwrap();
        if snapshot.epochs_done == self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn stop_after(folder: &Path, epochs: u32, params: Value, more: &[(&str, PathBuf)]) {
    let data = folder.join("dataset");
    synthetic(120, 30).write(&data).unwrap();
    let inputs: Vec<_> = [("dataset", data)].into_iter().chain(more.iter().cloned()).collect();
    let request = request("train", params, &inputs, &[], folder);
    let setup = Setup::read(protocol::params(&request.params).unwrap(), &request).unwrap();
    let training = setup.training();
    let resume = folder.join("resume");
    fs::create_dir_all(&resume).unwrap();
    let checkpoint = Checkpoint::new(&resume, &setup.params, training.setting()).unwrap();
    tch::set_num_threads(1);
    let last = training.run(training.start(), &mut StopAfter(epochs, &checkpoint)).unwrap();
    assert_eq!(last.epochs_done, epochs);
}

#[test]
fn a_training_that_was_cut_off_comes_to_the_same_bytes() {
    let _turn = alone();
    let school = tempfile::tempdir().unwrap();
    let teacher = [("teacher", teacher(school.path()))];
    for (changes, more, cuts) in [
        (json!({}), &[][..], 1..=4),
        (json!({"ema": 0.9, "muon": {}}), &teacher, 2..=3),
        (json!({"engine": "libtorch", "ema": 0.9, "muon": {}}), &teacher, 2..=2),
        (json!({"precision": "bfloat16"}), &[], 2..=2),
    ] {
        let whole = tempfile::tempdir().unwrap();
        let dataset = synthetic(120, 30);
        train_with(whole.path(), with(&changes), &dataset, more).unwrap();
        for epochs in cuts {
            let cut = tempfile::tempdir().unwrap();
            stop_after(cut.path(), epochs, with(&changes), more);
            let reported = train_with(cut.path(), with(&changes), &dataset, more).unwrap();
            let logs = reported.logs();
            assert!(logs.contains(&format!("continuing after epoch {epochs} of 4")), "{logs}");
            for file in ["weights", "reference"] {
                let [one, two] = [&whole, &cut].map(|folder| fs::read(folder.path().join(file)).unwrap());
                assert!(one == two, "{changes}: {file} differs after a stop at epoch {epochs}");
            }
            let Content::Series { series, .. } = &reported.figure("history").content else { panic!() };
            assert_eq!(series[0].points.len(), 4, "the curves are whole");
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_ignored_with_a_warning() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    stop_after(folder.path(), 2, train_params(), &[]);
    let path = folder.path().join("resume/checkpoint.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let reported = train(folder.path(), train_params()).unwrap();
    assert!(reported.logs().contains("starting from the first epoch"), "{}", reported.logs());
    let Content::Series { series, .. } = &reported.figure("history").content else { panic!() };
    assert_eq!(series[0].points[0][0], 1.0);
}

#[test]
fn what_cannot_work_is_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    for (changes, expected) in [
        (json!({"budget": {"max_parameters": 100}}), "more than the 100 of `budget.max_parameters`"),
        (json!({"budget": {"max_size_kb": 0.5}}), "more than the 0.5 KB of `budget.max_size_kb`"),
        (json!({"validation": 5000}), "holds out 5,000 images, but the training set has only 120"),
        (
            json!({"network": {"input": [3, 8, 8], "layers": [{"linear": {}}]}}),
            "set `network.input` to [2, 8, 8]",
        ),
        (json!({"network": {"input": [2, 8, 8], "layers": [{"conv": {"out": 4}}]}}), "end with `linear: {}`"),
        (
            json!({"normalization": {"mean": [0.5], "std": [0.5]}}),
            "1 value of `mean`, but images have 2 channels",
        ),
        (json!({"epoch": 3}), "unknown field `epoch`"),
    ] {
        let message = train(folder.path(), with(&changes)).unwrap_err();
        assert!(message.contains(expected), "{message}\nlacks {expected}");
    }
}

#[test]
fn a_loss_that_explodes_stops_with_advice_and_clipping_saves_it() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let wild = json!({"lr": 1e30, "schedule": "constant", "epochs": 3});
    let message = train(folder.path(), with(&wild)).unwrap_err();
    assert!(message.contains("epoch 1, step") && message.contains("set `clip_grad`"), "{message}");
    let tame = json!({"lr": 0.05, "clip_grad": 0.5, "nesterov": true, "epochs": 2});
    train(folder.path(), with(&tame)).unwrap();
}

#[test]
fn the_notebooks_way_selects_on_the_test_images() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let reported =
        train(folder.path(), with(&json!({"select_on": "test", "validation": 0, "epochs": 2}))).unwrap();
    assert!(reported.logs().contains("chosen on the test images"));
    assert_eq!(reported.metric("test_accuracy").basis, "30 test images, which chose the epoch");
}

#[test]
fn it_stops_when_nothing_gets_better() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    // So slow that the first epoch is as good as any.
    let changes = json!({"lr": 1e-9, "epochs": 9, "patience": 2});
    let reported = train(folder.path(), with(&changes)).unwrap();
    let logs = reported.logs();
    assert!(logs.contains(" of 9: none was better than epoch"), "{logs}");
    let Content::Series { series, .. } = &reported.figure("history").content else { panic!() };
    let best = reported.metric("best_epoch").value;
    assert_eq!(series[0].points.len() as f64, best + 2.0, "{logs}");
}

/// On few images many epochs get all of them right: the first of these has learned least.
#[test]
fn of_epochs_with_as_many_right_answers_the_one_with_the_lowest_loss_is_kept() {
    let _turn = alone();
    for engine in ["native", "libtorch"] {
        let folder = tempfile::tempdir().unwrap();
        let changes = json!({"engine": engine, "epochs": 8, "lr": 0.2, "schedule": "linear"});
        let reported = train(folder.path(), with(&changes)).unwrap();
        let Content::Series { series, .. } = &reported.figure("history").content else { panic!() };
        let curve = |name: &str, axis| {
            &series.iter().find(|line| line.name == name && line.axis == axis).unwrap().points
        };
        let (losses, accuracies) = (curve("validation", 0), curve("validation", 1));
        let highest = accuracies.iter().map(|point| point[1]).fold(0.0, f64::max);
        let tied: Vec<f64> = accuracies.iter().filter(|at| at[1] == highest).map(|at| at[0]).collect();
        assert!(tied.len() > 1, "{engine}: {accuracies:?}");
        let lowest = losses.iter().filter(|at| tied.contains(&at[0])).min_by(|a, b| a[1].total_cmp(&b[1]));
        assert_eq!(Some(reported.metric("best_epoch").value), lowest.map(|at| at[0]), "{losses:?}");
        assert!(reported.metric("best_epoch").value > tied[0], "{engine}: {losses:?}");
    }
}

#[test]
fn both_engines_learn_and_say_who_computes() {
    let _turn = alone();
    let learn = |engine: &str, more: Value| {
        let folder = tempfile::tempdir().unwrap();
        let mut changes =
            json!({"engine": engine, "class_weights": "balanced", "ema": 0.8, "decay_norms": false});
        changes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        train(folder.path(), with(&changes))
    };
    for (engine, said) in
        [("native", "kernels of our own"), ("auto", "kernels of our own"), ("libtorch", "libtorch")]
    {
        let reported = learn(engine, json!({})).unwrap();
        assert!(reported.logs().contains(&format!("computed by {said}, on CPU")), "{}", reported.logs());
        assert!(reported.metric("val_accuracy").value > 80.0, "{engine}");
    }
    let grouped = json!({"network": {"input": [2, 8, 8], "layers": [
        {"conv": {"out": 4, "kernel": 3}}, {"conv": {"out": 4, "kernel": 3, "groups": 2}},
        {"global_average_pool": {}}, {"linear": {}},
    ]}});
    let logs = learn("auto", grouped.clone()).unwrap().logs();
    assert!(logs.contains("computed by libtorch (`layers.1.0`: a convolution with groups"), "{logs}");
    let message = learn("native", grouped).unwrap_err();
    assert!(message.contains("`engine` is native, but `layers.1.0`: a convolution with groups"), "{message}");
}

/// A teacher that learned [`synthetic`]'s images: its weights.
fn teacher(folder: &Path) -> PathBuf {
    let wide = json!({"input": [2, 8, 8], "layers": [
        {"conv": {"out": 16, "kernel": 3}}, {"global_average_pool": {}}, {"linear": {}},
    ]});
    fs::create_dir_all(folder).unwrap();
    train(folder, with(&json!({"network": wide, "epochs": 8, "lr": 0.2}))).unwrap();
    folder.join("weights")
}

/// The first epochs of both engines on the same images: without dropout they do the same, but for rounding.
#[test]
fn both_engines_come_to_nearly_the_same() {
    let _turn = alone();
    let school = tempfile::tempdir().unwrap();
    let teacher = [("teacher", teacher(school.path()))];
    let losses = |engine: &str, muon: Value, teacher: &[(&str, PathBuf)]| {
        let folder = tempfile::tempdir().unwrap();
        let mut params = with(&json!({
            "engine": engine, "epochs": 2, "lr": 0.01, "clip_grad": 1.0, "nesterov": true, "ema": 0.9,
            "class_weights": [1.0, 2.0], "muon": muon,
        }));
        let layers = params["network"]["layers"].as_array_mut().unwrap();
        layers.retain(|layer| layer.get("dropout").is_none());
        let reported = train_with(folder.path(), params, &synthetic(120, 30), teacher).unwrap();
        let Content::Series { series, .. } = &reported.figure("history").content else { panic!() };
        series[..2].iter().flat_map(|line| line.points.iter().map(|point| point[1])).collect::<Vec<_>>()
    };
    for (muon, teacher) in [(Value::Null, &[][..]), (json!({"lr": 0.003}), &teacher)] {
        let [native, libtorch] = ["native", "libtorch"].map(|engine| losses(engine, muon.clone(), teacher));
        assert_eq!(native.len(), 4);
        for (native, libtorch) in native.iter().zip(&libtorch) {
            assert!((native - libtorch).abs() < 1e-3, "{native} and {libtorch}");
        }
    }
}

#[test]
fn a_student_of_a_teacher_alone_learns_what_the_teacher_knows_and_not_the_labels() {
    let _turn = alone();
    let (school, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let teacher = [("teacher", teacher(school.path()))];
    let swapped = |split: dataset::Split| {
        let labels = split.labels().iter().map(|label| 1 - label).collect();
        dataset::Split::new(split.shape(), split.pixels().to_vec(), labels).unwrap()
    };
    let right = synthetic(120, 30);
    let (train, test) = (swapped(right.train.clone()), swapped(right.test.clone()));
    let wrong = dataset::Dataset::new(right.classes, train, test, "test", vec![]).unwrap();
    for engine in ["native", "libtorch"] {
        let learned = |weight: f64| {
            let distill = json!({"weight": weight, "temperature": 2.0});
            let params = with(&json!({"engine": engine, "distill": distill, "select_on": "last"}));
            train_with(folder.path(), params, &wrong, &teacher).unwrap()
        };
        let reported = learned(1.0);
        assert!(
            reported.logs().contains("taught by a network of 354 parameters (weight 1"),
            "{}",
            reported.logs()
        );
        assert!(reported.metric("val_accuracy").value < 20.0, "{engine}");
        assert!(learned(0.0).metric("val_accuracy").value > 80.0, "{engine}");
    }
}

#[test]
fn a_teacher_that_does_not_count_changes_nothing() {
    let _turn = alone();
    let (school, alone, taught) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let teacher = [("teacher", teacher(school.path()))];
    train(alone.path(), train_params()).unwrap();
    let params = with(&json!({"distill": {"weight": 0.0}}));
    train_with(taught.path(), params, &synthetic(120, 30), &teacher).unwrap();
    let [one, two] = [&alone, &taught].map(|folder| fs::read(folder.path().join("weights")).unwrap());
    assert!(one == two);
}

#[test]
fn a_teacher_of_something_else_is_refused() {
    let _turn = alone();
    let (school, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let teacher = [("teacher", teacher(school.path()))];
    let right = synthetic(120, 30);
    let renamed = vec!["light".into(), "dark".into()];
    let renamed = dataset::Dataset::new(renamed, right.train, right.test, "test", vec![]).unwrap();
    let normalization = json!({"mean": [0.4, 0.4], "std": [0.2, 0.2]});
    for (changes, dataset, inputs, expected) in [
        (json!({}), &renamed, &teacher[..], "the dataset has light, dark"),
        (json!({"normalization": normalization}), &synthetic(120, 30), &teacher, "give both the same"),
        (json!({"distill": {}}), &synthetic(120, 30), &[], "give weights of torch/train as input `teacher`"),
        (
            json!({"distill": {"temperature": 0.0}}),
            &synthetic(120, 30),
            &teacher,
            "`distill.temperature` is 0, but must be above 0 and at most 100",
        ),
        (
            json!({"distill": {"weight": 1.5}}),
            &synthetic(120, 30),
            &teacher,
            "`distill.weight` is 1.5, but must be 0 to 1",
        ),
    ] {
        let message = train_with(folder.path(), with(&changes), dataset, inputs).unwrap_err();
        assert!(message.contains(expected), "{message}\nlacks {expected}");
    }
}

#[test]
fn sixteen_bits_learn_and_are_libtorchs() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let half = |engine: &str| {
        train(folder.path(), with(&json!({"precision": "bfloat16", "engine": engine, "clip_grad": 1.0})))
    };
    let reported = half("auto").unwrap();
    assert!(reported.logs().contains("computed by libtorch, in bfloat16, on CPU"), "{}", reported.logs());
    assert!(reported.metric("val_accuracy").value > 80.0);
    let message = half("native").unwrap_err();
    assert!(message.contains("`precision: bfloat16` is computed by libtorch alone"), "{message}");
}
