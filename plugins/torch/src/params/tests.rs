//! Defaults, the schema, and what makes no sense.

use protocol::Problem;
use serde_json::{Value, json};

use super::*;

#[test]
fn defaults_are_the_recipe_and_stand_in_the_schema() {
    let schema = serde_json::to_value(schemars::schema_for!(TrainParams)).unwrap();
    let defaults: serde_json::Map<_, _> = schema["properties"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, property)| (name.clone(), property["default"].clone()))
        .collect();
    for (name, property) in schema["properties"].as_object().unwrap() {
        assert!(property["description"].is_string(), "{name} has no description");
    }
    assert_eq!(defaults["validation"], Value::Null);
    assert_eq!(defaults["normalization"]["mean"].to_string(), "[0.4914,0.4822,0.4465]");
    let params: TrainParams = protocol::params(&Value::Object(defaults)).unwrap();
    assert_eq!(params, TrainParams::default());
    assert_eq!(params.check(), []);
}

#[test]
fn the_schema_says_which_numbers_make_sense() {
    let schema = serde_json::to_value(schemars::schema_for!(TrainParams)).unwrap();
    for (place, limit) in [
        ("/properties/epochs/minimum", 1.0),
        ("/properties/batch_size/minimum", 1.0),
        ("/properties/lr/exclusiveMinimum", 0.0),
        ("/properties/warmup/minimum", 0.0),
        ("/properties/ema/exclusiveMaximum", 1.0),
        ("/properties/patience/minimum", 1.0),
        ("/properties/momentum/minimum", 0.0),
        ("/properties/momentum/exclusiveMaximum", 1.0),
        ("/properties/weight_decay/minimum", 0.0),
        ("/properties/clip_grad/exclusiveMinimum", 0.0),
        ("/properties/label_smoothing/minimum", 0.0),
        ("/properties/label_smoothing/exclusiveMaximum", 1.0),
        ("/properties/validation/minimum", 0.0),
        ("/$defs/MuonParams/properties/lr/exclusiveMinimum", 0.0),
        ("/$defs/MuonParams/properties/momentum/exclusiveMaximum", 1.0),
        ("/$defs/NormalizationParams/properties/std/items/exclusiveMinimum", 0.0),
    ] {
        assert_eq!(schema.pointer(place).and_then(Value::as_f64), Some(limit), "{place}");
    }
    assert_eq!(schema["properties"]["clip_grad"]["type"], json!(["number", "null"]));
    assert_eq!(schema["properties"]["validation"]["then"], json!({ "type": ["integer", "null"] }));
}

#[test]
fn what_is_wrong_is_named() {
    let first = |problems: Vec<Problem>| problems.into_iter().next();
    let message = |value: Value| {
        let problem = match protocol::params::<TrainParams>(&value) {
            Err(problems) => first(problems),
            Ok(params) => first(params.check()).or(params.validation_count(100).err()),
        };
        problem.unwrap().message
    };
    for (value, expected) in [
        (json!({"lable_smoothing": 0.1}), "unknown field `lable_smoothing`"),
        (
            json!({"network": {"input": [3, 8, 8], "layers": [{"linear": {"ouy": 3}}]}}),
            "`network.layers[0].linear",
        ),
        (json!({"epochs": 0}), "`epochs` is 0"),
        (json!({"lr": 0.0}), "`lr` is 0"),
        (json!({"momentum": 1.0}), "`momentum` is 1"),
        (json!({"momentum": 0.0, "nesterov": true}), "`nesterov` wants a `momentum`"),
        (json!({"label_smoothing": 1.0}), "`label_smoothing` is 1"),
        (json!({"warmup": -1.0}), "`warmup` is -1"),
        (json!({"restart_every": 0}), "`restart_every` is 0"),
        (json!({"restart_every": 2, "schedule": "constant"}), "wants a learning rate that falls"),
        (json!({"ema": 1.0}), "`ema` is 1"),
        (json!({"muon": {"lr": 0}}), "`muon.lr` is 0"),
        (json!({"muon": {"momentum": 1}}), "`muon.momentum` is 1"),
        (json!({"patience": 0}), "`patience` is 0"),
        (json!({"patience": 3, "select_on": "last"}), "wants images to tell"),
        (json!({"augment": {"flip": "sometimes"}}), "`augment.flip`"),
        (json!({"class_weights": "fair"}), "class_weights"),
        (json!({"clip_grad": -1.0}), "`clip_grad` is -1"),
        (json!({"checkpoint_every": 0}), "`checkpoint_every` is 0"),
        (json!({"validation": 100}), "holds out 100 images, but the training set has only 100"),
        (json!({"precision": "bfloat16", "engine": "native"}), "computed by libtorch alone"),
        (json!({"validation": 0.001}), "holds out none of 100 training images"),
        (json!({"validation": 2.5}), "`validation` is 2.5"),
        (json!({"validation": -1}), "`validation` is -1"),
        (json!({"validation": 0}), "`select_on: last`"),
    ] {
        let message = message(value);
        assert!(message.contains(expected), "{message}\nlacks {expected}");
    }
}

