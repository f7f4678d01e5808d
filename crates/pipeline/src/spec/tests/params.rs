//! Mistakes in params and vars: one each, with the words and the place that the user gets.

use super::*;

#[test]
fn an_unknown_param() {
    assert_eq!(
        spoilt("label_smoothing:", "lable_smoothing:"),
        "\
error: unknown parameter `lable_smoothing`
  ┌─ p.yaml:17:7
17│       lable_smoothing: ${vars.smoothing}
  │       ^^^^^^^^^^^^^^^ torch/train has no such parameter
  = help: did you mean `label_smoothing`?
"
    );
}

#[test]
fn a_text_for_a_number() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "epochs: many"),
        "\
error: `epochs` must be a whole number, not the text `many`
  ┌─ p.yaml:16:15
16│       epochs: many
  │               ^^^^
"
    );
}

#[test]
fn a_var_out_of_range() {
    assert_eq!(
        spoilt("epochs: 5", "epochs: 0"),
        "\
error: `epochs` must be at least 1, not 0
  ┌─ p.yaml:4:11
 4│   epochs: 0
  │           ^
  = help: used at line 16, column 15
"
    );
}

#[test]
fn a_fraction_for_a_whole_number() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "epochs: 1.5"),
        "\
error: `epochs` must be a whole number, not 1.5
  ┌─ p.yaml:16:15
16│       epochs: 1.5
  │               ^^^
"
    );
}

#[test]
fn a_number_that_is_too_large() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "epochs: 99999999999999999999"),
        "\
error: `epochs` must be at most 18446744073709551615, not 1e+20
  ┌─ p.yaml:16:15
16│       epochs: 99999999999999999999
  │               ^^^^^^^^^^^^^^^^^^^^
"
    );
}

#[test]
fn a_limit_that_is_excluded() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "lr: 0"),
        "\
error: `lr` must be more than 0, not 0
  ┌─ p.yaml:16:11
16│       lr: 0
  │           ^
"
    );
}

#[test]
fn a_word_that_is_no_option() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "device: gpu"),
        "\
error: `device` cannot be `gpu`
  ┌─ p.yaml:16:15
16│       device: gpu
  │               ^^^
  = help: one of: auto, cpu, cuda
  = help: did you mean `cpu`?
"
    );
}

#[test]
fn a_misspelt_option() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "device: cdua"),
        "\
error: `device` cannot be `cdua`
  ┌─ p.yaml:16:15
16│       device: cdua
  │               ^^^^
  = help: one of: auto, cpu, cuda
  = help: did you mean `cuda`?
"
    );
}

#[test]
fn a_number_for_an_option() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "device: 3"),
        "\
error: `device` cannot be 3
  ┌─ p.yaml:16:15
16│       device: 3
  │               ^
  = help: one of: auto, cpu, cuda
"
    );
}

#[test]
fn a_number_for_a_map() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "network: 3"),
        "\
error: `network` must be a map, not 3
  ┌─ p.yaml:16:16
16│       network: 3
  │                ^
"
    );
}

#[test]
fn a_misspelt_layer() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "network: { layers: [ { conb: { out: 3 } } ] }"),
        "\
error: unknown key `conb` in `network.layers[0]`
  ┌─ p.yaml:16:30
16│       network: { layers: [ { conb: { out: 3 } } ] }
  │                              ^^^^
  = help: did you mean `conv`?
"
    );
}

#[test]
fn mistakes_within_a_layer() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "network: { layers: [ { conv: { out: 0, strid: 1 } } ] }"),
        "\
error: `network.layers[0].conv.out` must be at least 1, not 0
  ┌─ p.yaml:16:43
16│       network: { layers: [ { conv: { out: 0, strid: 1 } } ] }
  │                                           ^

error: unknown key `strid` in `network.layers[0].conv`
  ┌─ p.yaml:16:46
16│       network: { layers: [ { conv: { out: 0, strid: 1 } } ] }
  │                                              ^^^^^ no such key
  = help: did you mean `stride`?
"
    );
}

#[test]
fn layers_with_no_key_and_two() {
    assert_eq!(
        spoilt(
            "epochs: ${vars.epochs}",
            "network: { layers: [ { conv: {} }, { conv: {out: 1}, dropout: {} } ] }"
        ),
        "\
error: `network.layers[0].conv` needs `out`
  ┌─ p.yaml:16:36
16│       network: { layers: [ { conv: {} }, { conv: {out: 1}, dropout: {} } ] }
  │                                    ^

error: `network.layers[1]` must be a map with one key, not with 2
  ┌─ p.yaml:16:42
16│       network: { layers: [ { conv: {} }, { conv: {out: 1}, dropout: {} } ] }
  │                                          ^
  = help: one of: conv, dropout
"
    );
}

