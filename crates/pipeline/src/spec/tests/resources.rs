//! What a stage needs, how long it may take and how often it is tried: mistakes, and what absent values mean.

use std::time::Duration;

use super::*;
use crate::spec::{Resources, Retries};

/// `package` with these lines.
fn package(lines: &str) -> Result<Pipeline, String> {
    read(&GOOD.replace("    outputs: { bundle", &format!("    {lines}\n    outputs: {{ bundle")))
}

fn refused(lines: &str, message: &str) {
    let problems = package(lines).unwrap_err();
    assert!(problems.starts_with(&format!("error: {message}\n  ┌─ p.yaml:21:")), "{problems}");
}

#[test]
fn a_stage_that_says_nothing() {
    let pipeline = package("resources: {}\n    timeout:\n    retries:").unwrap();
    let stage = pipeline.stages.last().unwrap().1;
    assert_eq!(stage.resources, Resources::default());
    assert_eq!(stage.timeout, None);
    assert_eq!(stage.retries, Retries { times: 0, backoff: Duration::ZERO });
}

#[test]
fn plain_numbers_are_bytes_seconds_and_times() {
    let pipeline = package("resources: { memory: 1e9 }\n    timeout: 90\n    retries: 2").unwrap();
    let stage = pipeline.stages.last().unwrap().1;
    assert_eq!(stage.resources.memory, 1_000_000_000);
    assert_eq!(stage.timeout, Some(Duration::from_secs(90)));
    assert_eq!(stage.retries, Retries { times: 2, backoff: Duration::ZERO });
}

#[test]
fn needs_that_make_no_sense() {
    refused("resources: { cpus: 0 }", "`cpus` is a whole number of at least 1, or `all`, not 0");
    refused("resources: { cpus: 1.5 }", "`cpus` is a whole number of at least 1, or `all`, not 1.5");
    refused("resources: { gpus: some }", "`gpus` is a whole number, not the text `some`");
    refused(
        "resources: { memory: 4 GiB }",
        "`memory` is a number with a unit, such as `4 GB` or `500 MB`, or a number of bytes, not the text `4 GiB`",
    );
    refused("resources: { exclusive: 'yes' }", "`exclusive` is true or false, not the text `yes`");
    refused("resources: { mutexes: port }", "`mutexes` is a list of names, not the text `port`");
    refused("resources: { mutexes: [a b] }", "`a b` is not a name for a mutex");
    refused("resources: 3", "`resources` is a map of `cpus`, `memory`, `gpus` and more, not 3");
}

#[test]
fn a_key_that_resources_do_not_have() {
    let problems = package("resources: { threads: all }").unwrap_err();
    snapshots::assert_message!(problems);
}

#[test]
fn times_that_make_no_sense() {
    refused("timeout: 0", "`timeout` is no time at all: the stage would be stopped before it has begun");
    refused("timeout: -3 s", "`timeout` is a time, not the text `-3 s`");
    refused("timeout: 3 weeks", "`timeout` is a time, not the text `3 weeks`");
    refused("timeout: 1e9 h", "`timeout` is a time, not the text `1e9 h`");
    refused("retries: -1", "`retries` is a whole number of at most 1000, not -1");
    refused("retries: { backoff: 3 }", "`retries` needs `times`");
    refused("retries: { times: many }", "`times` is a whole number of at most 1000, not the text `many`");
    refused("retries: { times: 2, backoff: soon }", "`backoff` is a time, not the text `soon`");
    refused("retries: { tries: 2, times: 1 }", "unknown key `tries`");
}
