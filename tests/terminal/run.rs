//! `pipe run`: what runs, what does not, and what is said.

use crate::project::Project;

const CHAIN: &str = "
one:
  uses: fake/write
  with: { text: one }
two:
  uses: fake/write
  inputs: { a: one.out }
  with: { text: two }
three:
  uses: fake/write
  inputs: { a: two.out, b: file.txt }
  with: { text: three }
";

fn chain() -> Project {
    let project = Project::new(CHAIN);
    project.write("file.txt", "file");
    project
}

#[test]
fn stages_run_in_order_and_the_second_time_not_at_all() {
    let project = chain();
    project.pipe_ok(&["run"]);
    assert_eq!(project.executed(), ["write one", "write two", "write three"]);
    assert_eq!(project.read("artifacts/three/out.txt"), "threetwoonefile");
    project.pipe_ok(&["run"]);
    assert_eq!(project.started(), 0, "a hit starts no plugin, not even to describe itself");
}

#[test]
fn a_changed_param_runs_what_is_below_it() {
    let project = chain();
    project.pipe_ok(&["run"]);
    project.executed();
    project.set_stages(&CHAIN.replace("text: two", "text: TWO"));
    project.pipe_ok(&["run"]);
    assert_eq!(project.executed(), ["write TWO", "write three"]);
    assert_eq!(project.read("artifacts/three/out.txt"), "threeTWOonefile");
}

#[test]
fn changed_back_everything_is_restored() {
    let project = chain();
    project.pipe_ok(&["run"]);
    project.set_stages(&CHAIN.replace("text: two", "text: TWO"));
    project.pipe_ok(&["run"]);
    project.started();
    project.set_stages(CHAIN);
    let outcome = project.pipe_ok(&["run"]);
    assert_eq!(project.started(), 0);
    assert_eq!(project.read("artifacts/three/out.txt"), "threetwoonefile");
    snapshots::assert_printed!(outcome.stderr);
}

#[test]
fn a_changed_file_runs_what_reads_it_and_a_touched_one_nothing() {
    let project = chain();
    project.pipe_ok(&["run"]);
    project.executed();
    project.write("file.txt", "file");
    project.pipe_ok(&["run"]);
    assert!(project.executed().is_empty(), "the same content is the same input");
    project.write("file.txt", "edited");
    project.pipe_ok(&["run"]);
    assert_eq!(project.executed(), ["write three"]);
}

#[test]
fn the_same_bytes_cut_off_early() {
    let project = Project::new(
        "
one:
  run: 'printf same > ${outputs.out}; echo ${vars.noise}'
  outputs: { out: out.txt }
two:
  uses: fake/write
  inputs: { a: one.out }
",
    );
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &pipeline.replace("stages:", "vars: { noise: 1 }\nstages:"));
    project.pipe_ok(&["run"]);
    project.executed();
    project.pipe_ok(&["run", "--set", "noise=2"]);
    assert!(project.executed().is_empty(), "`one` ran again, but gave the same bytes");
}

#[test]
fn deleted_or_edited_artifacts_are_restored() {
    let project = chain();
    project.pipe_ok(&["run"]);
    project.executed();
    std::fs::remove_dir_all(project.path("artifacts/two")).unwrap();
    project.write("artifacts/three/out.txt", "scribbled over");
    project.pipe_ok(&["run"]);
    assert!(project.executed().is_empty());
    assert_eq!(project.read("artifacts/two/out.txt"), "twoone");
    assert_eq!(project.read("artifacts/three/out.txt"), "threetwoonefile");
}

#[test]
fn a_named_stage_runs_with_what_it_needs_and_nothing_else() {
    let project = chain();
    project.pipe_ok(&["run", "two"]);
    assert_eq!(project.executed(), ["write one", "write two"]);
    assert!(!project.path("artifacts/three").exists());
    let outcome = project.pipe(&["run", "tow"]);
    assert_eq!(outcome.code, Some(2));
    snapshots::assert_printed!(outcome.stderr);
}

#[test]
fn force_executes_and_a_dry_run_does_not() {
    let project = chain();
    let outcome = project.pipe_ok(&["run", "--dry-run"]);
    snapshots::assert_printed!(outcome.stdout);
    assert!(project.executed().is_empty());
    project.pipe_ok(&["run"]);
    project.executed();
    project.pipe_ok(&["run", "--force", "two"]);
    assert_eq!(project.executed(), ["write two"]);
}

