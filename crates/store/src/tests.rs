//! A store in ordinary use.

use super::*;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use pipeline::spec::{Action, CommandAction, CommandLine, Stage};
use record::key::{Key, Parts, key};
use record::{ActionRecord, Machine};
use text::secret::Salt;

use super::medium::Medium;
use super::stat::StatKey;

mod aside;
mod damage;
mod image;
mod mapped;
mod property;
mod records;

/// A store in a folder of its own.
struct Bench {
    root: tempfile::TempDir,
    store: Store,
}

/// A temporary folder on a disk, where there is one: files that lie elsewhere are remembered later, or not at all.
pub(super) fn disk() -> tempfile::TempDir {
    let places = [std::env::temp_dir(), env!("CARGO_MANIFEST_DIR").into()];
    let place = places.iter().find(|place| Medium::at(place) == Medium::Disk).unwrap_or(&places[0]);
    tempfile::tempdir_in(place).unwrap()
}

fn bench() -> Bench {
    let root = disk();
    let store = Store::open(root.path()).unwrap();
    Bench { root, store }
}

fn name(text: &str) -> StageName {
    StageName::try_from(text.to_owned()).unwrap()
}

/// The key of a stage that runs `command`.
fn key_of(command: &str) -> Key {
    let action = Action::Command(CommandAction {
        command: CommandLine::Shell(command.into()),
        params: serde_json::json!({}),
        param_locations: BTreeMap::new(),
        env: BTreeMap::new(),
    });
    let stage = Stage::doing(name("s"), action);
    let none = BTreeMap::new();
    let machine = Machine::default();
    let parts = Parts {
        inputs: &none,
        sources: &none,
        manifests: &BTreeMap::new(),
        machine: &machine,
        threads: 1,
        salt: &Salt::fixed(0),
    };
    key(&stage, &parts).unwrap()
}

impl Bench {
    fn miss(&self, stage: &str, command: &str) -> Miss {
        match self.store.lookup(&name(stage), key_of(command)) {
            Lookup::Miss(miss) => miss,
            Lookup::Hit(hit) => panic!("a hit: {hit:?}"),
        }
    }

    fn hit(&self, stage: &str, command: &str) -> ActionRecord {
        match self.store.lookup(&name(stage), key_of(command)) {
            Lookup::Hit(hit) => hit.record,
            Lookup::Miss(miss) => panic!("a miss: {:?}", miss.warning()),
        }
    }

    /// Executes `command` for `stage` with one output `out`, made by `write` at the path it is given.
    fn execute(&self, stage: &str, command: &str, file: &str, write: impl FnOnce(&Path)) -> ActionRecord {
        self.try_execute(stage, command, file, write).unwrap()
    }

    fn try_execute(
        &self,
        stage: &str,
        command: &str,
        file: &str,
        write: impl FnOnce(&Path),
    ) -> Result<ActionRecord, StoreError> {
        let miss = self.miss(stage, command);
        let folder = self.store.work_dir()?;
        write(&folder.join(file));
        let log = self.store.log_path(&name(stage))?;
        fs::write(&log, format!("log of {command}\n")).unwrap();
        self.store.commit(miss, finished(file, folder, log))
    }

    fn artifact(&self, stage: &str, file: &str) -> PathBuf {
        self.root.path().join("artifacts").join(stage).join(file)
    }
}

fn finished(file: &str, folder: PathBuf, log: PathBuf) -> Finished {
    Finished {
        outputs: BTreeMap::from([("out".to_owned(), (file.to_owned(), folder.join(file)))]),
        folder,
        metrics: BTreeMap::new(),
        figures: vec![],
        log,
        started_ms: 1,
        duration_ms: 2,
        machine: Machine::default(),
        run: "r".into(),
        provisional: None,
        pace: None,
    }
}

fn writes(text: &str) -> impl FnOnce(&Path) {
    move |path| fs::write(path, text).unwrap()
}

#[test]
fn a_committed_key_is_a_hit_and_its_artifacts_are_in_place() {
    let bench = bench();
    let record = bench.execute("s", "a", "f.txt", writes("one"));
    assert_eq!(fs::read_to_string(bench.artifact("s", "f.txt")).unwrap(), "one");
    assert_eq!(bench.hit("s", "a"), record);
    assert_eq!(bench.store.last(&name("s")), Some(record.clone()));
    assert_eq!(bench.store.log(&record).unwrap(), "log of a\n");
    assert!(bench.store.is_in_place(&name("s"), &record));
    assert_eq!(bench.store.unfinished_log(&name("s")), None);
    assert_eq!(fs::read_dir(bench.store.folder().join("work")).unwrap().count(), 0);
}

