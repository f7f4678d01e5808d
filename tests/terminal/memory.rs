//! How much memory `pipe` and its plugins take at most: a constant, however large an output and how long a log, and a little
//! for each file of a folder. By default of moderate sizes; `PIPE_MEMORY_SIZES=long` takes those of `docs/reliability.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::project::{Project, built};
use crate::soak;

/// Whether the long form is asked for.
fn is_long() -> bool {
    std::env::var_os("PIPE_MEMORY_SIZES").is_some_and(|value| value == "long")
}

/// Peaks in MB by program, of all that `pipe run` starts in a project. The kernel keeps them, so that looking now and then
/// misses only what grows just before an end.
fn peaks(project: &Project) -> BTreeMap<String, f64> {
    let mut command = project.command(&["run"]);
    let log = fs::File::create(project.path("said")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut run = command.spawn().unwrap();
    let mut peaks = BTreeMap::new();
    let status = loop {
        for process in project.processes() {
            let status = format!("/proc/{}/status", process.as_raw_nonzero());
            let text = fs::read_to_string(status).unwrap_or_default();
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            // What ends just now has no memory any more.
            let (Some(name), Some(peak)) = (field("Name:"), field("VmHWM:")) else { continue };
            let kb: f64 = peak.strip_suffix(" kB").unwrap().parse().unwrap();
            let known = peaks.entry(name.to_owned()).or_insert(0.0);
            *known = f64::max(*known, kb / 1024.0);
        }
        if let Some(status) = run.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(status.success(), "{}", project.read("said"));
    peaks
}

/// Runs a stage, and holds the peak of `program` against a bound in MB.
fn at_most(bound: f64, what: &str, project: &Project, program: &str) {
    let peaks = peaks(project);
    let peak = *peaks.get(program).unwrap_or_else(|| panic!("{program} was not seen: {peaks:?}"));
    soak::figure(&format!("`{program}`: {what}"), format!("{peak:.0} MB"));
    assert!(peak <= bound, "{what}: {peak:.0} MB, and not {bound}");
}

#[test]
fn an_output_of_any_size_takes_no_memory() {
    let mb = if is_long() { 2048 } else { 128 };
    // One half of nothing but zeros, which no disk need hold; the other one of bytes.
    let half = (mb / 2) << 20;
    let project = Project::new(&format!(
        "one:\n  run: truncate -s {half} ${{outputs.o}} && yes | head -c {half} >> ${{outputs.o}}\n  outputs: {{ o: o.bin }}\n"
    ));
    at_most(60.0, &format!("an output of {mb} MB"), &project, "pipe");
    fs::remove_dir_all(project.path("artifacts")).unwrap();
    at_most(60.0, &format!("restoring {mb} MB"), &project, "pipe");
}

#[test]
fn a_folder_of_many_files_takes_little_memory() {
    let files = if is_long() { 100_000 } else { 5_000 };
    // Names and digests, twice while they are sorted and compared.
    let bound = 40.0 + f64::from(files) * 2.0 / 1024.0;
    let project = Project::new(&format!(
        "one:\n  run: mkdir ${{outputs.o}} && seq {files} | split -a 6 -l 1 - ${{outputs.o}}/f\n  outputs: {{ o: o }}\n\
         two:\n  run: ls ${{inputs.i}} | wc -l > ${{outputs.o}}\n  inputs: {{ i: one.o }}\n  outputs: {{ o: o }}\n"
    ));
    at_most(bound, &format!("a folder of {files} files"), &project, "pipe");
    assert_eq!(project.read("artifacts/two/o").trim(), files.to_string());
    fs::remove_dir_all(project.path("artifacts")).unwrap();
    at_most(bound, &format!("restoring {files} files"), &project, "pipe");
}

#[test]
fn a_log_of_any_length_takes_no_memory() {
    let mb = if is_long() { 80 } else { 8 };
    let bytes = mb << 20;
    let project = Project::new(&format!(
        "one:\n  run: yes a line of no great length | head -c {bytes}; yes '' | head -n 100000; touch ${{outputs.o}}\n  outputs: {{ o: o }}\n"
    ));
    at_most(60.0, &format!("a log of {mb} MB"), &project, "pipe");
}

#[test]
fn downloading_images_takes_what_their_pixels_take() {
    let plugin = built("pipe").with_file_name("pipe-data");
    if !plugin.exists() {
        println!("skipped: `pipe-data` is not built; `cargo xtask test` builds it");
        return;
    }
    let images = shared_images();
    if is_long() && images.is_none() {
        println!("skipped: there is no `../shared/data/cifar10-images.tar.gz`");
        return;
    }
    let project = Project::new("unused:\n  run: 'true'\n");
    let (params, count) = match images.filter(|_| is_long()) {
        Some(path) => (format!("{{ format: image-folder, source: {} }}", path.display()), 60_000),
        None => ("{ format: synthetic, synthetic: { train: 5000, test: 1000 } }".to_owned(), 6_000),
    };
    let pipeline = project.read("pipeline.yaml");
    let pipeline = pipeline.replace("plugins:\n", &format!("plugins:\n  data: {}\n", plugin.display()));
    let stages = format!("stages:\n  images:\n    uses: data/download\n    with: {params}\n");
    project.write("pipeline.yaml", &pipeline.replace("stages:\n  unused:\n    run: 'true'\n", &stages));
    let pixels = f64::from(count) * 32.0 * 32.0 * 3.0 / f64::from(1 << 20);
    let what = format!("`data/download` of {count} images, whose pixels take {pixels:.0} MB");
    at_most(pixels + 100.0, &what, &project, "pipe-data");
}

/// All images of CIFAR-10 as files, where this machine has them.
fn shared_images() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/cifar10-images.tar.gz");
    path.canonicalize().ok()
}
