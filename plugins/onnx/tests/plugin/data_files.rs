//! Models whose weights lie in other files, as PyTorch exports them by default: used by every op, wherever links lead, as long
//! as they are declared.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{run, runtime, tiny_dataset};

/// Protocol buffers: a field that holds bytes, text or a message.
fn field(number: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [varint(u64::from(number) << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn number(number: u8, value: u64) -> Vec<u8> {
    [varint(u64::from(number) << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A tensor of floats: in the model, or in a file of this name from a byte on.
fn tensor(name: &str, dims: &[u64], values: &[f32], place: Option<(&str, usize)>) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut all: Vec<u8> = dims.iter().flat_map(|dim| number(1, *dim)).collect();
    all.extend([number(2, 1), field(8, name)].concat());
    match place {
        None => all.extend(field(9, bytes)),
        Some((file, offset)) => {
            let length = bytes.len().to_string();
            for (key, value) in [("location", file), ("offset", &offset.to_string()), ("length", &length)] {
                all.extend(field(13, [field(1, key), field(2, value)].concat()));
            }
            all.extend(number(14, 1));
        }
    }
    all
}

fn value(name: &str, dims: &[Option<u64>]) -> Vec<u8> {
    let dim = |dim: &Option<u64>| field(1, dim.map_or_else(|| field(2, "batch"), |size| number(1, size)));
    let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
    let tensor = [number(1, 1), field(2, shape)].concat();
    [field(1, name), field(2, field(1, tensor))].concat()
}

fn node(op: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(1, input)).collect();
    [inputs, field(2, output), field(4, op)].concat()
}

const WEIGHTS: usize = 10 * 3 * 8 * 8;

fn weights() -> Vec<f32> {
    (0..WEIGHTS).map(|index| (index * 7 % 23) as f32 / 230.0 - 0.05).collect()
}

const BIASES: [f32; 10] = [0.0, 0.1, 0.2, -0.3, 0.4, 0.5, -0.6, 0.7, 0.8, 0.9];

/// A convolution over all of an image; `files` hold its weights and its biases.
fn model(files: Option<[&str; 2]>) -> Vec<u8> {
    let [weight, bias] = files.map_or([None; 2], |[weight, bias]| [Some((weight, 8)), Some((bias, 0))]);
    let graph = [
        field(1, node("Conv", &["x", "w", "b"], "c")),
        field(1, node("Flatten", &["c"], "y")),
        field(2, "g"),
        field(5, tensor("w", &[10, 3, 8, 8], &weights(), weight)),
        field(5, tensor("b", &[10], &BIASES, bias)),
        field(11, value("x", &[None, Some(3), Some(8), Some(8)])),
        field(12, value("y", &[None, Some(10)])),
    ];
    let opset = [field(1, ""), number(2, 13)].concat();
    [number(1, 7), field(7, graph.concat()), field(8, opset)].concat()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A folder with the model in one file, and one with it, its weights and its biases in three, which are links into a store as
/// a download's cache lays them out.
struct Layouts {
    folder: tempfile::TempDir,
}

impl Layouts {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layouts = Self { folder };
        fs::create_dir_all(layouts.at("blobs/b")).unwrap();
        fs::create_dir_all(layouts.at("snapshots/rev")).unwrap();
        fs::write(layouts.at("whole.onnx"), model(None)).unwrap();
        fs::write(layouts.at("blobs/1"), model(Some(["m.onnx.data", "b.bin"]))).unwrap();
        // What lies before the offset is another's.
        fs::write(layouts.at("blobs/2"), [vec![0xff; 8], bytes(&weights())].concat()).unwrap();
        fs::write(layouts.at("blobs/b/3"), bytes(&BIASES)).unwrap();
        symlink("../../blobs/1", layouts.at("snapshots/rev/m.onnx")).unwrap();
        symlink("../../blobs/2", layouts.at("snapshots/rev/m.onnx.data")).unwrap();
        symlink("../../blobs/b/3", layouts.at("snapshots/rev/b.bin")).unwrap();
        layouts
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn linked(&self) -> [PathBuf; 3] {
        ["m.onnx", "m.onnx.data", "b.bin"].map(|name| self.at("snapshots/rev").join(name))
    }
}

/// The INT8 model, made with the declared weights.
fn quantized(layouts: &Layouts, model: &Path, weights: Option<&Path>) -> Vec<u8> {
    let dataset = tiny_dataset(layouts.folder.path(), [3, 8, 8]);
    let [ranges, moments, int8] = ["r.json", "m.safetensors", "int8.onnx"].map(|name| layouts.at(name));
    let own = [Some(("model", model)), weights.map(|weights| ("weights", weights))];
    let own: Vec<(&str, &Path)> = own.into_iter().flatten().collect();
    let normalization = json!({ "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5] });
    let params = json!({ "images": 10, "normalization": normalization });
    let inputs = [own.as_slice(), &[("dataset", &dataset)]].concat();
    run("calibrate", params, &inputs, &[("ranges", &ranges), ("moments", &moments)]).done();
    let inputs = [own.as_slice(), &[("ranges", &ranges), ("moments", &moments)]].concat();
    let said = run("quantize", json!({}), &inputs, &[("model", &int8)]).done();
    let basis = &said.metrics["size_ratio"].basis;
    assert!(
        basis.starts_with("the float model has 7.") || basis.starts_with("the float model has 8."),
        "{basis}"
    );
    fs::read(int8).unwrap()
}

#[test]
fn a_model_in_several_files_is_quantized_as_the_one_in_one() {
    let Some(()) = runtime() else { return };
    let layouts = Layouts::new();
    let whole = quantized(&layouts, &layouts.at("whole.onnx"), None);
    let [model, ..] = layouts.linked();
    assert!(quantized(&layouts, &model, Some(&layouts.at("snapshots/rev"))) == whole);
    let given = layouts.at("given");
    fs::create_dir(&given).unwrap();
    for (name, blob) in [("m.onnx.data", "blobs/2"), ("b.bin", "blobs/b/3")] {
        symlink(layouts.at(blob), given.join(name)).unwrap();
    }
    assert!(quantized(&layouts, &model, Some(&given)) == whole);
}

#[test]
fn a_model_in_several_files_is_evaluated_and_timed() {
    let Some(()) = runtime() else { return };
    let layouts = Layouts::new();
    let (whole, [model, weights, biases]) = (layouts.at("whole.onnx"), layouts.linked());
    let dataset = tiny_dataset(layouts.folder.path(), [3, 8, 8]);
    let normalization = json!({ "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5] });
    let inputs = [
        ("dataset", dataset.as_path()),
        ("whole", &whole),
        ("parts", &model),
        ("parts_weights", &weights),
        ("and_its_biases", &biases),
    ];
    let params = json!({ "normalization": normalization, "baseline": "whole" });
    let out = layouts.at("predictions");
    let said = run("evaluate", params.clone(), &inputs, &[("predictions", &out)]).done();
    assert_eq!((said.value("parts.agreement"), said.value("parts.drop")), (100.0, 0.0));
    let predictions =
        ["parts", "whole"].map(|name| fs::read(out.join(format!("{name}.safetensors"))).unwrap());
    assert!(predictions[0] == predictions[1], "the same logits");
    // 1,920 weights and 10 biases of 4 bytes, 8 bytes of another's and some words.
    assert!((said.value("parts.size_kb") - said.value("whole.size_kb")).abs() < 0.5);
    assert!(said.value("parts.size_kb") > 7.5, "{}", said.value("parts.size_kb"));
    assert!(!said.metrics.contains_key("parts_weights.accuracy"));

    let timed = json!({
        "batches": [1], "calls": [2], "warmup_calls": [1], "rounds": 1, "baseline": "whole", "max_others": 1e6
    });
    let said = run("bench", timed.clone(), &inputs[1..], &[]).done();
    assert!(said.value("parts.batch1.median_ms") > 0.0);
    assert!(said.figures.contains_key("why"), "what is executed is told: {:?}", said.logs);

    let undeclared = &inputs[..4];
    for message in [
        run("evaluate", params, undeclared, &[("predictions", &out)]).failed(),
        run("bench", timed.clone(), &undeclared[1..], &[]).failed(),
    ] {
        assert!(message.contains("lie in `b.bin`, which is not declared"), "{message}");
        assert!(message.contains("`parts_weights`"), "{message}");
    }
    let needless = [("whole", whole.as_path()), ("weights", &weights)];
    let message = run("bench", timed, &needless, &[]).failed();
    assert!(
        message.contains("`weights` is") && message.contains("no weights of these models lie in it"),
        "{message}"
    );
}

#[test]
fn weights_that_are_not_declared_or_not_there_are_named_with_what_to_do() {
    let layouts = Layouts::new();
    let [model, weights, _] = layouts.linked();
    let int8 = layouts.at("int8.onnx");
    let quantize =
        |inputs: &[(&str, &Path)]| run("quantize-dynamic", json!({}), inputs, &[("model", &int8)]).failed();
    let message = quantize(&[("model", &model), ("weights", &weights)]);
    assert!(message.contains("lie in `b.bin`, which is not declared"), "{message}");
    assert!(message.contains("give a folder that holds them all"), "{message}");
    fs::remove_file(layouts.at("snapshots/rev/b.bin")).unwrap();
    let message = quantize(&[("model", &model), ("weights", &weights)]);
    assert!(message.contains("the data of `b`") && message.contains("as the input `weights`"), "{message}");
}

#[test]
fn weights_that_a_model_does_not_speak_of_are_refused() {
    let layouts = Layouts::new();
    let (whole, int8) = (layouts.at("whole.onnx"), layouts.at("int8.onnx"));
    let quantize = |weights: &Path| {
        run("quantize-dynamic", json!({}), &[("model", &whole), ("weights", weights)], &[("model", &int8)])
    };
    let other = layouts.at("any.bin");
    fs::write(&other, [7; 5000]).unwrap();
    let folder = layouts.at("other");
    fs::create_dir(&folder).unwrap();
    for weights in [&other, &folder] {
        let message = quantize(weights).failed();
        let wanted = format!("lie in `{}`, given as its weights: it holds them itself", weights.display());
        assert!(message.contains(&wanted) && message.contains("leave it out"), "{message}");
    }
    let Some(()) = runtime() else { return };
    let usual = layouts.at("whole.onnx.data");
    fs::write(&usual, [7; 5000]).unwrap();
    let beside = quantize(&usual).done().value("size_ratio");
    let alone = run("quantize-dynamic", json!({}), &[("model", &whole)], &[("model", &int8)]).done();
    assert_eq!(beside, alone.value("size_ratio"), "what is not read is not counted");
}
