//! The real pipeline with the real plugins, small: a few hundred synthetic images and one epoch.

use std::path::Path;

use serde_json::Value;

use crate::project::{Outcome, Project, built};

const SMALL: &[&str] = &[
    "run",
    "--json",
    "--threads=2",
    "--set=source=null",
    "--set=format=synthetic",
    "--set=synthetic={train: 600, test: 200, seed: 1}",
    "--set=epochs=1",
    "--set=validation=100",
    "--set=calibration_images=64",
    "--set=sensitivity_images=32",
    "--set=rounds=2",
    "--set=max_others=1000",
    "--set=calls=[4, 2]",
    "--set=warmup_calls=[2, 1]",
    "--set=min_accuracy=0",
    "--set=max_drop=100",
];

/// How each stage ended, as `name outcome`, in the order of their ends.
fn outcomes(outcome: &Outcome) -> Vec<String> {
    let events = outcome.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .filter(|event| event["event"] == "stage_finished")
        .map(|event| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            format!("{} {}", text(&event["stage"]), text(&event["outcome"]["kind"]))
        })
        .collect()
}

fn ended(outcome: &Outcome, how: &str) -> Vec<String> {
    let mut names: Vec<String> = outcomes(outcome)
        .iter()
        .filter_map(|line| Some(line.strip_suffix(how)?.trim_end().to_owned()))
        .collect();
    names.sort();
    names
}

fn with<'a>(extra: &[&'a str]) -> Vec<&'a str> {
    SMALL.iter().chain(extra).copied().collect()
}

/// Whether the plugins that want native libraries are built; says so where they are not.
fn plugins_are_built() -> bool {
    let missing = ["pipe-data", "pipe-torch", "pipe-onnx"]
        .into_iter()
        .find(|plugin| !built("pipe").with_file_name(plugin).exists());
    if let Some(plugin) = missing {
        println!("skipped: `{plugin}` is not built; `cargo xtask test` builds it");
    }
    missing.is_none()
}

#[test]
fn the_committed_schema_is_what_the_plugins_say() {
    if !plugins_are_built() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = Project::new("unused:\n  run: 'true'\n");
    // Of the real plugins only: plugin `fake` is named by the test's own pipeline.
    std::fs::remove_file(project.path("pipeline.yaml")).unwrap();
    let fresh = project.pipe_ok(&["schema"]).stdout;
    let committed = std::fs::read_to_string(root.join("docs/pipeline.schema.json")).unwrap();
    assert!(committed == fresh, "out of date: run `pipe schema --output docs/pipeline.schema.json`");
    let fresh = project.pipe_ok(&["schema", "--reference"]).stdout;
    let committed = std::fs::read_to_string(root.join("docs/reference.md")).unwrap();
    assert!(committed == fresh, "out of date: run `pipe schema --reference --output docs/reference.md`");
}

#[test]
fn from_images_to_an_int8_model_and_a_report() {
    if !plugins_are_built() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = Project::new("unused:\n  run: 'true'\n");
    project.write("pipeline.yaml", &std::fs::read_to_string(root.join("pipeline.yaml")).unwrap());

    let first = project.pipe_ok(SMALL);
    let ran = ended(&first, "ran");
    assert_eq!(ran.len(), 10, "{:?}", outcomes(&first));
    let report = project.read("artifacts/report.html");
    for text in [
        "FP32 torch",
        "FP32 ONNX",
        "INT8 static",
        "INT8 dynamic",
        "notebook",
        "label_smoothing",
        "<svg",
        "Which one to ship?",
        "Is the accuracy kept?",
        "Where are the bytes?",
    ] {
        assert!(report.contains(text), "the report lacks `{text}`");
    }
    assert!(report.len() < 2 << 20, "the report has {} bytes", report.len());
    crate::browser::opens_without_a_complaint(&project.path("artifacts/report.html"));

    let again = project.pipe_ok(SMALL);
    assert_eq!(ended(&again, "fresh").len(), 10, "{:?}", outcomes(&again));
    let gate = project.pipe(&with(&["--set=min_accuracy=101"]));
    assert_eq!(gate.code, Some(3));
    assert_eq!(ended(&gate, "fresh").len(), 10, "a gate runs nothing");

    let other = with(&["--set=calibration_images=32"]);
    let calibrated = project.pipe_ok(&other);
    let untouched = ["download", "evaluate_torch", "export", "quantize_dynamic", "train"];
    assert_eq!(ended(&calibrated, "fresh"), untouched, "{:?}", outcomes(&calibrated));

    let back = project.pipe_ok(SMALL);
    assert!(ended(&back, "ran").is_empty(), "{:?}", outcomes(&back));
    assert!(ended(&back, "restored").contains(&"calibrate".to_owned()), "{:?}", outcomes(&back));

    let mut dry = with(&["--set=label_smoothing=0.2", "--dry-run"]);
    dry.retain(|arg| *arg != "--json");
    let plan = project.pipe_ok(&dry).stdout;
    let line =
        |stage: &str| plan.lines().find(|line| line.trim_start().starts_with(stage)).unwrap().to_owned();
    assert!(line("download").contains("fresh"), "{plan}");
    assert!(line("train").contains("with.label_smoothing"), "{plan}");
}

