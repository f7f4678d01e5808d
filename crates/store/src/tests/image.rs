//! Images that are mounted one after the other at the same place, with the same numbers, sizes and times in them.

use std::process::{Command, Stdio};

use super::*;

/// A mount that ends with the test.
struct Mounted<'p>(&'p Path);

impl Mounted<'_> {
    fn of<'p>(image: &Path, at: &'p Path) -> Option<Mounted<'p>> {
        let is_mounted = succeeds(Command::new("mount").args(["-o", "loop,ro"]).arg(image).arg(at));
        is_mounted.then_some(Mounted(at))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        succeeds(Command::new("umount").arg(self.0));
    }
}

fn succeeds(command: &mut Command) -> bool {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn an_image_in_the_place_of_another_one_is_read_again() {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("place");
    fs::create_dir(&place).unwrap();
    let image = |content: &str| {
        let (folder, image) = (root.path().join(content), root.path().join(format!("{content}.squashfs")));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("f"), content).unwrap();
        let mut make = Command::new("mksquashfs");
        make.arg(&folder).arg(&image).args(["-all-time", "1000000000", "-mkfs-time", "1000000000"]);
        succeeds(&mut make).then_some(image)
    };
    let (Some(one), Some(two)) = (image("one"), image("two")) else {
        println!("NOT TESTED: there is no mksquashfs");
        return;
    };
    let file = place.join("f");
    for (image, content) in [(&one, "one"), (&two, "two"), (&one, "one")] {
        let Some(mounted) = Mounted::of(image, &place) else {
            println!("NOT TESTED: nothing can be mounted here");
            return;
        };
        for _ in 0..2 {
            let store = Store::open(root.path()).unwrap();
            for path in [&file, &place] {
                let expected = store.digest_path(path).unwrap();
                assert_eq!(store.look(path, &expected, &mut Sights::default()), None);
            }
            assert_eq!(store.digest_path(&file).unwrap(), Digest::of_bytes(content.as_bytes()), "{content}");
            store.flush().unwrap();
        }
        let metadata = fs::metadata(&file).unwrap();
        let store = Store::open(root.path()).unwrap();
        let key = store.key_of(&file, &metadata);
        if key != StatKey::of(&metadata) {
            assert!(store.stats().get(&key).is_some(), "within one mount it is known");
        }
        assert_eq!(store.stats().get(&StatKey::of(&metadata)), None);
        drop(mounted);
    }
}
