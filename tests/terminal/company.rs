//! Many runs at once, in one folder and in folders that share a cache: each stage is executed once, by one of them, and
//! the others wait and say for whom.

use std::fs::{self, File};
use std::process::{Child, Stdio};

use rustix::process::{Signal, kill_process};

use crate::project::{Project, pid};
use crate::soak;

/// How many runs are started at once.
const RUNS: usize = 8;

/// A chain beside a diamond. Every stage takes long enough for the other runs to arrive.
const STAGES: &str = "
head:
  run: 'echo head >> \"$TRACE\"; sleep 0.05; { echo head; cat ${inputs.a}; } > ${outputs.o}'
  env: { TRACE: $TRACE }
  inputs: { a: a.txt }
  outputs: { o: o.txt }
left:
  run: 'echo left >> \"$TRACE\"; sleep 0.05; { echo left; cat ${inputs.a}; } > ${outputs.o}'
  env: { TRACE: $TRACE }
  inputs: { a: head.o }
  outputs: { o: o.txt }
right:
  uses: fake/write
  with: { text: right }
  inputs: { a: head.o }
joined:
  run: 'echo joined >> \"$TRACE\"; sleep 0.05; mkdir ${outputs.o}; cat ${inputs.a} ${inputs.b} > ${outputs.o}/all'
  env: { TRACE: $TRACE }
  inputs: { a: left.o, b: right.out }
  outputs: { o: folder }
";

const JOINED: &str = "left\nhead\na\nrighthead\na\n";

/// Every stage, as it is traced, in the order of the alphabet.
const EACH_ONCE: [&str; 4] = ["head", "joined", "left", "write right"];

/// A run whose standard error goes to a file.
struct Run {
    child: Child,
    log: String,
}

/// A project whose stages trace into `home`, the folder of the first one.
fn project(home: Option<&Project>) -> Project {
    let project = Project::new("");
    let trace = home.unwrap_or(&project).path("trace").to_string_lossy().into_owned();
    project.set_stages(&STAGES.replace("$TRACE }", &format!("{trace} }}")));
    project.write("a.txt", "a\n");
    project
}