/// Quantization-aware training rounds as the INT8 model in the runtime does: both see the same in nearly every image.
#[test]
fn what_is_trained_on_the_grid_is_what_runs() {
    if !plugins_are_built() {
        return;
    }
    let project = Project::new(
        "download:
  uses: data/download
  with: { format: synthetic, synthetic: { train: 600, test: 500, seed: 1 } }
train:
  uses: torch/train
  inputs: { dataset: download.dataset }
  with: { epochs: 8, batch_size: 25, validation: 100, device: cpu }
export:
  uses: onnx/export
  inputs: { weights: train.weights, reference: train.reference }
calibrate:
  uses: onnx/calibrate
  inputs: { model: export.model, dataset: download.dataset }
  # Ranges so narrow that a network has to learn to live with them.
  with: { images: 128, moments: false, method: percentile, percentile: 95 }
plain:
  uses: onnx/quantize
  inputs: { model: export.model, ranges: calibrate.ranges }
tune:
  uses: torch/qat
  inputs: { dataset: download.dataset, weights: train.weights, ranges: calibrate.ranges }
  # By the test images, which is how their accuracy is told.
  with: { epochs: 2, batch_size: 25, validation: 100, select_on: test, device: cpu }
tuned:
  uses: onnx/export
  inputs: { weights: tune.weights, reference: tune.reference }
quantize:
  uses: onnx/quantize
  inputs: { model: tuned.model, ranges: tune.ranges }
evaluate:
  uses: onnx/evaluate
  inputs: { dataset: download.dataset, plain: plain.model, off_grid: tuned.model, int8: quantize.model }
",
    );
    project.pipe_ok(&["run", "--threads=2"]);
    let found = project.pipe_ok(&["compare", "--all", "--json", "latest", "latest"]).stdout;
    let found: Value = serde_json::from_str(&found).unwrap();
    let metric = |stage: &str, name: &str| {
        let metrics = found["comparison"]["metrics"].as_array().unwrap();
        let metric = metrics.iter().find(|metric| metric["stage"] == stage && metric["name"] == name);
        metric.and_then(|metric| metric["new"].as_f64()).unwrap_or_else(|| panic!("no {stage}.{name}"))
    };
    let (trained, runs) = (metric("tune", "test_accuracy"), metric("evaluate", "int8.accuracy"));
    assert!((trained - runs).abs() <= 1.0, "{trained} % on the grid, {runs} % in the runtime");
    let (off_grid, plain) = (metric("evaluate", "off_grid.accuracy"), metric("evaluate", "plain.accuracy"));
    assert!(trained > off_grid + 2.0, "{trained} % on the grid, {off_grid} % off it");
    assert!(trained > plain + 5.0, "{trained} % learned on the grid, {plain} % before");
}

/// A kill in the middle of an epoch costs that epoch and nothing else; nor does the number of threads matter.
#[test]
fn a_training_that_was_killed_comes_to_the_same_weights() {
    if !plugins_are_built() {
        return;
    }
    let project = || {
        Project::new(
            "download:
  uses: data/download
  with: { format: synthetic, synthetic: { train: 900, test: 20, seed: 1 } }
train:
  uses: torch/train
  inputs: { dataset: download.dataset }
  with: { epochs: 3, validation: 100, device: cpu, ema: 0.9 }
",
        )
    };
    let (whole, killed) = (project(), project());
    whole.pipe_ok(&["run", "--threads=1"]);
    let mut run = killed.start(&["run", "--threads=2"]);
    // The figure of an epoch is shown once its checkpoint is written.
    let figures = |file: &std::path::PathBuf| file.ends_with("train.figures");
    killed.wait_until("the figure of an epoch", || killed.files("cache").iter().any(figures));
    rustix::process::kill_process(crate::project::pid(&run), rustix::process::Signal::KILL).unwrap();
    run.wait().unwrap();
    assert!(!killed.path("artifacts/train/weights.safetensors").exists());
    // What it had come to can be looked at, though no run has ended yet.
    killed.pipe_ok(&["report"]);
    let report = killed.read("artifacts/report.html");
    assert!(report.contains("Not finished") && report.contains("learning rate"), "{report}");
    // A stage that ends well by being restored is finished, whatever an earlier attempt has left.
    let left = killed.files("cache").into_iter().find(figures).unwrap();
    let place = left.strip_prefix(killed.path("")).unwrap().to_str().unwrap();
    whole.write(place, &std::fs::read_to_string(&left).unwrap());
    whole.pipe_ok(&["report"]);
    assert!(whole.read("artifacts/report.html").contains("Not finished"));
    whole.pipe_ok(&["clean"]);
    whole.pipe_ok(&["run", "--threads=1"]);
    assert!(!whole.read("artifacts/report.html").contains("Not finished"));
    killed.pipe_ok(&["run", "--threads=2"]);
    assert!(!killed.read("artifacts/report.html").contains("Not finished"));
    let log = killed.pipe_ok(&["log", "train"]).stdout;
    assert!(log.contains("continuing after epoch "), "{log}");
    let [one, two] = [&whole, &killed]
        .map(|project| std::fs::read(project.path("artifacts/train/weights.safetensors")).unwrap());
    assert!(one == two, "other weights after a kill");
}

