//! What the system says where an executable cannot be started, in the words of the dynamic loader of glibc, of `env` and of
//! shells, and what to do about it. Knows these words, and no library.

use std::io::Read;
use std::path::Path;

/// Longer than the kernel reads of the first line of a script.
const FIRST_LINE: u64 = 512;

/// What to do where the system could not start an executable because a library that it needs is not there or cannot be used, as
/// the dynamic loader of glibc says it.
pub(super) fn library(said: &str) -> Option<String> {
    let (library, why) = said.lines().find_map(|line| {
        let (_, rest) = line.split_once("error while loading shared libraries: ")?;
        rest.split_once(": ")
    })?;
    if why.starts_with("cannot open shared object file") && !why.contains("Permission denied") {
        return Some(format!(
            "it needs the library `{library}`, which is not found: `cargo xtask setup` gets those of `pipe`'s own plugins; the folder of \
             one that is elsewhere is named in `LD_LIBRARY_PATH`"
        ));
    }
    Some(format!(
        "it needs the library `{library}`, which is there and cannot be loaded ({}): it may be cut short, damaged, or of another \
         machine; remove it and get it anew, those of `pipe`'s own plugins by `cargo xtask setup`",
        why.trim()
    ))
}

/// What to do where an executable is a script and what is to run that is not found: as `env` or a shell says it.
pub(super) fn missing_interpreter(path: &Path, said: &str) -> Option<String> {
    let (program, argument) = interpreter(path)?;
    let wanted = argument.filter(|_| program.ends_with("/env"))?;
    let is_named = |line: &str| {
        line.contains("No such file or directory")
            && (line.contains(&format!("{wanted}:")) || quoted(line, &wanted))
    };
    said.lines().any(is_named).then(|| advice(&wanted))
}

/// The same where the system itself did not find what is to run a script.
pub(super) fn lost_interpreter(path: &Path) -> Option<String> {
    let (program, _) = interpreter(path)?;
    (!Path::new(&program).exists()).then(|| advice(&program))
}

fn quoted(line: &str, word: &str) -> bool {
    [('\'', '\''), ('\u{2018}', '\u{2019}')]
        .iter()
        .any(|(open, close)| line.contains(&format!("{open}{word}{close}")))
}

fn advice(program: &str) -> String {
    format!(
        "it is a script that is run by `{program}`, which is not found: install that, or name another one in the script's first line"
    )
}

/// What the first line of a script names to run it, with the first word after it that is no option.
fn interpreter(path: &Path) -> Option<(String, Option<String>)> {
    let mut head = Vec::new();
    regular::open(path).ok()?.take(FIRST_LINE).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let program = words.next()?.to_owned();
    let argument = words.find(|word| !word.starts_with('-') && !word.contains('='));
    Some((program, argument.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_found_is_named_with_the_ways_to_get_it() {
        let linux = "    bin/pipe-torch: error while loading shared libraries: libtorch_cpu.so: cannot open shared object \
                     file: No such file or directory";
        let told = library(linux).unwrap();
        assert!(
            told.starts_with(
                "it needs the library `libtorch_cpu.so`, which is not found: `cargo xtask setup` "
            ),
            "{told}"
        );
        for other in ["Segmentation fault", ""] {
            assert_eq!(library(other), None);
        }
    }

    #[test]
    fn a_library_that_cannot_be_used_is_named_with_what_is_the_matter_with_it() {
        for why in ["file too short", "invalid ELF header", "wrong ELF class: ELFCLASS32"] {
            let told =
                library(&format!("p: error while loading shared libraries: /l/x.so.1: {why}")).unwrap();
            let expected =
                format!("it needs the library `/l/x.so.1`, which is there and cannot be loaded ({why}): ");
            assert!(told.starts_with(&expected), "{told}");
        }
    }

    #[test]
    fn what_is_to_run_a_script_and_is_not_found_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("pipe-x");
        std::fs::write(&script, "#!/usr/bin/env -S python9 -u\nprint()\n").unwrap();
        for said in [
            "env: \u{2018}python9\u{2019}: No such file or directory",
            "/usr/bin/env: 'python9': No such file or directory",
        ] {
            let told = missing_interpreter(&script, said).unwrap();
            assert!(
                told.starts_with("it is a script that is run by `python9`, which is not found: "),
                "{told}"
            );
        }
        assert_eq!(missing_interpreter(&script, "x: No such file or directory"), None);
        assert_eq!(lost_interpreter(&script), None);
        std::fs::write(&script, "#!/nonexistent/python\n").unwrap();
        assert!(lost_interpreter(&script).unwrap().contains("`/nonexistent/python`"));
        std::fs::write(&script, "\u{7f}ELF").unwrap();
        assert_eq!(lost_interpreter(&script), None);
    }
}
