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
