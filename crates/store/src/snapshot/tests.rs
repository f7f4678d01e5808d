use super::*;

use std::fs::{FileTimes, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

/// A store, and an input folder in `real`, to which `link` leads.
fn bench() -> (tempfile::TempDir, Store, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("real/data/inner")).unwrap();
    fs::write(root.path().join("real/data/one"), "1").unwrap();
    fs::write(root.path().join("real/data/inner/two"), "2").unwrap();
    fs::write(root.path().join("real/beside"), "3").unwrap();
    symlink("../beside", root.path().join("real/data/linked")).unwrap();
    symlink("real", root.path().join("link")).unwrap();
    let store = Store::open(root.path()).unwrap();
    let input = root.path().join("link/data");
    loop {
        if !store.snapshot(&input, None).unwrap().1.is_young() {
            return (root, store, input);
        }
    }
}

/// What happens to the root's folder and back, and what is said of it.
type Case = (&'static str, fn(&Path), Option<fn(&Path) -> Touched>);

fn rewrite(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[test]
fn what_changes_and_changes_back_has_been_touched() {
    let cases: &[Case] = &[
        ("nothing", |_| (), None),
        (
            "written",
            |root| {
                rewrite(&root.join("real/data/one"), "9");
                rewrite(&root.join("real/data/one"), "1");
            },
            Some(|root| Touched::File(root.join("link/data/one"))),
        ),
        (
            "written, with its old times",
            |root| {
                let file = root.join("real/data/inner/two");
                let modified = fs::metadata(&file).unwrap().modified().unwrap();
                rewrite(&file, "9");
                rewrite(&file, "2");
                let times = FileTimes::new().set_modified(modified);
                fs::File::options().write(true).open(&file).unwrap().set_times(times).unwrap();
            },
            Some(|root| Touched::File(root.join("link/data/inner/two"))),
        ),
        (
            "replaced by the same",
            |root| {
                fs::copy(root.join("real/data/one"), root.join("copy")).unwrap();
                fs::rename(root.join("copy"), root.join("real/data/one")).unwrap();
            },
            Some(|root| Touched::File(root.join("link/data/one"))),
        ),
        (
            "given other permissions",
            |root| fs::set_permissions(root.join("real/data/one"), Permissions::from_mode(0o600)).unwrap(),
            Some(|root| Touched::File(root.join("link/data/one"))),
        ),
        (
            "put in and taken out",
            |root| {
                rewrite(&root.join("real/data/inner/three"), "3");
                fs::remove_file(root.join("real/data/inner/three")).unwrap();
            },
            Some(|root| Touched::Folder(root.join("link/data/inner"))),
        ),
        (
            "a link in it, led elsewhere",
            |root| {
                for to in ["one", "../beside"] {
                    fs::remove_file(root.join("real/data/linked")).unwrap();
                    symlink(to, root.join("real/data/linked")).unwrap();
                }
            },
            Some(|root| Touched::File(root.join("link/data/linked"))),
        ),
        (
            "what a link in it leads to",
            |root| {
                rewrite(&root.join("real/beside"), "9");
                rewrite(&root.join("real/beside"), "3");
            },
            Some(|root| Touched::File(root.join("link/data/linked"))),
        ),
        (
            "a link on the way to it, led elsewhere",
            |root| {
                for to in ["nowhere", "real"] {
                    fs::remove_file(root.join("link")).unwrap();
                    symlink(to, root.join("link")).unwrap();
                }
            },
            Some(|root| Touched::File(root.join("link"))),
        ),
        (
            "a folder on the way to it, moved",
            |root| {
                fs::rename(root.join("real"), root.join("moved")).unwrap();
                fs::rename(root.join("moved"), root.join("real")).unwrap();
            },
            Some(|root| Touched::Way(root.join("real"))),
        ),
        (
            "swapped and put back by links",
            |root| {
                let (file, kept) = (root.join("real/data/one"), root.join("kept"));
                fs::hard_link(&file, &kept).unwrap();
                rewrite(&root.join("new"), "9");
                fs::rename(root.join("new"), &file).unwrap();
                fs::remove_file(&file).unwrap();
                fs::hard_link(&kept, &file).unwrap();
            },
            Some(|root| Touched::File(root.join("link/data/one"))),
        ),
        ("something beside it", |root| rewrite(&root.join("real/other"), "x"), None),
        ("read", |root| drop(fs::read(root.join("real/data/one")).unwrap()), None),
    ];
    for (what, change, touched) in cases {
        let (root, store, input) = bench();
        let place = root.path();
        let (digest, before) = store.snapshot(&input, None).unwrap();
        change(place);
        let (again, now) = store.snapshot(&input, None).unwrap();
        assert_eq!(again, digest, "{what}");
        assert_eq!(before.touched(&now, &store), touched.map(|touched| touched(place)), "{what}");
    }
}

#[test]
fn what_a_stage_beside_links_into_what_it_makes_is_not_touched_when_that_name_goes() {
    let (root, store, input) = bench();
    let file = root.path().join("real/data/one");
    let link_and_unlink = |put: bool| {
        let made = root.path().join("made");
        fs::hard_link(&file, &made).unwrap();
        if put {
            store.put(&made, None, "made".into(), crate::Durability::Eventual).unwrap();
        }
        fs::remove_file(made).unwrap();
    };
    let (digest, before) = store.snapshot(&input, None).unwrap();
    link_and_unlink(false);
    let (_, now) = store.snapshot(&input, None).unwrap();
    let touched = Some(Touched::File(input.join("one")));
    assert_eq!(before.touched(&now, &store), touched, "it cannot be told from an edit that was put back");
    link_and_unlink(true);
    let (again, now) = store.snapshot(&input, None).unwrap();
    assert_eq!((before.touched(&now, &store), again), (None, digest));
    rewrite(&file, "9");
    assert_ne!(store.snapshot(&input, None).unwrap().0, digest, "what it holds is read");
    rewrite(&file, "1");
    let (_, now) = store.snapshot(&input, None).unwrap();
    assert_eq!(before.touched(&now, &store), touched, "an edit has another time");
}

#[test]
fn what_was_written_to_just_now_is_young() {
    let (root, store, input) = bench();
    rewrite(&root.path().join("real/beside"), "4");
    assert!(store.snapshot(&input, None).unwrap().1.is_young());
    rewrite(&root.path().join("real/other"), "what lies beside does not matter");
    while store.snapshot(&input, None).unwrap().1.is_young() {}
    assert!(!store.snapshot(&root.path().join("real/data/one"), None).unwrap().1.is_young());
}

#[test]
fn links_that_lead_to_each_other_and_files_of_the_kernel_are_refused() {
    let (root, store, _) = bench();
    symlink("b", root.path().join("a")).unwrap();
    symlink("a", root.path().join("b")).unwrap();
    assert!(store.snapshot(&root.path().join("a"), None).unwrap_err().to_string().contains("too many links"));
    for path in ["/proc/kmsg", "/proc/version"] {
        let told = store.digest_path(Path::new(path)).unwrap_err().to_string();
        assert!(told.contains("made by the kernel whenever it is read"), "{told}");
    }
    symlink("/proc/self/status", root.path().join("real/data/status")).unwrap();
    let told = store.digest_path(&root.path().join("real/data")).unwrap_err().to_string();
    assert!(told.contains("data/status` is made by the kernel"), "{told}");
}

/// What happens in a folder in which something counts for nothing, and whether it is told.
type HiddenCase = (&'static str, fn(&Path), bool);

fn put_in_and_take_out(folder: &Path) {
    rewrite(&folder.join("extra.csv"), "x");
    fs::remove_file(folder.join("extra.csv")).unwrap();
}

#[test]
fn what_counts_for_nothing_excuses_only_what_it_explains() {
    let cases: &[HiddenCase] = &[
        (
            "another commit and back: `.git` is written to",
            |data| {
                rewrite(&data.join(".git/index.lock"), "other");
                fs::rename(data.join(".git/index.lock"), data.join(".git/index")).unwrap();
                put_in_and_take_out(data);
            },
            true,
        ),
        (
            "a file that Python compiled, and a change that is undone",
            |data| {
                rewrite(&data.join("inner/__pycache__/m.pyc"), "again");
                put_in_and_take_out(&data.join("inner"));
            },
            true,
        ),
        (
            "a hidden file written in place, and a change that is undone",
            |data| {
                put_in_and_take_out(data);
                rewrite(&data.join("one~"), "another backup");
            },
            true,
        ),
        ("something hidden taken out", |data| fs::remove_file(data.join("one~")).unwrap(), true),
        (
            "something hidden that comes and goes",
            |data| {
                symlink("me@here.1", data.join(".#one")).unwrap();
                fs::remove_file(data.join(".#one")).unwrap();
            },
            true,
        ),
        (
            "something hidden comes, and long after that a change is undone",
            |data| {
                fs::create_dir(data.join("__pycache__")).unwrap();
                let changed = |path: &Path| StatKey::of(&fs::metadata(path).unwrap()).changed().unwrap();
                let made = changed(&data.join("__pycache__"));
                while changed(data).duration_since(made).unwrap() <= 2 * NAMED_WITHIN {
                    put_in_and_take_out(data);
                }
            },
            true,
        ),
        (
            "a lock of git's",
            |data| {
                rewrite(&data.join(".git/index.lock"), "");
                fs::remove_file(data.join(".git/index.lock")).unwrap();
            },
            false,
        ),
        (
            "what Python makes at the first import",
            |data| {
                fs::create_dir(data.join("__pycache__")).unwrap();
                rewrite(&data.join("__pycache__/one.pyc.1"), "1");
                fs::rename(data.join("__pycache__/one.pyc.1"), data.join("__pycache__/one.pyc")).unwrap();
            },
            false,
        ),
        (
            "something hidden replaced by a rename",
            |data| {
                rewrite(&data.join("two~"), "a new backup");
                fs::rename(data.join("two~"), data.join("one~")).unwrap();
            },
            false,
        ),
        ("a hidden file written in place", |data| rewrite(&data.join("one~"), "2"), false),
    ];
    for (what, change, is_told) in cases {
        let (root, store, input) = bench();
        let data = root.path().join("real/data");
        let ignore = Ignore::new(root.path(), []).unwrap();
        for folder in [".git", "inner/__pycache__"] {
            fs::create_dir(data.join(folder)).unwrap();
        }
        rewrite(&data.join("one~"), "a backup");
        rewrite(&data.join("inner/__pycache__/m.pyc"), "compiled");
        while store.snapshot(&input, Some(&ignore)).unwrap().1.is_young() {}
        let (digest, before) = store.snapshot(&input, Some(&ignore)).unwrap();
        change(&data);
        let (again, now) = store.snapshot(&input, Some(&ignore)).unwrap();
        assert_eq!(again, digest, "{what}");
        let touched = before.touched(&now, &store);
        assert_eq!(matches!(touched, Some(Touched::Folder(_))), *is_told, "{what}: {touched:?}");
        assert_eq!(touched.is_some(), *is_told, "{what}: {touched:?}");
    }
}

#[test]
fn when_something_came_is_told_by_when_it_was_made_or_else_by_its_last_change() {
    let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
    let came = |made: Option<u64>, changed, folder| {
        let hidden = Hidden { number: (1, 2), made: made.map(at), changed: Some(at(changed)) };
        hidden.came_at(at(folder))
    };
    assert!(came(Some(1_000), 5_000, 1_004), "made, and written to since");
    assert!(!came(Some(1_000), 5_000, 3_000), "the folder changed in between");
    assert!(came(Some(1_000), 5_000, 4_996), "moved in");
    assert!(!came(Some(1_000), 5_000, 6_000));
    assert!(came(None, 5_000, 3_000), "when it was made is not known");
    assert!(!came(None, 5_000, 6_000));
}

#[test]
fn where_times_are_whole_seconds_an_edit_is_waited_for_longer() {
    let (root, ..) = bench();
    let path = root.path().join("real/data/one");
    rewrite(&path, "2");
    let key = StatKey::of(&fs::metadata(&path).unwrap()).coarse();
    let changed = key.changed().unwrap();
    let young_for = |key: StatKey, later_ms| {
        let mut snapshot = Snapshot::default();
        snapshot.add(path.clone(), Part::File, key, changed + Duration::from_millis(later_ms));
        snapshot.young_for()
    };
    let coarse = Some(Duration::from_millis(2_100));
    assert_eq!(young_for(key, 30), coarse, "a tick is not enough");
    assert_eq!(young_for(key, 2_000), coarse);
    assert_eq!(young_for(key, 2_100), None);
}

#[test]
fn what_came_and_what_went_is_named() {
    let (root, store, input) = bench();
    let before = store.snapshot(&input, None).unwrap().1;
    assert_eq!(before.came_and_went(&before), [vec![], vec![] as Vec<&Path>]);
    rewrite(&root.path().join("real/data/app.db-wal"), "x");
    fs::remove_file(root.path().join("real/data/one")).unwrap();
    let now = store.snapshot(&input, None).unwrap().1;
    let at = |name: &str| root.path().join("link/data").join(name);
    assert_eq!(before.came_and_went(&now), [vec![at("app.db-wal").as_path()], vec![at("one").as_path()]]);
}