#[test]
fn switching_back_restores_and_removes_outputs_that_are_no_more() {
    let bench = bench();
    let first = bench.execute("s", "a", "old.txt", writes("one"));
    let second = bench.execute("s", "b", "new.txt", writes("two"));
    fs::write(bench.artifact("s", "mine.txt"), "kept").unwrap();
    assert!(!bench.artifact("s", "old.txt").exists());
    bench.store.restore(&name("s"), &first).unwrap();
    assert_eq!(fs::read_to_string(bench.artifact("s", "old.txt")).unwrap(), "one");
    assert!(!bench.artifact("s", "new.txt").exists());
    assert!(bench.artifact("s", "mine.txt").exists());
    assert_eq!(bench.store.last(&name("s")), Some(first));
    assert_eq!(bench.hit("s", "b"), second);
}

#[test]
fn an_output_may_turn_from_file_to_folder_and_back() {
    let bench = bench();
    let folder = |path: &Path| {
        fs::create_dir(path).unwrap();
        fs::write(path.join("inner"), "x").unwrap();
    };
    let file = bench.execute("s", "file", "o", writes("one"));
    let record = bench.execute("s", "folder", "o", folder);
    assert!(bench.store.is_in_place(&name("s"), &record));
    bench.store.restore(&name("s"), &file).unwrap();
    assert!(bench.store.is_in_place(&name("s"), &file));
    bench.store.restore(&name("s"), &record).unwrap();
    assert!(bench.store.is_in_place(&name("s"), &record));
}

#[test]
fn an_edit_of_an_artifact_does_not_reach_the_cache() {
    let bench = bench();
    let record = bench.execute("s", "a", "f", writes("one"));
    bench.store.flush().unwrap();
    fs::write(bench.artifact("s", "f"), "eno").unwrap();
    assert!(!bench.store.is_in_place(&name("s"), &record));
    bench.store.restore(&name("s"), &record).unwrap();
    assert_eq!(fs::read_to_string(bench.artifact("s", "f")).unwrap(), "one");
}

#[test]
fn an_output_with_a_second_name_is_copied() {
    let bench = bench();
    let outside = bench.root.path().join("outside");
    fs::write(&outside, "one").unwrap();
    let record = bench.execute("s", "a", "f", |path| fs::hard_link(&outside, path).unwrap());
    fs::write(&outside, "two").unwrap();
    fs::remove_file(bench.artifact("s", "f")).unwrap();
    bench.store.restore(&name("s"), &record).unwrap();
    assert_eq!(fs::read_to_string(bench.artifact("s", "f")).unwrap(), "one");
}

#[test]
fn what_an_output_links_to_stays_where_it_is() {
    let bench = bench();
    let outside = bench.root.path().join("data");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("x"), "one").unwrap();
    let record = bench.execute("s", "a", "o", |path| {
        fs::create_dir(path).unwrap();
        std::os::unix::fs::symlink(&outside, path.join("linked")).unwrap();
    });
    assert!(outside.join("x").exists());
    assert!(bench.store.is_in_place(&name("s"), &record));
    bench.execute("s", "b", "o", |path| std::os::unix::fs::symlink(&outside, path).unwrap());
    assert!(outside.join("x").exists());
}

#[test]
fn the_executable_bit_is_kept_and_objects_are_read_only() {
    let bench = bench();
    let record = bench.execute("s", "a", "tool", |path| {
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    });
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bench.artifact("s", "tool")), 0o755);
    assert_eq!(mode(&bench.store.object(&record.outputs["out"].digest)), 0o444);
    fs::set_permissions(bench.artifact("s", "tool"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(!bench.store.is_in_place(&name("s"), &record));
}

#[test]
fn unchanged_files_are_only_looked_at() {
    let bench = bench();
    let file = bench.root.path().join("f");
    fs::write(&file, "one").unwrap();
    let digest = bench.store.digest_path(&file).unwrap();
    bench.store.flush().unwrap();
    let later = Store::open(bench.root.path()).unwrap();
    let key = StatKey::of(&fs::metadata(&file).unwrap());
    assert_eq!(later.stats().get(&key), Some(digest));
    // Same length and mtime; only ctime tells.
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "two").unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
    assert_eq!(later.digest_path(&file).unwrap(), Digest::of_bytes(b"two"));
}

