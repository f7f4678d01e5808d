//! Folders as content: what counts in them, and what is none.

use super::*;

use std::os::unix::fs::symlink;
use std::sync::Mutex;

use proptest::prelude::*;

fn files() -> impl Strategy<Value = FolderFile> {
    ("[a-z\"\\\\ é]{1,4}(/[.a-z]{2,3}x){0,2}", any::<[u8; 32]>(), any::<u64>(), any::<bool>()).prop_map(
        |(path, digest, bytes, executable)| FolderFile {
            path,
            digest: Digest::from_bytes(digest),
            bytes,
            executable,
        },
    )
}

proptest! {
    #[test]
    fn a_manifest_is_read_as_it_was_written(
        files in proptest::collection::vec(files(), 0..5),
        empty in proptest::collection::vec("[a-z]{1,3}(/[a-z]{1,3}){0,2}", 0..3),
    ) {
        let folder = Folder { format: Format::V1, files, empty };
        prop_assert_eq!(Folder::from_bytes(&folder.to_bytes()), Some(folder));
    }
}

fn walk(root: &Path) -> Result<Folder, StoreError> {
    Folder::walk(root, &|found| {
        let digest = Digest::of_file(&found.path).map_err(at("read", &found.path))?;
        Ok((digest, found.metadata.len()))
    })
}

#[test]
fn names_bits_and_empty_folders_count_and_times_do_not() {
    let one = tempfile::tempdir().unwrap();
    let two = tempfile::tempdir().unwrap();
    for root in [one.path(), two.path()] {
        fs::create_dir_all(root.join("a/empty")).unwrap();
        fs::write(root.join("a.b"), "x").unwrap();
        fs::write(root.join("a/c"), "x").unwrap();
    }
    let first = walk(one.path()).unwrap();
    assert_eq!(first, walk(two.path()).unwrap());
    assert_eq!(first.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a.b", "a/c"]);
    assert_eq!(first.empty, ["a/empty"]);
    assert_eq!(Folder::from_bytes(&first.to_bytes()), Some(first.clone()));

    fs::set_permissions(two.path().join("a/c"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_ne!(first, walk(two.path()).unwrap());
    fs::remove_dir(one.path().join("a/empty")).unwrap();
    assert_ne!(first, walk(one.path()).unwrap());
}

#[test]
fn links_stand_for_their_content_and_may_not_lead_to_themselves() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("f"), "x").unwrap();
    let root = tempfile::tempdir().unwrap();
    symlink(outside.path(), root.path().join("linked")).unwrap();
    assert_eq!(walk(root.path()).unwrap().files[0].path, "linked/f");
    let linked = Mutex::new(Vec::new());
    fs::write(root.path().join("own"), "x").unwrap();
    Folder::walk(root.path(), &|found| {
        linked.lock().unwrap().push((found.path.file_name().unwrap().to_owned(), found.linked));
        Ok((Digest::of_bytes(b""), 0))
    })
    .unwrap();
    let mut linked = linked.into_inner().unwrap();
    linked.sort();
    assert_eq!(linked, [("f".into(), true), ("own".into(), false)]);
    symlink(root.path(), root.path().join("loop")).unwrap();
    assert!(walk(root.path()).unwrap_err().to_string().contains("link to a folder that it is in"));
}

#[test]
fn what_is_no_content_is_named() {
    let root = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    assert!(walk(root.path()).unwrap_err().to_string().contains("socket` is neither a file nor a folder"));
    let root = tempfile::tempdir().unwrap();
    symlink("nowhere", root.path().join("dangling")).unwrap();
    let error = walk(root.path()).unwrap_err().to_string();
    assert!(error.contains("dangling` is a link that leads nowhere"), "{error}");
}

fn walk_input(root: &Path, patterns: &[&str]) -> Walked {
    let ignore = Ignore::new(root, patterns.iter().copied()).unwrap();
    let visit = |found: &Found| -> Result<(Digest, u64), StoreError> {
        let digest = Digest::of_file(&found.path).map_err(at("read", &found.path))?;
        Ok((digest, found.metadata.len()))
    };
    Folder::walk_input(root, &ignore, &visit).unwrap()
}

#[test]
fn what_counts_for_nothing_is_not_part_of_an_input() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a")).unwrap();
    fs::write(root.path().join("a/m.py"), "x").unwrap();
    fs::create_dir(root.path().join("bare")).unwrap();
    let before = walk_input(root.path(), &[]);
    assert_eq!(before.folder, walk(root.path()).unwrap(), "as it always was where nothing is ignored");
    fs::create_dir_all(root.path().join("bare/__pycache__")).unwrap();
    fs::write(root.path().join("bare/__pycache__/m.pyc"), "y").unwrap();
    fs::write(root.path().join("a/notes.txt"), "z").unwrap();
    symlink("user@host.1:2", root.path().join("a/.#m.py")).unwrap();
    let after = walk_input(root.path(), &["*.txt"]);
    assert_eq!(after.folder, before.folder);
    assert!(!after.has_links);
    let ignore = Ignore::new(root.path(), []).unwrap();
    assert_eq!(Folder::folders(root.path(), Some(&ignore)).unwrap().len(), 3);
    assert_ne!(walk_input(root.path(), &[]).folder, before.folder);
}

