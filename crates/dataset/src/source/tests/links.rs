//! Links in archives and folders, and archives that follow each other.

use super::*;
use ::tar::EntryType;

/// A file's content, or the kind of a link and where it leads.
type Member<'a> = Result<&'a [u8], (EntryType, &'a str)>;

/// A tar archive: of each entry the path, and its content or the kind of link and what it leads to.
fn tar_of(entries: &[(&str, Member<'_>)]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = ::tar::Header::new_gnu();
        header.set_mode(0o644);
        match content {
            Ok(content) => {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, *content).unwrap();
            }
            Err((kind, target)) => {
                header.set_size(0);
                header.set_entry_type(*kind);
                builder.append_link(&mut header, path, target).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

fn lost(bytes: &[u8]) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set");
    fs::write(&path, bytes).unwrap();
    let mut lost = Vec::new();
    Source::open(&path)
        .unwrap()
        .visit(&mut |entry| {
            lost.extend(entry.lost_target().map(|target| (entry.path().to_owned(), target.to_owned())));
            Ok(())
        })
        .unwrap();
    lost
}

#[test]
fn links_to_files_of_a_tar_are_read_as_those_wherever_they_stand() {
    let (symbolic, hard) = (EntryType::Symlink, EntryType::Link);
    let tar = tar_of(&[
        ("set/snapshots/a/cat/1.png", Err((symbolic, "../../../blobs/11"))),
        ("set/blobs/11", Ok(b"eleven")),
        ("set/blobs/22", Ok(b"twenty-two")),
        ("set/snapshots/b/1.png", Err((symbolic, "../a/cat/1.png"))),
        ("set/again", Err((hard, "set/blobs/11"))),
        ("set/dog/2.png", Err((symbolic, "./../blobs/../blobs/22"))),
    ]);
    for bytes in [tar.clone(), gz(&tar)] {
        let files = read(&bytes).unwrap();
        let of = |content: &[u8]| -> Vec<&str> {
            files.iter().filter(|(_, found)| *found == content).map(|(path, _)| path.as_str()).collect()
        };
        assert_eq!(
            of(b"eleven"),
            ["set/again", "set/blobs/11", "set/snapshots/a/cat/1.png", "set/snapshots/b/1.png"]
        );
        assert_eq!(of(b"twenty-two"), ["set/blobs/22", "set/dog/2.png"]);
        assert_eq!(files.len(), 6);
    }
}

#[test]
fn links_that_leave_a_tar_or_go_round_lead_nowhere() {
    let symbolic = EntryType::Symlink;
    let tar = tar_of(&[
        ("a", Err((symbolic, "/etc/passwd"))),
        ("b", Err((symbolic, "../x"))),
        ("c", Err((symbolic, "d"))),
        ("d", Err((symbolic, "c"))),
        ("e", Err((EntryType::Link, "gone"))),
        ("x", Ok(b"")),
    ]);
    let names = [("a", "`/etc/passwd`"), ("b", "`../x`"), ("c", "`d`"), ("d", "`c`"), ("e", "`gone`")];
    assert_eq!(lost(&tar), names.map(|(path, target)| (path.to_owned(), target.to_owned())));
    let message = read(&tar).unwrap_err().to_string();
    assert_eq!(message, "`a` in `set` is a link to `/etc/passwd`, which is not there");
}

#[test]
fn a_link_to_a_folder_of_a_tar_is_refused_with_a_way_out() {
    let tar = tar_of(&[("a/x", Ok(b"")), ("b", Err((EntryType::Symlink, "a")))]);
    let error = read(&tar).unwrap_err();
    snapshots::assert_message!(error.to_string());
    snapshots::assert_message!(error.hint().unwrap());
}

#[test]
fn what_links_lead_to_counts_for_each() {
    let hard = EntryType::Link;
    let tar = tar_of(&[("a", Ok(&[1; 600])), ("b", Err((hard, "a"))), ("c", Err((hard, "a")))]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set");
    fs::write(&path, tar).unwrap();
    let with = |bytes| {
        let mut source = Source::open(&path).unwrap();
        source.limits = Limits { bytes, ..LIMITS };
        read_with(&source)
    };
    assert!(with(1800).is_ok());
    assert!(matches!(with(1799).unwrap_err(), DatasetError::TooLarge { .. }));
}

#[test]
fn an_archive_behind_another_is_told() {
    let (one, two) = (tar(&sample()), tar(&Files::from([("new".into(), vec![1])])));
    let length = two.len();
    for bytes in [[&*one, &*two].concat(), [gz(&one), gz(&two)].concat(), gz(&[&*one, &*two].concat())] {
        let error = read(&bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "`set` holds more than one archive: the first ends after `z`, and another of {length} bytes follows"
            )
        );
        assert!(error.hint().unwrap().contains("--ignore-zeros"));
    }
    // What fills a tape, and what fills a block behind gzip, are no archives.
    for bytes in [[&*one, &[7; 9000]].concat(), [&*gz(&one), &[0; 700]].concat()] {
        assert_eq!(read(&bytes).unwrap(), sample());
    }
}

#[cfg(unix)]
#[test]
fn a_link_of_a_folder_that_leads_nowhere_is_told_to_who_wants_it() {
    use std::os::unix::fs::symlink;
    let set = tempfile::tempdir().unwrap();
    write_folder(set.path(), &Files::from([("a".into(), vec![1]), ("z".into(), vec![2])]));
    for (to, name) in [("gone/1", "lost"), ("lost", "next"), ("round", "round"), ("a/1", "under")] {
        symlink(to, set.path().join(name)).unwrap();
    }
    let source = Source::open_named(set.path(), "set".into()).unwrap();
    let (mut there, mut lost) = (Vec::new(), Vec::new());
    source
        .visit(&mut |entry| {
            match entry.lost_target() {
                Some(target) => lost.push(target.to_owned()),
                None => there.push(entry.path().to_owned()),
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(there, ["a", "z"]);
    assert_eq!(lost, ["`gone/1`", "`lost`", "`round`", "`a/1`"]);
    let error = read_with(&source).unwrap_err();
    assert_eq!(error.to_string(), "`lost` in `set` is a link to `gone/1`, which is not there");
    snapshots::assert_message!(error.hint().unwrap());
}
