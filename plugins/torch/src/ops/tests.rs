//! What the ops tell before anything runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use protocol::{CheckRequest, Place};
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{synthetic, train_params};

fn request(op: &str, params: Value, dataset: Option<PathBuf>) -> CheckRequest {
    let inputs = BTreeSet::from(["dataset".to_owned()]);
    let present = dataset.map(|path| ("dataset".to_owned(), path)).into_iter().collect::<BTreeMap<_, _>>();
    CheckRequest { op: op.into(), params, inputs, present, threads: 1 }
}

fn with(changes: &Value) -> Value {
    let mut params = train_params();
    params.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    params
}

/// Place and message of the only problem.
fn only(op: &str, params: Value, dataset: Option<PathBuf>) -> (Place, String) {
    let problems = all().check(&request(op, params, dataset));
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    (problem.place.clone(), problem.message.clone())
}

#[test]
fn what_is_right_has_no_problems() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d");
    synthetic(120, 30).write(&path).unwrap();
    for dataset in [None, Some(path)] {
        assert_eq!(all().check(&request("train", train_params(), dataset.clone())), []);
        assert_eq!(all().check(&request("find-lr", train_params(), dataset.clone())), []);
        assert_eq!(all().check(&request("qat", json!({"device": "cpu"}), dataset.clone())), []);
        assert_eq!(all().check(&request("evaluate", json!({"device": "cpu"}), dataset)), []);
    }
}

#[test]
fn what_makes_no_sense_is_told_without_images() {
    for (op, changes, place, expected) in [
        ("train", json!({"nesterov": true, "momentum": 0}), "/nesterov", "wants a `momentum` above 0"),
        ("train", json!({"distill": {}}), "/distill", "give weights of torch/train as input `teacher`"),
        ("train", json!({"engine": "native", "precision": "bfloat16"}), "/precision", "by libtorch alone"),
        ("find-lr", json!({"lr_from": 1.0, "lr_to": 0.5}), "/lr_to", "the second above the first"),
        (
            "train",
            json!({"network": {"input": [2, 8, 8], "layers": [{"conv": {"out": 4}}]}}),
            "/network",
            "end with `linear: {}`",
        ),
    ] {
        let (found, message) = only(op, with(&changes), None);
        assert_eq!(found, Place::Param(place.into()), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let (place, _) = only("qat", json!({"device": "cpu", "epochs": 0}), None);
    assert_eq!(place, Place::Param("/epochs".into()));
}

#[test]
fn what_does_not_fit_the_images_is_told_with_their_number_and_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("named by its digest");
    synthetic(120, 30).write(&path).unwrap();
    for (op, changes, place, expected) in [
        (
            "train",
            json!({"validation": 120}),
            "/validation",
            "holds out 120 images, but the training set has only 120",
        ),
        ("find-lr", json!({"validation": 500}), "/validation", "has only 120"),
        ("train", json!({"budget": {"max_parameters": 100}}), "/budget/max_parameters", "more than the 100"),
        (
            "train",
            json!({"normalization": {"mean": [0.5], "std": [0.5]}}),
            "/normalization",
            "images have 2 channels",
        ),
        (
            "train",
            json!({"network": {"input": [3, 8, 8], "layers": [{"linear": {}}]}}),
            "/network/input",
            "set `network.input` to [2, 8, 8]",
        ),
    ] {
        let (found, message) = only(op, with(&changes), Some(path.clone()));
        assert_eq!(found, Place::Param(place.into()), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let (_, message) = only("qat", json!({"device": "cpu", "validation": 121}), Some(path));
    assert!(message.contains("the training set has only 120"), "{message}");
}