#[test]
fn what_is_presumed_of_a_file_ends_with_a_change_and_is_never_saved() {
    let bench = bench();
    let file = bench.root.path().join("f");
    fs::write(&file, "one").unwrap();
    let key = |file: &Path| StatKey::of(&fs::metadata(file).unwrap());
    let digest = Digest::of_bytes(b"not its content");
    let mut cache = StatCache::new(bench.store.folder().join("stat"));
    cache.presume(key(&file), digest, SystemTime::now() - Duration::from_secs(9));
    assert_eq!(cache.get(&key(&file)), None, "it was written to just now");
    cache.presume(key(&file), digest, SystemTime::now() + Duration::from_secs(9));
    assert_eq!(cache.get(&key(&file)), Some(digest));
    assert_eq!(cache.unsaved(), None);
    fs::write(&file, "other").unwrap();
    assert_eq!(cache.get(&key(&file)), None);
    bench.store.presume(&file).unwrap();
    assert!(
        bench.store.presume(&bench.root.path().join("nothing")).unwrap_err().to_string().contains("nothing")
    );
}

#[test]
fn artifacts_are_known_after_the_run_that_made_them() {
    let bench = bench();
    bench.execute("s", "a", "f", writes("one"));
    bench.store.flush().unwrap();
    let key = StatKey::of(&fs::metadata(bench.artifact("s", "f")).unwrap());
    let mut later = StatCache::new(bench.store.folder().join("stat"));
    assert_eq!(later.get(&key), Some(Digest::of_bytes(b"one")));
}

#[test]
fn a_file_and_its_folder_have_different_digests_and_missing_paths_are_named() {
    let bench = bench();
    let folder = bench.root.path().join("d");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("f"), "x").unwrap();
    let first = bench.store.digest_path(&folder).unwrap();
    assert_ne!(first, bench.store.digest_path(&folder.join("f")).unwrap());
    fs::rename(folder.join("f"), folder.join("g")).unwrap();
    assert_ne!(first, bench.store.digest_path(&folder).unwrap());
    let error = bench.store.digest_path(&folder.join("nothing")).unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
    assert_eq!(error.hint().as_deref(), Some("check the path"));
}

#[test]
fn a_cache_that_cannot_be_one_is_refused_with_a_remedy() {
    let root = tempfile::tempdir().unwrap();
    let (cache, artifacts) = (root.path().join("cache"), root.path().join("artifacts"));
    let refused = |place: &Path| {
        let error = if *place == cache {
            Store::open(root.path()).unwrap_err()
        } else {
            Store::open(root.path()).unwrap().check_artifacts().unwrap_err()
        };
        assert!(error.hint().unwrap().starts_with("move `"), "{:?}", error.hint());
        error.to_string()
    };
    for place in [&cache, &artifacts] {
        fs::write(place, "").unwrap();
        let told = refused(place);
        assert!(told.ends_with("` is a file, and not a folder"), "{told}");
        fs::remove_file(place).unwrap();
        std::os::unix::fs::symlink("nowhere", place).unwrap();
        let told = refused(place);
        assert!(told.ends_with("` is a link that leads nowhere, and not a folder"), "{told}");
        fs::remove_file(place).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, place, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let told = refused(place);
        assert!(told.ends_with("` is a FIFO, and not a folder"), "{told}");
        fs::remove_file(place).unwrap();
    }
    fs::create_dir(&artifacts).unwrap();
    Store::open(root.path()).unwrap().check_artifacts().unwrap();
}

#[test]
fn opening_and_asking_create_nothing() {
    let bench = bench();
    bench.miss("s", "a");
    assert_eq!(bench.store.last(&name("s")), None);
    assert_eq!(bench.store.runs().unwrap(), (vec![], vec![]));
    bench.store.flush().unwrap();
    assert_eq!(fs::read_dir(bench.root.path()).unwrap().count(), 0);
}

/// A run that nothing is known of but its stages.
fn run(id: &str, stages: Vec<record::StageRun>) -> record::RunRecord {
    record::RunRecord {
        id: id.into(),
        pipeline: "p".into(),
        version: "0".into(),
        profile: None,
        vars: BTreeMap::new(),
        started_ms: 0,
        duration_ms: 0,
        machine: Machine::default(),
        threads: 1,
        stages,
        gates: vec![],
        certain: false,
        definition: None,
        recording: None,
    }
}

