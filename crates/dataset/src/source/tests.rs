use super::*;
use crate::testing::{Files, gz, tar, tar_gz, write_folder, zip};
use std::fs;
use std::io::Write;

mod links;

fn sample() -> Files {
    Files::from([
        ("top/a.txt".into(), b"first".to_vec()),
        (
            "top/b/c.bin".into(),
            (0..100_000_u32).map(|value| (value.wrapping_mul(value) >> 7) as u8).collect(),
        ),
        ("z".into(), vec![]),
    ])
}

fn read_with(source: &Source) -> Result<Files, DatasetError> {
    let mut files = Files::new();
    source.visit(&mut |entry| {
        if !entry.is_folder() {
            files.insert(entry.path().to_owned(), entry.read()?);
        }
        Ok(())
    })?;
    Ok(files)
}

/// Opens and reads `bytes` as an archive called `set`.
fn read(bytes: &[u8]) -> Result<Files, DatasetError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set");
    fs::write(&path, bytes).unwrap();
    Source::open_named(&path, "set".into()).and_then(|source| read_with(&source))
}

/// As [`read`], looking at no entry's content.
fn skim(bytes: &[u8]) -> Result<(), DatasetError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set");
    fs::write(&path, bytes).unwrap();
    Source::open(&path)?.visit(&mut |_| Ok(()))
}

/// A tar archive of one entry whose name is taken as it is.
fn raw_tar(name: &[u8], kind: ::tar::EntryType) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    let mut header = ::tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o644);
    header.as_gnu_mut().unwrap().set_real_size(0);
    header.set_cksum();
    builder.append(&header, io::empty()).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn every_kind_of_source_gives_the_same_files() {
    for bytes in [tar(&sample()), tar_gz(&sample()), zip(&sample())] {
        assert_eq!(read(&bytes).unwrap(), sample());
        skim(&bytes).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &sample());
    assert_eq!(read_with(&Source::open(folder.path()).unwrap()).unwrap(), sample());
}

#[test]
fn long_names_are_whole() {
    let files = Files::from([(format!("{}/{}", "a".repeat(150), "b".repeat(90)), vec![1])]);
    assert_eq!(read(&tar_gz(&files)).unwrap(), files);
}

#[test]
fn an_archive_cut_anywhere_is_truncated_and_names_the_place() {
    let whole = tar(&sample());
    for length in (513..whole.len() - 1024).step_by(997) {
        let error = read(&whole[..length]).unwrap_err();
        assert!(matches!(&error, DatasetError::Truncated { .. }), "{length}: {error}");
        assert!(skim(&whole[..length]).is_err(), "{length}");
    }
    let message = read(&whole[..3000]).unwrap_err().to_string();
    assert_eq!(message, "`set` is truncated: it ends in the middle of `top/b/c.bin`");
    // At the end of an entry, where only the missing end mark tells.
    let message = read(&whole[..1024]).unwrap_err().to_string();
    assert_eq!(message, "`set` is truncated: it ends after `top/a.txt`");
}

#[test]
fn a_compressed_archive_cut_anywhere_is_truncated() {
    for whole in [tar_gz(&sample()), zip(&sample())] {
        for length in (30..whole.len() - 1).step_by(1009).chain([whole.len() - 1]) {
            let error = read(&whole[..length]).unwrap_err();
            assert!(matches!(error, DatasetError::Truncated { .. }), "{length}: {error}");
        }
    }
}

#[test]
fn a_flipped_bit_in_a_compressed_archive_is_noticed() {
    for whole in [tar_gz(&sample()), zip(&sample())] {
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 4;
        assert!(read(&bytes).is_err());
    }
}

#[test]
fn paths_that_leave_the_archive_are_refused() {
    let cases: [(&[u8], &str); 6] = [
        (b"../evil", "`../evil` has a path with `..` in it"),
        (b"a/../../evil", "has a path with `..` in it"),
        (b"/etc/passwd", "`/etc/passwd` has an absolute path"),
        (b"C:/evil", "has an absolute path"),
        (b"a\\..\\evil", "has a path with a backslash"),
        (b"\xff\xfe", "has a name that is not UTF-8"),
    ];
    for (name, reason) in cases {
        let error = read(&raw_tar(name, ::tar::EntryType::Regular)).unwrap_err();
        assert!(
            matches!(error, DatasetError::Unsafe { .. }) && error.to_string().contains(reason),
            "{error}"
        );
    }
    for name in ["../evil", "/etc/passwd"] {
        let error = read(&zip(&Files::from([(name.into(), vec![1])]))).unwrap_err();
        assert!(matches!(error, DatasetError::Unsafe { .. }), "{error}");
    }
}

