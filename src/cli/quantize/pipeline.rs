//! The pipeline that `pipe quantize` runs, made from its arguments. Knows the ops and their params, and executes nothing.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use super::values::{Layout, Pixels, Rounding, word};
use super::{Args, CALIBRATION, STAGE, input};
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
        Some(data) if is_arrays(data, args.format) => Some(absolute(data)?),
        _ => None,
    };
    if let Some(arrays) = &arrays {
        refuse_for_arrays(args)?;
        given["arrays"] = arrays.as_str().into();
    }
    if args.dynamic {
        if arrays.is_none() && args.data.is_some() {
            return Err(Error::usage(
                "--dynamic needs no images: it finds the ranges of activations anew in every batch",
            )
            .hint("leave --data out: it is for a model of anything but pictures, which is tried on arrays"));
        }
        let with = json!({ "per_channel": per_channel, "exclude": args.exclude });
        let stage = json!({ "uses": "onnx/quantize-dynamic", "inputs": given, "with": with });
        return Ok(json!({ "version": 1, "name": "quantize", "stages": { STAGE: stage } }));
    }
    let mut stages = serde_json::Map::new();
    let data = args.data.as_deref().unwrap_or(Path::new(""));
    let source = absolute(data)?;
    let dataset = if arrays.is_some() {
        None
    } else if data.extension().is_some_and(|extension| extension == "safetensors") {
        if args.size.is_some() {
            return Err(Error::usage(format!("the images of `{}` have their size already", data.display()))
                .hint("leave --size out: it is for pictures in folders and archives"));
        }
        if args.max_left_out.is_some() {
            return Err(Error::usage(format!(
                "`{}` is a dataset, of which nothing is left out",
                data.display()
            ))
            .hint("leave --max-left-out out: it is for pictures in folders and archives"));
        }
        Some(source)
    } else {
        let mut with = match args.format {
            Some(format) => json!({ "source": source, "format": word(&format) }),
            // What is tested on must not be calibrated on.
            None => json!({ "source": source, "format": word(&Layout::Pictures), "train_only": true }),
        };
        if let Some(share) = args.max_left_out {
            with["max_left_out"] = share.into();
        }
        if let Some(Pixels { width, height }) = args.size {
            with["image_size"] = json!({ "width": width, "height": height });
        }
        if matches!(args.format, None | Some(Layout::Pictures | Layout::ImageFolder))
            && let Some(shape) = input::shape(&args.model)
        {
            let channels = input::channels(&shape).map_err(|reason| {
                Error::usage(format!("`{}` cannot be shown pictures: {reason}", args.model.display())).hint(
                    "export it for images of [batch, channels, height, width] (NCHW) with 1 or 3 channels",
                )
            })?;
            // Red, green and blue is what they have by default.
            if channels == Some(1) {
                with["channels"] = 1.into();
            }
        }
        stages.insert("images".into(), json!({ "uses": "data/download", "with": with }));
        Some("images.dataset".into())
    };
    let normalization = match args.mean.is_empty() {
        true => Value::Null,
        false => json!({ "mean": args.mean, "std": args.std }),
    };
    if args.equalize {
        stages.insert("equalize".into(), json!({ "uses": "onnx/equalize", "inputs": given }));
        given = json!({ "model": "equalize.model" });
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
            "method": word(&args.method).replace('-', "_"),
            "percentile": args.percentile,
            "images": args.images,
            "seed": args.seed,
            "histograms": false,
            "moments": args.rounding == Rounding::Search,
            "normalization": normalization,
        },
    });
    let quantize = json!({
        "uses": "onnx/quantize",
        "inputs": with(&[("ranges", "calibrate.ranges"), ("moments", "calibrate.moments")]),
        "with": {
            "rounding": word(&args.rounding),
            "target": word(&args.target),
            "activations": args.activations.map(|kind| word(&kind)),
            "per_channel": per_channel,
            "exclude": args.exclude,
        },
    });
    stages.insert(CALIBRATION.into(), calibrate);
    stages.insert(STAGE.into(), quantize);
    Ok(json!({ "version": 1, "name": "quantize", "stages": stages }))
}

/// Endings of the names of pictures that may lie beside arrays.
const PICTURES: [&str; 9] = ["jpg", "jpeg", "png", "bmp", "gif", "tif", "tiff", "webp", "ppm"];

/// Whether data are arrays and not pictures: a file by its name, a folder by what is in it, unless a layout of pictures is named.
fn is_arrays(data: &Path, format: Option<Layout>) -> bool {
    let has = |path: &Path, endings: &[&str]| {
        path.extension().is_some_and(|own| endings.iter().any(|ending| own.eq_ignore_ascii_case(ending)))
    };
    if has(data, &["npz", "npy"]) {
        return true;
    }
    let inside: Vec<PathBuf> =
        fs::read_dir(data).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    let is_any = |endings: &[&str]| inside.iter().any(|path| has(path, endings));
    format.is_none() && is_any(&["npy"]) && !is_any(&PICTURES)
}

/// Refuses what only pictures have.
fn refuse_for_arrays(args: &Args) -> Result<(), Error> {
    let given = [
        ("--format", args.format.is_some()),
        ("--size", args.size.is_some()),
        ("--max-left-out", args.max_left_out.is_some()),
        ("--mean", !args.mean.is_empty()),
        ("--equalize", args.equalize),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => Err(Error::usage(format!("{flag} is for pictures, and --data is arrays"))
            .hint("arrays are given to the model as they are: save what it takes in use")),
    }
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

/// A path as the pipeline has to name it, which lies elsewhere. Links stay: a model finds its weights beside its name.
fn absolute(path: &Path) -> Result<String, Error> {
    let absolute = fs::metadata(path)
        .and_then(|_| std::path::absolute(path))
        .map_err(|error| Error::usage(format!("cannot read `{}`: {error}", path.display())))?;
    let text = absolute.to_str().map(|text| text.replace("${", "$${"));
    text.ok_or_else(|| Error::usage(format!("`{}` is not UTF-8", path.display())))
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
        assert!(refused(&[&archive, "--size", "8"]).contains("--size is for pictures"));
        assert!(refused(&[&of("photos"), "--dynamic"]).contains("needs no images"));
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
        assert!(
            made(&[0, 28, 28, 3], &[]).unwrap_err().contains("cannot be shown pictures: its input has shape")
        );
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
        assert!(try_made(&twice, &run).unwrap_err().contains("two files of weights are called `a.data`"));
        fs::remove_dir_all(run.join("weights")).unwrap();
        let needless = [&at("m.onnx"), "--dynamic", "--weights", &at("a.data"), "--weights", &at("other")];
        assert!(
            try_made(&needless, &run).unwrap_err().contains("the model does not speak of a file `other`")
        );
        assert!(try_made(&[&at("gone.onnx"), "--dynamic"], &run).unwrap_err().contains("cannot read"));
    }
}
