//! A project whose cache holds everything that a cache can hold, and how a place in it is damaged.

use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process_group};

use super::kind::Kind::{self, *};
use crate::project::{Outcome, Project, built, pid};

/// Ops and a command, a file and a folder, figures, partial work of a key and across keys.
const STAGES: &str = r#"
words:
  uses: fake/write
  with: { text: words }
  inputs: { a: a.txt }
folder:
  run: mkdir -p ${outputs.d}/inner && cp ${inputs.a} ${outputs.d}/inner/one && echo two > ${outputs.d}/two
  inputs: { a: words.out }
  outputs: { d: folder }
shown:
  uses: fake/tell
  with: { metrics: { m: { value: 1, unit: "" } }, figures: [{ id: f, title: F, content: { kind: answer, text: yes } }] }
grown:
  uses: fake/grow
  with: { to: 3 }
counted:
  uses: fake/count
  with: { to: 3, stick: "${vars.stick}" }
risky:
  run: echo ${vars.code} > ${outputs.o}; exit ${vars.code}
  outputs: { o: o.txt }
"#;

/// A file of somebody's that a link in the cache leads to.
pub(super) const OUTSIDE: &str = "this is not for pipe to write to\n";

/// Nothing takes this long that does not hang. A disk may be slow.
const LONG: Duration = Duration::from_secs(60);

/// Address space, KiB: half of what a file of [`Kind::Huge`] would take.
const MEMORY: u64 = 2 << 20;

/// Not an exit code.
pub(super) const HANGS: i32 = 1000;

/// A project with everything in its cache, and who runs `pipe` in it.
pub(super) struct Bench {
    pub(super) project: Project,
    /// What binds others does not bind root, who is somebody else here.
    as_nobody: bool,
}

impl Bench {
    pub(super) fn new() -> Self {
        let project = Project::new(STAGES);
        let pipeline = project.read("pipeline.yaml");
        project
            .write("pipeline.yaml", &pipeline.replace("stages:\n", "vars: { code: 0, stick: 9 }\nstages:\n"));
        project.write("a.txt", "a\n");
        project.write("outside.txt", OUTSIDE);
        fs::create_dir_all(project.path("kept")).unwrap();
        let bench = Self { project, as_nobody: rustix::process::geteuid().is_root() };
        bench.own();
        // A log of a failure, partial work, several runs.
        let run = |args: &[&str], code: i32| {
            let outcome = bench.pipe(&[&["run"], args].concat());
            assert_eq!(outcome.code, Some(code), "{args:?}: {}", outcome.stderr);
        };
        run(&[], 0);
        run(&["--set", "code=7", "risky"], 1);
        let mut stuck = bench.command(&["run", "--set", "stick=2", "counted"]).spawn().unwrap();
        bench.project.wait_until("partial work", || {
            let kept = bench.project.files("cache/v1/resume");
            kept.iter().any(|file| fs::read_to_string(file).is_ok_and(|text| text == "2"))
        });
        stuck.kill().unwrap();
        stuck.wait().unwrap();
        // What it started ends after it, and leaves nothing behind then.
        bench.project.wait_until("the end of what it started", || bench.project.processes().is_empty());
        run(&["--force", "words"], 0);
        assert_eq!(bench.pipe(&["verify"]).code, Some(0));
        for name in ["work/left", "tmp/left", "corrupt/left"] {
            bench.project.write(&format!("cache/v1/{name}"), "left");
        }
        bench.own();
        bench.settle();
        bench.copy("cache", "whole");
        bench.copy("artifacts", "made");
        bench
    }

    fn copy(&self, from: &str, to: &str) {
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(self.project.path(from)).arg(self.project.path(to));
        assert!(copy.status().unwrap().success());
    }

    /// Makes all as it was before the first damage.
    pub(super) fn restore(&self) {
        for (name, kept) in [("cache", "whole"), ("artifacts", "made")] {
            fs::remove_dir_all(self.project.path(name)).unwrap();
            self.copy(kept, name);
        }
        self.settle();
    }