#[test]
fn devices_and_links_of_a_zip_are_refused() {
    use ::tar::EntryType;
    let cases = [
        (EntryType::Char, "is a device"),
        (EntryType::Block, "is a device"),
        (EntryType::Fifo, "is a named pipe"),
        (EntryType::GNUSparse, "is a sparse file"),
    ];
    for (kind, reason) in cases {
        let message = read(&gz(&raw_tar(b"x", kind))).unwrap_err().to_string();
        assert_eq!(
            message.split(';').next(),
            Some(&*format!("refused to read `set`: its entry `x` {reason}"))
        );
    }
    let mut writer = ::zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    writer.add_symlink("x", "/etc/passwd", ::zip::write::SimpleFileOptions::default()).unwrap();
    let message = read(&writer.finish().unwrap().into_inner()).unwrap_err().to_string();
    snapshots::assert_message!(message);
}

#[cfg(unix)]
#[test]
fn links_in_a_folder_lead_to_what_is_read() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let (store, set, link) =
        (folder.path().join("store"), folder.path().join("set"), folder.path().join("link"));
    // Files by their digests elsewhere, and in the set links to them: relative, absolute, and to a folder.
    write_folder(
        &store,
        &Files::from([
            ("ab/1".into(), b"first".to_vec()),
            ("b/c.bin".into(), sample()["top/b/c.bin"].clone()),
        ]),
    );
    fs::create_dir_all(set.join("top")).unwrap();
    symlink("../../store/ab/1", set.join("top/a.txt")).unwrap();
    symlink(store.join("b"), set.join("top/b")).unwrap();
    fs::write(set.join("z"), b"").unwrap();
    symlink(&set, &link).unwrap();
    assert_eq!(read_with(&Source::open(&link).unwrap()).unwrap(), sample());

    for (to, name) in [("..", "top/up"), ("../..", "top/above"), (".", "top/here"), ("/", "all")] {
        symlink(to, set.join(name)).unwrap();
        assert_eq!(read_with(&Source::open(&link).unwrap()).unwrap(), sample(), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn folders_that_link_to_each_other_are_refused_by_the_link_s_name() {
    use std::os::unix::fs::symlink;
    let set = tempfile::tempdir().unwrap();
    for one in 1..=9 {
        fs::create_dir(set.path().join(format!("d{one}"))).unwrap();
        for other in (1..=9).filter(|other| *other != one) {
            symlink(format!("../d{other}"), set.path().join(format!("d{one}/to{other}"))).unwrap();
        }
    }
    let message = read_with(&Source::open(set.path()).unwrap()).unwrap_err().to_string();
    snapshots::assert_message!(message);
    // A folder of two names is read as both.
    let twice = tempfile::tempdir().unwrap();
    write_folder(twice.path(), &Files::from([("one/x".into(), vec![1])]));
    symlink("one", twice.path().join("two")).unwrap();
    let files = read_with(&Source::open(twice.path()).unwrap()).unwrap();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["one/x", "two/x"]);
}

#[cfg(unix)]
#[test]
fn what_counts_for_nothing_in_a_folder_is_not_even_looked_at() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &sample());
    let hidden = ["top/b/c.bin~", "top/__pycache__/x", "old/x", "other/x"];
    write_folder(folder.path(), &hidden.map(|path| (path.into(), vec![1])).into());
    symlink("me@here.1:2", folder.path().join("top/.#a.txt")).unwrap();
    symlink("../other", folder.path().join("top/linked")).unwrap();
    let patterns = ["*~", "__pycache__/", ".#*", "/old/", "/other/", "/top/linked/"];
    let ignore = Ignore::exactly(folder.path(), patterns).unwrap();
    let source = || Source::open(folder.path()).unwrap();
    assert_eq!(read_with(&source().without(ignore.clone())).unwrap(), sample());
    let told = read_with(&source()).unwrap_err().to_string();
    snapshots::assert_message!(told);
    // An archive has one content.
    let archive = folder.path().join("set.tar");
    fs::write(&archive, tar(&Files::from([("a~".into(), vec![1])]))).unwrap();
    let read = read_with(&Source::open(&archive).unwrap().without(ignore)).unwrap();
    assert_eq!(read.len(), 1);
}

