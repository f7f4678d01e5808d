//! Files that are broken on purpose: each is refused in words, or read; none costs more than a moment.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::spec::parse;

fn refused(text: &str, words: &str) {
    let problems = read(text).expect_err("it was read");
    assert!(problems.contains(words), "{problems}");
    assert!(problems.len() < 100_000);
}

#[test]
fn empty_files_and_other_kinds() {
    refused("", "the pipeline is empty");
    refused("# only a comment\n", "the pipeline is empty");
    refused("---\n...\n", "the pipeline is empty");
    refused("- a\n- b\n", "not a list");
    refused("just text", "not the text `just text`");
    refused("3", "not 3");
    refused("{}", "a pipeline needs `stages`");
    refused("version: 1\nname: x\nstages: {}\n", "the pipeline has no stages");
    refused("version: 1\nname: x\nstages:\n", "the pipeline has no stages");
    refused("version: 1\nname: x\nstages: [a]\n", "`stages` is a map");
    refused("version: 1\nname: x\nstages: { a: ls }\n", "stage `a` is a map with `uses` or `run`");
    refused("version: 1\nname: x\nstages: { a: }\n", "stage `a` has neither `uses` nor `run`");
    refused(
        "version: 1\nname: x\nvars: 3\nprofiles: [a]\nplugins: x\nstages: { a: {run: ls} }\n",
        "`plugins` is a map",
    );
}

#[test]
fn everything_null() {
    let text = "version: 1\nname: x\nvars:\nprofiles:\nplugins:\ngates:\nreport:\nstages:\n  a:\n    run: ls\n    inputs:\n    outputs:\n    env:\n    resources:\n    description:\n";
    read(text).unwrap();
    refused("version:\nname:\nstages:\n  a:\n    uses:\n", "`name` is a text");
}

#[test]
fn alias_bombs_are_refused() {
    let mut text = String::from("version: 1\nname: x\nvars:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(text, "  a{level}: &a{level} [{aliases}]").unwrap();
    }
    refused(&text, "too large, too deep or too many aliases");
}

#[test]
fn var_bombs_are_refused_once() {
    let mut text = String::from("version: 1\nname: x\nvars:\n  a0: 0123456789\n");
    for level in 1..40 {
        let before = level - 1;
        writeln!(text, "  a{level}: ${{vars.a{before}}}${{vars.a{before}}}").unwrap();
    }
    text += "stages: { s: { run: ls } }\n";
    let problems = read(&text).unwrap_err();
    assert_eq!(problems.matches("error:").count(), 1, "{problems}");
    snapshots::assert_message!(problems);

    let mut text = String::from("version: 1\nname: x\nvars:\n  a0: [x, x]\n");
    for level in 1..40 {
        let before = level - 1;
        writeln!(text, "  a{level}: ['${{vars.a{before}}}', '${{vars.a{before}}}']").unwrap();
    }
    text += "stages: { s: { run: ls } }\n";
    let problems = read(&text).unwrap_err();
    assert_eq!(problems.matches("error:").count(), 1, "{problems}");
}

#[test]
fn deep_nesting_is_refused() {
    refused(&("[".repeat(10_000) + &"]".repeat(10_000)), "too deep");
    refused(&"{a: ".repeat(10_000), "too deep");
    refused(&(0..1_000).map(|level| format!("{}a:\n", " ".repeat(level))).collect::<String>(), "too deep");
    refused(&"- ".repeat(10_000), "too deep");
}

#[test]
fn vars_that_nest_in_vars_are_refused() {
    let (open, close) = ("[".repeat(50), "]".repeat(50));
    let mut text = String::from("version: 1\nname: x\nvars:\n  a0: x\n");
    for level in 1..300 {
        writeln!(text, "  a{level}: {open}'${{vars.a{}}}'{close}", level - 1).unwrap();
    }
    text += "stages: { s: { run: ls } }\n";
    let problems = read(&text).unwrap_err();
    snapshots::assert_message!(problems);
}

#[test]
fn large_files_are_refused() {
    refused(&format!("name: {}", "x".repeat(65 << 20)), "larger than 64 MB");
}

/// With every stage looking at every other, this would take minutes.
#[test]
fn many_stages_are_read() {
    let stages: String = (0..20_000)
        .map(|stage| {
            let before = stage.max(1) - 1;
            format!(
                "  s{stage}:\n    run: cp ${{inputs.a}} ${{outputs.o}} # ${{vars.x}}\n    inputs: {{ a: src/lib.rs, b: s{before}.o }}\n    \
                 outputs: {{ o: out }}\n"
            )
        })
        .collect();
    let stages = stages.replacen("b: s0.o", "c: src/graph.rs", 1);
    let text = format!("version: 1\nname: x\nvars: {{ x: 1 }}\nstages:\n{stages}");
    assert_eq!(read(&text).unwrap().stages.len(), 20_000);
    let problems = read(&text.replace("s7.o", "t7.o")).unwrap_err();
    snapshots::assert_message!(problems);
}