/// Starts a run that traces into `home`, and shares a cache there.
fn start(project: &Project, number: usize, home: Option<&Project>) -> Run {
    let log = format!("{number}.log");
    let mut command = project.command(&["run", "-j2"]);
    if let Some(home) = home {
        command.env("PIPE_CACHE", home.path("shared")).env("FAKE_TRACE", home.path("trace"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(project.path(&log)).unwrap());
    Run { child: command.spawn().unwrap(), log }
}

fn executed(project: &Project) -> Vec<String> {
    let mut lines = project.executed();
    lines.sort();
    lines
}

/// The numbers of the processes for which a run says that it waits.
fn waited_for(log: &str) -> Vec<u32> {
    let lines = log.lines().filter(|line| line.contains("wait"));
    let numbers = lines.filter_map(|line| {
        let number: String =
            line.split_once("process ")?.1.chars().take_while(char::is_ascii_digit).collect();
        number.parse().ok()
    });
    numbers.collect()
}

#[test]
fn of_eight_runs_in_one_folder_one_executes_and_seven_wait_for_a_process_that_they_name() {
    let project = project(None);
    // Held back until all are there, so that seven must wait.
    project.write(
        "pipeline.yaml",
        &project
            .read("pipeline.yaml")
            .replace("sleep 0.05; { echo head;", "while [ ! -e go ]; do sleep 0.01; done; { echo head;"),
    );
    let mut runs: Vec<Run> = (0..RUNS).map(|number| start(&project, number, None)).collect();
    let log = |run: &Run| fs::read_to_string(project.path(&run.log)).unwrap();
    project.wait_until("seven that wait", || {
        runs.iter().filter(|run| !waited_for(&log(run)).is_empty()).count() == RUNS - 1
    });
    project.write("go", "");
    for run in &mut runs {
        assert_eq!(run.child.wait().unwrap().code(), Some(0), "{}", log(run));
    }
    assert_eq!(executed(&project), EACH_ONCE);
    assert_eq!(project.read("artifacts/joined/folder/all"), JOINED);
    let executing = runs.iter().find(|run| waited_for(&log(run)).is_empty()).unwrap().child.id();
    let pids: Vec<u32> = runs.iter().map(|run| run.child.id()).collect();
    for run in runs.iter().filter(|run| run.child.id() != executing) {
        assert_eq!(waited_for(&log(run)), [executing], "of {pids:?}\n{}", log(run));
    }
}

#[test]
fn eight_folders_that_share_a_cache_execute_each_key_once() {
    let home = project(None);
    let others: Vec<Project> = (1..RUNS).map(|_| project(Some(&home))).collect();
    let projects: Vec<&Project> = std::iter::once(&home).chain(&others).collect();
    for content in ["a\n", "b\n"] {
        for project in &projects {
            project.write("a.txt", content);
        }
        let mut runs: Vec<Run> = projects.iter().map(|project| start(project, 0, Some(&home))).collect();
        let mut waited = 0;
        for (project, run) in projects.iter().zip(&mut runs) {
            let status = run.child.wait().unwrap();
            let log = project.read(&run.log);
            assert_eq!(status.code(), Some(0), "{log}");
            assert_eq!(project.read("artifacts/joined/folder/all"), JOINED.replace("a\n", content), "{log}");
            waited += waited_for(&log).len();
        }
        assert_eq!(executed(&home), EACH_ONCE, "content {content:?}");
        assert!(waited > 0, "nobody waited for anybody");
        assert_eq!(home.files("shared/v1/locks").len(), 0, "locks are taken away");
    }
}

/// By default three times three runs; `PIPE_COMPANY_RUNS=8` takes eight folders and eight runs in each of them.
#[test]
fn many_runs_in_many_folders_that_share_a_cache_execute_each_key_once() {
    let each = usize::try_from(soak::number("PIPE_COMPANY_RUNS", 3)).unwrap();
    let rounds = soak::number("PIPE_COMPANY_ROUNDS", 1);
    let home = project(None);
    let others: Vec<Project> = (1..each).map(|_| project(Some(&home))).collect();
    let projects: Vec<&Project> = std::iter::once(&home).chain(&others).collect();
    for round in 0..rounds {
        let content = format!("{round}\n");
        for project in &projects {
            project.write("a.txt", &content);
        }
        let numbers = (0..each).flat_map(|number| projects.iter().map(move |project| (number, *project)));
        let runs: Vec<(&Project, Run)> =
            numbers.map(|(number, project)| (project, start(project, number, Some(&home)))).collect();
        for (project, mut run) in runs {
            let status = run.child.wait().unwrap();
            assert_eq!(status.code(), Some(0), "round {round}: {}", project.read(&run.log));
        }
        for project in &projects {
            assert_eq!(project.read("artifacts/joined/folder/all"), JOINED.replace("a\n", &content));
            let cache = home.path("shared");
            let verified = project.pipe(&["verify", "--cache", &cache.to_string_lossy()]);
            assert_eq!(verified.code, Some(0), "round {round}: {}", verified.stdout);
        }
        assert_eq!(executed(&home), EACH_ONCE, "round {round}");
        assert_eq!(home.files("shared/v1/locks").len(), 0, "locks are taken away");
    }
    soak::figure("folders that share a cache, and runs in each of them at once", format!("{each} × {each}"));
    soak::figure("rounds", rounds);
    soak::figure("stages to execute, each once", rounds * EACH_ONCE.len() as u64);
    soak::figure("stages that were executed twice or not at all, failed runs, damaged files", 0);
}

#[test]
fn who_waits_in_a_folder_goes_on_when_the_holder_is_killed() {
    goes_on_after_a_kill(None);
}

#[test]
fn who_waits_for_a_key_of_a_shared_cache_executes_it_when_the_holder_is_killed() {
    let home = Project::new("");
    goes_on_after_a_kill(Some(&home));
}

/// A run is killed while it executes a stage for which another one waits: in the same folder, or in another one that
/// shares a cache in `home`.
fn goes_on_after_a_kill(home: Option<&Project>) {
    // The first execution never ends, the second one does.
    let stages = "one:\n  run: 'if [ -e \"$HERE/here\" ]; then echo done > ${outputs.o}; else touch \"$HERE/here\"; sleep 1000; fi'\n  \
                  env: { HERE: $FOLDER }\n  outputs: { o: o.txt }\n";
    let first = Project::new("");
    let folder = first.path("").to_string_lossy().into_owned();
    let stages = stages.replace("$FOLDER", &folder);
    first.set_stages(&stages);
    let elsewhere = home.map(|_| Project::new(&stages));
    let second = elsewhere.as_ref().unwrap_or(&first);
    let mut holder = start(&first, 1, home);
    first.wait_until("the first execution", || first.path("here").exists());
    let mut waiting = start(second, 2, home);
    let log = || second.read(&waiting.log);
    second.wait_until("the announcement", || waited_for(&log()) == [holder.child.id()]);
    kill_process(pid(&holder.child), Signal::KILL).unwrap();
    holder.child.wait().unwrap();
    assert_eq!(waiting.child.wait().unwrap().code(), Some(0), "{}", second.read(&waiting.log));
    assert_eq!(second.read("artifacts/one/o.txt"), "done\n");
}
