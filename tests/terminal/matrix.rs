//! A sweep: what runs, what is cut off early, what is restored, and how variants are named on the command line.

use crate::project::Project;

/// `train` writes its width's parity, so that `pack` can be cut off early.
fn stages(widths: &str) -> String {
    format!(
        "source:\n  run: echo run >> source-ran && echo data > ${{outputs.o}}\n  outputs: {{ o: o.txt }}\n\
         train:\n  matrix: {{ width: {widths} }}\n  \
         run: echo ${{params.width}} >> train-ran && cat ${{inputs.data}} > ${{outputs.o}} && \
         expr ${{params.width}} / 10 >> ${{outputs.o}}\n  \
         params: {{ width: \"${{matrix.width}}\" }}\n  inputs: {{ data: source.o }}\n  outputs: {{ o: o.txt }}\n\
         pack:\n  run: echo run >> pack-ran && cp ${{inputs.o}} ${{outputs.p}}\n  inputs: {{ o: train.o }}\n  \
         outputs: {{ p: p.txt }}\n"
    )
}

/// How often the three stages ran since the last time, and for `train` with which values.
fn ran(project: &Project) -> (usize, Vec<String>, usize) {
    let lines = |name: &str| -> Vec<String> {
        let text = std::fs::read_to_string(project.path(name)).unwrap_or_default();
        let _ = std::fs::remove_file(project.path(name));
        let mut lines: Vec<String> = text.lines().map(Into::into).collect();
        lines.sort();
        lines
    };
    (lines("source-ran").len(), lines("train-ran"), lines("pack-ran").len())
}

#[test]
fn a_sweep_runs_what_is_new_and_no_more() {
    let project = Project::new(&stages("[10, 20]"));
    project.pipe_ok(&["run"]);
    assert_eq!(ran(&project), (1, vec!["10".into(), "20".into()], 2), "shared stages run once");
    assert_eq!(project.read("artifacts/pack[width=20]/p.txt"), "data\n2\n");

    project.set_stages(&stages("[10, 11]"));
    project.pipe_ok(&["run"]);
    assert_eq!(ran(&project), (0, vec!["11".into()], 0), "the same bytes are packed already");
    assert_eq!(project.read("artifacts/pack[width=11]/p.txt"), "data\n1\n");

    project.set_stages(&stages("[20, 10]"));
    std::fs::remove_dir_all(project.path("artifacts")).unwrap();
    project.pipe_ok(&["run"]);
    assert_eq!(ran(&project), (0, vec![], 0), "a value that comes back is restored");
    assert_eq!(project.read("artifacts/pack[width=20]/p.txt"), "data\n2\n");

    let plain =
        stages("[10]").replace("  matrix: { width: [10] }\n", "").replace("\"${matrix.width}\"", "20");
    project.set_stages(&plain);
    project.pipe_ok(&["run"]);
    assert_eq!(ran(&project), (0, vec![], 0), "a sweep and a stage with the same value share the cache");
    assert_eq!(project.read("artifacts/pack/p.txt"), "data\n2\n");
}

#[test]
fn variants_are_named_on_the_command_line() {
    let project = Project::new(&stages("[10, 20, 30]"));
    project.pipe_ok(&["run", "train[width=20]"]);
    assert_eq!(ran(&project), (1, vec!["20".into()], 0));
    project.pipe_ok(&["run", "train"]);
    assert_eq!(ran(&project), (0, vec!["10".into(), "30".into()], 0));
    let status = project.pipe_ok(&["status", "train[width=10.0]", "pack[width=10]"]).stdout;
    snapshots::assert_printed!(status);
    let why = project.pipe_ok(&["why", "pack[width=20]"]).stdout;
    snapshots::assert_printed!(why);
    let several = project.pipe(&["why", "train"]);
    assert_eq!(several.code, Some(2));
    snapshots::assert_printed!(several.stderr);
    let none = project.pipe(&["run", "train[width=40]"]);
    assert_eq!(none.code, Some(2));
    snapshots::assert_printed!(none.stderr);
    let unknown = project.pipe(&["run", "trian"]);
    snapshots::assert_printed!(unknown.stderr);
}
