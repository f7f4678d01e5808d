//! What somebody else put among the artifacts, and what becomes of it.

use super::*;

use std::os::unix::fs::symlink;

/// What lies below a folder: files with their content, links with where they lead.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder).min_depth(1).into_iter().map(Result::unwrap) {
        let name = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        if entry.path_is_symlink() {
            found.insert(name, format!("-> {}", fs::read_link(entry.path()).unwrap().display()));
        } else if entry.file_type().is_file() {
            found.insert(name, fs::read_to_string(entry.path()).unwrap());
        }
    }
    found
}

fn pairs(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
    expected.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn a_folder(files: &'static [(&'static str, &'static str)]) -> impl FnOnce(&Path) {
    move |path| {
        for (name, text) in files {
            let file = path.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
    }
}

#[test]
fn what_a_stage_did_not_make_is_moved_and_never_lost() {
    let bench = bench();
    let folder = bench.root.path().join("artifacts/s");
    bench.execute("s", "one", "out", a_folder(&[("a", "1"), ("sub/b", "2")]));
    fs::write(folder.join("out/a"), "edited").unwrap();
    fs::write(folder.join("out/sub/notes"), "mine").unwrap();
    symlink("/nowhere", folder.join("out/link")).unwrap();
    fs::write(folder.join("beside"), "stays").unwrap();
    bench.execute("s", "two", "out", a_folder(&[("a", "3")]));
    assert_eq!(
        tree(&folder),
        pairs(&[
            ("beside", "stays"),
            ("out/a", "3"),
            ("out.kept-1/a", "edited"),
            ("out.kept-1/sub/notes", "mine"),
            ("out.kept-1/link", "-> /nowhere"),
        ])
    );
    let asides = bench.store.take_asides();
    let expected = Aside { from: folder.join("out"), to: folder.join("out.kept-1"), files: Some(3) };
    assert_eq!(asides, [expected]);
    assert!(bench.store.take_asides().is_empty());
    bench.execute("s", "three", "out", a_folder(&[("a", "4")]));
    assert_eq!(bench.store.take_asides(), [], "what nobody touched goes without a word");
}

#[test]
fn caches_of_tools_in_a_folder_that_a_stage_made_are_not_kept() {
    let bench = bench();
    let folder = bench.root.path().join("artifacts/s");
    bench.execute("s", "one", "out", a_folder(&[("m.py", "1"), ("x/__pycache__/a.pyc", "a")]));
    fs::create_dir(folder.join("out/__pycache__")).unwrap();
    fs::write(folder.join("out/__pycache__/m.pyc"), "compiled").unwrap();
    fs::write(folder.join("out/x/__pycache__/b.pyc"), "compiled").unwrap();
    bench.execute("s", "two", "out", a_folder(&[("m.py", "2")]));
    assert_eq!(tree(&folder), pairs(&[("out/m.py", "2")]));
    assert_eq!(bench.store.take_asides(), []);
    // What is no cache, or what the stage made and somebody edited, is kept.
    fs::write(folder.join("out/m.py~"), "mine").unwrap();
    bench.execute("s", "three", "out", a_folder(&[("m.py", "3"), ("__pycache__/m.pyc", "made")]));
    fs::write(folder.join("out/__pycache__/m.pyc"), "edited").unwrap();
    bench.execute("s", "four", "out", a_folder(&[("m.py", "4")]));
    assert_eq!(
        tree(&folder),
        pairs(
            &[("out/m.py", "4"), ("out.kept-1/m.py~", "mine"), ("out.kept-2/__pycache__/m.pyc", "edited"),]
        )
    );
}

#[test]
fn whatever_is_where_an_output_will_be_is_moved() {
    for put in ["file", "folder", "link", "stage", "dangling stage"] {
        let bench = bench();
        let folder = bench.root.path().join("artifacts/s");
        let place = folder.join("out");
        if !put.contains("stage") {
            fs::create_dir_all(&folder).unwrap();
        } else {
            fs::create_dir_all(folder.parent().unwrap()).unwrap();
        }
        match put {
            "file" => fs::write(&place, "mine").unwrap(),
            "folder" => {
                fs::create_dir(&place).unwrap();
                fs::write(place.join("x"), "mine").unwrap();
            }
            "link" => symlink("/etc/hostname", &place).unwrap(),
            "stage" => fs::write(&folder, "mine").unwrap(),
            _ => symlink("/nowhere", &folder).unwrap(),
        }
        bench.execute("s", "one", "out", writes("made"));
        let expected = match put {
            "file" => ("s/out.kept-1", "mine"),
            "folder" => ("s/out.kept-1/x", "mine"),
            "link" => ("s/out.kept-1", "-> /etc/hostname"),
            "stage" => ("s.kept-1", "mine"),
            _ => ("s.kept-1", "-> /nowhere"),
        };
        let found = tree(&bench.root.path().join("artifacts"));
        assert_eq!(found, pairs(&[("s/out", "made"), expected]), "{put}");
        assert_eq!(bench.store.take_asides().len(), 1, "{put}");
    }
}

#[test]
fn an_edit_is_kept_when_the_output_is_restored_and_so_is_what_the_cache_has_as_well() {
    let bench = bench();
    let folder = bench.root.path().join("artifacts/s");
    bench.execute("s", "one", "out", writes("first"));
    bench.execute("s", "two", "out", writes("second"));
    for text in ["an edit", "another"] {
        fs::write(folder.join("out"), text).unwrap();
        bench.store.restore(&name("s"), &bench.hit("s", "two")).unwrap();
    }
    let expected = [("out", "second"), ("out.kept-1", "an edit"), ("out.kept-2", "another")];
    assert_eq!(tree(&folder), pairs(&expected));
    assert_eq!(bench.store.take_asides().len(), 2);
    fs::write(folder.join("out"), "first").unwrap();
    bench.store.restore(&name("s"), &bench.hit("s", "two")).unwrap();
    let expected = [expected.as_slice(), &[("out.kept-3", "first")]].concat();
    assert_eq!(tree(&folder), pairs(&expected), "somebody put an older output there");
    assert_eq!(bench.store.take_asides().len(), 1);
    bench.store.restore(&name("s"), &bench.hit("s", "one")).unwrap();
    assert_eq!(tree(&folder)["out"], "first");
    assert_eq!(bench.store.take_asides(), [], "what the stage made last goes without a word");
}

#[test]
fn what_the_cache_has_is_kept_where_it_was_put_into_a_folder_by_hand() {
    let bench = bench();
    let folder = bench.root.path().join("artifacts/s");
    bench.execute("s", "one", "out", a_folder(&[("a", "1"), ("b", "2")]));
    bench.execute("s", "two", "out", a_folder(&[("a", "3"), ("b", "4")]));
    fs::write(folder.join("out/a"), "1").unwrap();
    bench.execute("s", "three", "out", a_folder(&[("a", "5"), ("b", "6")]));
    assert_eq!(tree(&folder), pairs(&[("out/a", "5"), ("out/b", "6"), ("out.kept-1/a", "1")]));
    assert_eq!(bench.store.take_asides().len(), 1);
}

#[test]
fn what_a_stage_made_under_the_same_key_goes_without_a_word() {
    let bench = bench();
    let folder = bench.root.path().join("artifacts/s");
    let made = |run: &str, text: &'static str| {
        let miss = match bench.store.lookup(&name("s"), key_of("one")) {
            Lookup::Hit(hit) => hit.discard(None),
            Lookup::Miss(miss) => miss,
        };
        let work = bench.store.work_dir().unwrap();
        writes(text)(&work.join("f"));
        let log = bench.store.log_path(&name("s")).unwrap();
        fs::write(&log, "").unwrap();
        bench.store.commit(miss, Finished { run: run.into(), ..finished("f", work, log) }).unwrap();
    };
    made("1", "first");
    made("2", "second");
    assert_eq!(tree(&folder), pairs(&[("f", "second")]));
    assert_eq!(bench.store.take_asides(), []);
}

#[test]
fn what_was_an_output_goes_only_as_it_was_made() {
    for (edit, left) in [(None, None), (Some("edited"), Some("edited"))] {
        let bench = bench();
        let folder = bench.root.path().join("artifacts/s");
        bench.execute("s", "one", "old", writes("made"));
        if let Some(edit) = edit {
            fs::write(folder.join("old"), edit).unwrap();
        }
        bench.execute("s", "two", "new", writes("made"));
        assert_eq!(fs::read_to_string(folder.join("old")).ok().as_deref(), left);
        assert_eq!(fs::read_to_string(folder.join("new")).unwrap(), "made");
    }
}

#[test]
fn the_folder_of_a_stage_may_lie_on_another_file_system() {
    let (bench, Ok(other)) = (bench(), tempfile::tempdir_in("/dev/shm")) else { return };
    let artifacts = bench.root.path().join("artifacts");
    fs::create_dir_all(&artifacts).unwrap();
    symlink(other.path(), artifacts.join("s")).unwrap();
    bench.execute("s", "one", "out", a_folder(&[("a", "1")]));
    assert_eq!(tree(other.path()), pairs(&[("out/a", "1")]));
    bench.execute("s", "two", "out", a_folder(&[("a", "2")]));
    assert_eq!(tree(other.path()), pairs(&[("out/a", "2")]), "and nothing unfinished is left");
    assert!(artifacts.join("s").is_symlink(), "the link stays");
}
