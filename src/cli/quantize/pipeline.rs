//! The pipeline that `pipe quantize` runs, made from its arguments. Knows the ops and their params, and executes nothing.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use super::data::{self, Images};
use super::paths::absolute;
use super::values::SEARCH;
use super::{Args, CALIBRATION, STAGE, check, input};
use crate::error::Error;

/// The pipeline that does it, to run in `folder`. JSON is YAML.
pub(super) fn pipeline(args: &Args, folder: &Path) -> Result<Value, Error> {
    let model = absolute(&args.model)?;
    let mut given = json!({ "model": model });
    if let Some(weights) = weights(args, folder)? {
        given["weights"] = weights.into();
    }
    let per_channel = !args.per_tensor;
    let arrays = match &args.data {
        Some(data) if data::is_arrays(data, args.format) => Some(absolute(data)?),
        _ => None,
    };
    if let Some(arrays) = &arrays {
        data::refuse_for_arrays(args)?;
        given["arrays"] = arrays.as_str().into();
    }
    if args.dynamic {
        if arrays.is_none() && args.data.is_some() {
            return Err(Error::usage(
                "--dynamic needs no images: it finds the ranges of activations anew in every batch",
            )
            .hint("leave --data out: it is for a model of anything but pictures, which is tried on arrays"));
        }
        let with = json!({ "per_channel": per_channel, "exclude": args.exclude, "target": args.target });
        let stage = json!({ "uses": "onnx/quantize-dynamic", "inputs": given, "with": with });
        let mut stages = serde_json::Map::new();
        stages.insert(STAGE.into(), stage);
        if args.check {
            let shown = arrays.map(|arrays| (data::ARRAYS, arrays));
            check::add(args, &given, shown, &mut stages)?;
        }
        return Ok(json!({ "version": 1, "name": "quantize", "stages": stages }));
    }
    let mut stages = serde_json::Map::new();
    let dataset = match (&arrays, &args.data) {
        (None, Some(data)) => match data::images(args, data, true)? {
            Images::Dataset(dataset) => Some(dataset),
            Images::Imported(stage) => {
                stages.insert("images".into(), stage);
                Some("images.dataset".into())
            }
        },
        _ => None,
    };
    let float = given.clone();
    if args.equalize {
        stages.insert("equalize".into(), json!({ "uses": "onnx/equalize", "inputs": given }));
        given = json!({ "model": "equalize.model" });
        if let Some(arrays) = &arrays {
            given["arrays"] = arrays.as_str().into();
        }
    }
    let shown: Vec<(&str, &str)> = dataset.iter().map(|dataset| ("dataset", dataset.as_str())).collect();
    let with = |more: &[(&str, &str)]| {
        let mut inputs = given.clone();
        for (name, source) in more {
            inputs[*name] = (*source).into();
        }
        inputs
    };
    let calibrate = json!({
        "uses": "onnx/calibrate",
        "inputs": with(&shown),
        "resources": { "cpus": "all" },
        "with": {
            // As much memory as two images take on each thread, and as much as stays in its cache; ranges do not depend on it.
            "batch_size": 2,
            "method": args.method,
            "percentile": args.percentile,
            "images": args.images,
            "seed": args.seed,
            "histograms": false,
            "moments": args.rounding == SEARCH,
            "normalization": data::normalization(args),
        },
    });
    let quantize = json!({
        "uses": "onnx/quantize",
        "inputs": with(&[("ranges", "calibrate.ranges"), ("moments", "calibrate.moments")]),
        "with": {
            "rounding": args.rounding,
            "target": args.target,
            "runtime": args.runtime,
            "activations": args.activations,
            "per_channel": per_channel,
            "exclude": args.exclude,
        },
    });
    stages.insert(CALIBRATION.into(), calibrate);
    stages.insert(STAGE.into(), quantize);
    if args.check {
        let shown = match (arrays, dataset) {
            (Some(arrays), _) => Some((data::ARRAYS, arrays)),
            (None, dataset) => dataset.map(|dataset| (data::DATASET, dataset)),
        };
        check::add(args, &float, shown, &mut stages)?;
    }
    Ok(json!({ "version": 1, "name": "quantize", "stages": stages }))
}