#[test]
fn a_failure_is_told_and_blocks_only_what_depends_on_it() {
    let project = Project::new(
        "
bad:
  uses: fake/fail
after:
  uses: fake/write
  inputs: { a: bad.out }
beside:
  uses: fake/write
  with: { text: beside }
",
    );
    let outcome = project.pipe(&["run", "--keep-going", "-j", "1"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("it did not work"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("try something else"), "{}", outcome.stderr);
    assert_eq!(project.executed(), ["fail", "write beside"]);
    assert!(project.path("artifacts/report.html").exists(), "the report is written all the same");
    assert!(project.pipe_ok(&["log", "bad"]).stdout.contains("it did not work"));
    let again = project.pipe(&["run"]);
    assert_eq!(again.code, Some(1), "a failure is not cached");
    assert_eq!(project.executed(), ["fail"]);
}

#[test]
fn gates_decide_the_exit_code() {
    let project = Project::new("one:\n  uses: fake/write\n  with: { text: four }\n");
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &format!("{pipeline}gates:\n  - one.bytes <= 3\n"));
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
    snapshots::assert_printed!(outcome.stdout);
    project.executed();
    assert_eq!(project.pipe(&["run"]).code, Some(3), "the same verdict without running anything");
    assert!(project.executed().is_empty());
    project.write("pipeline.yaml", &format!("{pipeline}gates:\n  - one.bytes <= 4\n"));
    assert_eq!(project.pipe(&["run"]).code, Some(0));
    project.write("pipeline.yaml", &format!("{pipeline}gates:\n  - one.bites <= 4\n"));
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(3));
    snapshots::assert_printed!(outcome.stdout);
}

#[test]
fn commands_are_stages() {
    let project = Project::new(
        "
shell:
  run: 'cat ${inputs.a} ${inputs.a} > ${outputs.twice}; echo done'
  inputs: { a: a file.txt }
  outputs: { twice: twice.txt }
list:
  run: [cp, '${inputs.from}', '${outputs.to}']
  inputs: { from: shell.twice }
  outputs: { to: copy.txt }
",
    );
    project.write("a file.txt", "x");
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("artifacts/list/copy.txt"), "xx");
    snapshots::assert_printed!(project.pipe_ok(&["log", "shell"]).stdout);
}

#[test]
fn a_failing_command_shows_the_end_of_what_it_said() {
    let project = Project::new("bad:\n  run: 'echo something is off >&2; exit 7'\n");
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(1));
    snapshots::assert_printed!(outcome.stderr);
}

#[test]
fn a_missing_output_is_an_error_that_names_it() {
    let project = Project::new("bad:\n  run: 'true'\n  outputs: { model: model.bin }\n");
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(1));
    snapshots::assert_printed!(outcome.stderr);
}

#[test]
fn an_input_edited_midway_poisons_nothing() {
    let project = Project::new(
        "
bad:
  run: 'cat ${inputs.a} > ${outputs.b}; echo edited > a.txt'
  inputs: { a: a.txt }
  outputs: { b: b.txt }
",
    );
    project.write("a.txt", "first");
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(1));
    snapshots::assert_printed!(outcome.stderr);
    // What it writes is what was there: nobody can tell whether it was so all the time.
    project.write("a.txt", "edited\n");
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(1));
    snapshots::assert_printed!(outcome.stderr);
    project.set_stages(
        "bad:\n  run: 'cat ${inputs.a} > ${outputs.b}'\n  inputs: { a: a.txt }\n  outputs: { b: b.txt }\n",
    );
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("artifacts/bad/b.txt"), "edited\n");
}

#[test]
fn the_content_of_a_local_source_counts_and_its_place_does_not() {
    let stages = "one:\n  uses: fake/write\n  with: { source: data.txt }\n";
    let project = Project::new(stages);
    project.write("data.txt", "1");
    project.pipe_ok(&["run"]);
    project.write("elsewhere/data.txt", "1");
    project.set_stages(&stages.replace("data.txt", "elsewhere/data.txt"));
    project.executed();
    project.pipe_ok(&["run"]);
    assert!(project.executed().is_empty());
    project.write("elsewhere/data.txt", "2");
    project.pipe_ok(&["run"]);
    assert_eq!(project.executed().len(), 1);
}

#[test]
fn a_measurement_depends_on_the_thread_count_and_a_computation_does_not() {
    let project = Project::new("m:\n  uses: fake/measure\nw:\n  uses: fake/write\n");
    project.pipe_ok(&["run", "--threads", "2"]);
    project.executed();
    project.pipe_ok(&["run", "--threads", "1"]);
    assert_eq!(project.executed(), ["measure"]);
}

#[test]
fn why_names_what_a_measurement_was_made_with() {
    let project = Project::new("m:\n  uses: fake/measure\n");
    project.pipe_ok(&["run", "--threads", "997"]);
    let why = project.pipe_ok(&["why", "m"]).stdout;
    assert!(why.contains("machine.threads") && why.contains("997"), "{why}");
    assert!(!why.contains("machine.cpu"), "{why}");
    let all = project.pipe_ok(&["why", "m", "--all"]).stdout;
    assert!(["machine.cpu", "machine.features"].iter().all(|name| all.contains(name)), "{all}");
}

