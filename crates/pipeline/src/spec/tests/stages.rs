//! Mistakes in stages: one each, with the words and the place that the user gets.

use super::*;

#[test]
fn an_unknown_plugin() {
    assert_eq!(
        spoilt("torch/train", "tocrh/train"),
        "\
error: there is no plugin `tocrh`
  ┌─ p.yaml:13:11
13│     uses: tocrh/train
  │           ^^^^^^^^^^^
  = help: did you mean `torch`?
"
    );
}

#[test]
fn an_unknown_op() {
    assert_eq!(
        spoilt("torch/train", "torch/trian"),
        "\
error: plugin `torch` has no op `trian`
  ┌─ p.yaml:13:11
13│     uses: torch/trian
  │           ^^^^^^^^^^^
  = help: did you mean `train`?
"
    );
}

#[test]
fn uses_without_an_op() {
    assert_eq!(
        spoilt("torch/train", "torch"),
        "\
error: `uses` is PLUGIN/OP, such as `torch/train`, not the text `torch`
  ┌─ p.yaml:13:11
13│     uses: torch
  │           ^^^^^
"
    );
}

#[test]
fn a_misspelt_key_of_a_stage() {
    assert_eq!(
        spoilt("uses: torch/train", "use: torch/train"),
        "\
error: unknown key `use`
  ┌─ p.yaml:13:5
13│     use: torch/train
  │     ^^^ a stage has no such key
  = help: did you mean `uses`?
"
    );
}

#[test]
fn uses_and_run() {
    assert_eq!(
        spoilt("    uses: torch/train\n", "    uses: torch/train\n    run: ls\n"),
        "\
error: stage `train` has both `uses` and `run`
  ┌─ p.yaml:14:5
14│     run: ls
  │     ^^^
  = help: make two stages of it
"
    );
}

#[test]
fn neither_uses_nor_run() {
    assert_eq!(
        spoilt("    uses: torch/train\n", ""),
        "\
error: stage `train` has neither `uses` nor `run`
  ┌─ p.yaml:12:3
12│   train:
  │   ^^^^^
  = help: `uses: PLUGIN/OP` runs an op of a plugin, `run: COMMAND` a command
"
    );
}

#[test]
fn a_misspelt_input() {
    assert_eq!(
        spoilt("dataset: download.dataset", "dataste: download.dataset"),
        "\
error: stage `train` lacks its input `dataset`
  ┌─ p.yaml:14:5
14│     inputs: { dataste: download.dataset }
  │     ^^^^^^
  = help: it is: the dataset; perhaps `dataset: download.dataset`

error: unknown input `dataste`
  ┌─ p.yaml:14:15
14│     inputs: { dataste: download.dataset }
  │               ^^^^^^^ torch/train reads no such input
  = help: did you mean `dataset`?
"
    );
}

#[test]
fn an_output_that_is_not_produced() {
    assert_eq!(
        spoilt("dataset: download.dataset", "dataset: download.data"),
        "\
error: stage `train` reads `download.data`, which `download` does not produce
  ┌─ p.yaml:14:24
14│     inputs: { dataset: download.data }
  │                        ^^^^^^^^^^^^^
  = help: data/download produces: dataset
"
    );
}

#[test]
fn a_misspelt_stage() {
    assert_eq!(
        spoilt("dataset: download.dataset", "dataset: downlaod.dataset"),
        "\
error: there is neither a stage `downlaod` nor a file `downlaod.dataset`
  ┌─ p.yaml:14:24
14│     inputs: { dataset: downlaod.dataset }
  │                        ^^^^^^^^^^^^^^^^
  = help: did you mean `download`?
"
    );
}

#[test]
fn a_stage_without_its_output() {
    assert_eq!(
        spoilt("dataset: download.dataset", "dataset: download"),
        "\
error: `download` is a stage, not one of its outputs
  ┌─ p.yaml:14:24
14│     inputs: { dataset: download }
  │                        ^^^^^^^^
  = help: write `download.dataset`
"
    );
}