/// What holds the weights: the file, or of several a folder below `folder` with links to them, which stand for their content.
fn weights(args: &Args, folder: &Path) -> Result<Option<String>, Error> {
    let usual = usual_weights(&args.model);
    let files = if args.weights.is_empty() { &usual } else { &args.weights };
    let files = match files.as_slice() {
        [] => return Ok(None),
        [file] => return absolute(file).map(Some),
        several => several,
    };
    let links = folder.join("weights");
    let cannot =
        |error: std::io::Error| Error::failed(format!("cannot write to the temporary folder: {error}"));
    fs::create_dir(&links).map_err(cannot)?;
    absolute(&args.model)?;
    let model = regular::read(&args.model)
        .map_err(|error| Error::usage(format!("cannot read `{}`: {error}", args.model.display())))?;
    for file in files {
        let name = file.file_name().unwrap_or_default();
        absolute(file)?;
        // Nothing of the format is known here, but what the file never says it does not name.
        let bytes = name.as_encoded_bytes();
        if !model.windows(bytes.len().max(1)).any(|window| window == bytes) {
            return Err(Error::usage(format!(
                "no weights of `{}` lie in `{}`: the model does not speak of a file `{}`",
                args.model.display(),
                file.display(),
                name.display()
            ))
            .hint("leave that --weights out, or name the file that the model speaks of"));
        }
        let target = std::path::absolute(file).map_err(cannot)?;
        std::os::unix::fs::symlink(target, links.join(name)).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::usage(format!(
                "two files of weights are called `{}`, but the model knows them by their names",
                name.display()
            )),
            _ => cannot(error),
        })?;
    }
    absolute(&links).map(Some)
}

