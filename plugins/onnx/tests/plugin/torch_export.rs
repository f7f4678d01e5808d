//! Models that PyTorch exported (`tests/torch/export.py`): by its default, with the weights in a file beside the model, and by its
//! older exporter, in one file. Both are of one network.

use std::fs;
use std::path::{Path, PathBuf};

use dataset::{Dataset, Split};
use serde_json::{Value, json};

use crate::support::{Said, run, runtime};

/// A copy of the exports, under a name with a space in it.
struct Exports {
    folder: tempfile::TempDir,
    dataset: PathBuf,
}

impl Exports {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dataset = folder.path().join("patterns.safetensors");
        patterns().write(&dataset).unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torch");
        let exports = Self { folder, dataset };
        fs::create_dir(exports.at("")).unwrap();
        for name in ["net.onnx", "net.onnx.data", "legacy.onnx"] {
            fs::copy(from.join(name), exports.at(name)).unwrap();
        }
        exports
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("my exports").join(name)
    }

    /// Static INT8 of a model.
    fn quantized(&self, name: &str, model: &[(&str, &Path)]) -> Said {
        let [ranges, moments] = ["r.json", "m.safetensors"].map(|file| self.at(file));
        let inputs = [model, &[("dataset", &self.dataset)]].concat();
        let params = json!({ "images": 40, "normalization": normalization() });
        run("calibrate", params, &inputs, &[("ranges", &ranges), ("moments", &moments)]).done();
        let inputs = [model, &[("ranges", &ranges), ("moments", &moments)]].concat();
        run("quantize", json!({}), &inputs, &[("model", &self.at(name))]).done()
    }
}

/// Forty images to train on and as many to test on, no two alike.
fn patterns() -> Dataset {
    let split = |first: usize| {
        let pixel = |at: usize| ((first + at) * 31 + at / 192 * at % 253) as u8;
        Split::new([3, 8, 8], (0..40 * 192).map(pixel).collect(), (0..40).map(|image| image % 10).collect())
    };
    let classes = (0..10).map(|class| format!("class {class}")).collect();
    Dataset::new(classes, split(0).unwrap(), split(7).unwrap(), "patterns", vec![]).unwrap()
}

fn normalization() -> Value {
    json!({ "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5] })
}

#[test]
fn both_exports_compute_the_same_and_are_quantized() {
    let Some(()) = runtime() else { return };
    let exports = Exports::new();
    let [net, data, legacy] = ["net.onnx", "net.onnx.data", "legacy.onnx"].map(|name| exports.at(name));
    let said = exports.quantized("int8.onnx", &[("model", &net), ("weights", &data)]);
    // Three convolutions, the sum, a pooling, the mean over a channel, which is one, too, the reshaping and the product.
    let layers = &said.metrics["integer_layers"];
    assert_eq!(
        (layers.value, layers.basis.as_str()),
        (8.0, "8 layers, from ONNX Runtime 1.21 on"),
        "{:?}",
        said.logs
    );
    // 4,991 and 3,840 bytes.
    assert_eq!(said.metrics["size_ratio"].basis, "the float model has 8.6 KB");
    exports.quantized("legacy.int8.onnx", &[("model", &legacy)]);
    let dynamic = exports.at("dynamic.onnx");
    let own: [(&str, &Path); 2] = [("model", &net), ("weights", &data)];
    run("quantize-dynamic", json!({}), &own, &[("model", &dynamic)]).done();

    let (int8, legacy_int8) = (exports.at("int8.onnx"), exports.at("legacy.int8.onnx"));
    let inputs = [
        ("dataset", exports.dataset.as_path()),
        ("net", &net),
        ("net_weights", &data),
        ("legacy", &legacy),
        ("int8", &int8),
        ("legacy_int8", &legacy_int8),
        ("dynamic", &dynamic),
    ];
    let params = json!({ "normalization": normalization(), "baseline": "legacy" });
    let out = exports.at("predictions");
    let said = run("evaluate", params, &inputs, &[("predictions", &out)]).done();
    assert_eq!(said.value("net.agreement"), 100.0);
    for name in ["int8", "legacy_int8", "dynamic"] {
        assert!(said.value(&format!("{name}.agreement")) >= 80.0, "{name}: {:?}", said.metrics);
    }
    let timed = json!({
        "batches": [1], "calls": [2], "warmup_calls": [1], "rounds": 1, "baseline": "net", "max_others": 1e6
    });
    let said = run("bench", timed, &inputs[1..], &[]).done();
    assert!(said.value("net.batch1.median_ms") > 0.0);
}

#[test]
fn weights_of_another_export_are_no_reason_to_name_them_again() {
    let exports = Exports::new();
    let [net, data, int8] = ["net.onnx", "net.onnx.data", "int8.onnx"].map(|name| exports.at(name));
    let quantize = || {
        let inputs: [(&str, &Path); 2] = [("model", &net), ("weights", &data)];
        run("quantize-dynamic", json!({}), &inputs, &[("model", &int8)]).failed()
    };
    fs::OpenOptions::new().write(true).open(&data).unwrap().set_len(2000).unwrap();
    let message = quantize();
    assert!(message.contains("bytes 1728 to 2880 of `net.onnx.data`, which has 2000"), "{message}");
    assert!(message.contains("of one export") && !message.contains("--weights"), "{message}");
    fs::remove_file(&data).unwrap();
    let message = quantize();
    assert!(message.contains("net.onnx.data`: No such file") && message.contains("--weights"), "{message}");
    assert!(!int8.exists());
}
