//! The ops, one file each, and what several of them ask of a stage before anything runs.

pub(crate) mod bench;
mod calibrate;
mod equalize;
mod evaluate;
mod export;
mod known;
mod quantize;
mod quantize_dynamic;
mod quantized;
mod sensitivity;

use arrays::Source;
use dataset::{Outline, SplitName};
use protocol::{CheckRequest, Failure, InputSpec, Ops, Problem};

use crate::images::{Wanted, draw};
use crate::request::WEIGHTS;
use crate::samples::{self, ARRAYS};

/// Name of the native library in the manifest.
pub(crate) const RUNTIME: &str = "onnxruntime";

/// All of them.
pub(crate) fn all() -> Ops {
    Ops::default()
        .and(export::Export)
        .and(equalize::Equalize)
        .and(calibrate::Calibrate)
        .and(sensitivity::MeasureSensitivity)
        .and(quantize::Quantize)
        .and(quantize_dynamic::QuantizeDynamic)
        .and(evaluate::Evaluate)
        .and(bench::Bench)
}

/// What would end the op is a problem of the param that it names.
fn problems(failures: impl IntoIterator<Item = Failure>, request: &CheckRequest) -> Vec<Problem> {
    failures.into_iter().map(|failure| Problem::from(failure).about(&request.params)).collect()
}

/// How many images of a split there are, if its dataset is there and can be read.
fn images_of(request: &CheckRequest, split: SplitName) -> Option<usize> {
    let outline = Outline::read(request.present.get("dataset")?).ok()?;
    Some(match split {
        SplitName::Train => outline.train,
        SplitName::Test => outline.test,
    })
}

/// Why images cannot be drawn from a split, as far as its dataset is there.
fn cannot_draw(request: &CheckRequest, split: SplitName, wanted: Wanted, seed: u64) -> Option<Failure> {
    let there = images_of(request, split)?;
    draw(wanted, seed, there, &format!("the {} split", split.as_str())).err()
}

/// Why samples cannot be drawn from the arrays, as far as they are there.
fn cannot_draw_arrays(request: &CheckRequest, wanted: Wanted, seed: u64) -> Option<Failure> {
    match Source::open(request.present.get(ARRAYS)?) {
        Ok(source) => samples::drawn(&source, wanted, seed).err(),
        Err(error) => Some(anyhow::Error::from(error).into()),
    }
}

/// Why it is not clear what data there are to `do_what`, as in `evaluate on`.
fn which_data(has_dataset: bool, has_arrays: bool, do_what: &str) -> Option<Failure> {
    let message = match (has_dataset, has_arrays) {
        (true, false) | (false, true) => return None,
        (true, true) => {
            format!("both `dataset` and `arrays` are given, of which only one is there to {do_what}")
        }
        (false, false) => {
            format!("neither `dataset` nor `arrays` is given, so that there is nothing to {do_what}")
        }
    };
    Some(Failure::new(message).hint(
        "give `dataset` for a model of pictures, from `data/download`, or `arrays`, an `.npz` with an array for each input of any \
         other model",
    ))
}

/// Arrays for a model that takes no pictures.
fn arrays_input(what: &str) -> (&'static str, InputSpec) {
    let description = format!(
        "{what}, for a model of anything but pictures: an array by the name of each of its inputs, whose first axis counts the samples \
         (`.npz`, `.npy`, a folder of `.npy`, or `.safetensors`)"
    );
    (ARRAYS, InputSpec::optional(&description))
}

/// The files beside the model that hold its weights.
fn weights_input() -> (&'static str, InputSpec) {
    let description =
        "the file beside the model that holds its weights, where there is one, or a folder with several";
    (WEIGHTS, InputSpec::optional(description))
}

#[cfg(test)]
mod tests {
    use dataset::Synthetic;
    use protocol::Place;
    use serde_json::{Value, json};

    use super::*;

    /// Place and message of the only problem.
    fn only(op: &str, params: Value, inputs: &[&str], dataset: Option<&std::path::Path>) -> (Place, String) {
        let inputs = inputs.iter().map(ToString::to_string).collect();
        let present = dataset.map(|path| ("dataset".to_owned(), path.to_owned())).into_iter().collect();
        let problems = all().check(&CheckRequest { op: op.into(), params, inputs, present, threads: 2 });
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        (problem.place.clone(), problem.message.clone())
    }

    #[test]
    fn params_that_contradict_each_other_are_told_where_they_stand() {
        let network = json!({"input": [3, 8, 8], "layers": [{"linear": {}}]});
        for (op, params, place, expected) in [
            ("bench", json!({"batches": [1]}), "/batches", "`batches` has 1 value, `calls` 2"),
            ("bench", json!({"baseline": "float"}), "/baseline", "is no input of this stage"),
            ("bench", json!({"threads": [64]}), "/threads", "asks for 64, but this stage has 2 threads"),
            ("evaluate", json!({"baseline": "float"}), "/baseline", "is no variant of this stage"),
            ("export", json!({"network": network}), "/network", "without `classes` or `normalization`"),
        ] {
            let inputs: &[&str] = if op == "evaluate" { &["fp32", "dataset"] } else { &["fp32"] };
            let (found, message) = only(op, params, inputs, None);
            assert_eq!(found, Place::Param(place.into()), "{message}");
            assert!(message.contains(expected), "{message}");
        }
        assert!(only("bench", json!({}), &[], None).1.contains("nothing to time"));
        for (inputs, expected) in [(&["fp32"][..], "neither"), (&["fp32", "dataset", "arrays"], "both")] {
            assert!(only("evaluate", json!({}), inputs, None).1.starts_with(expected));
        }
        let labels = only("evaluate", json!({"labels": "y"}), &["fp32", "dataset"], None);
        assert_eq!(labels.0, Place::Param("/labels".into()));
    }

    #[test]
    fn more_images_than_there_are_are_told_with_their_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d");
        Synthetic { train: 30, test: 20, seed: 1 }.dataset().unwrap().write(&path).unwrap();
        for (op, params, there) in [
            ("calibrate", json!({"images": 31}), "30"),
            ("calibrate", json!({"images": 21, "split": "test"}), "20"),
            ("sensitivity", json!({"images": 31}), "30"),
            ("evaluate", json!({"images": 21}), "20"),
        ] {
            let (place, message) = only(op, params, &["dataset", "fp32"], Some(&path));
            assert_eq!(place, Place::Param("/images".into()), "{message}");
            assert!(message.ends_with(there), "{message}");
        }
        let request = |op: &str| CheckRequest {
            op: op.into(),
            params: json!({}),
            inputs: ["dataset", "fp32"].map(str::to_owned).into(),
            present: [("dataset".to_owned(), path.clone())].into(),
            threads: 2,
        };
        for op in ["calibrate", "sensitivity", "evaluate"] {
            assert_eq!(all().check(&request(op)), [], "{op}: by default up to what there is");
        }
    }
}
