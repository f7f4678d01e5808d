//! Files that are written to through mappings, which file systems tell little of.

use std::io::{Read, Write};

use pipeline::spec::Ignore;

use super::super::stat::Memory;
use super::super::writers::tests::{end, python};
use super::*;

/// Maps a file, writes to it, and writes again what it is told to: the pages are written to already, so that no time changes.
const WRITER: &str = "
f = os.open(path, os.O_RDWR)
m = mmap.mmap(f, 0)
os.close(f)
m[0] = ord('1')
print(flush=True)
for line in sys.stdin:
    m[0] = ord(line[0])
    print(flush=True)
";

/// Where there are temporary files, and in memory.
fn places() -> Vec<tempfile::TempDir> {
    let places = [std::env::temp_dir(), "/dev/shm".into()];
    places.iter().filter_map(|place| tempfile::tempdir_in(place).ok()).collect()
}

fn content(first: u8) -> Vec<u8> {
    let mut bytes = vec![b'0'; 5000];
    bytes[0] = first;
    bytes
}

#[test]
fn what_is_written_through_a_mapping_that_stays_open_is_noticed() {
    for root in places() {
        let file = root.path().join("f");
        fs::write(&file, content(b'0')).unwrap();
        let Some(mut writer) = python(WRITER, &file) else { return };
        for first in b'1'..=b'4' {
            if first > b'1' {
                writer.stdin.as_mut().unwrap().write_all(&[first, b'\n']).unwrap();
                writer.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            }
            // As another command would find it, once and once more.
            for _ in 0..2 {
                let store = Store::open(root.path()).unwrap();
                assert_eq!(store.digest_path(&file).unwrap(), Digest::of_bytes(&content(first)));
                store.flush().unwrap();
            }
        }
        end(writer);
    }
}

#[test]
fn what_nobody_can_write_to_any_more_is_remembered_on_a_disk() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("f");
    fs::write(&file, content(b'0')).unwrap();
    let opened = fs::File::open(&file).unwrap();
    if Medium::of(&opened) != Medium::Disk {
        println!("NOT TESTED: temporary files are not on a disk");
        return;
    }
    let Some(writer) = python(WRITER, &file) else { return };
    let knows = || {
        let store = Store::open(root.path()).unwrap();
        store.digest_path(&file).unwrap();
        store.flush().unwrap();
        let later = Store::open(root.path()).unwrap();
        later.stats().get(&StatKey::of(&fs::metadata(&file).unwrap())).is_some()
    };
    assert!(!knows());
    end(writer);
    assert!(knows());
}

#[test]
fn what_lies_in_memory_is_read_each_time() {
    let Ok(root) = tempfile::tempdir_in("/dev/shm") else { return };
    let file = root.path().join("f");
    fs::write(&file, content(b'0')).unwrap();
    let store = Store::open(root.path()).unwrap();
    let digest = store.digest_path(&file).unwrap();
    store.flush().unwrap();
    assert_eq!(digest, Digest::of_bytes(&content(b'0')));
    let mut sights = Sights::default();
    store.look(&file, &digest, &mut sights).unwrap();
    assert_eq!(store.see(sights.as_bytes()), Seen::Same);
    // A page that was read first is written to without a fault, and the mapping is gone when somebody looks.
    let change = "
f = os.open(path, os.O_RDWR)
m = mmap.mmap(f, 0)
m[0]
m[0] = ord('1')
m.close()
os.close(f)
";
    let Some(writer) = python(change, &file) else { return };
    end(writer);
    assert_eq!(store.digest_path(&file).unwrap(), Digest::of_bytes(&content(b'1')));
    assert_eq!(store.see(sights.as_bytes()), Seen::Lost);
}

#[test]
fn verifying_finds_inputs_that_are_not_what_they_were_taken_for() {
    let bench = bench();
    let root = bench.root.path();
    fs::create_dir(root.join("d")).unwrap();
    fs::write(root.join("d/f"), "new").unwrap();
    fs::write(root.join("g"), "right").unwrap();
    let ignore = Ignore::new(root, []).unwrap();
    let inputs = BTreeMap::from([
        (root.join("d"), BTreeSet::from([name("a"), name("b")])),
        (root.join("g"), BTreeSet::from([name("b")])),
    ]);
    let believe = |file: &str, text: &str| {
        let key = StatKey::of(&fs::metadata(root.join(file)).unwrap());
        bench.store.stats().put(Path::new(file), key, Digest::of_bytes(text.as_bytes()), Memory::Lasting);
    };
    believe("d/f", "old");
    believe("g", "right");
    bench.store.flush().unwrap();
    let found = bench.store.verify(true, Some((&inputs, &ignore)), &|_| ()).unwrap();
    assert_eq!(found.inputs, 2);
    let misremembered = Misremembered { path: "d/f".into(), stages: vec![name("a"), name("b")] };
    assert_eq!(found.misremembered, [misremembered]);
    assert!(found.damage.iter().any(|damage| damage.name == "stat" && damage.remedy == Remedy::Removed));
    let later = Store::open(root).unwrap();
    assert_eq!(later.digest_path(&root.join("d/f")).unwrap(), Digest::of_bytes(b"new"));
    later.flush().unwrap();
    let found = later.verify(true, Some((&inputs, &ignore)), &|_| ()).unwrap();
    assert_eq!((found.inputs, found.misremembered.len(), found.damage.len()), (2, 0, 0));
}
