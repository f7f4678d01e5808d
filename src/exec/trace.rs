//! Which files a command opened without declaring them, as strace saw it. A hint: no key, no outcome and no decision
//! depends on it.

mod strace;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use text::format;

use crate::error::Error;

/// How many files are named.
const SHOWN: usize = 10;

/// A folder is named instead of its files where they are too many to be named and it holds more of them than this.
const FEW: usize = 3;

/// How one execution is traced, and what is then to be told of what it opened. All paths are absolute.
pub(super) struct Trace {
    /// What strace writes.
    pub(super) file: PathBuf,
    /// The pipeline's folder: what lies elsewhere is not told.
    pub(super) root: PathBuf,
    /// Files and folders that may be read: declared inputs, and the store with the outputs being written.
    pub(super) allowed: Vec<PathBuf>,
    /// Where other stages' outputs lie.
    pub(super) artifacts: BTreeMap<PathBuf, Artifact>,
}

/// An output of a stage.
pub(super) struct Artifact {
    pub(super) stage: String,
    pub(super) output: String,
}

/// Whether commands can be traced on this machine.
///
/// # Errors
/// When strace is missing or not allowed to trace; says what to do.
pub fn check() -> Result<(), Error> {
    let cannot = |error: &dyn std::fmt::Display| Error::usage(format!("strace does not work here: {error}"));
    let folder = tempfile::tempdir().map_err(|error| cannot(&error))?;
    let file = folder.path().join("trace");
    let mut command = strace(&file);
    let output = match command.arg("true").stdin(Stdio::null()).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::usage("`--trace` needs strace, which is not on PATH").hint(
                "install it, on Debian or Ubuntu with `apt-get install strace`; there is one for Linux only",
            ));
        }
        output => output.map_err(|error| cannot(&error))?,
    };
    // A program that may not be traced runs all the same.
    if fs::metadata(&file).is_ok_and(|data| data.len() > 0) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or("it wrote nothing").trim();
    Err(Error::usage(format!("strace cannot trace here: {said}")).hint(
        "a container allows it with `--cap-add=SYS_PTRACE`, a machine with `sysctl kernel.yama.ptrace_scope=1`; strace \
         must be 5.2 or newer",
    ))
}

/// strace with all but the program to run. `-D` makes it a bystander: the program itself is the child, so that its exit
/// code, signals and process group are what they are without a trace. `--seccomp-bpf` would be faster, but what escapes
/// from the group and outlives the trace could open no file any more.
fn strace(file: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "-y", "-z", "-e", "signal=none", "-e", strace::CALLS, "-o"]);
    command.arg(file).arg("--");
    command
}

impl Trace {
    /// The command that runs `command` and traces it.
    pub(super) fn wrap(&self, command: &Command) -> Command {
        let mut traced = strace(&self.file);
        traced.arg(command.get_program()).args(command.get_args());
        traced
    }

    /// Whether the program was started at all: strace itself looks for it.
    pub(super) fn has_started(&self) -> bool {
        fs::metadata(&self.file).is_ok_and(|data| data.len() > 0)
    }

    /// Removes what was traced: arguments of programs are in it, and may be secrets.
    pub(super) fn forget(&self) {
        // The next run empties the folder that it is in.
        let _ = fs::remove_file(&self.file);
    }

    /// What the traced command opened without declaring it: lines for the user. Removes the trace.
    ///
    /// # Errors
    /// When the trace cannot be read.
    pub(super) fn findings(&self) -> io::Result<Vec<String>> {
        if !self.has_started() {
            return Ok(vec![]);
        }
        let read = strace::files_read(BufReader::new(regular::open(&self.file)?))?;
        fs::remove_file(&self.file)?;
        // What strace tells has no links in it.
        let root = fs::canonicalize(&self.root)?;
        let allowed: Vec<PathBuf> =
            self.allowed.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
        let artifacts: BTreeMap<PathBuf, (&Path, &Artifact)> = self
            .artifacts
            .iter()
            .filter_map(|(path, artifact)| Some((fs::canonicalize(path).ok()?, (path.as_path(), artifact))))
            .collect();
        let mut made = BTreeMap::new();
        let mut others = Vec::new();
        for path in read {
            // A program may have been executed by way of a link.
            let Ok(path) = fs::canonicalize(path) else { continue };
            if !path.is_file() || allowed.iter().any(|allowed| path.starts_with(allowed)) {
                continue;
            }
            if let Some((path, artifact)) = path.ancestors().find_map(|path| artifacts.get(path)) {
                made.insert(*path, *artifact);
            } else if let Ok(inner) = path.strip_prefix(&root) {
                others.push(inner.to_owned());
            }
        }
        let mut lines: Vec<String> =
            made.into_iter().map(|(path, artifact)| self.tell_artifact(path, artifact)).collect();
        if lines.len() > SHOWN {
            let more = format!("read {} more artifacts of other stages", lines.len() - SHOWN);
            lines.truncate(SHOWN);
            lines.push(more);
        }
        if !others.is_empty() {
            lines.push(format!(
                "read, but not declared as inputs: {}; edits of these go unnoticed",
                listed(&others)
            ));
        }
        Ok(lines)
    }

