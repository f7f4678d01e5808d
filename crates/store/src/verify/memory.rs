//! Checks what only saves time: where it is damaged it is removed, and made anew by whoever needs it.

use std::io;
use std::path::PathBuf;

use pipeline::digest::Digest;
use text::format;

use super::{Damage, Kind, Remedy, Verification};
use crate::action::remove;
use crate::file::{Record, read_record};
use crate::inventory::Unreadable;
use crate::{Store, StoreError, last};

impl Store {
    /// Checks what only saves time.
    pub(super) fn check_memory(
        &self,
        mend: bool,
        misremembered: bool,
        found: &mut Verification,
    ) -> Result<(), StoreError> {
        let mut damaged: Vec<(PathBuf, &str)> = Vec::new();
        let mut unreadable = Vec::new();
        for name in ["stat", "standing"] {
            let path = self.folder.join(name);
            match regular::read(&path) {
                Ok(bytes) if !ends_in_checksum(&bytes) => damaged.push((path, "is damaged")),
                Ok(_) if misremembered => {
                    damaged.push((path, "depends on a file that changed although its timestamps did not"));
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    unreadable.push(Unreadable::new(&path, error));
                }
                _ => {}
            }
        }
        for path in self.entries_or_tell(&self.folder.join("manifests"), found) {
            match read_record::<serde_json::Value>(&path) {
                Record::Damaged => damaged.push((path, "is damaged")),
                Record::Unreadable(why) => unreadable.push(Unreadable::new(&path, why)),
                Record::Whole(_) | Record::Absent => {}
            }
        }
        for (path, problem) in damaged {
            if mend {
                remove(&path)?;
            }
            let name = path.strip_prefix(&self.folder).unwrap_or(&path).display().to_string();
            let remedy = if mend { Remedy::Removed } else { Remedy::None };
            found.damage.push(Damage::alone(Kind::Memory, name, problem, remedy));
        }
        let path = self.folder.join("last-keys");
        let text = match regular::read(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                unreadable.push(Unreadable::new(&path, error));
                Vec::new()
            }
            text => text.unwrap_or_default(),
        };
        self.tell_unreadable(&unreadable, found);
        let text = String::from_utf8_lossy(&text);
        let torn = text.lines().filter(|line| !line.is_empty() && last::parse(line).is_none()).count();
        if torn > 0 {
            // A kill or a power cut may tear the line that is being added.
            found.notes.push(format!("`last-keys`: {} torn, and passed over", format::count(torn, "line")));
        }
        Ok(())
    }
}

/// Whether the last 32 bytes are the digest of the others.
fn ends_in_checksum(bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<32>().is_some_and(|(body, sum)| Digest::of_bytes(body).as_bytes() == sum)
}