#[test]
fn runs_are_kept_in_order_and_damaged_ones_told() {
    let bench = bench();
    let run = |id: &str| run(id, vec![]);
    for id in ["2", "1", "3"] {
        bench.store.save_run(&run(id)).unwrap();
    }
    assert_eq!(bench.store.latest_run(&run("3").pipeline).unwrap(), Some(run("3")));
    fs::write(bench.store.folder().join("runs/3.json"), "torn").unwrap();
    let lost = run::LostRun { id: "3".into(), problem: "is damaged".into() };
    assert_eq!(bench.store.runs().unwrap(), (vec![run("1"), run("2")], vec![lost]));
    assert_eq!(bench.store.latest_run(&run("3").pipeline).unwrap(), Some(run("2")));
    assert_eq!(bench.store.latest_run("another").unwrap(), None);
    assert!(bench.store.save_run(&run("../x")).is_err());
}

#[test]
fn whoever_waited_for_a_cache_that_was_removed_locks_the_new_one() {
    let bench = bench();
    let mut lock = bench.store.lock(&mut |_| {}).unwrap();
    let (told, waits) = std::sync::mpsc::channel();
    let other = Store::open(bench.root.path()).unwrap();
    let waiter = std::thread::spawn(move || {
        let lock = other.lock(&mut |_| told.send(()).unwrap()).unwrap();
        (other, lock)
    });
    waits.recv().unwrap();
    let alone = bench.store.alone(&mut lock, &mut |_| {}).unwrap();
    bench.store.remove_all(alone, false).unwrap();
    drop(lock);
    let (_other, _held) = waiter.join().unwrap();
    let file = fs::File::open(bench.store.folder().join("lock")).unwrap();
    assert!(matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)), "the lock that is there is held");
}

#[test]
fn an_outcome_counts_as_used_until_another_takes_its_place() {
    let bench = bench();
    let used = |command: &str| {
        let path = bench.store.action_path(&key_of(command).digest());
        fs::metadata(path).unwrap().modified().unwrap()
    };
    let long_ago = SystemTime::UNIX_EPOCH;
    let first = bench.execute("s", "a", "f.txt", writes("one"));
    let age = |command: &str| {
        let path = bench.store.action_path(&key_of(command).digest());
        fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    };
    age("a");
    bench.store.set_last(&name("s"), &first.key).unwrap();
    assert_eq!(used("a"), long_ago, "a run that changes nothing touches nothing");
    bench.execute("s", "b", "f.txt", writes("two"));
    assert!(used("a") > long_ago);
    age("a");
    age("b");
    bench.store.restore(&name("s"), &first).unwrap();
    assert!(used("a") > long_ago && used("b") > long_ago);
}

#[test]
fn equal_files_of_a_folder_are_written_once_and_damage_is_still_replaced() {
    use std::os::unix::fs::MetadataExt;
    let bench = bench();
    let many = |text: &'static str| {
        move |path: &Path| {
            fs::create_dir(path).unwrap();
            (0..50).for_each(|number| fs::write(path.join(number.to_string()), text).unwrap());
            fs::write(path.join("other"), text.repeat(100_000)).unwrap();
        }
    };
    bench.execute("s", "a", "d", many("same"));
    let object = bench.store.object(&Digest::of_bytes(b"same"));
    let inode = || fs::metadata(&object).unwrap().ino();
    let first = inode();
    bench.execute("s", "b", "d", many("same"));
    assert_eq!(inode(), first, "it is not written again");
    fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&object, "dame").unwrap();
    bench.execute("s", "c", "d", many("same"));
    assert_eq!(fs::read_to_string(&object).unwrap(), "same");
    let miss = bench.miss("s", "long");
    let folder = bench.store.work_dir().unwrap();
    many("durable")(&folder.join("d"));
    let log = bench.store.log_path(&name("s")).unwrap();
    fs::write(&log, "").unwrap();
    let finished = Finished { duration_ms: 60_000, ..finished("d", folder, log) };
    let record = bench.store.commit(miss, finished).unwrap();
    assert!(bench.store.is_complete(&record));
    assert_eq!(fs::read_to_string(bench.artifact("s", "d/7")).unwrap(), "durable");
}
