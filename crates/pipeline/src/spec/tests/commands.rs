//! Mistakes in commands and outputs: one each, with the words and the place that the user gets.

use super::*;
use crate::spec::CommandLine;

#[test]
fn an_undeclared_input() {
    assert_eq!(
        spoilt("${inputs.weights}", "${inputs.wieghts}"),
        "\
error: stage `package` declares no input `wieghts`
  ┌─ p.yaml:19:18
19│     run: gzip -c ${inputs.wieghts} > ${outputs.bundle}
  │                  ^^^^^^^^^^^^^^^^^
  = help: did you mean `weights`?
"
    );
}

#[test]
fn an_undeclared_output() {
    assert_eq!(
        spoilt("${outputs.bundle}", "${outputs.x}"),
        "\
error: stage `package` declares no output `x`
  ┌─ p.yaml:19:38
19│     run: gzip -c ${inputs.weights} > ${outputs.x}
  │                                      ^^^^^^^^^^^^
  = help: outputs are: bundle
"
    );
}

#[test]
fn a_variable_of_the_shell() {
    assert_eq!(
        spoilt("${outputs.bundle}", "${HOME}"),
        "\
error: unknown reference `${HOME}`
  ┌─ p.yaml:19:38
19│     run: gzip -c ${inputs.weights} > ${HOME}
  │                                      ^^^^^^^
  = help: `${vars.NAME}`, `${params.NAME}`, `${inputs.NAME}` and `${outputs.NAME}` are filled in; write `$${HOME}` for the shell's own
"
    );
}

#[test]
fn an_output_that_escapes() {
    assert_eq!(
        spoilt("bundle: weights.gz", "bundle: ../weights.gz"),
        "\
error: `../weights.gz` leads out of the stage's folder: give a plain name
  ┌─ p.yaml:21:24
21│     outputs: { bundle: ../weights.gz }
  │                        ^^^^^^^^^^^^^
  = help: outputs are written to `artifacts/STAGE/`; use `${outputs.NAME}` for the path
"
    );
}

#[test]
fn an_absolute_output() {
    assert_eq!(
        spoilt("bundle: weights.gz", "bundle: /tmp/x"),
        "\
error: `/tmp/x` leads out of the stage's folder: give a plain name
  ┌─ p.yaml:21:24
21│     outputs: { bundle: /tmp/x }
  │                        ^^^^^^
  = help: outputs are written to `artifacts/STAGE/`; use `${outputs.NAME}` for the path
"
    );
}

#[test]
fn two_outputs_in_one_file() {
    assert_eq!(
        spoilt("bundle: weights.gz", "bundle: w.gz, b: w.gz"),
        "\
error: `w.gz` is output `bundle` already
  ┌─ p.yaml:21:33
21│     outputs: { bundle: w.gz, b: w.gz }
  │                                 ^^^^
  = help: give each output a file of its own
"
    );
}

#[test]
fn an_output_with_a_space() {
    assert_eq!(
        spoilt("bundle: weights.gz", "bun dle: w.gz"),
        "\
error: `bun dle` is not a name for an output
  ┌─ p.yaml:21:16
21│     outputs: { bun dle: w.gz }
  │                ^^^^^^^
  = help: use letters, digits, `_` and `-`, starting with a letter
"
    );
}

#[test]
fn an_empty_command() {
    assert_eq!(
        spoilt("run: gzip -c ${inputs.weights} > ${outputs.bundle}", "run: ''"),
        "\
error: the command is empty
  ┌─ p.yaml:19:10
19│     run: ''
  │          ^^
"
    );
}

#[test]
fn a_map_for_a_command() {
    assert_eq!(
        spoilt("run: gzip -c ${inputs.weights} > ${outputs.bundle}", "run: {a: b}"),
        "\
error: `run` is a text or a list of program and arguments, not a map
  ┌─ p.yaml:19:10
19│     run: {a: b}
  │          ^
"
    );
}

#[test]
fn with_of_a_command() {
    assert_eq!(
        spoilt("run: gzip -c ${inputs.weights} > ${outputs.bundle}", "run: ls\n    with: {a: b}"),
        "\
error: `with` belongs to a stage with `uses`
  ┌─ p.yaml:20:5
20│     with: {a: b}
  │     ^^^^
  = help: a command's own are `params`, which `${params.NAME}` puts into it
"
    );
}

#[test]
fn outputs_of_an_op() {
    assert_eq!(
        spoilt("    uses: torch/train\n", "    uses: torch/train\n    outputs: {a: b}\n"),
        "\
error: `outputs` belongs to a stage with `run`
  ┌─ p.yaml:14:5
14│     outputs: {a: b}
  │     ^^^^^^^
  = help: an op's outputs and environment are the plugin's business
"
    );
}

/// `package` with these lines and this command.
fn package(lines: &str, run: &str) -> Result<Pipeline, String> {
    let written = "run: gzip -c ${inputs.weights} > ${outputs.bundle}";
    read(&GOOD.replace(written, &format!("run: {run}\n    {lines}")))
}

