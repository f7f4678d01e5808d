//! Commands as they are started: words, programs, and what needs a shell.

use super::*;
use serde_json::json;

#[test]
fn a_shell_is_started_where_it_has_something_to_do() {
    for text in [
        "cp -v ${inputs.src} ${outputs.out}",
        "  python3   train.py\t--lr=${params.lr} --out=${outputs.out}/x ",
        "./tool a,b c:d 50% é",
    ] {
        assert!(plain_words(text).is_some(), "{text}");
    }
    for text in [
        "",
        "  ",
        "a > b",
        "a | b",
        "a; b",
        "a && b",
        "a\nb",
        "a &",
        "'a' b",
        "a \"b\"",
        "a \\b",
        "a $HOME",
        "a ${HOME}",
        "a $${inputs.x}",
        "a ${inputs.x",
        "a *.c",
        "a b?",
        "a [b]",
        "a {b,c}",
        "a ~/b",
        "a # b",
        "a `b`",
        "(a)",
        "A=b c",
        "${params.tool} a",
        "! a",
        "cd a",
        "echo a",
        "test -f a",
        "exec a",
        ". a",
    ] {
        assert_eq!(plain_words(text), None, "{text}");
    }
}

#[test]
fn words_are_split_as_a_shell_splits_them() {
    assert_eq!(plain_words(" cp  -v\ta ").unwrap(), ["cp", "-v", "a"]);
}

#[test]
fn a_program_is_found_as_a_shell_finds_it() {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode| {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    write("one/tool", "no program", 0o644);
    write("two/tool", "#!/bin/sh\n", 0o755);
    std::fs::create_dir_all(root.path().join("folder/tool")).unwrap();
    let found = |program, path: Option<&str>| {
        find(program, root.path(), path.map(OsStr::new)).map(|file| file.to_string_lossy().into_owned())
    };
    let two = Some("two/tool".to_owned());
    assert_eq!(found("tool", Some("nowhere:folder:one:two:three")), two, "folders are relative to the root");
    assert_eq!(found("two/tool", Some("")), two, "a path is not looked for");
    assert_eq!(found("tool", Some("one")), None);
    assert_eq!(found("", Some("two")), None);
    assert!(found("sh", None).is_some());
}

#[test]
fn values_are_filled_in_and_quoted_for_the_shell() {
    let inputs = BTreeMap::from([("model".to_owned(), PathBuf::from("/a b/it's"))]);
    let outputs = BTreeMap::from([("out".to_owned(), PathBuf::from("/o"))]);
    let action = CommandAction {
        command: CommandLine::Args(vec![]),
        params: json!({ "lr": 0.1, "opt": { "name": "it's" }, "fast": true, "sizes": [1] }),
        param_locations: BTreeMap::new(),
        env: BTreeMap::new(),
    };
    let fill = |text, quote| fill(text, &action, &inputs, &outputs, quote);
    assert_eq!(fill("cp ${inputs.model} ${outputs.out}", true), r"cp '/a b/it'\''s' '/o'");
    assert_eq!(fill("${inputs.model}", false), "/a b/it's");
    assert_eq!(
        fill("f --lr ${params.lr} ${params.opt.name} ${params.fast}", true),
        r"f --lr '0.1' 'it'\''s' 'true'"
    );
    assert_eq!(
        fill("--lr=${params.lr} ${params.sizes} ${params.x}", false),
        "--lr=0.1 ${params.sizes} ${params.x}"
    );
    assert_eq!(fill("echo $HOME ${HOME} $${inputs.model} $", true), "echo $HOME ${HOME} ${inputs.model} $");
}
