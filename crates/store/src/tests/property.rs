//! Any folder survives the store; no damage to the store gives a wrong artifact.

use super::*;

use proptest::prelude::*;

/// A tree of files: path steps, content, executable bit.
fn trees() -> impl Strategy<Value = BTreeMap<String, (Vec<u8>, bool)>> {
    proptest::collection::btree_map("[ab]{1,2}(/[cd é]{1,2}){0,2}", (any::<Vec<u8>>(), any::<bool>()), 0..6)
}

fn plant(root: &Path, tree: &BTreeMap<String, (Vec<u8>, bool)>) {
    fs::create_dir(root).unwrap();
    for (path, (content, executable)) in tree {
        let path = root.join(path);
        // A step may be a file and a folder at once: the first one stays.
        if fs::create_dir_all(path.parent().unwrap()).is_ok() && fs::write(&path, content).is_ok() {
            let mode = if *executable { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_folder_comes_back_as_it_was(tree in trees()) {
        let bench = bench();
        let original = bench.root.path().join("original");
        plant(&original, &tree);
        let digest = bench.store.digest_path(&original).unwrap();
        let record = bench.execute("s", "a", "o", |path| plant(path, &tree));
        prop_assert_eq!(record.outputs["out"].digest, digest);
        fs::remove_dir_all(bench.artifact("s", "o")).unwrap();
        bench.store.restore(&name("s"), &record).unwrap();
        prop_assert_eq!(bench.store.digest_path(&bench.artifact("s", "o")).unwrap(), digest);
    }

    #[test]
    fn no_damage_to_the_store_gives_a_wrong_artifact(
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
        cut in any::<bool>(),
    ) {
        let bench = bench();
        let record = bench.execute("s", "a", "o", |path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("one"), "first content").unwrap();
            fs::write(path.join("two"), "second content").unwrap();
        });
        bench.store.flush().unwrap();
        let artifact = bench.artifact("s", "o");
        let digest = record.outputs["out"].digest;
        let mut files = Vec::new();
        list(bench.store.folder(), &mut files);
        files.sort();
        let path = &files[file.index(files.len())];
        let mut bytes = fs::read(path).unwrap();
        if bytes.is_empty() {
            return Ok(());
        }
        let index = at.index(bytes.len());
        if cut { bytes.truncate(index) } else { bytes[index] ^= flip }
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(path, &bytes).unwrap();
        fs::remove_dir_all(&artifact).unwrap();

        let later = Store::open(bench.root.path()).unwrap();
        if let Lookup::Hit(hit) = later.lookup(&name("s"), key_of("a")) {
            match later.restore(&name("s"), &hit.record) {
                Ok(()) => prop_assert_eq!(bench.store.digest_path(&artifact).unwrap(), digest),
                Err(error) => prop_assert!(matches!(error, StoreError::Corrupt { .. }), "{}", error),
            }
        }
    }
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { list(&path, files) } else { files.push(path) }
    }
}
