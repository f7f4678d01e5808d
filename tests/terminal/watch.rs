//! `pipe run --watch`: what makes it run again, and what does not.

use std::fs;
use std::io::Write;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::project::Project;

/// A watch whose output goes to a file.
struct Session<'a> {
    project: &'a Project,
    child: Child,
}

impl<'a> Session<'a> {
    fn start(project: &'a Project, args: &[&str]) -> Self {
        let mut command = project.command(args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(project.path("said")).unwrap());
        Self { project, child: command.spawn().unwrap() }
    }

    /// Waits until it has said `text` this often.
    fn said(&self, text: &str, times: usize) {
        self.project
            .wait_until(&format!("`{text}` {times} times"), || self.all().matches(text).count() >= times);
    }

    fn all(&self) -> String {
        fs::read_to_string(self.project.path("said")).unwrap_or_default()
    }

    fn interrupt(&mut self) -> Option<i32> {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // A test that failed leaves nothing running.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.all());
        }
    }
}

const ONE: &str = "
one:
  run: cat ${inputs.text} ${inputs.folder}/* > ${outputs.out}
  inputs: { text: ./text.txt, folder: ./folder }
  outputs: { out: out.txt }
two:
  uses: fake/write
  inputs: { a: one.out }
";

fn project() -> Project {
    let project = Project::new(ONE);
    project.write("text.txt", "text\n");
    project.write("folder/x", "x\n");
    project
}

// Edits by one system call each, which nothing can be seen in the middle of, however slow the machine.

fn append(project: &Project, name: &str, text: &str) {
    let mut file = fs::OpenOptions::new().append(true).open(project.path(name)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn replace(project: &Project, name: &str, text: &str) {
    project.write("replacement", text);
    fs::rename(project.path("replacement"), project.path(name)).unwrap();
}

const IDLE: &str = "watching pipeline.yaml";

#[test]
fn every_kind_of_edit_runs_again_and_nothing_else_does() {
    let project = project();
    let mut session = Session::start(&project, &["run", "--watch"]);
    let mut round = 1;
    session.said(IDLE, round);
    let said = session.all();
    assert!(said.contains("folder/") && said.contains("text.txt") && said.contains("Ctrl-C ends"), "{said}");
    let mut again = |edited: &str, out: &str| {
        round += 1;
        session.said(IDLE, round);
        let said = session.all();
        assert!(said.contains(&format!("edited: {edited}\n")), "{edited}: {said}");
        assert_eq!(project.read("artifacts/one/out.txt"), out);
        assert_eq!(said.matches(IDLE).count(), round, "its own writes are no edits: {said}");
    };
    append(&project, "text.txt", "more\n");
    again("text.txt", "text\nmore\nx\n");

    replace(&project, "text.txt", "replaced\n");
    again("text.txt", "replaced\nx\n");

    replace(&project, "folder/y", "y\n");
    again("folder/y", "replaced\nx\ny\n");

    project.write("new/x", "new\n");
    fs::rename(project.path("folder"), project.path("old")).unwrap();
    again("folder, folder/x and folder/y", "replaced\nx\ny\n");
    fs::rename(project.path("new"), project.path("folder")).unwrap();
    again("folder/ and folder/x", "replaced\nnew\n");
    replace(&project, "folder/z", "z\n");
    again("folder/z", "replaced\nnew\nz\n");

    append(&project, "artifacts/one/out.txt", "scribbled");
    again("artifacts/one/out.txt", "replaced\nnew\nz\n");
    fs::rename(project.path("artifacts"), project.path("old-artifacts")).unwrap();
    again("artifacts/one/out.txt and artifacts/two/out.txt", "replaced\nnew\nz\n");

    let pipeline = project.read("pipeline.yaml");
    replace(&project, "pipeline.yaml", &pipeline.replace("cat ", "cat ${inputs.text} "));
    again("pipeline.yaml", "replaced\nreplaced\nnew\nz\n");

    // None of these is an edit: it would be told before the one that follows.
    project.write("other.txt", "");
    project.write("cache/other.txt", "");
    project.write("artifacts/other.txt", "");
    project.read("text.txt");
    replace(&project, "text.txt", "last\n");
    again("text.txt", "last\nlast\nnew\nz\n");
    assert_eq!(session.interrupt(), Some(0), "Ctrl-C while nothing runs is how one is done");
}

#[test]
fn an_error_is_told_and_an_edit_waited_for() {
    let project = project();
    fs::remove_file(project.path("text.txt")).unwrap();
    let session = Session::start(&project, &["run", "--watch"]);
    session.said("there is no file or folder `./text.txt`", 1);
    session.said(IDLE, 1);
    replace(&project, "text.txt", "there\n");
    session.said(IDLE, 2);
    assert_eq!(project.read("artifacts/one/out.txt"), "there\nx\n");

    let pipeline = project.read("pipeline.yaml");
    replace(&project, "pipeline.yaml", "version: [");
    session.said("pipeline.yaml:1", 1);
    session.said(IDLE, 3);
    replace(&project, "pipeline.yaml", &pipeline.replace("cat ", "exit 3; cat "));
    session.said("exit code 3", 1);
    session.said(IDLE, 4);
    replace(&project, "pipeline.yaml", &pipeline);
    session.said(IDLE, 5);
    assert_eq!(project.read("artifacts/two/out.txt"), "hellothere\nx\n");
}

#[test]
fn an_edit_while_stages_run_runs_them_again() {
    let project = Project::new(
        "
one:
  run: 'cat ${inputs.text} > ${outputs.out}; touch begun; while [ ! -e go ]; do sleep 0.01; done'
  inputs: { text: ./text.txt }
  outputs: { out: out.txt }
",
    );
    project.write("text.txt", "early");
    let mut session = Session::start(&project, &["run", "--watch"]);
    project.wait_until("the command", || project.path("begun").exists());
    project.write("text.txt", "edited");
    project.write("go", "");
    session.said(IDLE, 1);
    let said = session.all();
    assert!(said.contains("was changed while it ran") && said.contains("edited: text.txt"), "{said}");
    assert_eq!(project.read("artifacts/one/out.txt"), "edited");

    fs::remove_file(project.path("go")).unwrap();
    fs::remove_file(project.path("begun")).unwrap();
    project.write("text.txt", "once more");
    project.wait_until("the command", || project.path("begun").exists());
    assert_eq!(session.interrupt(), Some(130), "Ctrl-C while stages run interrupts them");
}

#[test]
fn a_stage_that_writes_its_own_input_does_not_run_forever() {
    let project = Project::new("one:\n  run: 'echo x >> text.txt'\n  inputs: { text: ./text.txt }\n");
    project.write("text.txt", "");
    let session = Session::start(&project, &["run", "--watch"]);
    session.said("changed whenever stages ran: text.txt", 1);
    session.said(IDLE, 1);
    let rounds = project.read("text.txt").lines().count();
    assert_eq!(rounds, 4, "{}", session.all());
}

#[test]
fn a_changed_plugin_runs_again() {
    let project = Project::new("two:\n  uses: wrapped/write\n");
    let fake = crate::project::built("examples/pipe-fake");
    let wrapper = |version: u32| {
        let script = format!("# {version}\n{} \"$@\" | sed -u 's/\"fake\"/\"wrapped\"/'\n", fake.display());
        project.script("pipe-wrapped.new", &script);
        fs::rename(project.path("pipe-wrapped.new"), project.path("pipe-wrapped")).unwrap();
    };
    wrapper(1);
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &pipeline.replace("plugins:\n", "plugins:\n  wrapped: ./pipe-wrapped\n"));
    let session = Session::start(&project, &["run", "--watch"]);
    session.said(IDLE, 1);
    wrapper(2);
    session.said("edited: pipe-wrapped", 1);
    session.said(IDLE, 2);
}

#[test]
fn without_a_pipeline_there_is_nothing_to_watch() {
    let project = project();
    fs::remove_file(project.path("pipeline.yaml")).unwrap();
    let outcome = project.pipe(&["run", "--watch"]);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    let outcome = project.pipe(&["run", "--watch", "--dry-run"]);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
}