/// The longer training has another key; what the runner hands on is where the shorter one stood.
#[test]
fn more_epochs_at_a_constant_rate_continue_the_shorter_training() {
    if !plugins_are_built() {
        return;
    }
    let project = |epochs: u32| {
        Project::new(&format!(
            "download:
  uses: data/download
  with: {{ format: synthetic, synthetic: {{ train: 400, test: 20, seed: 1 }} }}
train:
  uses: torch/train
  inputs: {{ dataset: download.dataset }}
  with: {{ epochs: {epochs}, schedule: constant, validation: 100, device: cpu }}
"
        ))
    };
    let (whole, grown) = (project(3), project(1));
    whole.pipe_ok(&["run", "--threads=2"]);
    grown.pipe_ok(&["run", "--threads=2"]);
    grown.write("pipeline.yaml", &whole.read("pipeline.yaml"));
    let run = grown.pipe_ok(&["run", "--json", "--threads=2"]);
    assert_eq!(ended(&run, "ran"), ["train"], "{:?}", outcomes(&run));
    let log = grown.pipe_ok(&["log", "train"]).stdout;
    assert!(log.contains("continuing after epoch 1 of an earlier training"), "{log}");
    assert!(grown.read("artifacts/report.html").contains("Up to epoch 1 it is an earlier training"));
    let [one, two] = [&whole, &grown]
        .map(|project| std::fs::read(project.path("artifacts/train/weights.safetensors")).unwrap());
    assert!(one == two, "other weights than in one go");
}

#[test]
fn other_networks_go_through_the_same_stages() {
    if !plugins_are_built() {
        return;
    }
    let project = example("networks", &["rounds: 7=rounds: 2", "calls: [200, 10]=calls: [4, 2]"]);
    let run = project.pipe_ok(&QUICK);
    assert_eq!(ended(&run, "ran").len(), 11, "{:?}", outcomes(&run));
    let report = project.read("artifacts/report.html");
    assert!(report.contains("ResNet-8 INT8") && report.contains("separable INT8"));
}

/// An example's quick profile, made quicker.
const QUICK: [&str; 7] = [
    "run",
    "--json",
    "--threads=2",
    "--profile=quick",
    "--set=epochs=1",
    "--set=validation=100",
    "--set=synthetic={train: 700, test: 100, seed: 1}",
];