#[test]
fn an_empty_list() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "network: { layers: [] }"),
        "\
error: `network.layers` must have at least 1 item
  ┌─ p.yaml:16:26
16│       network: { layers: [] }
  │                          ^
"
    );
}

#[test]
fn a_key_that_is_missing_below() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "network: {}"),
        "\
error: `network` needs `layers`
  ┌─ p.yaml:16:16
16│       network: {}
  │                ^
"
    );
}

#[test]
fn a_misspelt_key_below() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "network: { layer: [] }"),
        "\
error: `network` needs `layers`
  ┌─ p.yaml:16:16
16│       network: { layer: [] }
  │                ^

error: unknown key `layer` in `network`
  ┌─ p.yaml:16:18
16│       network: { layer: [] }
  │                  ^^^^^ no such key
  = help: did you mean `layers`?
"
    );
}

#[test]
fn an_item_of_the_wrong_kind() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "tags: [1, x]"),
        "\
error: `tags[0]` must be a text, not 1
  ┌─ p.yaml:16:14
16│       tags: [1, x]
  │              ^
"
    );
}

#[test]
fn an_unknown_var() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "epochs: ${vars.epoch}"),
        "\
error: unknown var `epoch`
  ┌─ p.yaml:16:15
16│       epochs: ${vars.epoch}
  │               ^^^^^^^^^^^^^
  = help: did you mean `epochs`?
"
    );
}

#[test]
fn a_reference_to_nothing() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "epochs: ${var.epochs}"),
        "\
error: unknown reference `${var.epochs}`
  ┌─ p.yaml:16:15
16│       epochs: ${var.epochs}
  │               ^^^^^^^^^^^^^
  = help: only `${vars.NAME}` can stand here; write `$${` for `${` itself
"
    );
}

#[test]
fn a_var_without_its_prefix() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "epochs: ${epochs}"),
        "\
error: unknown reference `${epochs}`
  ┌─ p.yaml:16:15
16│       epochs: ${epochs}
  │               ^^^^^^^^^
  = help: write `${vars.epochs}`
"
    );
}

#[test]
fn an_unclosed_reference() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "epochs: ${vars.epochs"),
        "\
error: `${` without `}`
  ┌─ p.yaml:16:15
16│       epochs: ${vars.epochs
  │               ^^
  = help: write `$${` for `${` itself
"
    );
}

#[test]
fn a_var_that_is_no_map() {
    assert_eq!(
        spoilt("epochs: ${vars.epochs}", "epochs: ${vars.epochs.x}"),
        "\
error: var `epochs` is 5, not a map
  ┌─ p.yaml:16:15
16│       epochs: ${vars.epochs.x}
  │               ^^^^^^^^^^^^^^^^
"
    );
}

#[test]
fn a_required_param() {
    assert_eq!(
        spoilt("source: Cargo.toml, ", ""),
        "\
error: data/download needs the parameter `source`
  ┌─ p.yaml:11:11
11│     with: { format: image-folder }
  │           ^
  = help: it is: Where the images are.
"
    );
}

#[test]
fn a_missing_file() {
    assert_eq!(
        spoilt("source: Cargo.toml", "source: nowhere.tar.gz"),
        "\
error: there is no file or folder `nowhere.tar.gz`
  ┌─ p.yaml:11:21
11│     with: { source: nowhere.tar.gz, format: image-folder }
  │                     ^^^^^^^^^^^^^^
  = help: relative paths start at the pipeline's folder; a URL starts with `https://`
"
    );
}

#[test]
fn a_scheme_that_nothing_fetches() {
    assert_eq!(
        spoilt("source: Cargo.toml", "source: s3://x"),
        "\
error: nothing here fetches `s3://`
  ┌─ p.yaml:11:21
11│     with: { source: s3://x, format: image-folder }
  │                     ^^^^^^
  = help: give an `https://` URL, or the path of a file or folder
"
    );
}

#[test]
fn a_misspelt_option_with_hyphens() {
    assert_eq!(
        spoilt("image-folder", "imagefolder"),
        "\
error: `format` cannot be `imagefolder`
  ┌─ p.yaml:11:41
11│     with: { source: Cargo.toml, format: imagefolder }
  │                                         ^^^^^^^^^^^
  = help: one of: cifar10-binary, image-folder
  = help: did you mean `image-folder`?
"
    );
}
