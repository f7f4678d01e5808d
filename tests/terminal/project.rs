//! A project in a temporary folder, and `pipe` run in it with an environment of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tempfile::TempDir;

/// A temporary project.
pub(crate) struct Project {
    folder: TempDir,
}

/// How a command ended, and what it printed. Paths of the project read `$PROJECT`.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Project {
    /// A project with these stages, in which plugin `fake` is known.
    pub(crate) fn new(stages: &str) -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        project.set_stages(stages);
        project
    }

    /// The same on a disk, where files are known again: temporary ones may lie in memory, of which nothing is remembered.
    pub(crate) fn on_disk(stages: &str) -> Self {
        let project = Self { folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() };
        project.set_stages(stages);
        project
    }

    /// Rewrites the pipeline.
    pub(crate) fn set_stages(&self, stages: &str) {
        let fake = built("examples/pipe-fake");
        let indented = stages.trim_matches('\n').replace('\n', "\n  ");
        self.write(
            "pipeline.yaml",
            &format!("version: 1\nname: test\nplugins:\n  fake: {}\nstages:\n  {indented}\n", fake.display()),
        );
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A script that can be executed.
    pub(crate) fn script(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        self.write(name, &format!("#!/bin/sh\n{text}"));
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Every execution of plugin `fake` so far, in order, and forgets them.
    pub(crate) fn executed(&self) -> Vec<String> {
        let trace = self.path("trace");
        let text = fs::read_to_string(&trace).unwrap_or_default();
        let _ = fs::remove_file(trace);
        text.lines().filter(|line| *line != "describe").map(str::to_owned).collect()
    }

    /// How often plugin `fake` was started at all, and forgets it.
    pub(crate) fn started(&self) -> usize {
        let trace = self.path("trace");
        let count = fs::read_to_string(&trace).unwrap_or_default().lines().count();
        let _ = fs::remove_file(trace);
        count
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(built("pipe"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.folder.path())
            .env("TZ", "UTC")
            .env("FAKE_TRACE", self.path("trace"))
            .env("PIPE_HELLO_TIMEOUT", "2");
        command
    }

    /// Runs `pipe` to its end.
    pub(crate) fn pipe(&self, args: &[&str]) -> Outcome {
        let output = self.command(args).stdin(Stdio::null()).output().unwrap();
        let clean = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(&*self.folder.path().to_string_lossy(), "$PROJECT")
        };
        Outcome { code: output.status.code(), stdout: clean(output.stdout), stderr: clean(output.stderr) }
    }

    /// Runs `pipe` and expects success.
    pub(crate) fn pipe_ok(&self, args: &[&str]) -> Outcome {
        let outcome = self.pipe(args);
        assert_eq!(outcome.code, Some(0), "pipe {args:?}\n{}\n{}", outcome.stdout, outcome.stderr);
        outcome
    }

    /// Starts `pipe` and leaves it running, its output going nowhere.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Waits until `ready`, for a minute at most.
    pub(crate) fn wait_until(&self, what: &str, mut ready: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ready() {
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Processes that work in the project's folder, such as runs and what they started.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let folder = self.folder.path().canonicalize().unwrap();
        let is_here = |process: &PathBuf| {
            // What has ended works nowhere.
            fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder))
        };
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        processes
            .filter(is_here)
            .filter_map(|process| Pid::from_raw(process.file_name()?.to_str()?.parse().ok()?))
            .collect()
    }

    /// Files below a folder of the project.
    pub(crate) fn files(&self, below: &str) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut found = vec![];
        walk(&self.path(below), &mut found);
        found.sort();
        found
    }
}

/// The process of a child.
pub(crate) fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

/// Something that cargo built beside this test.
pub(crate) fn built(name: &str) -> PathBuf {
    if name == "pipe" {
        return env!("CARGO_BIN_EXE_pipe").into();
    }
    let pipe = Path::new(env!("CARGO_BIN_EXE_pipe"));
    let path = pipe.parent().unwrap().join(name);
    assert!(path.exists(), "`{}` is not built: run the tests with `cargo test`", path.display());
    path
}