/// A project with the pipeline of `examples/NAME`, changed by `FROM=TO`.
fn example(name: &str, changes: &[&str]) -> Project {
    let project = Project::new("unused:\n  run: 'true'\n");
    let path = format!("examples/{name}/pipeline.yaml");
    let mut text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    for (from, to) in changes.iter().filter_map(|change| change.split_once('=')) {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    project.write("pipeline.yaml", &text);
    project
}

#[test]
fn a_large_network_teaches_a_small_one() {
    if !plugins_are_built() {
        return;
    }
    let project = example("teacher", &["  teacher_epochs: 2=  teacher_epochs: 1"]);
    let run = project.pipe_ok(&QUICK);
    assert_eq!(ended(&run, "ran").len(), 10, "{:?}", outcomes(&run));
    let log = project.pipe_ok(&["log", "taught"]).stdout;
    assert!(log.contains("taught by a network of 295,234 parameters (weight 0.9, temperature 4)"), "{log}");
    // Another teacher is another student, and the one from labels alone stays as it is.
    let text = project.read("pipeline.yaml").replace("expand: 256", "expand: 192");
    project.write("pipeline.yaml", &text);
    let again = project.pipe_ok(&QUICK);
    let ran = ended(&again, "ran");
    assert!(ran.contains(&"taught".to_owned()) && !ran.contains(&"alone".to_owned()), "{ran:?}");
}

#[test]
fn a_network_made_for_int8_stands_beside_the_notebooks() {
    if !plugins_are_built() {
        return;
    }
    let project = example("int8", &["rounds: 7=rounds: 2", "calls: [200, 10]=calls: [4, 2]"]);
    // Sensitivity looks at 1,000 training images that were not calibrated on.
    let run = project.pipe_ok(&[&QUICK[..], &["--set=synthetic={train: 1700, test: 100, seed: 1}"]].concat());
    assert_eq!(ended(&run, "ran").len(), 13, "{:?}", outcomes(&run));
    let report = project.read("artifacts/report.html");
    assert!(report.contains("made_int8") && report.contains("notebook_int8"));
}

/// As docs/tutorial.md has it: the pipeline and the script that uses the model stand there as they are in the example.
#[test]
fn a_folder_of_images_becomes_an_int8_model_as_the_tutorial_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let (tutorial, pipeline) = (read("docs/tutorial.md"), read("examples/own-images/pipeline.yaml"));
    assert!(tutorial.contains(&format!("```yaml\n{pipeline}```")), "the tutorial shows another pipeline");
    let script = read("examples/own-images/classify.py");
    assert!(tutorial.contains(&format!("```python\n{script}```")), "the tutorial shows another script");
    if !plugins_are_built() {
        return;
    }
    let project = Project::new("unused:\n  run: 'true'\n");
    project.write("pipeline.yaml", &pipeline);
    let shapes = root.join("examples/own-images/shapes.py");
    // Where the machine's python3 is, not the test's shortened PATH.
    let drawn =
        std::process::Command::new("python3").arg(shapes).arg(project.path("images")).output().unwrap();
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));

    let first = project.pipe_ok(&["run", "--json", "--threads=2"]);
    assert_eq!(ended(&first, "ran").len(), 6, "{:?}", outcomes(&first));
    let size = |name: &str| std::fs::metadata(project.path(name)).unwrap().len();
    let (float, int8) = (size("artifacts/export/model.onnx"), size("artifacts/quantize/model.onnx"));
    assert!(2 * int8 < float, "{int8} bytes of {float}");

    project.write("pipeline.yaml", &pipeline.replace("\n  lr: 0.1\n", "\n  lr: 0.2\n"));
    let status = project.pipe_ok(&["status"]).stdout;
    assert!(status.contains("with.lr 0.1 → 0.2  pipeline.yaml:8"), "{status}");
    let edited = project.pipe_ok(&["run", "--json", "--threads=2"]);
    assert_eq!(ended(&edited, "fresh"), ["read"], "{:?}", outcomes(&edited));
    project.write("pipeline.yaml", &pipeline);
    let back = project.pipe_ok(&["run", "--json", "--threads=2"]);
    assert_eq!(ended(&back, "restored").len(), 5, "{:?}", outcomes(&back));
}

#[test]
fn any_folder_of_pictures_is_enough_to_quantize() {
    let missing = |plugin: &&str| !built("pipe").with_file_name(plugin).exists();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = root.with_file_name("shared").join("reference/model/tinynet.onnx");
    if let Some(plugin) = ["pipe-data", "pipe-onnx"].into_iter().find(missing) {
        println!("skipped: `{plugin}` is not built; `cargo xtask test` builds it");
        return;
    }
    if !model.is_file() {
        println!("skipped: there is no `{}`", model.display());
        return;
    }
    let project = Project::new("unused:\n  run: 'true'\n");
    std::fs::copy(model, project.path("m.onnx")).unwrap();
    for (index, [width, height]) in [[40, 30], [64, 64], [33, 50], [32, 32]].into_iter().enumerate() {
        // Coloured stripes, in PPM.
        let pixels = (0..width * height * 3).map(|at: usize| (at * (index + 7) % 251) as u8);
        let bytes = [format!("P6 {width} {height} 255\n").into_bytes(), pixels.collect()].concat();
        let path = project.path(&format!("holidays/{}/{index}.ppm", ["june", "by the sea"][index % 2]));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let args =
        ["quantize", "m.onnx", "--data", "holidays", "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"];
    let outcome = project.pipe(&args);
    assert_eq!(outcome.code, Some(1), "pictures of four sizes: {outcome:?}");
    assert!(outcome.stderr.contains("for `pipe quantize`: `--size`"), "{outcome:?}");
    let outcome = project.pipe_ok(&[&args[..], &["--size", "32"]].concat());
    assert!(outcome.stdout.contains("wrote m.int8.onnx"), "{outcome:?}");
    let size = |name: &str| std::fs::metadata(project.path(name)).unwrap().len();
    assert!(size("m.int8.onnx") < size("m.onnx") / 2);
}
