//! Damage, leftovers and company: what other runs, and kills, may do to a store.

use super::*;

use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use record::{Outcome, RunRecord, StageRun};

#[test]
fn a_missing_output_is_named_and_nothing_is_recorded() {
    let bench = bench();
    let error = bench.try_execute("s", "a", "f", |_| ()).unwrap_err();
    assert!(error.to_string().starts_with("output `out` was not written"), "{error}");
    bench.miss("s", "a");
    assert!(bench.store.unfinished_log(&name("s")).is_some(), "the log of what failed is kept");
}

#[test]
fn a_damaged_object_is_found_moved_aside_and_replaced() {
    let bench = bench();
    let record = bench.execute("s", "a", "f", writes("one"));
    let object = bench.store.object(&record.outputs["out"].digest);
    fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&object, "eno").unwrap();
    fs::remove_file(bench.artifact("s", "f")).unwrap();
    let error = bench.store.restore(&name("s"), &record).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { what: "damaged", .. }), "{error}");
    assert!(!bench.artifact("s", "f").exists());
    assert_eq!(fs::read_dir(bench.artifact("s", "")).unwrap().count(), 0, "no leftovers");
    assert_eq!(fs::read_dir(bench.store.folder().join("corrupt")).unwrap().count(), 1);
    assert!(bench.miss("s", "a").warning().unwrap().contains("is gone or cut short"));
    bench.execute("s", "a", "f", writes("one"));
    assert_eq!(bench.hit("s", "a").outputs, record.outputs);
}

#[test]
fn a_damaged_object_that_turns_up_again_is_healed() {
    let bench = bench();
    let record = bench.execute("s", "a", "f", writes("one"));
    let object = bench.store.object(&record.outputs["out"].digest);
    fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&object, "eno").unwrap();
    bench.execute("t", "b", "f", writes("one"));
    assert_eq!(fs::read_to_string(object).unwrap(), "one");
}

#[test]
fn a_folder_with_a_lost_file_is_not_complete() {
    let bench = bench();
    let record = bench.execute("s", "a", "o", |path| {
        fs::create_dir(path).unwrap();
        fs::write(path.join("inner"), "x").unwrap();
    });
    assert!(bench.store.is_complete(&record));
    fs::remove_file(bench.store.object(&Digest::of_bytes(b"x"))).unwrap();
    assert!(!bench.store.is_complete(&record));
    fs::remove_dir_all(bench.artifact("s", "o")).unwrap();
    let error = bench.store.restore(&name("s"), &record).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { what: "missing", .. }), "{error}");
}

#[test]
fn a_record_under_another_name_is_damaged() {
    let bench = bench();
    bench.execute("s", "a", "f", writes("one"));
    let actions = bench.store.folder().join("actions");
    let of = |command: &str| actions.join(fan_out(&key_of(command).digest())).with_extension("json");
    fs::create_dir_all(of("b").parent().unwrap()).unwrap();
    fs::copy(of("a"), of("b")).unwrap();
    assert!(bench.miss("s", "b").warning().unwrap().contains("is damaged"));
}

#[test]
fn a_record_that_cannot_be_read_is_not_called_damaged() {
    let bench = bench();
    bench.execute("s", "a", "f", writes("one"));
    let record = bench.store.action_path(&key_of("a").digest());
    fs::remove_file(&record).unwrap();
    // What root, too, cannot read.
    fs::create_dir(&record).unwrap();
    let miss = bench.miss("s", "a");
    let warning = miss.warning().unwrap();
    assert!(warning.contains("of `s` cannot be read: ") && !warning.contains("damaged"), "{warning}");
    let run = bench.store.folder().join("runs/1-1.json");
    fs::create_dir_all(&run).unwrap();
    fs::remove_dir(&record).unwrap();
    let said = Digest::of_bytes(b"said");
    let definition = bench.store.definition_file(&said);
    fs::create_dir_all(&definition).unwrap();
    let found = bench.store.verify(true, None, &|_| ()).unwrap();
    let told: Vec<_> = found.damage.iter().map(|it| (it.kind, it.name.as_str(), &it.remedy)).collect();
    assert_eq!(
        told,
        [(Kind::Run, "1-1", &Remedy::None), (Kind::Definition, &said.to_string(), &Remedy::None)]
    );
    for damage in &found.damage {
        assert!(damage.problem.starts_with("cannot be read: "), "{}", damage.problem);
    }
    assert!(run.exists() && definition.exists(), "they stay where they are");
}

