//! The measuring scripts, so that none of them is broken when it is wanted. Small sizes, and no figure is looked at.

use std::path::Path;
use std::process::Command;

use crate::project::built;

/// Python in this repository with the machine's own PATH: ninja may be anywhere.
pub(crate) fn python(args: &[&str]) -> (bool, String) {
    let output = Command::new("python3")
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Whether there is a Python that the scripts are written for; says so where there is none.
pub(crate) fn python_is_there() -> bool {
    let (there, said) = python(&["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]);
    if !there {
        println!("skipped: python3 is older than 3.11 {said}");
    }
    there
}

#[test]
fn the_harness_passes_its_own_tests() {
    if python_is_there() {
        let (passed, said) = python(&["-m", "unittest", "discover", "-s", "bench", "-t", "bench"]);
        assert!(passed, "{said}");
    }
}

#[test]
fn a_null_run_is_measured_and_checked() {
    if !python_is_there() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().to_str().unwrap();
    let pipe = built("pipe");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
    let before = std::fs::read(&page).unwrap();
    let args = ["bench/run.py", "null-run", "--quick", "--rounds=1", "--scratch", folder, "--pipe"];
    let (passed, said) = python(&[&args[..], &[pipe.to_str().unwrap()]].concat());
    // What was skipped because a peer is missing.
    println!("{said}");
    assert!(passed, "{said}");
    for text in ["| `pipe run` |", "after an edit of one source 3 stages ran", "with nothing to do"] {
        assert!(said.contains(text), "{text} is not in\n{said}");
    }
    assert_eq!(std::fs::read(&page).unwrap(), before, "`--quick` writes nothing");
}