/// The files that hold the model's weights, as far as they are there: those that it names, beside it or, where it is a link, beside
/// what that leads to. Of a model that names none, the one that PyTorch's exporter puts them into.
pub(super) fn usual_weights(model: &Path) -> Vec<PathBuf> {
    let named = input::locations(model);
    if named.is_empty() {
        let mut name = model.as_os_str().to_owned();
        name.push(".data");
        return Some(PathBuf::from(name)).filter(|file| file.is_file()).into_iter().collect();
    }
    let real = fs::canonicalize(model).unwrap_or_default();
    // A location that leads out of the folder is not followed, as by those who read the model.
    let is_below = |location: &str| {
        Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    };
    let find = |location: &String| {
        let places = [model.with_file_name(location), real.with_file_name(location)];
        places.into_iter().find(|place| place.is_file())
    };
    named.iter().filter(|location| is_below(location)).filter_map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn try_made(words: &[&str], folder: &Path) -> Result<Value, String> {
        let args = Line::try_parse_from([&["quantize"], words].concat()).unwrap().args;
        pipeline(&args, folder).map_err(|error| error.to_string())
    }

    fn made(words: &[&str]) -> Value {
        try_made(words, Path::new("/nowhere")).unwrap()
    }

    #[test]
    fn arrays_are_calibrated_and_tried_on_and_no_pictures_are_taken_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (model, archive) = (path("m.onnx"), path("a.npz"));
        path("arrays/x.npy");
        path("photos/x.npy");
        path("photos/1.JPG");
        let of = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for data in [archive.clone(), of("arrays")] {
            let stages = made(&[&model, "--data", &data])["stages"].clone();
            assert!(stages["calibrate"]["inputs"].get("dataset").is_none() && stages.get("images").is_none());
            for stage in ["calibrate", STAGE] {
                assert_eq!(stages[stage]["inputs"]["arrays"], data);
            }
        }
        for words in [
            &[&*model, "--data", &of("photos")][..],
            &[&model, "--data", &of("arrays"), "--format", "pictures"],
        ] {
            assert_eq!(made(words)["stages"]["calibrate"]["inputs"]["dataset"], "images.dataset");
        }
        let refused =
            |words: &[&str]| try_made(&[&[&*model, "--data"], words].concat(), Path::new("/n")).unwrap_err();
        snapshots::assert_message!(refused(&[&archive, "--size", "8"]));
        snapshots::assert_message!(refused(&[&of("photos"), "--dynamic"]));
        let dynamic = made(&[&model, "--dynamic", "--data", &archive]);
        assert_eq!(dynamic["stages"][STAGE]["inputs"]["arrays"], archive);
    }

    #[test]
    fn a_dataset_is_read_and_other_images_are_imported() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (model, dataset, archive) = (path("m.onnx"), path("d.safetensors"), path("d.tar"));
        let read = made(&[&model, "--data", &dataset, "--method", "moving-average"]);
        assert_eq!(read["stages"]["calibrate"]["inputs"]["dataset"], dataset);
        assert_eq!(read["stages"]["calibrate"]["with"]["method"], "moving_average");
        let older = made(&[&model, "--data", &dataset, "--runtime", "1.20"]);
        assert_eq!(older["stages"][STAGE]["with"]["runtime"], "1.20");
        assert!(read["stages"].get("images").is_none());
        let imported = made(&[&model, "--data", &archive, "--format", "cifar10-binary"]);
        assert_eq!(imported["stages"]["images"]["with"]["format"], "cifar10-binary");
        assert_eq!(imported["stages"]["calibrate"]["inputs"]["dataset"], "images.dataset");
        let nearest = made(&[&model, "--data", &dataset, "--rounding", "nearest"]);
        assert_eq!(nearest["stages"]["calibrate"]["with"]["moments"], false);
        let split = made(&[&model, "--data", &dataset, "--weights", &archive]);
        assert_eq!(split["stages"]["calibrate"]["inputs"]["weights"], archive);
        assert_eq!(split["stages"][STAGE]["inputs"]["weights"], archive);
        let even = made(&[&model, "--data", &dataset, "--equalize"]);
        assert_eq!(even["stages"]["equalize"]["inputs"]["model"], model);
        for stage in ["calibrate", STAGE] {
            assert_eq!(even["stages"][stage]["inputs"]["model"], "equalize.model");
        }
        let browser = made(&[&model, "--dynamic", "--target", "wasm"]);
        assert_eq!(browser["stages"][STAGE]["with"]["target"], "wasm");
        let dynamic = made(&[&model, "--dynamic", "--exclude", "a", "--exclude", "b"]);
        assert_eq!(dynamic["stages"][STAGE]["with"]["exclude"], json!(["a", "b"]));
    }

    #[test]
    fn weights_that_lie_where_exporters_put_them_need_not_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for name in ["m.onnx", "m.onnx.data", "other.data", "n.onnx"] {
            fs::write(at(name), "").unwrap();
        }
        let weights = |words: &[&str]| {
            let made = made(&[words, &["--dynamic"]].concat());
            made["stages"][STAGE]["inputs"].get("weights").cloned().unwrap_or_default()
        };
        assert_eq!(weights(&[&at("m.onnx")]), at("m.onnx.data"));
        assert_eq!(weights(&[&at("m.onnx"), "--weights", &at("other.data")]), at("other.data"));
        assert_eq!(weights(&[&at("n.onnx")]), Value::Null);
    }

    #[test]
    fn weights_are_the_files_that_the_model_names_beside_where_it_really_lies() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::create_dir(at("one")).unwrap();
        fs::create_dir(at("run")).unwrap();
        let run = folder.path().join("run");
        for name in ["one/m.onnx_data", "one/more", "secret"] {
            fs::write(at(name), "").unwrap();
        }
        std::os::unix::fs::symlink("one/m.onnx", at("model.onnx")).unwrap();
        let weights = |named: &[&str]| {
            fs::write(at("one/m.onnx"), input::tests::with_weights_in(named)).unwrap();
            let made = try_made(&[&at("model.onnx"), "--dynamic"], &run).unwrap();
            made["stages"][STAGE]["inputs"]["weights"].clone()
        };
        let real = fs::canonicalize(folder.path()).unwrap().join("one/m.onnx_data");
        assert_eq!(weights(&["m.onnx_data"]), json!(real.to_str().unwrap()));
        assert_eq!(weights(&["gone", "../secret"]), Value::Null);
        assert_eq!(weights(&["m.onnx_data", "more"]), json!(at("run/weights")));
        assert_eq!(fs::read_dir(run.join("weights")).unwrap().count(), 2);
    }

    #[test]
    fn images_of_any_layout_are_pictures_to_train_on_unless_a_layout_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::create_dir_all(at("set/train/cat")).unwrap();
        fs::write(at("m.onnx"), "").unwrap();
        fs::write(at("archive.zip"), "").unwrap();
        let with = |data: &str, more: &[&str]| {
            made(&[&[&at("m.onnx"), "--data", &at(data)], more].concat())["stages"]["images"]["with"].clone()
        };
        for data in ["set", "archive.zip"] {
            let usual = json!({ "source": at(data), "format": "pictures", "train_only": true });
            assert_eq!(with(data, &[]), usual);
        }
        let sized = with("set", &["--format", "image-folder", "--size", "32x24", "--max-left-out", "0.5"]);
        let size = json!({ "width": 32, "height": 24 });
        let wanted =
            json!({ "source": at("set"), "format": "image-folder", "image_size": size, "max_left_out": 0.5 });
        assert_eq!(sized, wanted);
        fs::write(at("d.safetensors"), "").unwrap();
        let (model, dataset) = (at("m.onnx"), at("d.safetensors"));
        for (option, said) in [("--size", "have their size already"), ("--max-left-out", "is a dataset")] {
            let words = [&model, "--data", &dataset, option, "1"];
            let text = try_made(&words, Path::new("/nowhere")).unwrap_err();
            assert!(text.contains(said), "{text}");
        }
    }

    #[test]
    fn pictures_have_as_many_channels_as_the_model_takes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::create_dir(at("set")).unwrap();
        let made = |shape: &[u8], more: &[&str]| {
            fs::write(at("m.onnx"), input::tests::model(shape)).unwrap();
            let made =
                try_made(&[&[&at("m.onnx"), "--data", &at("set")], more].concat(), Path::new("/nowhere"))?;
            Ok::<_, String>(made["stages"]["images"]["with"]["channels"].clone())
        };
        assert_eq!(made(&[0, 1, 28, 28], &[]), Ok(json!(1)));
        assert_eq!(made(&[0, 1, 28, 28], &["--format", "image-folder"]), Ok(json!(1)));
        assert_eq!(made(&[0, 1, 28, 28], &["--format", "idx"]), Ok(Value::Null));
        assert_eq!(made(&[0, 3, 28, 28], &[]), Ok(Value::Null), "as by default");
        snapshots::assert_message!(made(&[0, 28, 28, 3], &[]).unwrap_err());
    }

    #[test]
    fn how_many_images_is_left_to_the_op_unless_it_is_said() {
        let file = tempfile::NamedTempFile::with_suffix(".safetensors").unwrap();
        let path = file.path().to_str().unwrap();
        let images = |more: &[&str]| {
            let words = [&[path, "--data", path], more].concat();
            made(&words)["stages"]["calibrate"]["with"]["images"].clone()
        };
        assert_eq!((images(&[]), images(&["--images", "7"])), (Value::Null, json!(7)));
    }

    #[test]
    fn a_link_stays_and_several_files_of_weights_are_linked_into_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for name in ["blob", "a.data", "b.data", "other"] {
            fs::write(at(name), name).unwrap();
        }
        fs::create_dir(at("run")).unwrap();
        fs::write(at("blob"), "..a.data..b.data..").unwrap();
        std::os::unix::fs::symlink("blob", at("m.onnx")).unwrap();
        let words = [&at("m.onnx"), "--dynamic", "--weights", &at("a.data"), "--weights", &at("b.data")];
        let run = folder.path().join("run");
        let made = try_made(&words, &run).unwrap();
        let inputs = &made["stages"][STAGE]["inputs"];
        assert_eq!(*inputs, json!({ "model": at("m.onnx"), "weights": at("run/weights") }));
        for name in ["a.data", "b.data"] {
            assert_eq!(fs::read_to_string(run.join("weights").join(name)).unwrap(), name);
        }
        fs::remove_dir_all(run.join("weights")).unwrap();
        let twice = [&at("m.onnx"), "--dynamic", "--weights", &at("a.data"), "--weights", &at("a.data")];
        snapshots::assert_message!(try_made(&twice, &run).unwrap_err());
        fs::remove_dir_all(run.join("weights")).unwrap();
        let needless = [&at("m.onnx"), "--dynamic", "--weights", &at("a.data"), "--weights", &at("other")];
        snapshots::assert_message!(try_made(&needless, &run).unwrap_err());
        snapshots::assert_message!(try_made(&[&at("gone.onnx"), "--dynamic"], &run).unwrap_err());
    }
}
