//! The exported model against the notebook's own.

use dataset::{Normalization, Predictions};
use model::Network;
use protocol::Content;
use serde_json::json;

use crate::support::{images, run, runtime, shared, weights};

/// Our export of the notebook's weights gives the logits of the notebook's own export, on real images.
#[test]
fn an_export_gives_the_logits_of_the_notebooks_own() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(()), Some(weights), Some(notebook), Some(dataset)) = (
        runtime(),
        weights(folder.path(), "reference/notebook-model/best_model.safetensors"),
        shared("reference/notebook-model/model_fp32.onnx"),
        images(folder.path()),
    ) else {
        return;
    };
    let model = folder.path().join("model.onnx");
    let said = run("export", json!({}), &[("weights", &weights)], &[("model", &model)]).done();
    assert_eq!(said.value("parameters"), 78_630.0);
    assert!(said.value("size_kb") < 340.0, "{}", said.value("size_kb"));
    assert!(matches!(&said.figures["network"].content, Content::Graph { nodes, .. } if nodes.len() > 50));
    assert!(matches!(&said.figures["sizes"].content, Content::Table { rows, .. } if rows.len() > 50));

    let predictions = folder.path().join("predictions");
    let params = json!({ "normalization": Normalization::cifar10(), "baseline": "notebook" });
    let inputs = [("dataset", dataset.as_path()), ("ours", &model), ("notebook", &notebook)];
    let said = run("evaluate", params, &inputs, &[("predictions", &predictions)]).done();
    let read = |name: &str| Predictions::read(&predictions.join(name)).unwrap();
    let (ours, theirs) = (read("ours.safetensors"), read("notebook.safetensors"));
    assert_eq!(ours.labels, theirs.labels);
    let most = ours.logits.iter().zip(&theirs.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(most < 1e-4, "{most}");
    assert_eq!(said.value("ours.agreement"), 100.0);
    assert_eq!(said.value("ours.drop"), 0.0);
}

/// A state dict without metadata, its network in the params, against reference logits that are right and wrong.
#[test]
fn a_bare_state_dict_is_exported_and_reference_logits_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(()), Some(state_dict), Some(weights)) = (
        runtime(),
        shared("reference/model/tinynet.safetensors"),
        weights(folder.path(), "reference/model/tinynet.safetensors"),
    ) else {
        return;
    };
    let (one, two) = (folder.path().join("one.onnx"), folder.path().join("two.onnx"));
    let classes: Vec<String> = (0..10).map(|class| format!("class {class}")).collect();
    let params = json!({
        "network": Network::tinynet(), "classes": classes, "normalization": Normalization::cifar10()
    });
    run("export", params, &[("weights", &state_dict)], &[("model", &one)]).done();
    run("export", json!({}), &[("weights", &weights)], &[("model", &two)]).done();
    let bare = run("export", json!({}), &[("weights", &state_dict)], &[("model", &one)]).failed();
    assert!(bare.contains("give `network`, `classes` and `normalization`"), "{bare}");

    let reference = folder.path().join("reference.safetensors");
    let tensor = |shape: Vec<usize>| {
        let count = shape.iter().product();
        tensors::Tensor::new(shape, tensors::Data::F32(vec![0.5; count])).unwrap()
    };
    let write = |logits: Vec<usize>| {
        let tensors = [("input".into(), tensor(vec![2, 3, 32, 32])), ("logits".into(), tensor(logits))];
        tensors::write(&reference, &tensors.into(), &()).unwrap();
    };
    write(vec![2, 10]);
    let inputs = [("weights", weights.as_path()), ("reference", &reference)];
    let wrong = run("export", json!({}), &inputs, &[("model", &one)]).failed();
    assert!(wrong.contains("logits differ") && wrong.contains("1e-4"), "{wrong}");
    let tolerant = run("export", json!({"tolerance": 1e6}), &inputs, &[("model", &one)]).done();
    assert!(tolerant.value("max_logit_difference") > 1e-4);
    write(vec![2, 9]);
    let misshapen = run("export", json!({}), &inputs, &[("model", &one)]).failed();
    assert!(misshapen.contains("reference.safetensors") && misshapen.contains("[2, 9]"), "{misshapen}");
}
