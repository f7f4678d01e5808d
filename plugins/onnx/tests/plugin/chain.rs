//! Export, calibrate, quantize and evaluate, one after the other, on real weights and images.

use std::collections::BTreeSet;

use onnx::Dim;
use protocol::Content;
use serde_json::json;

use crate::support::{images, run, runtime, shared, weights};

#[test]
fn int8_stays_within_a_point_of_floats_on_a_thousand_images() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (Some(()), Some(weights), Some(dataset)) =
        (runtime(), weights(folder.path(), "reference/model/tinynet.safetensors"), images(folder.path()))
    else {
        return;
    };
    let (fp32, int8, dynamic) = (at("fp32.onnx"), at("int8.onnx"), at("dynamic.onnx"));
    let (ranges, moments) = (at("ranges.json"), at("moments.safetensors"));
    run("export", json!({}), &[("weights", &weights)], &[("model", &fp32)]).done();

    let inputs = [("model", fp32.as_path()), ("dataset", &dataset)];
    let outputs = [("ranges", ranges.as_path()), ("moments", &moments)];
    let said = run("calibrate", json!({ "images": 256 }), &inputs, &outputs).done();
    assert!(
        matches!(&said.figures["activations"].content, Content::Histograms { histograms, .. } if histograms.len() > 20)
    );
    let first = [&ranges, &moments].map(|path| std::fs::read(path).unwrap());
    run("calibrate", json!({ "images": 256 }), &inputs, &outputs).done();
    assert_eq!([&ranges, &moments].map(|path| std::fs::read(path).unwrap()), first);

    let inputs = [("model", fp32.as_path()), ("ranges", &ranges), ("moments", &moments)];
    let said = run("quantize", json!({}), &inputs, &[("model", &int8)]).done();
    assert!(said.value("size_kb") * 1024.0 <= 110_000.0, "{}", said.value("size_kb"));
    assert!(said.value("size_ratio") < 0.55);
    run("quantize-dynamic", json!({}), &[("model", &fp32)], &[("model", &dynamic)]).done();

    let predictions = at("predictions");
    let inputs = [("dataset", dataset.as_path()), ("fp32", &fp32), ("int8", &int8), ("dynamic", &dynamic)];
    let said =
        run("evaluate", json!({ "baseline": "fp32" }), &inputs, &[("predictions", &predictions)]).done();
    assert!((said.value("fp32.accuracy") - 79.3).abs() < 3.0, "{}", said.value("fp32.accuracy"));
    for variant in ["int8", "dynamic"] {
        let drop = said.value(&format!("{variant}.drop"));
        assert!(drop.abs() <= 1.0, "{variant} drops {drop}");
        assert!(said.value(&format!("{variant}.agreement")) > 95.0);
    }
    for variant in ["fp32", "int8", "dynamic"] {
        let error = &said.metrics[&format!("{variant}.ece")];
        assert!(0.0 < error.value && error.value < 30.0 && error.interval.is_none(), "{error:?}");
    }
    let (lost, won) = (said.value("int8.lost"), said.value("int8.won"));
    assert!((said.value("int8.drop") - (lost - won) / 10.0).abs() < 1e-9, "{lost} {won}");
    assert!(
        (0.0..=1.0).contains(&said.value("int8.mcnemar_p")) && !said.metrics.contains_key("fp32.mcnemar_p")
    );
    assert_eq!(said.metrics["int8.accuracy"].basis, "1,000 test images");
    let figures: BTreeSet<_> = said.figures.keys().map(String::as_str).collect();
    for id in ["accuracy", "by_class", "reliability", "confusion.fp32", "confusion.int8"] {
        assert!(figures.contains(id), "{figures:?}");
    }

    // Its own predictions, given back as a variant, must change nothing.
    let again = at("again");
    let kept = predictions.join("int8.safetensors");
    let inputs = [("dataset", dataset.as_path()), ("fp32", &fp32), ("kept", &kept)];
    let replayed = run("evaluate", json!({ "baseline": "fp32" }), &inputs, &[("predictions", &again)]).done();
    assert_eq!(replayed.value("kept.accuracy"), said.value("int8.accuracy"));
    assert_eq!(replayed.value("kept.drop"), said.value("int8.drop"));

    // Ranges belong to the model they were found on.
    let balanced = at("balanced.onnx");
    run("equalize", json!({}), &[("model", &fp32)], &[("model", &balanced)]).done();
    let other =
        run("quantize", json!({}), &[("model", &balanced), ("ranges", &ranges)], &[("model", &at("x.onnx"))]);
    assert!(other.failed().contains("another model"));
}

