//! The real `xtask`, in a repository of its own, with small wheels and with programs that stand in for Python, cargo and
//! a compiler on an otherwise empty `PATH`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Answers as pip does: copies the wanted wheel out of a shelf.
const PYTHON: &str = r#"#!/bin/sh
echo "$*" >> "@/python.log"
case "$*" in
*"-m pip --version"*) exit 0 ;;
*"-m pip download"*) ;;
*) exit 9 ;;
esac
while [ "$1" != --dest ]; do shift; done
dest=$2
while [ "$1" != --requirement ]; do shift; done
read -r wanted hash < "$2"
exec /bin/cp "@/shelf/${wanted%%==*}.whl" "$dest/"
"#;
const SUCCEED: &str = "#!/bin/sh\nexit 0\n";
const FAIL: &str = "#!/bin/sh\nexit 1\n";

/// A program cannot be started while any process has it open for writing, and a process that is just being started
/// has all that this one has open: so programs are not written while a process starts.
static STARTING: Mutex<()> = Mutex::new(());

struct Repo {
    folder: tempfile::TempDir,
    variables: BTreeMap<&'static str, PathBuf>,
}

impl Repo {
    /// With a C++ compiler and Python on `PATH`, and both wheels on pip's shelf.
    fn new() -> Self {
        let repo = Self { folder: tempfile::tempdir().unwrap(), variables: BTreeMap::new() };
        for folder in ["xtask", "path", "shelf"] {
            fs::create_dir(repo.path(folder)).unwrap();
        }
        repo.program("path/c++", SUCCEED);
        repo.program("path/python3", PYTHON);
        wheel(
            &repo.path("shelf/torch.whl"),
            &["torch/include/a/b.h", "torch/lib/libtorch_cpu.so", "torch/other"],
        );
        wheel(&repo.path("shelf/ort.whl"), &["ort/libonnxruntime.so"]);
        repo.pin(0);
        repo
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    fn program(&self, path: &str, script: &str) {
        let root = self.folder.path().to_str().unwrap();
        let _guard = STARTING.lock();
        fs::write(self.path(path), script.replace('@', root)).unwrap();
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Pins the wheels as they are on the shelf now.
    fn pin(&self, unpacked_bytes: u64) {
        let wheel = |name: &str, take: serde_json::Value| {
            let digest = Sha256::digest(fs::read(self.path(&format!("shelf/{name}.whl"))).unwrap());
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            json!([{ "package": name, "version": "1.0", "file": format!("{name}.whl"), "sha256": digest, "bytes": 1, "take": take }])
        };
        let pins = json!({
            "pip": { "python_version": "3.11", "implementation": "cp", "abi": "cp311", "platforms": ["a", "b"] },
            "libtorch": {
                "version": "2.11.0",
                "unpacked_bytes": unpacked_bytes,
                "wheels": wheel("torch", json!({ "torch/include/": "include/", "torch/lib/libtorch_cpu.so": "lib/libtorch_cpu.so" })),
                "write": { "lib/libtorch.so": "INPUT(libtorch_cpu.so)\n" },
            },
            "onnxruntime": {
                "version": "1.32.0",
                "unpacked_bytes": 1,
                "wheels": wheel("ort", json!({ "ort/libonnxruntime.so": "libonnxruntime.so" })),
            },
        });
        fs::write(self.path("xtask/natives.json"), pins.to_string()).unwrap();
    }

    fn set(&mut self, name: &'static str, value: impl Into<PathBuf>) {
        self.variables.insert(name, value.into());
    }

    fn xtask(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(words)
            .env_clear()
            .env("PATH", self.path("path"))
            .env("CARGO_MANIFEST_DIR", self.path("xtask"))
            .env("LIBTORCH", self.path("native/libtorch"))
            .env("RUST_BACKTRACE", "1")
            .envs(&self.variables)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let guard = STARTING.lock();
        let child = command.spawn().unwrap();
        drop(guard);
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self, words: &[&str]) -> String {
        let output = self.xtask(words);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        stderr
    }

    /// Exit code 1, and the last line says `error: ` and why, without a backtrace.
    #[track_caller]
    fn fails(&self, words: &[&str]) -> String {
        let output = self.xtask(words);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let last = stderr.lines().last().unwrap_or_default();
        last.strip_prefix("error: ").unwrap_or_else(|| panic!("{stderr}")).to_owned()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    fn downloads(&self) -> usize {
        self.read("python.log").lines().filter(|line| line.contains("pip download")).count()
    }
}

/// A zip in which every file holds its own name.
fn wheel(path: &Path, names: &[&str]) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    for name in names {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(name.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn a_wrong_command_line_prints_the_usage() {
    let repo = Repo::new();
    for words in [&["setpu"][..], &[], &["setup", "extra"]] {
        let output = repo.xtask(words);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8(output.stderr).unwrap().contains("Usage: cargo xtask <TASK>"));
    }
    let output = repo.xtask(&["help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("Usage: cargo xtask <TASK>"));
}

#[test]
fn set_up_unpacks_what_is_pinned_and_removes_the_wheels() {
    let repo = Repo::new();
    repo.succeeds(&["setup"]);
    assert_eq!(repo.read("native/libtorch/include/a/b.h"), "torch/include/a/b.h");
    assert_eq!(repo.read("native/libtorch/lib/libtorch_cpu.so"), "torch/lib/libtorch_cpu.so");
    assert_eq!(repo.read("native/libtorch/lib/libtorch.so"), "INPUT(libtorch_cpu.so)\n");
    assert_eq!(repo.read("native/onnxruntime/libonnxruntime.so"), "ort/libonnxruntime.so");
    let mut left: Vec<_> =
        fs::read_dir(repo.path("native")).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".lock", "libtorch", "onnxruntime"]);
    assert!(repo.read("python.log").contains("--only-binary=:all: --require-hashes"));
    assert!(repo.read("python.log").contains("--platform a --platform b"));
}

#[test]
fn a_second_set_up_does_nothing_and_needs_no_python() {
    let repo = Repo::new();
    repo.succeeds(&["setup"]);
    fs::remove_file(repo.path("path/python3")).unwrap();
    assert_eq!(repo.succeeds(&["setup"]), "");
}

#[test]
fn a_changed_pin_or_a_deleted_file_is_fetched_again_and_only_that() {
    let repo = Repo::new();
    repo.succeeds(&["setup"]);
    fs::remove_file(repo.path("native/onnxruntime/libonnxruntime.so")).unwrap();
    repo.succeeds(&["setup"]);
    assert_eq!(repo.downloads(), 3);
    repo.pin(5);
    repo.succeeds(&["setup"]);
    assert_eq!(repo.downloads(), 4);
    assert_eq!(repo.read("native/onnxruntime/libonnxruntime.so"), "ort/libonnxruntime.so");
}

#[test]
fn a_half_finished_set_up_is_done_again() {
    let repo = Repo::new();
    for folder in ["native/libtorch.part/lib", "native/libtorch/include"] {
        fs::create_dir_all(repo.path(folder)).unwrap();
        fs::write(repo.path(folder).join("torn"), "torn").unwrap();
    }
    repo.succeeds(&["setup"]);
    assert!(!repo.path("native/libtorch/include/torn").exists());
    assert!(!repo.path("native/libtorch/lib/torn").exists());
    assert_eq!(repo.read("native/libtorch/include/a/b.h"), "torch/include/a/b.h");
}

#[test]
fn a_wheel_that_is_there_is_not_fetched_and_a_damaged_one_is() {
    let repo = Repo::new();
    fs::create_dir_all(repo.path("native/wheels")).unwrap();
    fs::copy(repo.path("shelf/torch.whl"), repo.path("native/wheels/torch.whl")).unwrap();
    fs::write(repo.path("native/wheels/ort.whl"), "half a whe").unwrap();
    let said = repo.succeeds(&["setup"]);
    assert!(said.contains("torch 1.0 is downloaded already"), "{said}");
    assert!(said.contains("ort.whl` is damaged: fetching it again"), "{said}");
    assert_eq!(repo.downloads(), 1);
}

#[test]
fn a_wheel_with_another_digest_is_refused_and_the_next_set_up_works() {
    let repo = Repo::new();
    let right = fs::read(repo.path("shelf/torch.whl")).unwrap();
    wheel(&repo.path("shelf/torch.whl"), &["torch/include/evil.h", "torch/lib/libtorch_cpu.so"]);
    let error = repo.fails(&["setup"]);
    assert!(error.starts_with("`torch.whl` came with SHA-256 "), "{error}");
    assert!(!repo.path("native/libtorch").exists() && !repo.path("native/wheels/torch.whl").exists());
    fs::write(repo.path("shelf/torch.whl"), right).unwrap();
    repo.succeeds(&["setup"]);
}

#[test]
fn pip_that_fails_is_named_and_what_was_fetched_is_kept() {
    let repo = Repo::new();
    let ort = fs::read(repo.path("shelf/ort.whl")).unwrap();
    fs::remove_file(repo.path("shelf/ort.whl")).unwrap();
    let error = repo.fails(&["setup"]);
    assert!(error.starts_with("pip could not fetch ort 1.0 (exit status: 1)"), "{error}");
    fs::write(repo.path("shelf/ort.whl"), ort).unwrap();
    repo.succeeds(&["setup"]);
    assert_eq!(repo.downloads(), 3);
}

#[test]
fn missing_python_and_missing_pip_say_what_to_install() {
    let repo = Repo::new();
    repo.program("path/python3", FAIL);
    let error = repo.fails(&["setup"]);
    assert!(error.contains("has no pip") && error.contains("`apt-get install python3-pip`"), "{error}");
    fs::remove_file(repo.path("path/python3")).unwrap();
    let error = repo.fails(&["setup"]);
    assert!(error.contains("no `python3`") && error.contains("`apt-get install python3-pip`"), "{error}");
}

#[test]
fn a_missing_compiler_says_what_to_install_and_fetches_nothing() {
    let mut repo = Repo::new();
    fs::rename(repo.path("path/c++"), repo.path("path/clang++")).unwrap();
    let error = repo.fails(&["setup"]);
    assert!(error.contains("no C++ compiler (`c++`)") && error.contains("`apt-get install g++`"), "{error}");
    assert_eq!(repo.downloads(), 0);
    repo.set("CXX", "clang++");
    repo.succeeds(&["setup"]);
}

#[test]
fn too_small_a_disk_is_noticed_before_anything_is_fetched() {
    let repo = Repo::new();
    repo.pin(u64::MAX / 2);
    let error = repo.fails(&["setup"]);
    assert!(error.starts_with("not enough disk space at "), "{error}");
    assert_eq!(repo.downloads(), 0);
}

#[test]
fn libraries_that_the_user_brings_are_not_fetched() {
    let mut repo = Repo::new();
    fs::create_dir_all(repo.path("mine/include")).unwrap();
    fs::create_dir_all(repo.path("mine/lib")).unwrap();
    fs::write(repo.path("mine/lib/libtorch_cpu.so"), "").unwrap();
    fs::write(repo.path("mine/build-version"), "2.10.0+cpu").unwrap();
    repo.set("LIBTORCH", repo.path("mine"));
    let error = repo.fails(&["setup"]);
    assert!(error.contains("holds libtorch 2.10.0, but 2.11.0 is needed"), "{error}");

    fs::write(repo.path("mine/build-version"), "2.11.0+cpu").unwrap();
    let said = repo.succeeds(&["setup"]);
    assert!(said.contains("libtorch is yours"), "{said}");
    assert_eq!(repo.downloads(), 1);
    assert!(!repo.path("native/libtorch").exists() && repo.path("native/onnxruntime").exists());

    fs::remove_dir_all(repo.path("native")).unwrap();
    repo.set("ORT_DYLIB_PATH", repo.path("mine/lib/libtorch_cpu.so"));
    repo.succeeds(&["setup"]);
    assert!(!repo.path("native").exists());
}

#[test]
fn demo_builds_and_becomes_pipe() {
    let mut repo = Repo::new();
    repo.program("path/cargo", "#!/bin/sh\necho \"$*\" >> \"@/cargo.log\"\n");
    fs::create_dir_all(repo.path("target/release")).unwrap();
    repo.program("target/release/pipe", "#!/bin/sh\necho \"$(pwd): $*\"\nexit 3\n");
    repo.set("CARGO", repo.path("path/cargo"));
    let output = repo.xtask(&["demo", "--set", "epochs=1"]);
    assert_eq!(output.status.code(), Some(3));
    let root = repo.folder.path().canonicalize().unwrap();
    let expected = format!("{}: run --profile demo --set epochs=1\n", root.display());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    assert_eq!(repo.read("cargo.log"), "build --release --workspace\n");

    repo.program("path/cargo", FAIL);
    let error = repo.fails(&["demo"]);
    assert!(error.starts_with("`cargo build --release --workspace` failed (exit status: 1)"), "{error}");
}

#[test]
fn tests_run_without_python_packages_but_not_in_ci() {
    let mut repo = Repo::new();
    repo.program("path/cargo", "#!/bin/sh\necho \"$* PEERS=$PIPE_PEERS_PYTHON\" >> \"@/cargo.log\"\n");
    repo.set("CARGO", repo.path("path/cargo"));
    fs::create_dir_all(repo.path("tests/peers")).unwrap();
    fs::write(repo.path("tests/peers/requirements.txt"), "numpy==1\n").unwrap();
    let said = repo.succeeds(&["test"]);
    assert!(said.contains("will be skipped: ") && said.contains("`apt-get install python3-venv`"), "{said}");
    let ran = "build --workspace --all-targets PEERS=\n\
               test --workspace --doc PEERS=\n\
               test --workspace --no-fail-fast --lib --bins --tests PEERS=\n";
    assert_eq!(repo.read("cargo.log"), ran);

    repo.set("CI", "true");
    let error = repo.fails(&["test"]);
    assert!(error.contains("must run when `CI` is set") && error.contains("python3-venv"), "{error}");

    repo.program("path/mine", SUCCEED);
    repo.set("PIPE_PEERS_PYTHON", repo.path("path/mine"));
    repo.succeeds(&["test", "some_name"]);
    let last = format!("test --workspace some_name PEERS={}", repo.path("path/mine").display());
    assert_eq!(repo.read("cargo.log").lines().last(), Some(last.as_str()));
}