    /// Gives all of it to who runs `pipe`.
    fn own(&self) {
        if self.as_nobody {
            let mut chown = Command::new("chown");
            chown.args(["-hR", "65534:65534"]).arg(self.project.path(""));
            assert!(chown.status().unwrap().success());
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let limit = format!("ulimit -v {MEMORY}; exec \"$@\"");
        let environment = self.project.command(args);
        let mut command = Command::new("sh");
        command.args(["-c", &limit, "sh"]);
        if self.as_nobody {
            command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.arg(built("pipe")).args(args).current_dir(self.project.path("")).env_clear();
        command.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
        // So that all of it can be killed.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command
    }

    /// Runs `pipe`, which must end.
    pub(super) fn pipe(&self, args: &[&str]) -> Outcome {
        let mut child = self.command(args).spawn().unwrap();
        let read = |mut stream: Box<dyn std::io::Read + Send>| {
            std::thread::spawn(move || {
                let mut bytes = vec![];
                let _ = stream.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            })
        };
        let stdout = read(Box::new(child.stdout.take().unwrap()));
        let stderr = read(Box::new(child.stderr.take().unwrap()));
        let deadline = Instant::now() + LONG;
        let code = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None if Instant::now() > deadline => {
                    let _ = kill_process_group(pid(&child), Signal::KILL);
                    child.wait().unwrap();
                    break Some(HANGS);
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        Outcome { code, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    }

    /// Until the answer is kept: once for what was damaged, once more for what was young.
    fn settle(&self) {
        for _ in 0..2 {
            let outcome = self.pipe(&["run"]);
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        }
    }

    /// Files and folders of the cache, by their names below `cache`.
    pub(super) fn places(&self) -> Vec<(PathBuf, bool)> {
        let cache = self.project.path("cache");
        let mut found = vec![];
        let mut folders = vec![cache.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&cache).unwrap().to_owned();
                if path.is_dir() {
                    folders.push(path);
                    found.push((name, true));
                } else {
                    found.push((name, false));
                }
            }
        }
        found.sort();
        found
    }

    /// Damages a place. `false` where that cannot be done here.
    pub(super) fn damage(&self, place: &Path, is_folder: bool, kind: Kind) -> bool {
        let path = self.project.path("cache").join(place);
        let bytes = || fs::read(&path).unwrap();
        let write = |bytes: &[u8]| {
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            fs::write(&path, bytes).unwrap();
        };
        let replace = |make: &dyn Fn(&Path)| {
            fs::rename(&path, self.project.path("kept/original")).unwrap();
            make(&path);
        };
        match kind {
            Truncated => write(&bytes()[..bytes().len() / 2]),
            Flipped => {
                let mut bytes = bytes();
                let Some(middle) = bytes.len().checked_sub(1).map(|last| last / 2) else { return false };
                bytes[middle] ^= 1;
                write(&bytes);
            }
            Zeroed => write(&vec![0; bytes().len()]),
            Emptied => write(b""),
            Garbage => {
                let mut random = vec![0; 300];
                File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
                write(&random);
            }
            Longer => write(&[bytes(), b"more\n".to_vec()].concat()),
            Others => match self.sibling(place) {
                Some(other) => write(&fs::read(other).unwrap()),
                None => return false,
            },
            Huge => {
                fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
                File::options().write(true).open(&path).unwrap().set_len(4 << 30).unwrap();
            }
            Removed => replace(&|_| {}),
            File => replace(&|path| fs::write(path, "a file\n").unwrap()),
            Folder => replace(&|path| fs::create_dir(path).unwrap()),
            FullFolder => replace(&|path| {
                fs::create_dir(path).unwrap();
                fs::write(path.join("file"), "a file\n").unwrap();
            }),
            Fifo => replace(&|path| {
                let made = Command::new("mkfifo").arg(path).status().unwrap();
                assert!(made.success());
            }),
            Socket => {
                // A socket's path has at most 107 bytes.
                let short = self.project.path("s");
                drop(UnixListener::bind(&short).unwrap());
                replace(&|path| fs::rename(&short, path).unwrap());
            }
            Device => replace(&|path| symlink("/dev/zero", path).unwrap()),
            Dangling => replace(&|path| symlink("/nowhere/at/all", path).unwrap()),
            Loop => replace(&|path| symlink(path.file_name().unwrap(), path).unwrap()),
            Outside => replace(&|path| symlink(self.project.path("outside.txt"), path).unwrap()),
            Unreadable | ReadOnly | Foreign if !self.as_nobody && kind == Foreign => return false,
            Unreadable | ReadOnly | Foreign => {}
        }
        self.own();
        match kind {
            Unreadable => fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap(),
            ReadOnly => {
                let mode = if is_folder { 0o555 } else { 0o444 };
                fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
                fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o555)).unwrap();
            }
            Foreign => {
                fs::set_permissions(&path, Permissions::from_mode(if is_folder { 0o755 } else { 0o600 }))
                    .unwrap();
                std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
            }
            _ => {}
        }
        true
    }

    /// Another file of the same folder, or of one beside it.
    fn sibling(&self, place: &Path) -> Option<PathBuf> {
        let mut above = place.parent();
        while let Some(folder) = above.filter(|folder| !folder.as_os_str().is_empty()) {
            let files = self.project.files(&format!("cache/{}", folder.display()));
            if let Some(found) = files.into_iter().find(|file| !file.ends_with(place)) {
                return Some(found);
            }
            above = folder.parent();
        }
        None
    }

    /// Takes what was damaged away, as the documentation allows.
    pub(super) fn clear(&self, place: &Path) {
        let path = self.project.path("cache").join(place);
        let parent = path.parent().unwrap();
        if let Ok(metadata) = fs::metadata(parent)
            && metadata.is_dir()
        {
            fs::set_permissions(parent, Permissions::from_mode(0o755)).unwrap();
        }
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&path).unwrap(),
            Ok(_) => fs::remove_file(&path).unwrap(),
            Err(_) => {}
        }
        let kept = self.project.path("kept/original");
        let _ = fs::remove_dir_all(&kept).or_else(|_| fs::remove_file(&kept));
        self.own();
    }
}