#[test]
fn an_input_file_that_is_missing() {
    assert_eq!(
        spoilt("dataset: download.dataset", "dataset: some/where.bin"),
        "\
error: there is no file or folder `some/where.bin`
  ┌─ p.yaml:14:24
14│     inputs: { dataset: some/where.bin }
  │                        ^^^^^^^^^^^^^^
  = help: relative paths start at the pipeline's folder
"
    );
}

#[test]
fn a_number_for_an_input() {
    assert_eq!(
        spoilt("dataset: download.dataset", "dataset: 3"),
        "\
error: an input is `STAGE.OUTPUT` or a path, not 3
  ┌─ p.yaml:14:24
14│     inputs: { dataset: 3 }
  │                        ^
"
    );
}

#[test]
fn an_input_that_is_missing() {
    assert_eq!(
        spoilt("    inputs: { dataset: download.dataset }\n", ""),
        "\
error: stage `train` lacks its input `dataset`
  ┌─ p.yaml:12:3
12│   train:
  │   ^^^^^
  = help: it is: the dataset; perhaps `dataset: download.dataset`
"
    );
}

#[test]
fn an_input_that_the_op_does_not_read() {
    assert_eq!(
        spoilt("with: { source: Cargo.toml", "inputs: {x: package.bundle}\n    with: { source: Cargo.toml"),
        "\
error: unknown input `x`
  ┌─ p.yaml:11:14
11│     inputs: {x: package.bundle}
  │              ^ data/download reads no such input
  = help: it reads: none
"
    );
}

#[test]
fn a_stage_that_reads_itself() {
    assert_eq!(
        spoilt(
            "run: gzip -c ${inputs.weights} > ${outputs.bundle}\n    inputs: { weights: train.weights }",
            "run: cat\n    inputs: { weights: package.bundle }"
        ),
        "\
error: stages wait for each other: package → package
  ┌─ p.yaml:20:24
20│     inputs: { weights: package.bundle }
  │                        ^^^^^^^^^^^^^^
  = help: each stage reads from the next; take one of these inputs away
"
    );
}

#[test]
fn a_stage_that_starts_with_a_digit() {
    assert_eq!(
        spoilt("  package:", "  9package:"),
        "\
error: `9package` is not a stage name: letters, digits, `_` and `-`, starting with a letter
  ┌─ p.yaml:18:3
18│   9package:
  │   ^^^^^^^^
"
    );
}

#[test]
fn a_cycle_is_named_whole() {
    let text = "\
version: 1
name: x
stages:
  free: { run: ls, outputs: { o: f } }
  a: { run: ls, inputs: { i: c.o }, outputs: { o: f } }
  b: { run: ls, inputs: { i: a.o, j: free.o }, outputs: { o: f } }
  c: { run: ls, inputs: { i: b.o }, outputs: { o: f } }
";
    assert_eq!(
        read(text).unwrap_err(),
        "\
error: stages wait for each other: a → c → b → a
  ┌─ p.yaml:5:30
 5│   a: { run: ls, inputs: { i: c.o }, outputs: { o: f } }
  │                              ^^^
  = help: each stage reads from the next; take one of these inputs away
"
    );
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = GOOD
        .replace("name: tiny", "nam: tiny")
        .replace("image-folder", "folder")
        .replace("label_smoothing:", "lable_smoothing:")
        .replace("${inputs.weights}", "${inputs.w}")
        .replace(">= 85", ">= many");
    let problems = read(&text).unwrap_err();
    let places: Vec<&str> =
        problems.lines().filter_map(|line| line.trim_start().strip_prefix("┌─ p.yaml:")).collect();
    assert_eq!(places, ["1:1", "2:1", "11:41", "17:7", "19:18", "23:27"], "{problems}");
}

#[test]
fn a_mistake_in_one_stage_is_not_told_of_those_that_read_it() {
    let problems = spoilt("torch/train", "torch/trian");
    assert_eq!(problems.matches("error:").count(), 1);
}
