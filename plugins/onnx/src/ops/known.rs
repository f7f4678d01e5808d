//! What a model that is there already says before anything runs: whether it can be read, tried and quantized, and how its images
//! are normalised. Knows no runtime.

use std::path::Path;

use arrays::Source;
use dataset::{Normalization, Outline};
use onnx::{Dim, ElementType, Model, Value};
use protocol::{CheckRequest, Failure, Problem};
use quant::{QuantError, observed_model};

use crate::request::{self, WEIGHTS};
use crate::samples::{self, ARRAYS};
use crate::{metadata, sizes};

/// Input `model`, if it is there and can be read, and what is wrong with it for all who run it and quantize it.
pub(super) fn float_model(request: &CheckRequest) -> (Option<Model>, Option<Failure>) {
    let Some(path) = request.present.get("model") else { return (None, None) };
    // Weights that another stage makes are not there yet.
    if request.inputs.contains(WEIGHTS) && !request.present.contains_key(WEIGHTS) {
        return (None, None);
    }
    let read = match has_its_name(path) {
        true => request::model_at(path, &request.present),
        // What a cache holds has not the name beside which weights would lie.
        false => match Model::read(path) {
            Ok(model) => Ok(model.widened().unwrap_or(model)),
            Err(error) if request::about_data(&error).is_some() => return (None, None),
            Err(error) => Err(error.into()),
        },
    };
    match read {
        Ok(model) => {
            // What takes arrays is tried on them.
            let trouble = match request.inputs.contains(ARRAYS) {
                true => None,
                false => untried(&source(path), &model),
            };
            (Some(model), trouble)
        }
        Err(failure) => (None, Some(failure)),
    }
}

/// As [`float_model`], and whether it is quantized already.
pub(super) fn quantizable(request: &CheckRequest) -> Vec<Problem> {
    let (model, trouble) = float_model(request);
    let quantized = || {
        let error = observed_model(model.as_ref()?).err()?;
        matches!(error, QuantError::AlreadyQuantized { .. }).then(|| Failure::from(error))
    };
    of_model(trouble.or_else(quantized))
}

/// As [`float_model`], and whether its activations can be observed on images that are normalised as it, or `given`, says.
pub(super) fn observable(request: &CheckRequest, given: Option<&Normalization>) -> Vec<Problem> {
    let (model, trouble) = float_model(request);
    let wrong = lists(given, request);
    let trouble = trouble.or_else(|| {
        let model = model.as_ref()?;
        let error = observed_model(model).err()?;
        // Of tensors whose types are not known yet ONNX Runtime tells them when it is there.
        let is_open = matches!(error, QuantError::NothingToQuantize) && !request::untold(model).is_empty();
        (!is_open).then(|| Failure::from(error))
    });
    let shown = || match wrong {
        Some(_) => None,
        None if request.inputs.contains(ARRAYS) => None,
        None => images(&source(request.present.get("model")?), model.as_ref()?, given, request, false).err(),
    };
    let mut found = of_model(trouble.or_else(shown));
    found.extend(wrong);
    found
}

/// What keeps a variant that is there, called `name`, from being evaluated.
pub(super) fn variant(
    request: &CheckRequest,
    name: &str,
    path: &Path,
    given: Option<&Normalization>,
) -> Option<Problem> {
    let is_whole = request.inputs.iter().all(|name| request.present.contains_key(name));
    if !has_its_name(path) || !is_whole {
        return None;
    }
    let failure = match request::data_files_at(name, path, &request.present) {
        Err(failure) => failure,
        Ok(files) => {
            // What cannot be read here ONNX Runtime may read.
            let files: Vec<_> = files.into_values().collect();
            let (model, _) = Model::read_with(path, &files).ok()?;
            images(&source(path), &model, given, request, true).err()?
        }
    };
    Some(Problem::from(failure).input(name))
}

/// What keeps a variant that is there, called `name`, from being given the arrays that are there.
pub(super) fn given_arrays(request: &CheckRequest, name: &str, path: &Path) -> Option<Problem> {
    if !has_its_name(path) {
        return None;
    }
    let arrays = Source::open(request.present.get(ARRAYS)?).ok()?;
    let is_whole = request.inputs.iter().all(|name| request.present.contains_key(name));
    let files: Vec<_> = match request::data_files_at(name, path, &request.present) {
        Ok(files) => files.into_values().collect(),
        Err(failure) if is_whole => return Some(Problem::from(failure).input(name)),
        // Weights that another stage makes are not there yet.
        Err(_) => return None,
    };
    // What cannot be read here ONNX Runtime may read.
    let (model, _) = Model::read_with(path, &files).ok()?;
    let wanted: Vec<&str> = metadata::inputs(&model).map(|input| input.name.as_str()).collect();
    let failure = samples::check_names(&arrays, &wanted, &source(path)).err()?;
    Some(Problem::from(Failure::from(failure)).input(ARRAYS))
}