    fn tell_artifact(&self, path: &Path, Artifact { stage, output }: &Artifact) -> String {
        let shown = path.strip_prefix(&self.root).unwrap_or(path).display();
        format!("read {shown}, which stage `{stage}` makes: declare it as input `{stage}.{output}`")
    }
}

/// Sorted paths in words, not too many.
fn listed(paths: &[PathBuf]) -> String {
    let mut names: Vec<String> = Vec::new();
    if paths.len() <= SHOWN {
        names.extend(paths.iter().map(|path| path.display().to_string()));
    } else {
        let top = |path: &PathBuf| path.components().next().map(|top| PathBuf::from(top.as_os_str()));
        for group in paths.chunk_by(|one, other| top(one) == top(other)) {
            match group.first().and_then(top) {
                Some(top) if group.len() > FEW => {
                    names.push(format!("{}/ ({})", top.display(), format::count(group.len(), "file")));
                }
                _ => names.extend(group.iter().map(|path| path.display().to_string())),
            }
        }
    }
    let more = names.len().saturating_sub(SHOWN);
    if more > 0 {
        names.truncate(SHOWN);
        names.push(format!("{more} more"));
    }
    format::list(&names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: impl IntoIterator<Item = String>) -> Vec<PathBuf> {
        let mut paths: Vec<_> = names.into_iter().map(PathBuf::from).collect();
        paths.sort();
        paths
    }

    #[test]
    fn few_files_are_named_each() {
        let few = paths(["lib/a.py", "b.sh"].map(str::to_owned));
        assert_eq!(listed(&few), "b.sh and lib/a.py");
    }

    #[test]
    fn a_full_folder_does_not_hide_the_rest() {
        let venv = (0..1204).map(|i| format!(".venv/lib/{i}.py"));
        let all = paths(venv.chain(["data/labels.csv".to_owned(), "helper.sh".to_owned()]));
        assert_eq!(listed(&all), ".venv/ (1,204 files), data/labels.csv and helper.sh");
    }

    #[test]
    fn a_long_list_has_an_end() {
        let all = paths((10..22).map(|i| format!("{i}.txt")));
        let shown = (10..20).map(|i| format!("{i}.txt")).collect::<Vec<_>>().join(", ");
        assert_eq!(listed(&all), format!("{shown} and 2 more"));
    }

    #[test]
    fn what_is_declared_made_or_elsewhere_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let write = |name: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        let names = ["in/x", "cache/v1/work/o", "artifacts/a/dir/x", "artifacts/a/log", "stray", "sub/deep"];
        names.into_iter().for_each(write);
        let line = |name: &str| format!("7 open(\"x\", O_RDONLY) = 3<{}/{name}>\n", root.display());
        let text: String = names.into_iter().chain(["gone", "sub"]).map(line).collect();
        let file = root.join("trace");
        fs::write(&file, text + "7 open(\"x\", O_RDONLY) = 3</etc/hosts>\n").unwrap();
        let artifact = Artifact { stage: "a".into(), output: "out".into() };
        let trace = Trace {
            file: file.clone(),
            allowed: vec![root.join("in"), root.join("cache/v1")],
            artifacts: BTreeMap::from([(root.join("artifacts/a/dir"), artifact)]),
            root,
        };
        assert!(trace.has_started());
        assert_eq!(
            trace.findings().unwrap(),
            [
                "read artifacts/a/dir, which stage `a` makes: declare it as input `a.out`",
                "read, but not declared as inputs: artifacts/a/log, stray and sub/deep; edits of these go unnoticed",
            ]
        );
        assert!(!file.exists());
    }
}
