//! Which key each stage's artifacts came from: a file to which every change adds a line, so that a run of thousands of
//! stages writes thousands of lines and not thousands of files. Knows nothing of records.
//!
//! A line is the key, a check of the line, and the stage. One that is torn or damaged is passed over: all that is lost
//! is what to compare the stage's next key with.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use pipeline::StageName;
use pipeline::digest::Digest;

/// The file is written anew when it has this many times as many lines as stages.
const SLACK: usize = 4;

/// Keys by stage. Read from the file when first asked.
#[derive(Debug)]
pub(super) struct LastKeys {
    file: PathBuf,
    loaded: Option<Loaded>,
    /// Open for appending once something was added.
    appending: Option<File>,
}

#[derive(Debug, Default)]
struct Loaded {
    keys: BTreeMap<StageName, Digest>,
    lines: usize,
}

impl LastKeys {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, loaded: None, appending: None }
    }

    pub(super) fn get(&mut self, stage: &StageName) -> Option<Digest> {
        self.loaded().keys.get(stage).copied()
    }

    /// All of them.
    pub(super) fn all(&mut self) -> &BTreeMap<StageName, Digest> {
        &self.loaded().keys
    }

    /// Adds a line, unless it says what is known.
    pub(super) fn set(&mut self, stage: &StageName, key: Digest) -> io::Result<()> {
        if self.get(stage) == Some(key) {
            return Ok(());
        }
        let file = match &mut self.appending {
            Some(file) => file,
            None => {
                let mut file = regular::append(&self.file)?;
                // What an interrupted write left unfinished ends here.
                file.write_all(b"\n")?;
                self.appending.insert(file)
            }
        };
        file.write_all(line(stage, key).as_bytes())?;
        let loaded = self.loaded();
        loaded.keys.insert(stage.clone(), key);
        loaded.lines += 1;
        Ok(())
    }

    /// What to replace the file with, if that is worth it.
    pub(super) fn compacted(&mut self) -> Option<Vec<u8>> {
        let loaded = self.loaded();
        if loaded.lines <= SLACK * loaded.keys.len().max(16) {
            return None;
        }
        let text: String = loaded.keys.iter().map(|(stage, key)| line(stage, *key)).collect();
        Some(text.into_bytes())
    }

    /// Forgets what was read: the file may be another one now.
    pub(super) fn reload(&mut self) {
        self.loaded = None;
        self.appending = None;
    }

    fn loaded(&mut self) -> &mut Loaded {
        self.loaded.get_or_insert_with(|| {
            let bytes = regular::read(&self.file).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let lines = text.lines().filter(|line| !line.is_empty());
            Loaded { lines: lines.clone().count(), keys: lines.filter_map(parse).collect() }
        })
    }
}

/// The keys in a file; none where it is not there.
pub(super) fn read(file: &Path) -> io::Result<BTreeMap<StageName, Digest>> {
    match regular::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        bytes => Ok(String::from_utf8_lossy(&bytes?).lines().filter_map(parse).collect()),
    }
}

pub(super) fn line(stage: &StageName, key: Digest) -> String {
    let mut line = key.to_string();
    // Writing to a string cannot fail.
    let _ = writeln!(line, " {} {stage}", check(stage.as_str(), key));
    line
}

pub(super) fn parse(line: &str) -> Option<(StageName, Digest)> {
    let mut words = line.splitn(3, ' ');
    let key: Digest = words.next()?.parse().ok()?;
    let given = words.next()?;
    let stage = words.next()?;
    (check(stage, key) == given)
        .then(|| StageName::try_from(stage.to_owned()).ok())
        .flatten()
        .map(|stage| (stage, key))
}

/// Eight hex digits that a damaged line does not have.
fn check(stage: &str, key: Digest) -> String {
    let mut bytes = key.as_bytes().to_vec();
    bytes.extend_from_slice(stage.as_bytes());
    Digest::of_bytes(&bytes).to_string().chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_line_is_read_as_it_was_written(stage in "[a-zA-Z][a-zA-Z0-9_-]{0,20}", key in any::<[u8; 32]>()) {
            let (stage, key) = (name(&stage), Digest::from_bytes(key));
            prop_assert_eq!(parse(line(&stage, key).trim_end()), Some((stage, key)));
        }

        #[test]
        fn a_line_with_a_changed_byte_is_none(key in any::<[u8; 32]>(), at in any::<prop::sample::Index>(), flip in 1u8..) {
            let mut bytes = line(&name("stage"), Digest::from_bytes(key)).trim_end().as_bytes().to_vec();
            let index = at.index(bytes.len());
            bytes[index] ^= flip;
            let parsed = String::from_utf8(bytes).ok().and_then(|line| parse(&line));
            // Hex digits may be written large.
            prop_assert!(parsed.is_none() || parsed == Some((name("stage"), Digest::from_bytes(key))));
        }
    }

    fn name(text: &str) -> StageName {
        StageName::try_from(text.to_owned()).unwrap()
    }

    fn key(text: &str) -> Digest {
        Digest::of_bytes(text.as_bytes())
    }

    #[test]
    fn the_last_line_of_a_stage_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("last");
        let mut keys = LastKeys::new(file.clone());
        for (stage, text) in [("a", "1"), ("b", "1"), ("a", "2"), ("a", "2")] {
            keys.set(&name(stage), key(text)).unwrap();
        }
        assert_eq!(
            fs::read_to_string(&file).unwrap().lines().count(),
            4,
            "one is empty, one says nothing new"
        );
        let mut read = LastKeys::new(file);
        assert_eq!(read.get(&name("a")), Some(key("2")));
        assert_eq!(read.get(&name("b")), Some(key("1")));
        assert_eq!(read.get(&name("c")), None);
    }

    #[test]
    fn torn_and_damaged_lines_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("last");
        let mut text = line(&name("a"), key("1"));
        text.push_str(&line(&name("b"), key("1")).replace(" b", " c"));
        text.push_str("rubb\u{fffd}ish");
        fs::write(&file, text).unwrap();
        let mut keys = LastKeys::new(file.clone());
        keys.set(&name("d"), key("1")).unwrap();
        let mut read = LastKeys::new(file);
        assert_eq!(
            ["a", "b", "c", "d"].map(|stage| read.get(&name(stage)).is_some()),
            [true, false, false, true]
        );
    }

    #[test]
    fn a_file_that_has_grown_is_worth_writing_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("last");
        let mut keys = LastKeys::new(file.clone());
        for number in 0..100 {
            keys.set(&name("a"), key(&number.to_string())).unwrap();
        }
        let compacted = keys.compacted().unwrap();
        fs::write(&file, compacted).unwrap();
        keys.reload();
        assert_eq!(keys.get(&name("a")), Some(key("99")));
        assert_eq!(keys.compacted(), None);
    }
}
