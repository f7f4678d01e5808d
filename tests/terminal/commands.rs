//! Command stages: params, and what of the machine they are given.

use crate::project::Project;

#[test]
fn a_changed_param_of_a_command_is_named_with_both_values() {
    let stage = |lr: &str| {
        format!(
            "train:\n  run: echo lr=${{params.lr}} ${{params.note}} > ${{outputs.log}}\n  \
             params: {{ lr: {lr}, note: \"it's $HOME\" }}\n  outputs: {{ log: log.txt }}\n"
        )
    };
    let project = Project::new(&stage("0.05"));
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("artifacts/train/log.txt"), "lr=0.05 it's $HOME\n");
    project.set_stages(&stage("0.08"));
    let why = project.pipe_ok(&["why", "train"]).stdout;
    let changed: Vec<&str> = why.lines().filter(|line| line.contains('→')).collect();
    assert_eq!(changed.len(), 1, "{why}");
    assert!(changed[0].contains("params.lr  0.05  →  0.08  pipeline.yaml:8"), "{why}");
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("artifacts/train/log.txt"), "lr=0.08 it's $HOME\n");
}
