//! Mistakes in gates, report, the file as a whole and the command line: one each, with the words and the place that the user gets.

use super::*;

#[test]
fn a_gate_without_a_comparison() {
    assert_eq!(
        spoilt("- train.val_accuracy >= 85", "- train.val_accuracy"),
        "\
error: gate `train.val_accuracy`: expected a comparison: `<`, `<=`, `>`, `>=`, `==` or `!=`
  ┌─ p.yaml:23:5
23│   - train.val_accuracy
  │     ^^^^^^^^^^^^^^^^^^
  = help: gates look like `export.size_kb < 500`
"
    );
}

#[test]
fn a_gate_on_an_unknown_stage() {
    assert_eq!(
        spoilt("- train.val_accuracy >= 85", "- trian.val_accuracy >= 85"),
        "\
error: gate names unknown stage `trian`
  ┌─ p.yaml:23:5
23│   - trian.val_accuracy >= 85
  │     ^^^^^
  = help: did you mean `train`?
"
    );
}

#[test]
fn a_gate_on_an_unknown_stage_of_an_earlier_run() {
    assert_eq!(
        spoilt("- train.val_accuracy >= 85", "- train.val_accuracy >= baseline.trian.val_accuracy - 1"),
        "\
error: gate names unknown stage `trian`
  ┌─ p.yaml:23:36
23│   - train.val_accuracy >= baseline.trian.val_accuracy - 1
  │                                    ^^^^^
  = help: did you mean `train`?
"
    );
}

#[test]
fn a_stage_that_is_called_what_an_earlier_run_is() {
    let text = GOOD.replace("  package:", "  baseline:");
    let refused = |gate: &str| {
        let text = text.replace("- train.val_accuracy >= 85", gate);
        read(&text).expect_err(gate)
    };
    let expected = "\
error: `baseline` stands for an earlier run in gates, and there is a stage of that name
  ┌─ p.yaml:23:27
23│   - train.val_accuracy >= baseline.train.val_accuracy
  │                           ^^^^^^^^
  = help: give the stage another name
";
    assert_eq!(refused("- train.val_accuracy >= baseline.train.val_accuracy"), expected);
    let short = refused("- baseline.size < 3");
    snapshots::assert_message!(short);
    assert!(read(&text).is_ok(), "where no gate says `baseline`, a stage may be called that");
}

#[test]
fn a_map_for_a_gate() {
    assert_eq!(
        spoilt("- train.val_accuracy >= 85", "- {a: b}"),
        "\
error: a gate is a comparison such as `train.val_accuracy >= 85`, not a map
  ┌─ p.yaml:23:5
23│   - {a: b}
  │     ^
"
    );
}

#[test]
fn gates_that_are_no_list() {
    assert_eq!(
        spoilt("gates:\n  - train.val_accuracy >= 85", "gates: train.x > 1"),
        "\
error: `gates` is a list of comparisons, not the text `train.x > 1`
  ┌─ p.yaml:22:8
22│ gates: train.x > 1
  │        ^^^^^^^^^^^
  = help: write each on a line of its own: `- train.val_accuracy >= 85`
"
    );
}