#[test]
fn a_damaged_definition_is_found_and_moved_aside_and_what_is_none_is_left() {
    let bench = bench();
    let definition = record::Definition::default();
    let digest = bench.store.keep_definition(&definition).unwrap();
    assert!(bench.store.verify(false, None, &|_| ()).unwrap().damage.is_empty());
    let file = bench.store.definition_file(&digest);
    fs::write(&file, "{}").unwrap();
    let stray = file.with_file_name("mine.json");
    fs::write(&stray, "{}").unwrap();
    let found = bench.store.verify(true, None, &|_| ()).unwrap();
    assert_eq!((found.damage.len(), found.damage[0].kind), (1, Kind::Definition));
    assert!(!file.exists() && stray.exists());
    assert_eq!(bench.store.definition(&digest), None);
}

#[test]
fn what_another_execution_took_the_place_of_is_kept_unless_it_is_damaged() {
    let bench = bench();
    let first = bench.execute("s", "a", "f", writes("one"));
    let key = first.key;
    let runs = || bench.store.outcomes(&key).into_iter().map(|record| record.run).collect::<Vec<_>>();
    assert_eq!(runs(), ["r"]);
    let second = again(&bench, "run-2", "two");
    again(&bench, "run-3", "three");
    assert_eq!(runs(), ["run-3", "run-2", "r"]);
    assert_eq!(bench.store.outcomes(&key)[1], second);
    assert!(bench.store.verify(false, None, &|_| ()).unwrap().damage.is_empty());
    let kept = bench.store.superseded_folder(&key);
    let file = fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path();
    fs::write(&file, "torn").unwrap();
    assert_eq!(runs().len(), 2);
    let found = bench.store.verify(true, None, &|_| ()).unwrap();
    assert_eq!((found.damage.len(), found.damage[0].kind), (1, Kind::Superseded));
    assert!(!file.exists());
}

#[test]
fn leftovers_of_a_killed_run_are_cleared_and_partial_work_is_kept() {
    let bench = bench();
    bench.execute("s", "a", "f", writes("one"));
    let miss = bench.miss("s", "b");
    let work = bench.store.work_dir().unwrap();
    fs::write(work.join("half"), "x").unwrap();
    let resume = bench.store.resume_dir(&miss).unwrap();
    fs::write(resume.join("checkpoint"), "x").unwrap();
    let temporary = bench.store.temporary();
    fs::write(&temporary, "torn").unwrap();
    drop(bench.store.lock(&mut |line| panic!("waits: {line}")).unwrap());
    assert!(!work.exists() && !temporary.exists());
    assert!(bench.artifact("s", "f").exists());
    assert!(bench.store.resume_dir(&miss).unwrap().join("checkpoint").exists());
}

#[test]
fn the_second_run_waits_for_the_first_and_says_for_whom() {
    let bench = bench();
    let first = bench.store.lock(&mut |line| panic!("waits: {line}")).unwrap();
    let (sender, receiver) = mpsc::channel();
    let other = bench.store.clone();
    let waiter = std::thread::spawn(move || {
        let lock = other.lock(&mut |line| sender.send(line.to_owned()).unwrap()).unwrap();
        drop(lock);
    });
    let line = receiver.recv().unwrap();
    assert!(line.ends_with(&format!("(process {})", std::process::id())), "{line}");
    drop(first);
    waiter.join().unwrap();
}

#[test]
fn a_run_that_has_not_written_its_number_yet_is_named_once_it_has() {
    let bench = bench();
    let path = bench.store.folder().join("lock");
    fs::create_dir_all(bench.store.folder()).unwrap();
    let mut slow = fs::File::create(path).unwrap();
    slow.lock().unwrap();
    let (sender, receiver) = mpsc::channel();
    let other = bench.store.clone();
    let waiter = std::thread::spawn(move || {
        drop(other.lock(&mut |line| sender.send(line.to_owned()).unwrap()).unwrap());
    });
    // Longer than whoever only looks holds the lock.
    receiver.recv_timeout(Duration::from_millis(100)).unwrap_err();
    slow.write_all(b"812").unwrap();
    assert_eq!(receiver.recv().unwrap(), "waiting for another run in this folder to end (process 812)");
    drop(slow);
    waiter.join().unwrap();
}

