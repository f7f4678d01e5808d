//! What counts for nothing in an output that is a folder: what was added to it, as by who reads it. What the stage made itself
//! counts, whatever its name.

use std::path::Path;

use pipeline::digest::Digest;
use pipeline::spec::Ignore;

use super::{Store, StoreError};

impl Store {
    /// What may be left out of the folder at `path` to find the output of digest `recorded` in it, one way after the other; `None`
    /// for nothing. The last one, which needs the list of what was made, only where nothing else finds it.
    pub(super) fn ways_to_leave_out<'s>(
        &'s self,
        path: &'s Path,
        recorded: &'s Digest,
    ) -> impl Iterator<Item = Option<Ignore>> + 's {
        let plain = self.ignore.clone().map(Some);
        let made = std::iter::once_with(move || self.all_but_made(self.ignore.as_ref()?, path, recorded));
        plain.into_iter().chain([None]).chain(made.flatten().map(Some))
    }

    /// `ignore` but for what was made, where it names anything of that and it is known what was made.
    pub(super) fn all_but_made(&self, ignore: &Ignore, path: &Path, recorded: &Digest) -> Option<Ignore> {
        let made = self.manifest(recorded).ok()??;
        let files = made.files.iter().map(|file| (file.path.as_str(), false));
        ignore.sparing(path, files.chain(made.empty.iter().map(|folder| (folder.as_str(), true))))
    }

    /// The digest of a file or folder, without what `ignore` says, where it says anything.
    pub(super) fn digest_without(&self, path: &Path, ignore: Option<&Ignore>) -> Result<Digest, StoreError> {
        match ignore {
            Some(ignore) => self.digest_input(path, ignore),
            None => self.digest_path(path),
        }
    }
}