#[test]
fn params_of_a_command() {
    let pipeline = package(
        "params: { lr: '${vars.smoothing}', opt: { name: sgd, nesterov: true }, sizes: [1, 2.0] }",
        "train --lr ${params.lr} ${params.opt.name}",
    );
    let pipeline = pipeline.unwrap();
    let crate::spec::Action::Command(action) = &pipeline.stages.last().unwrap().1.action else { panic!() };
    let expected = json!({ "lr": 0.1, "opt": { "name": "sgd", "nesterov": true }, "sizes": [1, 2] });
    assert_eq!(action.params, expected);
    assert_eq!(action.param_locations["opt"].line, 20);
    assert_eq!(action.param("opt.nesterov").as_deref(), Some("true"));
    assert_eq!(action.param("sizes"), None);
    let crate::spec::CommandLine::Shell(text) = &action.command else { panic!() };
    assert_eq!(text, "train --lr ${params.lr} ${params.opt.name}");
}

#[test]
fn an_undeclared_param() {
    assert_eq!(
        package("params: { lr: 0.1 }", "train --lr ${params.rl}").unwrap_err(),
        "\
error: stage `package` declares no param `rl`
  ┌─ p.yaml:19:21
19│     run: train --lr ${params.rl}
  │                     ^^^^^^^^^^^^
  = help: did you mean `lr`?
"
    );
    let problems = package("params: { opt: { momentum: 0.9 } }", "train ${params.opt.momentun}").unwrap_err();
    snapshots::assert_message!(problems);
    let problems = package("description: x", "train ${params.lr}").unwrap_err();
    snapshots::assert_message!(problems);
}

#[test]
fn a_param_that_cannot_stand_in_a_command() {
    assert_eq!(
        package("params: { sizes: [1, 2] }", "train ${params.sizes}").unwrap_err(),
        "\
error: param `sizes` is a list and cannot stand in a command
  ┌─ p.yaml:19:16
19│     run: train ${params.sizes}
  │                ^^^^^^^^^^^^^^^
  = help: texts, numbers, true and false can; dots reach into maps: `${params.MAP.KEY}`
"
    );
    let problems = package("params: [1]", "train").unwrap_err();
    snapshots::assert_message!(problems);
    let problems = package("params: { a.b: 1 }", "train").unwrap_err();
    snapshots::assert_message!(problems);
}

#[test]
fn params_of_an_op_stand_elsewhere() {
    let problems = spoilt("    uses: torch/train\n", "    uses: torch/train\n    params: {a: b}\n");
    snapshots::assert_message!(problems);
}

#[test]
fn a_script_of_several_lines_stops_at_the_first_that_fails() {
    let stops = |text: &str| CommandLine::Shell(text.into()).stops_at_failure();
    for text in [
        "a\nb",
        "  a\nb\n",
        "set +e\na",
        "a |\n  b",
        "a \\\n b\nc",
        "a '#'\nb",
        "echo $#\nb",
        "# it's\na\nb",
        "a \"\\\"\"\nb",
        "cat <<E\nx\nE",
    ] {
        assert!(stops(text), "{text}");
    }
    for text in [
        "a",
        "a; b\n",
        "\na\n\n",
        "a \\\n  --b \\\n  --c\n",
        "",
        "printf 'a\nb'; c",
        "python3 -c \"\na\nb\n\"",
        "# what it does\na # and\n  # why\n",
    ] {
        assert!(!stops(text), "{text}");
    }
    assert!(!CommandLine::Args(vec!["a\nb".into()]).stops_at_failure());
}

#[test]
fn secrets_are_names_of_variables() {
    let with = |secrets: &str| {
        read(&format!(
            "version: 1\nname: x\nvars: {{ token: B_2 }}\nstages:\n  a:\n    run: ls\n    env: {{ E: 1 }}\n    secrets: {secrets}\n"
        ))
    };
    let pipeline = with("[A, '${vars.token}']").unwrap();
    assert_eq!(pipeline.stages[0].secrets.iter().collect::<Vec<_>>(), ["A", "B_2"]);
    assert!(with("").unwrap().stages[0].secrets.is_empty());
    for (secrets, words) in [
        ("A", "`secrets` is a list of names of environment variables, not the text `A`"),
        ("[A-B]", "`A-B` is not a name for a variable"),
        ("[E]", "`E` stands in both `env` and `secrets`"),
        ("[A, A]", "`A` is among the secrets already"),
        ("[1]", "a secret is the name of an environment variable"),
    ] {
        let error = with(secrets).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn patterns_are_those_of_gitignore() {
    let with = |ignore: &str| {
        read(&format!(
            "version: 1\nname: x\nvars: {{ p: '*.log' }}\nignore: {ignore}\nstages:\n  a:\n    run: ls\n"
        ))
    };
    let pipeline = with("['${vars.p}', '!*.pyc']").unwrap();
    let hides = |name: &str| pipeline.ignore.hides(&pipeline.root, &pipeline.root.join(name), false);
    assert!(hides("a.log") && hides(".DS_Store") && !hides("a.pyc") && !hides("a.py"));
    for (ignore, words) in [
        ("'*.log'", "`ignore` is a list of patterns, not the text `*.log`"),
        ("[1]", "a pattern is a text on one line, not 1"),
        ("['a', 'b{']", "the pattern `b{` cannot be read"),
    ] {
        let error = with(ignore).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}
