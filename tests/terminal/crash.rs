//! Kills at any moment: nothing in the cache is ever torn, and nothing that was finished is done again.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::Rng;
use rustix::process::{Signal, kill_process};

use crate::project::{Project, pid};
use crate::soak;

/// A chain (`head` to `tail`) and a diamond (`base`, `left`, `middle`, `right`, `joined`) with a stage that uses both;
/// commands and ops, a folder, a program, a file too long to be read at once, partial work.
const STAGES: &str = r"
head:
  run: 'echo head >> trace; { echo head; cat ${inputs.a}; } > ${outputs.o}'
  inputs: { a: a.txt }
  outputs: { o: o.txt }
second:
  uses: fake/write
  with: { text: second }
  inputs: { a: head.o }
folder:
  run: 'echo folder >> trace; mkdir -p ${outputs.o}/inner && cp ${inputs.a} ${outputs.o}/one && cp ${inputs.a} ${outputs.o}/inner/two'
  inputs: { a: second.out }
  outputs: { o: folder }
tail:
  run: 'echo tail >> trace; { cat ${inputs.a}/one ${inputs.a}/inner/two; head -c 200000 /dev/zero; } > ${outputs.o}'
  inputs: { a: folder.o }
  outputs: { o: o.bin }
base:
  uses: fake/write
  with: { text: base }
  inputs: { b: b.txt }
left:
  run: 'echo left >> trace; { echo left; cat ${inputs.a}; } > ${outputs.o}'
  inputs: { a: base.out }
  outputs: { o: o.txt }
middle:
  uses: fake/write
  with: { text: middle }
  inputs: { a: base.out }
right:
  run: 'echo right >> trace; { echo right; cat ${inputs.a}; } > ${outputs.o}; chmod +x ${outputs.o}'
  inputs: { a: base.out }
  outputs: { o: o.sh }
joined:
  run: 'echo joined >> trace; cat ${inputs.a} ${inputs.b} ${inputs.c} > ${outputs.o}'
  inputs: { a: left.o, b: middle.out, c: right.o }
  outputs: { o: o.txt }
count:
  uses: fake/count
  with: { to: 5 }
  inputs: { a: base.out }
all:
  run: 'echo all >> trace; cat ${inputs.a} ${inputs.b} > ${outputs.o}'
  inputs: { a: tail.o, b: joined.o }
  outputs: { o: o.bin }
last:
  uses: fake/write
  with: { text: last }
  inputs: { a: all.o, b: count.out }
";

/// What the stages make of their sources, by file.
fn outputs(a: &str, b: &str) -> BTreeMap<&'static str, String> {
    let second = format!("secondhead\n{a}");
    let tail = format!("{second}{second}{}", "\0".repeat(200_000));
    let base = format!("base{b}");
    let right = format!("right\n{base}");
    let joined = format!("left\n{base}middle{base}{right}");
    let all = format!("{tail}{joined}");
    BTreeMap::from([
        ("folder/folder/one", second.clone()),
        ("folder/folder/inner/two", second),
        ("tail/o.bin", tail),
        ("right/o.sh", right),
        ("joined/o.txt", joined),
        ("last/out.txt", format!("last{all}5")),
        ("all/o.bin", all),
    ])
}

/// Projects at a time.
const WORKERS: usize = 2;

/// All of a project's cache is looked at in every round, so that it should not grow for ever.
const ROUNDS_A_PROJECT: u64 = 25;

/// How often a run is killed.
fn rounds() -> u64 {
    soak::number("PIPE_CRASH_ROUNDS", 300)
}

#[test]
fn a_kill_at_any_moment_tears_nothing_and_undoes_nothing() {
    let seed = soak::seed("PIPE_CRASH_SEED");
    let begin = Instant::now();
    let killed = AtomicU64::new(0);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let project = next.fetch_add(1, Ordering::Relaxed);
                    let rounds = rounds().saturating_sub(project * ROUNDS_A_PROJECT).min(ROUNDS_A_PROJECT);
                    if rounds == 0 {
                        break;
                    }
                    killed.fetch_add(kill_often(seed + project, rounds), Ordering::Relaxed);
                }
            });
        }
    });
    let killed = killed.into_inner();
    println!("{killed} of {} runs were killed before their end, {:.1?}", rounds(), begin.elapsed());
    soak::figure("runs that a kill was meant for", rounds());
    soak::figure("killed before their end", killed);
    soak::figure("records and objects torn, stages lost or executed twice, wrong artifacts", 0);
    // A moment that was drawn near the end may come too late.
    assert!(killed * 2 > rounds(), "{killed} of {} runs were killed", rounds());
}