/// Those of the notebook on a set of its size, and of a small one no more than it can spare.
#[test]
fn by_default_up_to_five_thousand_images_are_held_out() {
    let held_out = |images| TrainParams::default().validation_count(images);
    assert_eq!([5, 100, 25_000, 50_000].map(|images| held_out(images).unwrap()), [1, 20, 5_000, 5_000]);
    assert!(held_out(4).unwrap_err().message.contains("none of 4 training images"));
}

#[test]
fn all_that_is_wrong_is_told_and_where() {
    let params: TrainParams = protocol::params(
        &json!({"nesterov": true, "momentum": 0, "muon": {"lr": 1}, "patience": 1, "select_on": "last"}),
    )
    .unwrap();
    let places: Vec<_> = params.check().into_iter().map(|problem| problem.place).collect();
    let param = |name: &str| protocol::Place::Param(format!("/{name}"));
    assert_eq!(places, [param("nesterov"), param("patience")]);
}

#[test]
fn a_share_is_of_the_training_images() {
    let params: TrainParams = protocol::params(&json!({"validation": 0.1})).unwrap();
    assert_eq!(params.validation_count(250).unwrap(), 25);
    let none: TrainParams = protocol::params(&json!({"validation": 0, "select_on": "last"})).unwrap();
    assert_eq!(none.validation_count(250).unwrap(), 0);
}

#[test]
fn the_learning_rate_rises_and_falls_as_asked() {
    let rate = |schedule: Schedule, warmup: f64, epochs: f64| {
        TrainParams { schedule, warmup, epochs: 10, lr: 0.4, ..TrainParams::default() }
            .learning_rate(epochs, 0.01)
    };
    let close = |got: f64, wanted: f64| assert!((got - wanted).abs() < 1e-9, "{got} instead of {wanted}");
    for schedule in [Schedule::Cosine, Schedule::Linear, Schedule::Constant] {
        close(rate(schedule, 0.0, 0.01), 0.4);
        close(rate(schedule, 2.0, 0.01), 0.002);
        close(rate(schedule, 2.0, 1.0), 0.2);
        close(rate(schedule, 2.0, 2.0), 0.4);
    }
    close(rate(Schedule::Cosine, 0.0, 5.01), 0.2);
    close(rate(Schedule::Linear, 2.0, 6.01), 0.2);
    close(rate(Schedule::Constant, 2.0, 9.0), 0.4);
    // Of ten epochs at most two.
    close(rate(Schedule::Linear, 5.0, 1.0), 0.2);
    close(rate(Schedule::Constant, 20.0, 5.0), 0.1);
    assert!(rate(Schedule::Cosine, 0.0, 10.0) < 1e-5 && rate(Schedule::Linear, 0.0, 10.0) < 1e-3);
}

#[test]
fn after_a_restart_the_learning_rate_falls_from_its_highest_again() {
    let steps = 7;
    let rates = |epochs: u32| {
        let (schedule, restart_every) = (Schedule::Linear, Some(3));
        let params =
            TrainParams { schedule, restart_every, warmup: 0.5, epochs, lr: 0.4, ..TrainParams::default() };
        assert!(params.goes_on());
        let step = 1.0 / f64::from(steps);
        let rate = |at: u32| params.learning_rate(f64::from(at / steps) + f64::from(at % steps) * step, step);
        (1..=epochs * steps).map(rate).collect::<Vec<_>>()
    };
    let long = rates(9);
    let period = 3 * steps as usize;
    // The first rises by half an epoch; the others only fall, by the same line, and almost to zero.
    assert!(long[0] < long[2] && long[4] > long[period - 1]);
    for fall in long[period..].chunks(period) {
        assert!((fall[0] - 0.4).abs() < 1e-9, "{}", fall[0]);
        assert!(fall.windows(2).all(|pair| pair[0] > pair[1]));
        assert!(*fall.last().unwrap() < 0.4 / 20.0 && *fall.last().unwrap() > 0.0);
    }
    assert!(long[period..2 * period].iter().zip(&long[2 * period..]).all(|(a, b)| (a - b).abs() < 1e-9));
    assert_eq!(rates(4), long[..4 * steps as usize], "a shorter training has the same rates");
    assert!(!TrainParams::default().goes_on());
}

#[test]
fn rare_classes_count_more_where_asked() {
    let labels = [0, 0, 0, 1];
    assert_eq!(ClassWeights::Equal.of(&labels, 2).unwrap(), None);
    assert_eq!(ClassWeights::Balanced.of(&labels, 2).unwrap(), Some(vec![4.0 / 6.0, 2.0]));
    // A class without images is not to be learnt.
    assert_eq!(ClassWeights::Balanced.of(&labels, 3).unwrap(), Some(vec![4.0 / 6.0, 2.0, 0.0]));
    let given: TrainParams = protocol::params(&json!({"class_weights": [1.0, 3.0]})).unwrap();
    assert_eq!(given.class_weights.of(&labels, 2).unwrap(), Some(vec![1.0, 3.0]));
    let message = given.class_weights.of(&labels, 3).unwrap_err().to_string();
    assert!(message.contains("2 weights, but there are 3 classes"), "{message}");
    assert!(ClassWeights::Given(vec![0.0, f32::NAN]).of(&labels, 2).is_err());
}