/// As above, where nothing is right.
#[test]
fn many_mistakes_are_told_in_part() {
    let stages: String = (0..20_000).map(|stage| format!("  s{stage}: {{ uses: x }}\n")).collect();
    let problems = read(&format!("version: 1\nname: x\nstages:\n{stages}")).unwrap_err();
    snapshots::assert_message!(problems);
    let stages: String = (0..20_000)
        .map(|stage| format!("  s{stage}: {{ run: ls, inputs: {{ a: t{stage}.x }} }}\n"))
        .collect();
    let text = format!("version: 1\nname: x\nstages:\n{stages}");
    snapshots::assert_message!(read(&text).unwrap_err());
    // All on one line.
    let words = vec!["'${vars.x}'"; 100_000].join(", ");
    let text = format!("version: 1\nname: é\nstages: {{ s: {{ run: [{words}] }} }}\n");
    snapshots::assert_message!(read(&text).unwrap_err());
}

#[test]
fn characters_that_do_not_belong() {
    refused("name: a\0b\n", "NUL");
    refused(
        "version: 1\nname: \"a\\u001b[31m\"\nstages: { a: {run: ls} }\n",
        "`name` has the control character U+001B",
    );
    let problems = read("version: 1\nname: x\nstages: { \"a\\e[2J\": {run: ls} }\n").unwrap_err();
    assert!(!problems.contains('\x1b'));
    refused("version: 1\nname: x\nstages: { a: {run: ls, env: { A: \"x\\0y\" } } }\n", "cannot hold a NUL");
    refused(
        "version: 1\nname: x\nstages: { a: {run: ls, outputs: { o: \"x\\ny\" } } }\n",
        "control characters",
    );
    let good = format!("\u{feff}{}", GOOD.replace('\n', "\r\n"));
    read(&good).unwrap();
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let error = |file: &std::path::Path| parse(file).unwrap_err().to_string();
    let file = folder.path().join("pipeline.yaml");
    snapshots::assert_message!(error(&file));
    snapshots::assert_message!(error(folder.path()));
    std::fs::write(&file, b"version: 1\nname: \xff\xfe\n").unwrap();
    snapshots::assert_message!(error(&file));
    std::fs::write(&file, vec![b'#'; 65 << 20]).unwrap();
    snapshots::assert_message!(error(&file));
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("pipeline.yaml");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for (file, what) in [
        (&*fifo, "it is a FIFO, and not a file"),
        (folder.path(), "is a directory"),
        (std::path::Path::new("/dev/zero"), "it is a device, and not a file"),
    ] {
        let error = parse(file).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn a_folder_whose_path_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    std::fs::create_dir(&project).unwrap();
    std::fs::write(project.join("pipeline.yaml"), GOOD).unwrap();
    let error = parse(&project.join("pipeline.yaml")).unwrap_err().to_string();
    snapshots::assert_message!(error);
}

#[test]
fn numbers_at_the_edge() {
    for (value, words) in [
        ("99999999999999999999", "at most 18446744073709551615"),
        ("-99999999999999999999", "at least 1"),
        ("1e300", "at most"),
        (".inf", "not a finite number"),
        ("0.1e1", ""),
        ("1e2", ""),
    ] {
        let text = GOOD.replace("epochs: ${vars.epochs}", &format!("epochs: {value}"));
        match read(&text) {
            Ok(_) => assert_eq!(words, "", "{value}"),
            Err(problems) => assert!(!words.is_empty() && problems.contains(words), "{problems}"),
        }
    }
}

/// A piece of text that means something somewhere in a pipeline.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("${vars.epochs}".to_owned()),
        Just("${inputs.weights}".to_owned()),
        Just("${matrix.lr}".to_owned()),
        Just("${params.lr}".to_owned()),
        Just("matrix: { lr: [1, 2] }\n    ".to_owned()),
        Just("include: [{ lr: 3 }], ".to_owned()),
        Just("[lr=0.1]".to_owned()),
        Just("${".to_owned()),
        Just("$${".to_owned()),
        Just("train.weights".to_owned()),
        Just("&a ".to_owned()),
        Just("*a".to_owned()),
        Just("<<: ".to_owned()),
        Just("!!int ".to_owned()),
        Just("\n  ".to_owned()),
        Just("\n".to_owned()),
        Just("null".to_owned()),
        Just("[".to_owned()),
        Just("{".to_owned()),
        Just("|\n".to_owned()),
        Just("---\n".to_owned()),
        Just("é\u{202e}名".to_owned()),
        "[ -~]{1,4}",
        any::<char>().prop_map(String::from),
    ]
}

#[test]
fn a_carriage_return_alone_ends_a_line() {
    let printed = read("version: 1\rname: t\rstages: {}\rbogus: 1\r").unwrap_err();
    snapshots::assert_message!(printed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_spoilt_pipeline_is_read_or_refused(
        sweep in any::<bool>(),
        edits in proptest::collection::vec((0.0..1.0_f64, 0_usize..20, piece()), 1..5),
    ) {
        let mut text: Vec<char> = if sweep { super::matrix::SWEEP } else { GOOD }.chars().collect();
        for (at, removed, inserted) in edits {
            let start = (at * text.len() as f64) as usize;
            let end = (start + removed).min(text.len());
            text.splice(start..end, inserted.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(problems) = read(&text) {
            prop_assert!(problems.starts_with("error: "));
            prop_assert!(!problems.contains('\0'));
        }
    }

    #[test]
    fn lines_in_any_order_are_read_or_refused(order in Just(GOOD.lines().collect::<Vec<_>>()).prop_shuffle()) {
        let _ = read(&order.join("\n"));
    }

    #[test]
    fn any_value_of_set_is_read_or_refused(name in "[a-z.]{0,8}", value in ".{0,20}") {
        let _ = read_with(GOOD, &overrides(&[(&name, &value), ("epochs", &value)], Some("demo")));
    }
}