#[test]
fn json_events_are_one_a_line_and_end_with_the_run() {
    let project = chain();
    let outcome = project.pipe_ok(&["run", "--json"]);
    let events: Vec<serde_json::Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.first().unwrap()["event"], "run_started");
    assert_eq!(events.last().unwrap()["event"], "run_finished");
    assert!(events.iter().any(|event| event["event"] == "stage_finished" && event["stage"] == "three"));
}

#[test]
fn status_and_why_name_the_change() {
    let project = chain();
    let outcome = project.pipe_ok(&["status"]);
    snapshots::assert_printed!(outcome.stdout);
    project.pipe_ok(&["run"]);
    project.set_stages(&CHAIN.replace("text: two", "text: TWO"));
    for command in ["status", "why"] {
        let args: &[&str] = if command == "why" { &["why", "two"] } else { &["status"] };
        let outcome = project.pipe_ok(args);
        assert!(outcome.stdout.contains("with.text"), "{command}\n{}", outcome.stdout);
        assert!(outcome.stdout.contains("two") && outcome.stdout.contains("TWO"), "{}", outcome.stdout);
    }
    let why = project.pipe_ok(&["why", "two"]).stdout;
    snapshots::assert_printed!(why);
    snapshots::assert_printed!(project.pipe_ok(&["why", "two", "--all"]).stdout);
}

#[test]
fn a_plan_names_files_and_what_is_in_the_cache_and_is_the_same_by_both_names() {
    let project = chain();
    project.pipe_ok(&["run"]);
    project.write("file.txt", "edited");
    project.set_stages(&CHAIN.replace("text: two", "text: TWO"));
    project.pipe_ok(&["run"]);
    project.set_stages(CHAIN);
    project.write("file.txt", "once more");
    let plan = project.pipe_ok(&["run", "--dry-run"]).stdout;
    assert_eq!(project.pipe_ok(&["status"]).stdout, plan);
    let lines: Vec<&str> = plan.lines().collect();
    assert!(lines[0].starts_with(" three  run      inputs.a (two.out) "), "{plan}");
    assert!(lines[1].trim_start().starts_with("inputs.b (file.txt) "), "{plan}");
    assert_eq!(lines[2], " two    restore  from the cache: with.text \"TWO\" → \"two\"  pipeline.yaml:12");
    assert_eq!(lines[3], " one    fresh");
    // Its op does not say what its time depends on.
    assert_eq!(lines[5], " 1 to run, time not known · 1 to restore · 1 fresh");
}

#[test]
fn an_input_that_is_gone_fails_its_stage_and_no_other() {
    let project = Project::new(
        "
mess:
  run: 'rm in.txt; echo 1 > ${outputs.o}'
  outputs: { o: o.txt }
reads:
  uses: fake/write
  inputs: { after: mess.o, gone: in.txt }
other:
  uses: fake/write
  with: { text: other }
  inputs: { after: mess.o }
",
    );
    project.write("in.txt", "x");
    let outcome = project.pipe(&["run", "--keep-going"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("in.txt"), "{}", outcome.stderr);
    assert_eq!(project.executed(), ["write other"]);
    assert!(project.path("artifacts/report.html").exists());
}

#[test]
fn stages_with_the_same_key_are_executed_once() {
    let same = "  run: 'date +%N > ${outputs.o}; echo >> count'\n  outputs: { o: o.txt }\n";
    let project = Project::new(&format!("a:\n{same}b:\n{same}"));
    project.pipe_ok(&["run", "--threads", "4"]);
    assert_eq!(project.read("count"), "\n");
    assert_eq!(project.read("artifacts/a/o.txt"), project.read("artifacts/b/o.txt"));
}

#[test]
fn a_reader_that_went_away_is_no_crash() {
    let project = chain();
    let output = std::process::Command::new("sh")
        .args(["-c", "\"$0\" run --dry-run | true; \"$0\" run > /dev/full; echo $?"])
        .arg(crate::project::built("pipe"))
        .current_dir(project.path("."))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n");
}

#[test]
fn a_stat_cache_that_cannot_be_written_costs_time_only() {
    let project = chain();
    std::fs::create_dir_all(project.path("cache/v1/stat")).unwrap();
    let outcome = project.pipe_ok(&["run"]);
    snapshots::assert_printed!(outcome.stderr);
}

#[test]
fn a_dry_run_is_json_where_asked_for() {
    let outcome = chain().pipe_ok(&["run", "--dry-run", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(plan["stages"][0]["stage"], "one");
    assert_eq!(plan["stages"][0]["expectation"]["kind"], "run");
}