/// Why `given` is no normalisation of anything, or not of the dataset that is there.
pub(super) fn lists(given: Option<&Normalization>, request: &CheckRequest) -> Option<Problem> {
    let given = given?;
    let outline = request.present.get("dataset").and_then(|path| Outline::read(path).ok());
    let channels = outline.map_or(given.mean.len(), |outline| outline.shape[0]);
    let failure: Failure = match outline {
        None if given.mean.len() != given.std.len() => Failure::new(format!(
            "the normalisation has {} of `mean`, but {} of `std`",
            metadata::values(given.mean.len()),
            metadata::values(given.std.len())
        )),
        _ => given.check(channels).err()?.into(),
    };
    let fits = [&given.mean, &given.std].iter().all(|values| values.len() == channels);
    let failure = match fits {
        true => failure,
        false => {
            failure.hint("give one of each for each channel (for `pipe quantize`: `--mean` and `--std`)")
        }
    };
    Some(Problem::from(failure).param("normalization"))
}

fn of_model(failure: Option<Failure>) -> Vec<Problem> {
    failure.into_iter().map(|failure| Problem::from(failure).input("model")).collect()
}

fn source(path: &Path) -> String {
    format!("`{}`", path.display())
}

/// Whether a file is called as its user calls it, and not as a cache does.
fn has_its_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "onnx")
}

/// Why a model cannot be shown any images, so that it cannot be tried.
fn untried(source: &str, model: &Model) -> Option<Failure> {
    let inputs: Vec<&Value> = metadata::inputs(model).collect();
    let [input] = *inputs else {
        let names: Vec<_> = inputs.iter().map(|input| format!("`{}`", input.name)).collect();
        return Some(Failure::new(format!(
            "{source} has {} inputs ({}): only models with one can be shown pictures",
            names.len(),
            names.join(", ")
        ))
        .hint(
            "give arrays for its inputs: as the input `arrays` (for `pipe quantize`: `--data ARRAYS.npz`)",
        ));
    };
    let shape = input.shape.as_deref()?;
    let shown: Vec<String> = shape.iter().map(dim).collect();
    let is_float = matches!(input.element, ElementType::F32 | ElementType::F16);
    match shape {
        [batch, ..] if shape.len() == 4 && is_float => {
            let batch = batch.known().filter(|batch| *batch > 1)?;
            let message = format!("input `{}` of {source} takes batches of {batch} only", input.name);
            Some(Failure::new(message).hint("export the model with a dynamic batch axis, or for one image"))
        }
        _ => Some(
            Failure::new(format!(
                "{source} takes no pictures: its input `{}` has shape [{}]{}, and only pictures, [batch, channels, height, width] in \
                 32-bit floats, can be shown to a model here",
                input.name,
                shown.join(", "),
                if is_float { "" } else { ", not of floats" },
            ))
            .hint(
                "give arrays for its inputs, on which it is tried: as the input `arrays` (for `pipe quantize`: `--data ARRAYS.npz`)",
            ),
        ),
    }
}

fn dim(dim: &Dim) -> String {
    match dim {
        Dim::Known(size) => size.to_string(),
        Dim::Named(name) => name.clone(),
        Dim::Unknown => "?".into(),
    }
}

