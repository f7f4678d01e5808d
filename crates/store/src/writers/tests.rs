use super::*;

use std::io::Write;
use std::process::{Child, Command, Stdio};

#[test]
fn a_mapping_that_others_see_written_is_told_from_those_that_they_do_not() {
    let line = b"7f0f74d02000-7f0f74d04000 rw-s 00000000 fe:00 10010709                   /tmp/a b";
    let mapping = Mapping { inode: 10_010_709, path: "/tmp/a b".into() };
    assert_eq!(parse_mapping(line), Some(mapping));
    let gone =
        b"7f0f74d02000-7f0f74d04000 rw-s 00000000 00:1b 7                          /dev/shm/x (deleted)";
    assert_eq!(parse_mapping(gone), Some(Mapping { inode: 7, path: "/dev/shm/x".into() }));
    for other in [
        "7f0f74d02000-7f0f74d04000 rw-s 00000000 00:01 1025                       /memfd:doublemapper (deleted)",
        "7f0f74d02000-7f0f74d04000 rw-s 00000000 00:01 1025                       /dev/zero (deleted)",
        "7f0f74d02000-7f0f74d04000 rw-s 00000000 00:01 5                          /SYSV00000000 (deleted)",
        "7f0f74d02000-7f0f74d04000 rw-s 00000000 00:12 1057                       /[aio] (deleted)",
        "7f0f74d02000-7f0f74d04000 rw-s 00000000 00:0f 1057                       anon_inode:[io_uring]",
        "7f0f74d02000-7f0f74d04000 r--s 00000000 fe:00 10010709 /tmp/x",
        "7f0f74d02000-7f0f74d04000 rw-p 00000000 fe:00 10010709 /tmp/x",
        "7f0f74d02000-7f0f74d04000 rw-s 00000000 00:00 0",
        "7f0f74d02000-7f0f74d04000",
        "",
    ] {
        assert_eq!(parse_mapping(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn a_mapping_is_of_a_file_only_if_its_path_is_too() {
    let root = tempfile::tempdir().unwrap();
    let (path, other) = (root.path().join("o.bin"), root.path().join("b/o.bin"));
    fs::create_dir(root.path().join("b")).unwrap();
    fs::write(&path, "x").unwrap();
    fs::write(&other, "y").unwrap();
    std::os::unix::fs::symlink("b", root.path().join("link")).unwrap();
    let number = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).unwrap();
    let file = number(&path);
    let of = |mapped: &Path| Mapping { inode: file.1, path: mapped.into() };
    assert!(of(&path).is_of(&path, file));
    assert!(
        !of(&other).is_of(&path, file),
        "a file of another file system that has the same number and name"
    );
    assert!(!of(Path::new("/no/such/n.bin")).is_of(&path, file), "one that is gone");
    assert!(of(Path::new("/no/such/o.bin")).is_of(&path, file), "the same, as another container sees it");
    let linked = root.path().join("link/o.bin");
    let mapping = Mapping { inode: number(&other).1, path: other.clone() };
    assert!(mapping.is_of(&linked, number(&linked)), "by way of a link");
    assert!(!mapping.is_of(&path, file));
}

/// A process that does `what` with the file that it is given, says so and waits for the end of its standard input.
pub(crate) fn python(what: &str, path: &Path) -> Option<Child> {
    let script =
        format!("import mmap, os, sys\npath = sys.argv[1]\n{what}\nprint(flush=True)\nsys.stdin.read()");
    let mut command = Command::new("python3");
    command.arg("-c").arg(script).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        println!("NOT TESTED: there is no python3");
        return None;
    };
    let mut said = [0];
    io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
    Some(child)
}

/// Lets a process end.
pub(crate) fn end(mut child: Child) {
    drop(child.stdin.take());
    child.wait().unwrap();
}

const MAPPED: &str = "f = os.open(path, os.O_RDWR)\nm = mmap.mmap(f, 0)\nos.close(f)";

#[test]
fn who_may_write_is_found_by_descriptor_and_by_mapping() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    fs::create_dir_all(root.path().join("d/inner")).unwrap();
    let path = root.path().join("d/inner/f");
    fs::write(&path, [0; 5000]).unwrap();
    let folder = root.path().join("d");
    for (what, holds) in [
        ("f = open(path, 'ab')", true),
        ("f = open(path, 'rb')", false),
        (MAPPED, true),
        ("f = open(path, 'rb')\nm = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)", false),
        // What has another name by now, or none, is another file.
        ("f = open(path, 'ab')\nopen(path + '2', 'wb').close()\nos.replace(path + '2', path)", false),
    ] {
        let Some(child) = python(what, &path) else { return };
        let id = i32::try_from(child.id()).unwrap();
        for paths in [&path, &folder] {
            let holders = store.writers([paths.as_path()]).unwrap();
            let processes: Vec<_> =
                holders.iter().map(|holder| (&holder.path, holder.process.as_ref().map(|it| it.0))).collect();
            assert_eq!(processes, if holds { vec![(&path, Some(id))] } else { vec![] }, "{what}");
        }
        end(child);
        assert_eq!(store.writers([path.as_path()]).unwrap(), [], "{what}");
    }
}

#[test]
fn what_is_mapped_is_seen_on_any_file_system() {
    for place in [std::env::temp_dir(), PathBuf::from("/dev/shm")] {
        let Ok(root) = tempfile::tempdir_in(&place) else { continue };
        let path = root.path().join("f");
        File::create(&path).unwrap().write_all(&[0; 5000]).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let Some(child) = python(MAPPED, &path) else { return };
        assert!(Mapped::now().holds(inode), "{}", place.display());
        let opened = open(&path).unwrap();
        assert_ne!(of(&opened, Medium::of(&opened)), Writers::Nobody, "{}", place.display());
        end(child);
    }
}

#[test]
fn a_proc_of_nobody_or_of_others_is_told() {
    check_proc().unwrap();
    let told = |own: Option<&str>| check_self(own.map(Path::new), 7).map_err(|error| error.to_string());
    assert_eq!(told(Some("7")), Ok(()));
    for own in [None, Some("70"), Some(""), Some("x")] {
        assert!(told(own).unwrap_err().contains("does not show this process: mount it"), "{own:?}");
    }
}