#[test]
fn an_unknown_row() {
    assert_eq!(
        spoilt("FP32: 91.16", "FP23: 91.16"),
        "\
error: unknown row `FP23`
  ┌─ p.yaml:27:70
27│     - { label: accuracy, metric: \"${row}.val_accuracy\", reference: { FP23: 91.16 } }
  │                                                                      ^^^^
  = help: did you mean `FP32`?
"
    );
}

#[test]
fn a_column_on_an_unknown_stage() {
    assert_eq!(
        spoilt("metric: \"${row}.val_accuracy\"", "metric: trian.val_accuracy"),
        "\
error: column names unknown stage `trian`
  ┌─ p.yaml:27:34
27│     - { label: accuracy, metric: trian.val_accuracy, reference: { FP32: 91.16 } }
  │                                  ^^^^^
  = help: did you mean `train`?
"
    );
}

#[test]
fn a_metric_without_a_stage() {
    assert_eq!(
        spoilt("metric: \"${row}.val_accuracy\"", "metric: accuracy"),
        "\
error: a metric is `stage.metric`, not `accuracy`
  ┌─ p.yaml:27:34
27│     - { label: accuracy, metric: accuracy, reference: { FP32: 91.16 } }
  │                                  ^^^^^^^^
"
    );
}

#[test]
fn a_column_without_a_metric() {
    assert_eq!(
        spoilt("metric: \"${row}.val_accuracy\", ", ""),
        "\
error: a column needs `metric`
  ┌─ p.yaml:27:7
27│     - { label: accuracy, reference: { FP32: 91.16 } }
  │       ^
  = help: The metric of each row: `stage.metric`, with `${row}` for the row's text. Of several the first that is there is taken.
"
    );
}

#[test]
fn better_is_higher_or_lower() {
    let told = spoilt("label: accuracy", "label: accuracy, better: more");
    snapshots::assert_message!(told);
}

#[test]
fn negative_digits() {
    assert_eq!(
        spoilt("label: accuracy", "label: accuracy, digits: -1"),
        "\
error: `digits` is a whole number from 0 to 10, not -1
  ┌─ p.yaml:27:34
27│     - { label: accuracy, digits: -1, metric: \"${row}.val_accuracy\", reference: { FP32: 91.16 } }
  │                                  ^^
"
    );
}

#[test]
fn a_misspelt_key_of_the_file() {
    assert_eq!(
        spoilt("report:", "reports:"),
        "\
error: unknown key `reports`
  ┌─ p.yaml:24:1
24│ reports:
  │ ^^^^^^^ a pipeline has no such key
  = help: did you mean `report`?
"
    );
}

#[test]
fn a_version_from_the_future() {
    assert_eq!(
        spoilt("version: 1", "version: 2"),
        "\
error: version 2 of the format is not known
  ┌─ p.yaml:1:10
 1│ version: 2
  │          ^
  = help: this `pipe` reads `version: 1`
"
    );
}

#[test]
fn a_missing_version() {
    assert_eq!(
        spoilt("version: 1\n", ""),
        "\
error: a pipeline needs `version`
  ┌─ p.yaml:1:1
 1│ name: tiny
  │ ^
  = help: Version of this format: 1.
"
    );
}

#[test]
fn a_list_for_a_name() {
    assert_eq!(
        spoilt("name: tiny", "name: [a]"),
        "\
error: `name` is a text on one line, not a list
  ┌─ p.yaml:2:7
 2│ name: [a]
  │       ^
"
    );
}

#[test]
fn an_unknown_var_in_a_profile() {
    assert_eq!(
        spoilt("demo: { epochs: 2 }", "demo: { epoch: 2 }"),
        "\
error: unknown var `epoch`
  ┌─ p.yaml:7:11
 7│   demo: { epoch: 2 }
  │           ^^^^^
  = help: did you mean `epochs`?
"
    );
}

#[test]
fn a_var_before_its_definition() {
    assert_eq!(
        spoilt("  epochs: 5", "  first: ${vars.epochs}\n  epochs: 5"),
        "\
error: var `epochs` is defined further down
  ┌─ p.yaml:4:10
 4│   first: ${vars.epochs}
  │          ^^^^^^^^^^^^^^
  = help: a var may refer to those before it: move it up
"
    );
}

#[test]
fn a_key_given_twice() {
    assert_eq!(
        spoilt("  epochs: 5", "  epochs: 5\n  epochs: 6"),
        "\
error: key `epochs` is given twice
  ┌─ p.yaml:5:3
 5│   epochs: 6
  │   ^^^^^^
  = help: remove one of the two
"
    );
}

#[test]
fn an_unclosed_list() {
    assert_eq!(
        spoilt("  epochs: 5", "  epochs: [5"),
        "\
error: illegal placement of ':' indicator
  ┌─ p.yaml:5:12
 5│   smoothing: 0.1
  │            ^
"
    );
}

#[test]
fn a_plugin_that_is_not_there() {
    assert_eq!(
        spoilt("stages:", "plugins: { mine: nowhere/bin }\nstages:"),
        "\
error: there is no file `nowhere/bin`
  ┌─ p.yaml:8:18
 8│ plugins: { mine: nowhere/bin }
  │                  ^^^^^^^^^^^
  = help: relative paths start at the pipeline's folder
"
    );
}

#[test]
fn an_unknown_key_of_the_file() {
    assert_eq!(
        spoilt("stages:", "x: 1\nstages:"),
        "\
error: unknown key `x`
  ┌─ p.yaml:8:1
 8│ x: 1
  │ ^ a pipeline has no such key
  = help: keys are: version, name, vars, profiles, plugins, ignore, stages, gates, report
"
    );
}

#[test]
fn wrong_resources() {
    assert_eq!(
        spoilt(
            "    uses: torch/train\n",
            "    uses: torch/train\n    resources: {cpus: few, exklusive: yes}\n"
        ),
        "\
error: `cpus` is a whole number of at least 1, or `all`, not the text `few`
  ┌─ p.yaml:14:23
14│     resources: {cpus: few, exklusive: yes}
  │                       ^^^

error: unknown key `exklusive`
  ┌─ p.yaml:14:28
14│     resources: {cpus: few, exklusive: yes}
  │                            ^^^^^^^^^ `resources` has no such key
  = help: did you mean `exclusive`?
"
    );
}

#[test]
fn an_unknown_var_on_the_command_line() {
    assert_eq!(
        refused_set("epohcs", "3"),
        "\
error: unknown var `epohcs`
  ┌─ command line
  │ --set epohcs=3
  │       ^^^^^^
  = help: did you mean `epochs`?
"
    );
}

#[test]
fn a_value_of_the_wrong_kind_on_the_command_line() {
    assert_eq!(
        refused_set("epochs", "many"),
        "\
error: `epochs` must be a whole number, not the text `many`
  ┌─ command line
  │ --set epochs=many
  │              ^^^^
  = help: used at line 16, column 15
"
    );
}

#[test]
fn a_value_that_is_not_yaml() {
    assert_eq!(
        refused_set("epochs", "[1"),
        "\
error: the value of `epochs` is not YAML: unclosed bracket '['
  ┌─ command line
  │ --set epochs=[1
  │              ^
  = help: the value is read as YAML; quote it twice if it is a text: `--set 'x=\"…\"'`
"
    );
}

#[test]
fn a_set_that_reaches_too_far() {
    assert_eq!(
        refused_set("epochs.x", "1"),
        "\
error: `epochs.x` reaches into a var that is not a map
  ┌─ command line
  │ --set epochs.x=1
  │       ^^^^^^^^
"
    );
}

#[test]
fn an_unknown_profile() {
    assert_eq!(
        read_with(GOOD, &overrides(&[], Some("dmeo"))).unwrap_err(),
        "\
error: unknown profile `dmeo`
  ┌─ command line
  │ --profile dmeo
  │           ^^^^
  = help: did you mean `demo`?
"
    );
}
