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
    snapshots::assert_printed!(changed[0]);
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("artifacts/train/log.txt"), "lr=0.08 it's $HOME\n");
}

#[test]
fn gpus_are_shared_out_and_never_more_than_there_are() {
    let stage = |name: &str, gpus: u32| {
        format!(
            "{name}:\n  run: echo {name} \"$CUDA_VISIBLE_DEVICES\" > ${{outputs.seen}}\n  outputs: {{ seen: seen.txt }}\n  \
             resources: {{ gpus: {gpus} }}\n"
        )
    };
    let project = Project::new(&[stage("both", 2), stage("none", 0)].concat());
    let run = |visible: &str| {
        let output = project.command(&["run"]).env("CUDA_VISIBLE_DEVICES", visible).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, message) = run("3");
    assert_eq!(code, Some(2), "{message}");
    snapshots::assert_printed!(message);
    assert!(!project.path("artifacts/none").exists(), "something ran");
    assert_eq!(run("5,GPU-7,3").0, Some(0));
    assert_eq!(project.read("artifacts/both/seen.txt"), "both 5,GPU-7\n");
    assert_eq!(project.read("artifacts/none/seen.txt"), "none 5,GPU-7,3\n");
    let (code, message) = run("");
    assert_eq!(code, Some(0), "what is fresh needs no GPU: {message}");
}

#[test]
fn stages_that_name_one_lock_never_meet() {
    let stages: String = (0..6)
        .map(|stage| {
            format!(
                "s{stage}:\n  run: mkdir held && sleep 0.02 && rmdir held && echo {stage} > ${{outputs.o}}\n  \
                 outputs: {{ o: o.txt }}\n  resources: {{ mutexes: [held] }}\n"
            )
        })
        .collect();
    let project = Project::new(&stages);
    project.pipe_ok(&["run", "--threads", "6", "--jobs", "6"]);
}

#[test]
fn a_script_whose_interpreter_is_not_there_is_told_apart_from_a_program_that_is_not() {
    let project = Project::new("s:\n  run: ./tool ${outputs.o}\n  outputs: { o: o.txt }\n");
    project.script("tool", "");
    project.write("tool", "#!/no/such/interpreter\n");
    let failed = project.pipe(&["run"]);
    snapshots::assert_printed!(failed.stderr);
}

/// A text that needs no shell is started without one; the command must not be able to tell. Its mark is that of its stage.
#[test]
fn a_command_sees_no_difference_between_a_shell_and_none() {
    let stage = |name: &str, quoted: &str, tool: &str| {
        format!(
            "{name}:\n  run: {tool} a=b {quoted} ${{params.text}} ${{outputs.seen}}\n  params: {{ text: \"two words\" }}\n  \
             env: {{ EXTRA: \"1\", PATH: \"tools:/usr/bin:/bin\" }}\n  outputs: {{ seen: seen.txt }}\n"
        )
    };
    for tool in ["show", "./tools/show"] {
        let project = Project::new(&[stage("without", "c", tool), stage("with", "'c'", tool)].concat());
        let script = "for seen; do :; done\n\
                      (echo \"$0\"; pwd; env | sort | grep -Ev '^(_|PIPE_STAGE_MARK)='; for word; do echo \"$word\"; done) > \"$seen\"\n";
        project.script("tools/show", script);
        for is_without_interpreter in [false, true] {
            if is_without_interpreter {
                project.write("tools/show", script);
            }
            project.pipe_ok(&["run", "--force"]);
            let seen = |stage: &str| {
                let text = project.read(&format!("artifacts/{stage}/seen.txt"));
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                assert!(lines.pop().unwrap().ends_with("/seen.txt"));
                lines
            };
            let without = seen("without");
            assert_eq!(without, seen("with"), "{tool}, {is_without_interpreter}");
            assert!(without.contains(&"two words".to_owned()) && without.contains(&"EXTRA=1".to_owned()));
        }
    }
    let project = Project::new("s:\n  run: no-such-tool ${outputs.o}\n  outputs: { o: o.txt }\n");
    let failed = project.pipe(&["run"]);
    snapshots::assert_printed!(failed.stderr);
}

#[test]
fn an_output_that_is_no_content_is_named_with_what_it_is() {
    for (command, told) in [
        ("ln -s nowhere ${outputs.o}", "its output `o` (`o.txt`) is a link to `nowhere`: No such file"),
        ("mkfifo ${outputs.o}", "its output `o` (`o.txt`) is neither a file nor a folder"),
        ("test x", "it ended without writing its output `o` (`o.txt`)"),
    ] {
        let project = Project::new(&format!("one:\n  run: {command}\n  outputs: {{ o: o.txt }}\n"));
        let failed = project.pipe(&["run"]);
        assert_eq!(failed.code, Some(1));
        assert!(failed.stderr.contains(told) && failed.stderr.contains("help: "), "{}", failed.stderr);
        assert!(project.pipe_ok(&["log", "one"]).stdout.contains(told));
    }
}

#[test]
fn the_log_of_a_stage_that_could_not_be_started_says_why() {
    let project = Project::new(
        "one:\n  run: rm b.txt && echo 1 > ${outputs.o}\n  outputs: { o: o.txt }\n\
         two:\n  run: cat ${inputs.a} ${inputs.b} > ${outputs.o}\n  inputs: { a: one.o, b: b.txt }\n  \
         outputs: { o: o.txt }\n",
    );
    project.write("b.txt", "2\n");
    let failed = project.pipe(&["run"]);
    snapshots::assert_printed!(failed.stderr);
    let log = project.pipe_ok(&["log", "two"]).stdout;
    snapshots::assert_printed!(log);
}
