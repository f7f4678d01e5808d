//! Plugins that are shell scripts: good ones, broken ones and none.

use super::*;

use std::fs;

use protocol::{NativeLibrary, OpManifest};
use serde_json::json;

/// A folder with plugins in it that are shell scripts, each counting how often it is started.
struct Bench {
    root: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    /// A registry as a new process would have it.
    fn registry(&self) -> Registry {
        let store = Store::open(self.root.path()).unwrap();
        Registry {
            root: self.root.path().into(),
            named: BTreeMap::new(),
            folders: vec![self.root.path().join("bin")],
            store,
            timeout: DESCRIBE_TIMEOUT,
            described: Mutex::default(),
        }
    }

    fn plugin(&self, script: &str) -> PathBuf {
        let folder = self.root.path().join("bin");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("pipe-fake");
        fs::write(&path, format!("#!/bin/sh\necho started >> starts\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn describes(&self, manifest: &Value) -> PathBuf {
        self.plugin(&format!("cat <<'END'\n{manifest}\nEND"))
    }

    fn starts(&self) -> usize {
        fs::read_to_string(self.root.path().join("starts")).unwrap_or_default().lines().count()
    }

    fn error(&self) -> PluginError {
        self.registry().manifest("fake").unwrap_err()
    }
}

fn manifest() -> Manifest {
    let op: OpManifest =
        serde_json::from_value(json!({"description": "d", "version": 1, "params": {"type": "object"}}))
            .unwrap();
    Manifest {
        protocol: PROTOCOL_VERSION,
        plugin: "fake".into(),
        version: "0".into(),
        ops: BTreeMap::from([("op".into(), op)]),
        natives: BTreeMap::new(),
        env: vec![],
    }
}

fn json_of(manifest: &Manifest) -> Value {
    serde_json::to_value(manifest).unwrap()
}

#[test]
fn a_plugin_is_asked_once_and_again_when_it_changes() {
    let bench = Bench::new();
    bench.describes(&json_of(&manifest()));
    let registry = bench.registry();
    assert_eq!(*registry.manifest("fake").unwrap(), manifest());
    registry.manifest("fake").unwrap();
    bench.registry().manifest("fake").unwrap();
    assert_eq!(bench.starts(), 1);
    let newer = Manifest { version: "1".into(), ..manifest() };
    bench.describes(&json_of(&newer));
    assert_eq!(bench.registry().manifest("fake").unwrap().version, "1");
    assert_eq!(bench.starts(), 2);
}

#[test]
fn a_replaced_library_makes_the_manifest_stale() {
    let bench = Bench::new();
    let library = bench.root.path().join("lib.so");
    fs::write(&library, "1").unwrap();
    let native =
        NativeLibrary { version: Some("1".into()), path: Some(library.clone()), ..NativeLibrary::default() };
    let manifest = Manifest { natives: BTreeMap::from([("lib".into(), native)]), ..manifest() };
    bench.describes(&json_of(&manifest));
    bench.registry().manifest("fake").unwrap();
    bench.registry().manifest("fake").unwrap();
    assert_eq!(bench.starts(), 1);
    fs::write(&library, "2").unwrap();
    bench.registry().manifest("fake").unwrap();
    assert_eq!(bench.starts(), 2);
    fs::remove_file(&library).unwrap();
    bench.registry().manifest("fake").unwrap();
    assert_eq!(bench.starts(), 3);
}

#[test]
fn a_missing_library_is_looked_for_again() {
    let bench = Bench::new();
    let natives = BTreeMap::from([("lib".into(), NativeLibrary::default())]);
    bench.describes(&json_of(&Manifest { natives, ..manifest() }));
    bench.registry().manifest("fake").unwrap();
    bench.registry().manifest("fake").unwrap();
    assert_eq!(bench.starts(), 2);
}

#[test]
fn a_declared_variable_that_differs_makes_the_manifest_stale() {
    let bench = Bench::new();
    let registry = bench.registry();
    let known = |digest| Known {
        env: BTreeMap::from([("PIPE_TEST_NEVER_SET".into(), digest)]),
        natives: BTreeMap::new(),
        manifest: manifest(),
    };
    assert!(registry.is_current("fake", &known(None)));
    assert!(!registry.is_current("fake", &known(Some(Digest::of_bytes(b"was set")))));
    assert!(!registry.is_current("other", &known(None)));
}

#[test]
fn a_damaged_cache_entry_is_made_anew() {
    let bench = Bench::new();
    bench.describes(&json_of(&manifest()));
    bench.registry().manifest("fake").unwrap();
    let folder = bench.root.path().join("cache/v1/manifests");
    let entry = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&entry).unwrap();
    bytes[10] ^= 1;
    fs::write(&entry, bytes).unwrap();
    assert_eq!(*bench.registry().manifest("fake").unwrap(), manifest());
    assert_eq!(bench.starts(), 2);
}

#[test]
fn a_missing_plugin_is_told_with_where_it_was_looked_for() {
    let bench = Bench::new();
    let error = bench.error();
    snapshots::assert_message!(error.to_string());
    snapshots::assert_message!(error.hint().unwrap());
    let mut registry = bench.registry();
    registry.named.insert("fake".into(), "tools/fake".into());
    let error = registry.manifest("fake").unwrap_err();
    snapshots::assert_message!(error.to_string());
}

#[test]
fn a_named_plugin_goes_before_any_other() {
    let bench = Bench::new();
    let path = bench.describes(&json_of(&manifest()));
    let moved = bench.root.path().join("mine");
    fs::rename(path, &moved).unwrap();
    let mut registry = bench.registry();
    registry.named.insert("fake".into(), "mine".into());
    assert_eq!(registry.find("fake").unwrap(), moved);
    assert_eq!(*registry.manifest("fake").unwrap(), manifest());
}

#[test]
fn one_that_can_be_executed_goes_before_one_that_cannot() {
    let bench = Bench::new();
    let path = bench.plugin("");
    let other = bench.root.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::copy(&path, other.join("pipe-fake")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut registry = bench.registry();
    registry.folders.push(other.clone());
    assert_eq!(registry.find("fake").unwrap(), other.join("pipe-fake"));
}

#[test]
fn one_that_is_not_executable_says_how_to_make_it_so() {
    let bench = Bench::new();
    let path = bench.plugin("");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = bench.error();
    assert!(matches!(&error, PluginError::Start { .. }), "{error}");
    snapshots::assert_message!(error.hint().unwrap());
}

#[test]
fn one_that_hangs_is_killed_with_its_children() {
    let bench = Bench::new();
    // The child would write a sign of life if it were left alone.
    bench.plugin("sh -c 'sleep 1000; echo alive > alive' & echo $! > child; wait");
    let mut registry = bench.registry();
    registry.timeout = Duration::from_millis(300);
    let error = registry.manifest("fake").unwrap_err();
    assert!(matches!(error, PluginError::Hangs { .. }), "{error}");
    assert!(error.hint().unwrap().contains(env::DESCRIBE_TIMEOUT.name));
}

#[test]
fn one_that_crashes_is_quoted() {
    let bench = Bench::new();
    bench.plugin("echo libfoo.so is missing >&2; exit 7");
    let error = bench.error().to_string();
    snapshots::assert_message!(error);
}

#[test]
fn another_version_is_named_on_both_sides_whatever_else_it_says() {
    let bench = Bench::new();
    bench.describes(&json!({"protocol": 99, "novelty": true}));
    let error = bench.error();
    snapshots::assert_message!(error.to_string());
    snapshots::assert_message!(error.hint().unwrap());
}

#[test]
fn rubbish_is_quoted_and_faults_of_a_manifest_are_named() {
    let fault = |manifest: Value| {
        let bench = Bench::new();
        bench.describes(&manifest);
        bench.error().to_string()
    };
    let bench = Bench::new();
    bench.plugin("echo Segmentation fault, or not");
    let error = bench.error().to_string();
    snapshots::assert_message!(error);
    assert!(fault(json!({})).ends_with("does not name a protocol version"));
    let other = Manifest { plugin: "other".into(), ..manifest() };
    assert!(fault(json_of(&other)).ends_with("it calls itself `other`"));
    let mut unknown = json_of(&manifest());
    unknown["novelty"] = json!(1);
    snapshots::assert_message!(fault(unknown));
    let mut native = json_of(&manifest());
    native["ops"]["op"]["natives"] = json!(["libfoo"]);
    snapshots::assert_message!(fault(native));
    let mut output = json_of(&manifest());
    output["ops"]["op"]["outputs"] = json!({"o": {"description": "d", "file": "../x"}});
    snapshots::assert_message!(fault(output));
    let mut params = json_of(&manifest());
    params["ops"]["op"]["params"] = json!(true);
    snapshots::assert_message!(fault(params));
}

#[test]
fn what_cannot_be_loaded_is_said_instead_of_that_it_is_no_plugin() {
    let bench = Bench::new();
    bench.plugin(
        "echo \"$0: error while loading shared libraries: libtorch.so: cannot open shared object file: No such file or directory\" >&2; exit 127",
    );
    let error = bench.registry().manifest("fake").unwrap_err();
    snapshots::assert_message!(error.to_string());
    let hint = error.hint().unwrap();
    snapshots::assert_message!(hint);
    assert!(!hint.contains("not a plugin"), "{hint}");
}

#[test]
fn what_does_not_start_or_dies_at_once_is_told_with_what_it_is() {
    let told = |bytes: &[u8]| {
        let bench = Bench::new();
        let path = bench.plugin("");
        fs::write(path, bytes).unwrap();
        let error = bench.error();
        format!("{error}\n{}", error.hint().unwrap())
    };
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(64, 0);
    elf[16] = 2;
    elf[18] = 22;
    for (bytes, expected) in [
        (&b"#!/usr/bin/env sh\r\nexit\r\n"[..], "its first line ends with a carriage return"),
        (b"#!/bin/sh\r\nexit\r\n", "its first line ends with a carriage return"),
        (b"print()\n", "it is a text whose first line does not say what runs it"),
        (b"", "it is empty"),
        (&elf, "it is built for s390x, and this machine is "),
        (b"#!/bin/sh\nkill -BUS $$\n", "a file that it had mapped into memory is shorter than it should be"),
        (b"#!/bin/sh\nkill -SEGV $$\n", "it crashed in native code before it could say anything"),
        (b"#!/bin/sh\necho no >&2; exit 3\n", "mend what it says itself"),
    ] {
        let told = told(bytes);
        assert!(told.contains(expected), "{told}");
    }
    snapshots::assert_message!(told(b"#!/bin/sh\nkill -BUS $$\n"));
    // What did start, as by QEMU, is not for another machine.
    let bench = Bench::new();
    let path = bench.plugin("");
    fs::write(&path, &elf).unwrap();
    let status = std::os::unix::process::ExitStatusExt::from_raw(1 << 8);
    let crashed = PluginError::Crashed { plugin: "fake".into(), path, status, tail: "no such model".into() };
    let hint = crashed.hint().unwrap();
    assert!(!hint.contains("s390x"), "{hint}");
}