#[test]
fn layers_are_left_in_floating_point_until_the_accuracy_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (Some(()), Some(weights), Some(dataset)) =
        (runtime(), weights(folder.path(), "reference/model/tinynet.safetensors"), images(folder.path()))
    else {
        return;
    };
    let (fp32, int8, ranges, moments, sensitivity) =
        (at("fp32.onnx"), at("int8.onnx"), at("ranges.json"), at("moments"), at("sensitivity.json"));
    run("export", json!({}), &[("weights", &weights)], &[("model", &fp32)]).done();
    // Ranges that cut off far too much.
    let inputs = [("model", fp32.as_path()), ("dataset", &dataset)];
    let params = json!({ "images": 64, "method": "percentile", "percentile": 90, "moments": false });
    run("calibrate", params, &inputs, &[("ranges", &ranges), ("moments", &moments)]).done();

    let measured = [("model", fp32.as_path()), ("ranges", &ranges), ("dataset", &dataset)];
    let measure = |max_drop: f64| {
        let params = json!({ "images": 100, "max_drop": max_drop });
        run("sensitivity", params, &measured, &[("sensitivity", &sensitivity)])
    };
    let said = measure(100.0).done();
    assert_eq!(said.value("float_layers"), 0.0);
    let drop = said.value("int8.drop");
    assert!(drop > 5.0, "{drop}");
    assert!(matches!(&said.figures["error"].content, Content::Series { series, .. } if series.len() == 2));

    let said = measure(drop / 2.0).done();
    let kept = said.value("float_layers");
    assert!(kept > 0.0 && said.value("mixed.drop") <= drop / 2.0, "{kept} {}", said.value("mixed.drop"));
    let inputs = [("model", fp32.as_path()), ("ranges", &ranges), ("sensitivity", &sensitivity)];
    let said = run("quantize", json!({}), &inputs, &[("model", &int8)]).done();
    assert!(said.logs.iter().any(|line| line.contains("excluded by option")), "{:?}", said.logs);

    let per_tensor = run("quantize", json!({ "per_channel": false }), &inputs, &[("model", &int8)]).done();
    assert!(
        per_tensor.logs.iter().any(|line| line.contains("measured with other options")),
        "{:?}",
        per_tensor.logs
    );

    let mut other: serde_json::Value = serde_json::from_slice(&std::fs::read(&sensitivity).unwrap()).unwrap();
    other["model"] = "blake3:0".into();
    std::fs::write(&sensitivity, other.to_string()).unwrap();
    let failure = run("quantize", json!({}), &inputs, &[("model", &int8)]).failed();
    assert!(failure.contains("`sensitivity` were made of another model"), "{failure}");
}

/// As detectors and readers of text are exported: for images of any size, but one at a time.
#[test]
fn a_model_with_open_sizes_that_takes_single_images_goes_the_whole_way() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (Some(()), Some(closed), Some(dataset)) =
        (runtime(), shared("reference/model/tinynet.onnx"), images(folder.path()))
    else {
        return;
    };
    let open = at("open.onnx");
    let mut model = onnx::Model::read(&closed).unwrap();
    let named = |name: &str| Dim::Named(name.into());
    model.graph.inputs[0].shape = Some(vec![Dim::Known(1), Dim::Known(3), named("h"), named("w")]);
    model.write(&open).unwrap();

    let cifar10 = dataset::Normalization::cifar10();
    let params = json!({ "images": 48, "normalization": { "mean": cifar10.mean, "std": cifar10.std } });
    let int8 = at("int8.onnx");
    let found = [&closed, &open].map(|model| {
        let (ranges, moments) = (at("ranges.json"), at("moments"));
        let inputs = [("model", model.as_path()), ("dataset", &dataset)];
        run("calibrate", params.clone(), &inputs, &[("ranges", &ranges), ("moments", &moments)]).done();
        let inputs = [("model", model.as_path()), ("ranges", &ranges), ("moments", &moments)];
        let said = run("quantize", json!({}), &inputs, &[("model", &int8)]).done();
        let (sensitivity, predictions) = (at("sensitivity.json"), at("predictions"));
        let inputs = [&inputs[..], &[("dataset", dataset.as_path())]].concat();
        let normalization = &params["normalization"];
        let choosing = json!({ "images": 64, "max_drop": 0, "normalization": normalization });
        run("sensitivity", choosing, &inputs, &[("sensitivity", &sensitivity)]).done();
        let inputs = [("dataset", dataset.as_path()), ("float", model), ("int8", &int8)];
        let predictions = [("predictions", predictions.as_path())];
        let seen = run("evaluate", json!({ "normalization": normalization }), &inputs, &predictions).done();
        (
            quant::Ranges::read(&ranges).unwrap().tensors,
            said.value("integer_layers"),
            quant::Sensitivity::read(&sensitivity).unwrap().keep_float,
            ["float.accuracy", "int8.accuracy"].map(|metric| seen.value(metric)),
        )
    });
    assert_eq!(found[0], found[1]);
    let inputs = [("model", open.as_path())];
    run("equalize", json!({}), &inputs, &[("model", &at("balanced.onnx"))]).done();
}