/// Checks that the images of the dataset, as far as it is there, fit the model, and that how they are normalised is known. `several`:
/// `given` is for others, too.
fn images(
    source: &str,
    model: &Model,
    given: Option<&Normalization>,
    request: &CheckRequest,
    several: bool,
) -> Result<(), Failure> {
    let outline = request.present.get("dataset").and_then(|path| Outline::read(path).ok());
    if let Some(Outline { shape, .. }) = outline {
        let [_, height, width] = shape;
        metadata::check_size_of(source, &sizes::fixed(model, [height, width]), shape)?;
    }
    let own = metadata::own(model.metadata.get("normalization").map(String::as_str), source)?;
    let (normalization, unused) = metadata::choose(source, own, given)?;
    match (unused, outline) {
        (Some(unused), _) if !several => Err(Failure::new(unused).hint(metadata::UNUSED)),
        (_, Some(outline)) => Ok(metadata::check_channels(&normalization, outline.shape[0], source)?),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use dataset::Synthetic;
    use onnx::{Data, Node, Tensor};
    use protocol::Place;
    use serde_json::{Value as Json, json};

    use super::super::all;
    use super::*;

    /// A convolution of images of this shape, whose first size may be open.
    fn model(dims: Vec<Dim>) -> Model {
        let mut model = Model::new(13);
        let value = |name: &str, shape| Value { name: name.into(), element: ElementType::F32, shape };
        let (op, weight) =
            if dims.len() == 4 { ("Conv", vec![4, 3, 3, 3]) } else { ("MatMul", vec![784, 4]) };
        model.graph.nodes = vec![Node::new(op, ["x", "w"], ["y"])];
        model.graph.inputs = vec![value("x", Some(dims))];
        model.graph.outputs = vec![value("y", None)];
        let data = Data::F32(vec![0.5; weight.iter().product()]);
        let weight = Tensor::new(weight, data).unwrap();
        model.graph.initializers.insert("w".into(), weight);
        model
    }

    fn pictures(batch: Dim) -> Vec<Dim> {
        [batch].into_iter().chain([3, 32, 32].map(Dim::Known)).collect()
    }

    /// Place and text of all problems of an op with these inputs, which are there.
    fn problems(op: &str, params: Json, present: &[(&str, &PathBuf)]) -> Vec<(Place, String)> {
        // Images are declared, if not there yet.
        let images = matches!(op, "calibrate" | "evaluate" | "sensitivity").then_some("dataset");
        let inputs = present.iter().map(|(name, _)| *name).chain(images).map(str::to_owned).collect();
        let present = present.iter().map(|(name, path)| ((*name).to_owned(), (*path).clone())).collect();
        let request = CheckRequest { op: op.into(), params, inputs, present, threads: 1 };
        let told = |problem: Problem| (problem.place, format!("{}; {:?}", problem.message, problem.hint));
        all().check(&request).into_iter().map(told).collect()
    }

    #[test]
    fn what_a_model_says_is_told_before_anything_runs() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (path, data) = (at("m.onnx"), at("d.safetensors"));
        let dataset = Synthetic { train: 30, test: 20, seed: 1 }.dataset().unwrap();
        dataset.write(&data).unwrap();
        let open = || pictures(Dim::Named("n".into()));
        let mut quantized = model(open());
        quantized.graph.nodes.push(Node::new("DynamicQuantizeLinear", ["y"], ["q", "s", "z"]));
        let two = {
            let mut two = model(open());
            let more = Value { name: "more".into(), element: ElementType::F32, shape: None };
            two.graph.inputs.push(more);
            two
        };
        for (model, expected) in [
            (quantized, "quantized already"),
            (two, "has 2 inputs (`x`, `more`): only models with one"),
            (model(pictures(Dim::Known(8))), "takes batches of 8 only"),
            (
                model(vec![Dim::Unknown, Dim::Known(784)]),
                "takes no pictures: its input `x` has shape [?, 784], and",
            ),
        ] {
            model.write(&path).unwrap();
            for op in ["quantize", "quantize-dynamic", "equalize", "calibrate", "sensitivity"] {
                let found = problems(op, json!({}), &[("model", &path)]);
                let [(Place::Input(input), said)] = &*found else { panic!("{op}: {found:?}") };
                assert!(input == "model" && said.contains(expected), "{op}: {said}\nlacks {expected}");
            }
        }
        model(open()).write(&path).unwrap();
        assert_eq!(problems("quantize-dynamic", json!({}), &[("model", &path)]), []);
        for op in ["calibrate", "sensitivity"] {
            let found = problems(op, json!({}), &[("model", &path)]);
            assert!(found[0].1.contains("does not say how its images are normalised"), "{op}: {found:?}");
        }
        let found = problems("evaluate", json!({}), &[("fp32", &path), ("dataset", &data)]);
        assert_eq!(found[0].0, Place::Input("fp32".into()), "{found:?}");
        assert!(problems("evaluate", json!({}), &[("dataset", &data)])[0].1.contains("nothing to evaluate"));
        assert_eq!(problems("bench", json!({}), &[("fp32", &path), ("dataset", &data)]), []);
        let found = problems("bench", json!({}), &[("fp32", &path), ("images", &data)]);
        assert_eq!(found[0].0, Place::Input("images".into()), "{found:?}");
        assert!(found[0].1.starts_with("`images` is a dataset, which is nothing to time"), "{found:?}");
    }

    #[test]
    fn a_normalisation_that_does_not_fit_is_told_before_anything_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let given = |mean: Json, std: Json| json!({"normalization": {"mean": mean, "std": std}});
        let mut model = model(pictures(Dim::Unknown));
        model.write(&path).unwrap();
        for op in ["calibrate", "sensitivity", "evaluate"] {
            let name = if op == "evaluate" { "fp32" } else { "model" };
            let found = problems(op, given(json!([0.5]), json!([0.5, 0.5])), &[(name, &path)]);
            let [(place, said)] = &*found else { panic!("{op}: {found:?}") };
            assert_eq!(*place, Place::Param("/normalization".into()));
            assert!(
                said.starts_with("the normalisation has 1 value of `mean`, but 2 values of `std`"),
                "{said}"
            );
        }
        let own = json!({"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]});
        model.metadata.insert("normalization".into(), own.to_string());
        model.write(&path).unwrap();
        let same = given(own["mean"].clone(), own["std"].clone());
        let other = given(own["mean"].clone(), own["mean"].clone());
        for op in ["calibrate", "sensitivity"] {
            assert_eq!(problems(op, same.clone(), &[("model", &path)]), []);
            let found = problems(op, other.clone(), &[("model", &path)]);
            assert!(
                found[0].1.contains("and std [0.5, 0.5, 0.5] of `normalization` is not used"),
                "{found:?}"
            );
        }
        // It may be for another variant.
        assert_eq!(problems("evaluate", other, &[("fp32", &path)]), []);
    }
}
