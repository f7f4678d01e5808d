//! What the system says where an executable cannot be started, in the words of the dynamic loader of glibc, of `env`, of shells and
//! of Python, or by a signal, and what to do about it. Knows these words, and no library.

use std::path::Path;

use super::executable;

/// What to do where the system could not start an executable because a library that it needs is not there or cannot be used, as
/// the dynamic loader of glibc says it.
pub(super) fn library(said: &str) -> Option<String> {
    if let Some((version, library)) = said.lines().find_map(missing_version) {
        return Some(format!(
            "it is built for a newer system: it needs {version}, which `{library}` of this one has not; install a build for this system"
        ));
    }
    let is_inconsistent = |line: &str| {
        line.contains("Inconsistency detected by ld.so") || line.contains("symbol lookup error: ")
    };
    if said.lines().any(is_inconsistent) {
        return Some(format!("a library that it loads is damaged or of another version: {LIBRARIES}"));
    }
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

/// What to do about native libraries that are not as they should be.
const LIBRARIES: &str =
    "install it and its libraries anew, those of `pipe`'s own plugins by `cargo xtask setup`";

/// The version of a library that an executable needs and the library that has it not: `LIBRARY: version `VERSION' not found`.
fn missing_version(line: &str) -> Option<(&str, &str)> {
    let (before, rest) = line.split_once(": version `")?;
    let (version, _) = rest.split_once("' not found")?;
    Some((version, before.rsplit(' ').next().unwrap_or(before)))
}

/// What to do where an executable was ended by a signal before it could describe itself.
pub(super) fn signal(number: i32) -> Option<String> {
    Some(match number {
        libc::SIGBUS => format!(
            "a file that it had mapped into memory is shorter than it should be, as a rule a native library that was cut short by a \
             download, a copy or a full disk: {LIBRARIES}"
        ),
        libc::SIGSEGV => format!(
            "it crashed in native code before it could say anything, as where a library is damaged, cut short, or of another version: \
             {LIBRARIES}"
        ),
        libc::SIGILL => {
            "it, or a library of it, is built for a newer CPU than this machine has: install a build for this one".into()
        }
        libc::SIGKILL => "it was killed by hand, or because memory ran out: see what the system's log says, then run again".into(),
        _ => return None,
    })
}

/// What to do where a program in Python ended with an exception.
pub(super) fn exception(path: &Path, said: &str) -> Option<String> {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.last().copied()?;
    let is_of = |kinds: &[&str]| kinds.iter().any(|kind| last.starts_with(kind));
    let has_traceback = lines.iter().any(|line| line.starts_with("Traceback (most recent call last)"));
    let is_syntax = is_of(&["SyntaxError: ", "IndentationError: ", "TabError: "]);
    if !has_traceback && !is_syntax {
        return None;
    }
    let by = interpreter(path).map_or("Python".into(), |(program, argument)| {
        format!("`{}`", argument.filter(|_| program.ends_with("/env")).unwrap_or(program))
    });
    let module =
        last.strip_prefix("ModuleNotFoundError: No module named ").map(|name| name.trim_matches('\''));
    Some(match module {
        Some(module) => format!(
            "it imports the module `{module}`, which {by} does not find: install what has it for that Python, or name the Python that has \
             it in the script's first line"
        ),
        None if is_of(&["ImportError: "]) => {
            format!(
                "a module that it imports cannot be used by {by} (`{last}`): install that anew for that Python"
            )
        }
        None => format!(
            "it is a program in Python that ended with `{last}`: mend it, or install it anew; {by} runs it"
        ),
    })
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
    let head = executable::head(path)?;
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
        snapshots::assert_message!(told);
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
    fn a_library_of_another_version_is_told() {
        let old = "p: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.99' not found (required by p)";
        let expected = "it is built for a newer system: it needs GLIBC_2.99, which `/lib/x86_64-linux-gnu/libc.so.6` of this one has not";
        assert!(library(old).unwrap().starts_with(expected));
        for damaged in [
            "Inconsistency detected by ld.so: dl-version.c: 205: _dl_check_map_versions: Assertion `needed != NULL' failed!",
            "p: symbol lookup error: /l/x.so: undefined symbol: f",
        ] {
            assert!(
                library(damaged)
                    .unwrap()
                    .starts_with("a library that it loads is damaged or of another version: ")
            );
        }
    }

    #[test]
    fn an_exception_of_python_is_told_by_its_last_line() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("pipe-x");
        std::fs::write(&script, "#!/usr/bin/env python3\n").unwrap();
        let traceback = "    Traceback (most recent call last):\n      File \"x\", line 1, in <module>\n";
        for (last, expected) in [
            (
                "ModuleNotFoundError: No module named 'torch'",
                "it imports the module `torch`, which `python3` does not find: ",
            ),
            (
                "ImportError: libx.so.1",
                "a module that it imports cannot be used by `python3` (`ImportError: libx.so.1`): ",
            ),
            ("KeyError: 'A'", "it is a program in Python that ended with `KeyError: 'A'`: "),
        ] {
            let told = exception(&script, &format!("{traceback}    {last}")).unwrap();
            assert!(told.starts_with(expected), "{told}");
        }
        assert!(exception(&script, "  File x\n    SyntaxError: invalid syntax").is_some());
        assert_eq!(exception(&script, "no such command"), None);
        assert_eq!(exception(&script, ""), None);
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
        snapshots::assert_message!(lost_interpreter(&script).unwrap());
        std::fs::write(&script, "\u{7f}ELF").unwrap();
        assert_eq!(lost_interpreter(&script), None);
    }
}