#[test]
fn two_threads_store_at_the_same_time() {
    let bench = bench();
    std::thread::scope(|scope| {
        for stage in ["s", "t"] {
            let bench = &bench;
            scope.spawn(move || {
                for round in 0..20 {
                    // The first half of the keys, and all contents, are common to both.
                    let command = if round < 10 { format!("{round}") } else { format!("{stage} {round}") };
                    let store = &bench.store;
                    let miss = match store.lookup(&name(stage), key_of(&command)) {
                        Lookup::Miss(miss) => miss,
                        Lookup::Hit(hit) => hit.discard(None),
                    };
                    let folder = store.work_dir().unwrap();
                    let path = folder.join("f");
                    fs::write(&path, format!("{}", round % 3)).unwrap();
                    let log = store.log_path(&name(stage)).unwrap();
                    fs::write(&log, "log").unwrap();
                    let record = store.commit(miss, finished("f", folder, log)).unwrap();
                    assert!(store.is_in_place(&name(stage), &record));
                }
            });
        }
    });
    for round in 0..10 {
        let record = bench.hit("s", &format!("{round}"));
        bench.store.restore(&name("s"), &record).unwrap();
    }
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_read_all_the_same() {
    let bench = bench();
    bench.execute("s", "a", "f", writes("one"));
    let store = &bench.store;
    // What root, too, cannot read: a folder that leads to itself.
    let blocked = store.records_folder().join("zz");
    std::os::unix::fs::symlink("zz", &blocked).unwrap();
    fs::create_dir(store.folder().join("stat")).unwrap();
    let superseded = store.all_superseded().remove(0);
    fs::write(&superseded, "no folder").unwrap();
    let found = store.verify(true, None, &|_| ()).unwrap();
    let told: Vec<_> = found.damage.iter().map(|it| (it.kind, it.name.as_str(), &it.remedy)).collect();
    let place = |name| (Kind::Place, name, &Remedy::None);
    assert_eq!(told, [place("cache/v1/stat"), place("cache/v1/superseded")]);
    assert_eq!((found.records, found.objects), (1, 2));
    assert!(found.notes.iter().any(|note| note.contains("actions/zz")), "{:?}", found.notes);
}

#[test]
fn what_another_pipeline_makes_anew_stays_known_to_the_one_that_had_it() {
    let shared = disk();
    let sharing = || {
        let bench = bench();
        let store = bench.store.clone().sharing(Some(shared.path()));
        Bench { store, ..bench }
    };
    let (one, other) = (sharing(), sharing());
    let first = one.execute("s", "a", "f", writes("one"));
    let second = again(&other, "run-2", "two");
    assert_eq!(one.store.outcomes(&first.key), [second, first.clone()]);
    assert_eq!(other.store.outcomes(&first.key), one.store.outcomes(&first.key));
    assert!(!other.store.folder().join("superseded").exists());
    // It counts towards the size of what is shared.
    let size = one.store.measure();
    let superseded = one.store.superseded_bytes();
    let rest: u64 = one.store.list_objects().found.iter().map(|(_, _, file)| file.len()).sum::<u64>()
        + one.store.list_records().files.iter().map(|file| file.bytes).sum::<u64>();
    assert!(superseded > 0 && size == rest + superseded);
    // As earlier versions kept it: with the pipeline that made it anew.
    let own = other.store.folder().join("superseded");
    fs::rename(shared.path().join("v1/superseded"), &own).unwrap();
    assert_eq!(other.store.outcomes(&first.key)[1..], [first]);
}

#[test]
fn of_many_outcomes_of_a_key_those_that_no_run_shows_go() {
    let bench = bench();
    let key = bench.execute("s", "a", "f", writes("one")).key;
    for number in 0..40 {
        let run = format!("run-{number:02}");
        again(&bench, &run, &number.to_string());
        // Every fourth run gets as far as its record.
        if number % 4 == 0 {
            bench.store.save_run(&run_of(&run, key)).unwrap();
        }
    }
    let kept: Vec<String> = bench.store.outcomes(&key).into_iter().map(|record| record.run).collect();
    assert!(kept.len() <= 20, "{kept:?}");
    for number in (0..40).step_by(4) {
        assert!(kept.contains(&format!("run-{number:02}")), "{kept:?}");
    }
    assert_eq!(kept[0], "run-39");
}

/// Executes what is in the cache once more.
fn again(bench: &Bench, run: &str, text: &str) -> ActionRecord {
    let Lookup::Hit(hit) = bench.store.lookup(&name("s"), key_of("a")) else { panic!("a miss") };
    let folder = bench.store.work_dir().unwrap();
    fs::write(folder.join("f"), text).unwrap();
    let log = bench.store.log_path(&name("s")).unwrap();
    fs::write(&log, text).unwrap();
    let finished = Finished { run: run.into(), ..finished("f", folder, log) };
    bench.store.commit(hit.discard(None), finished).unwrap()
}

/// A run that executed one stage, which has `key`.
fn run_of(id: &str, key: Digest) -> RunRecord {
    run(
        id,
        vec![StageRun {
            stage: name("s"),
            outcome: Outcome::Ran,
            key: Some(key),
            changes: vec![],
            offset_ms: 0,
            duration_ms: 0,
            provisional: None,
        }],
    )
}