/// Kills so many runs of a project, and checks after each. How many had not ended before.
fn kill_often(seed: u64, rounds: u64) -> u64 {
    let mut random = soak::drawn(seed);
    let project = Project::new(STAGES);
    let mut cache = Cache { project: &project, whole: HashSet::new() };
    let mut sources = ["first a\n".to_owned(), "first b\n".to_owned()];
    let mut duration = Duration::ZERO;
    let mut killed = 0;
    for round in 0..=rounds {
        // Something must run, and after a kill something else must be restored now and then.
        sources[(random.next_u32() % 2) as usize] = format!("round {round}\n");
        if random.next_u32().is_multiple_of(4) {
            sources[(random.next_u32() % 2) as usize] = format!("again {}\n", random.next_u32() % 2);
            let _ = fs::remove_dir_all(project.path("artifacts"));
        }
        let [a, b] = &sources;
        project.write("a.txt", a);
        project.write("b.txt", b);
        if round > 0 {
            let share = f64::from(random.next_u32()) / f64::from(u32::MAX);
            killed += u64::from(kill_after(&project, duration.mul_f64(share), random.next_u32()));
        }
        let before = cache.records();
        let verify = project.pipe(&["verify", "--dry-run"]);
        assert_eq!(verify.code, Some(0), "round {round}: {}{}", verify.stdout, verify.stderr);
        project.executed();
        let begin = Instant::now();
        let outcome = project.pipe_ok(&["run", "-j3"]);
        // The mean of the last few: how long a run takes depends on what else the machine does.
        let took = begin.elapsed();
        duration = if round == 0 { took } else { (duration * 7 + took) / 8 };
        for word in ["damaged", "corrupt", "gone", "warning"] {
            assert!(!outcome.stderr.contains(word), "round {round}: {}", outcome.stderr);
        }
        let after = cache.records();
        for (path, record) in &before {
            assert_eq!(after.get(path), Some(record), "round {round}: a record was replaced");
        }
        let new = after.iter().filter(|(path, _)| !before.contains_key(*path));
        let mut new: Vec<String> = new.map(|(_, record)| stage_of(record)).collect();
        new.sort();
        let mut executed: Vec<String> =
            project.executed().iter().map(|line| line.trim_start_matches("write ").to_owned()).collect();
        executed.sort();
        assert_eq!(executed, new, "round {round}: executed, and recorded since the kill\n{}", outcome.stderr);
        for (file, content) in outputs(a, b) {
            assert!(project.read(&format!("artifacts/{file}")) == content, "round {round}: {file} is wrong");
        }
    }
    killed
}

/// Starts a run and kills it after so long: the runner only, or all that it has started too. Whether it had not ended.
fn kill_after(project: &Project, after: Duration, how: u32) -> bool {
    let mut run = project.start(&["run", "-j3"]);
    std::thread::sleep(after);
    let runner = pid(&run);
    if how.is_multiple_of(2) {
        // Nothing is started between looking and killing.
        let _ = kill_process(runner, Signal::STOP);
        for process in project.processes().into_iter().filter(|process| *process != runner) {
            let _ = kill_process(process, Signal::KILL);
        }
    }
    let _ = kill_process(runner, Signal::KILL);
    let had_ended = run.wait().unwrap().code().is_some();
    project.wait_until("the end of what the run started", || project.processes().is_empty());
    !had_ended
}

/// The stage that a record is of.
fn stage_of(record: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(record.lines().next().unwrap()).unwrap();
    json["stage"].as_str().unwrap().to_owned()
}

/// The cache of a project, seen from outside.
struct Cache<'a> {
    project: &'a Project,
    /// Files that were found whole: a file that is replaced has another inode.
    whole: HashSet<(PathBuf, u64, SystemTime)>,
}

impl Cache<'_> {
    /// Checks every object and every record, and gives the records of executed keys.
    fn records(&mut self) -> BTreeMap<PathBuf, String> {
        for object in self.project.files("cache/v1/objects") {
            if self.is_news(&object) {
                let digest = blake3::hash(&fs::read(&object).unwrap()).to_hex().to_string();
                let folder = object.parent().unwrap().file_name().unwrap().to_str().unwrap();
                let name = object.file_name().unwrap().to_str().unwrap();
                assert_eq!(format!("{folder}{name}"), digest, "an object is torn");
            }
        }
        for run in self.project.files("cache/v1/runs") {
            if self.is_news(&run) {
                check_record(&run);
            }
        }
        let records = self.project.files("cache/v1/actions").into_iter();
        records.map(|path| (path.clone(), check_record(&path))).collect()
    }

    fn is_news(&mut self, path: &Path) -> bool {
        let metadata = fs::metadata(path).unwrap();
        self.whole.insert((path.to_owned(), metadata.ino(), metadata.modified().unwrap()))
    }
}

/// Reads a record, which is a line and the checksum of that line.
fn check_record(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let end = text.find('\n').unwrap_or_else(|| panic!("{}: no line\n{text}", path.display())) + 1;
    let (line, checksum) = text.split_at(end);
    let digest = blake3::hash(line.as_bytes()).to_hex();
    assert_eq!(checksum, format!("blake3 {digest}\n"), "{} is torn", path.display());
    text
}