#[test]
fn the_same_path_twice_is_refused() {
    let mut builder = ::tar::Builder::new(Vec::new());
    for name in ["a/x", "./a//x"] {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(1);
        builder.append_data(&mut header, name, &b"1"[..]).unwrap();
    }
    let message = read(&builder.into_inner().unwrap()).unwrap_err().to_string();
    snapshots::assert_message!(message);

    let two = Files::from([("aa".into(), vec![1]), ("ab".into(), vec![2])]);
    let doubled: Vec<u8> = zip(&two).iter().map(|&byte| if byte == b'b' { b'a' } else { byte }).collect();
    let message = read(&doubled).unwrap_err().to_string();
    snapshots::assert_message!(message);
}

#[test]
fn more_bytes_or_entries_than_allowed_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [("tar", tar(&sample())), ("tgz", tar_gz(&sample())), ("zip", zip(&sample()))] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let refusal = |limits| {
            let mut source = Source::open(&path).unwrap();
            source.limits = limits;
            read_with(&source).unwrap_err()
        };
        assert!(
            matches!(refusal(Limits { bytes: 99_999, ..LIMITS }), DatasetError::TooLarge { .. }),
            "{name}"
        );
        assert!(matches!(refusal(Limits { entries: 2, ..LIMITS }), DatasetError::TooLarge { .. }), "{name}");
    }
}

#[test]
fn a_huge_header_is_refused_before_it_fills_the_memory() {
    let mut builder = ::tar::Builder::new(Vec::new());
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::GNULongName);
    header.set_size(HUGE as u64);
    header.set_cksum();
    const HUGE: usize = 2 << 20;
    builder.append(&header, &*vec![b'a'; HUGE]).unwrap();
    let error = read(&gz(&builder.into_inner().unwrap())).unwrap_err();
    snapshots::assert_message!(error.to_string());
}

#[test]
fn other_files_are_told_apart_by_content() {
    let found = |bytes: &[u8]| match read(bytes).unwrap_err() {
        DatasetError::UnknownFormat { found, .. } => found,
        other => panic!("{other}"),
    };
    assert_eq!(found(b""), "empty");
    assert_eq!(found(b"\n<!DOCTYPE html><title>404"), "an HTML or XML page");
    assert_eq!(found(&[0xfd, b'7', b'z', b'X', b'Z', 0]), "an xz file");
    assert_eq!(found(b"BZh91AY"), "a bzip2 file");
    assert_eq!(found(&[0x28, 0xb5, 0x2f, 0xfd, 0]), "a zstd file");
    assert_eq!(found(&gz(b"just text")), "a gzip file without a tar archive in it");
    assert_eq!(found(&[1; 600]), "a file of unknown format");
}

#[test]
fn a_missing_source_is_named() {
    let error = Source::open(Path::new("no/such/set.zip")).unwrap_err();
    snapshots::assert_message!(error.to_string());
}

#[test]
fn an_encrypted_zip_is_an_error() {
    let mut bytes = zip(&Files::from([("x".into(), vec![1])]));
    // Bit 0 of the flags, in the local header and in the directory.
    let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    bytes[6] |= 1;
    bytes[directory + 8] |= 1;
    let error = read(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "`x` in `set` is encrypted, which is not read");
    snapshots::assert_message!(error.hint().unwrap());
}

#[test]
fn what_compresses_a_zip_is_told_where_that_is_not_read() {
    for (method, name) in [
        (9, "Deflate64"),
        (12, "BZip2"),
        (14, "LZMA"),
        (93, "Zstandard"),
        (77, "another method than Deflate"),
    ] {
        let mut bytes = zip(&Files::from([("x".into(), vec![1])]));
        let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        (bytes[8], bytes[directory + 10]) = (method, method);
        let error = read(&bytes).unwrap_err();
        assert_eq!(error.to_string(), format!("`x` in `set` is compressed by {name}, which is not read"));
        assert!(error.hint().unwrap().contains("with Deflate"));
    }
}

#[test]
fn entries_of_a_folder_come_sorted() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b", "a", "10", "9"] {
        fs::File::create(folder.path().join(name)).unwrap().write_all(b"x").unwrap();
    }
    let mut seen = Vec::new();
    let source = Source::open(folder.path()).unwrap();
    source
        .visit(&mut |entry| {
            seen.push(entry.path().to_owned());
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, ["10", "9", "a", "b"]);
}