#[test]
fn in_an_input_links_that_lead_nowhere_or_in_circles_are_what_they_are() {
    let root = tempfile::tempdir().unwrap();
    let (odd, circle) = (root.path().join("odd"), root.path().join("in/circle"));
    fs::create_dir(root.path().join("in")).unwrap();
    symlink("nowhere", &odd).unwrap();
    symlink("..", &circle).unwrap();
    let first = walk_input(root.path(), &[]);
    assert!(first.has_links);
    let names: Vec<_> = first.folder.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["in/circle", "odd"]);
    fs::remove_file(&odd).unwrap();
    symlink("elsewhere", &odd).unwrap();
    assert_ne!(walk_input(root.path(), &[]).folder, first.folder, "where it leads counts");
    fs::remove_file(&odd).unwrap();
    fs::write(&odd, "nowhere").unwrap();
    assert_ne!(walk_input(root.path(), &[]).folder, first.folder, "a file that says the same is no link");
}

fn names(walked: &Walked) -> Vec<&str> {
    walked.folder.files.iter().map(|file| file.path.as_str()).collect()
}

#[test]
fn a_link_to_a_folder_above_the_input_counts_as_itself() {
    let top = tempfile::tempdir().unwrap();
    let (root, outside) = (top.path().join("in/src"), top.path().join("outside"));
    fs::create_dir_all(root.join("deep")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(root.join("a"), "1").unwrap();
    fs::write(outside.join("b"), "1").unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink("../..", root.join("deep/root")).unwrap();
    symlink("/", root.join("all")).unwrap();
    // A folder that is elsewhere has links to a folder that the input is in, and to one that it is in itself.
    symlink(&outside, root.join("out")).unwrap();
    symlink("../in", outside.join("back")).unwrap();
    symlink("..", outside.join("up")).unwrap();
    let walked = walk_input(&root, &[]);
    assert_eq!(names(&walked), ["a", "all", "deep/root", "out/b", "out/back", "out/up", "up"]);
    assert!(walked.has_links);
    let up = walked.folder.files.last().unwrap();
    assert_eq!((up.bytes, up.digest), (2, walked.folder.files[5].digest), "the text `..`");
    let error = walk(&root).unwrap_err().to_string();
    assert!(error.ends_with("is a link to a folder that it is in"), "{error}");
}

#[test]
fn folders_that_link_to_each_other_are_read_once() {
    let root = tempfile::tempdir().unwrap();
    let numbers = 1..=12;
    for one in numbers.clone() {
        let folder = root.path().join(format!("d{one:02}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("f"), format!("{one}")).unwrap();
        for other in numbers.clone().filter(|other| *other != one) {
            symlink(format!("../d{other:02}"), folder.join(format!("to{other:02}"))).unwrap();
        }
    }
    let before = walk_input(root.path(), &[]);
    assert_eq!(before.folder.files.len(), 12 + 12 * 11);
    assert!(!before.has_links, "all of them are content");
    fs::write(root.path().join("d07/f"), "other").unwrap();
    let after = walk_input(root.path(), &[]);
    let changed = before.folder.files.iter().zip(&after.folder.files).filter(|(one, two)| one != two);
    assert_eq!(changed.map(|(one, _)| one.path.as_str()).collect::<Vec<_>>(), ["d07/f"]);
    let link = root.path().join("d01/to02");
    fs::remove_file(&link).unwrap();
    symlink("../d03", &link).unwrap();
    assert_ne!(walk_input(root.path(), &[]).folder, after.folder, "which folder it is counts");
}

#[test]
fn a_folder_elsewhere_counts_below_the_first_link_to_it_whatever_its_own_path() {
    let manifests = ["here", "at/another/place"].map(|place| {
        let top = tempfile::tempdir().unwrap();
        let (root, outside) = (top.path().join("src"), top.path().join(place));
        fs::create_dir_all(outside.join("inner")).unwrap();
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(outside.join("inner/f"), "x").unwrap();
        symlink(outside.join("inner"), outside.join("alias")).unwrap();
        symlink(&outside, root.join("z")).unwrap();
        symlink(&outside, root.join("b")).unwrap();
        symlink(outside.join("inner"), root.join("a/c")).unwrap();
        walk_input(&root, &[])
    });
    assert_eq!(manifests[0].folder, manifests[1].folder);
    assert_eq!(names(&manifests[0]), ["a/c/f", "b/alias", "b/inner", "z"]);
    let digests: Vec<_> = manifests[0].folder.files.iter().map(|file| file.digest).collect();
    assert_eq!(digests[1], digests[2], "both are what counts at `a/c`");
    assert_ne!(digests[2], digests[3]);
}

#[test]
fn where_a_folder_counts_elsewhere_what_is_ignored_there_alone_still_counts() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("one/sub")).unwrap();
    for name in ["one/seen", "one/sub/here", "one/sub/never"] {
        fs::write(root.path().join(name), name).unwrap();
    }
    symlink("one", root.path().join("two")).unwrap();
    let patterns = ["/one/sub/here", "never"];
    let ignore = Ignore::exactly(root.path(), patterns).unwrap();
    let read = || {
        let visit = |found: &Found| {
            Ok((Digest::of_file(&found.path).map_err(at("read", &found.path))?, found.metadata.len()))
        };
        Folder::walk_input(root.path(), &ignore, &visit).unwrap()
    };
    let before = read();
    assert_eq!(names(&before), ["one/seen", "two", "two/sub/here"]);
    fs::write(root.path().join("one/sub/never"), "other").unwrap();
    assert_eq!(read().folder, before.folder);
    fs::write(root.path().join("one/sub/here"), "other").unwrap();
    assert_ne!(read().folder, before.folder);
}

#[test]
fn an_input_without_repetition_has_the_manifest_that_it_always_had() {
    let top = tempfile::tempdir().unwrap();
    let (root, outside) = (top.path().join("src"), top.path().join("outside"));
    fs::create_dir_all(root.join("in/empty")).unwrap();
    fs::create_dir_all(outside.join("bare")).unwrap();
    fs::write(root.join("f"), "f").unwrap();
    fs::write(outside.join("g"), "g").unwrap();
    symlink("../outside", root.join("out")).unwrap();
    symlink("../f", root.join("in/link")).unwrap();
    symlink("..", root.join("in/circle")).unwrap();
    symlink("nowhere", root.join("lost")).unwrap();
    let bytes = walk_input(&root, &[]).folder.to_bytes();
    assert_eq!(
        Digest::of_bytes(&bytes).to_string(),
        "e6436e47655a4bd1663f9a4e6a87105d5dbcace63d88cd549e5f3616a5f95905"
    );
}

#[test]
fn links_whose_folders_are_read_are_listed() {
    let top = tempfile::tempdir().unwrap();
    let (root, outside) = (top.path().join("src"), top.path().join("outside"));
    fs::create_dir_all(&root).unwrap();
    fs::create_dir_all(outside.join("inner")).unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink("nowhere", root.join("lost")).unwrap();
    symlink("../outside", root.join("out")).unwrap();
    symlink("../outside/inner", root.join("kept~")).unwrap();
    let ignore = Ignore::new(&root, []).unwrap();
    assert_eq!(Folder::linked(&root, Some(&ignore)).unwrap(), [root.join("out")]);
}

#[test]
fn a_manifest_cannot_lead_outside() {
    let digest = Digest::of_bytes(b"");
    for path in ["../x", "/x", "a/../../x", "", "."] {
        let file = FolderFile { path: path.into(), digest, bytes: 0, executable: false };
        let folder = Folder { format: Format::V1, files: vec![file], empty: vec![] };
        assert_eq!(Folder::from_bytes(&folder.to_bytes()), None, "{path}");
    }
    assert_eq!(Folder::from_bytes(b"{\"files\":[],\"empty\":[]}"), None);
}
