//! Reads what stages read that no stage makes, and compares it with what is remembered of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::spec::Ignore;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::{Misremembered, Step, Verification};
use crate::error::at;
use crate::folder::{Folder, Found};
use crate::{Store, StoreError};

impl Store {
    /// Reads inputs, and compares them with what is remembered of them. What cannot be read is told by the next run.
    pub(super) fn check_inputs(
        &self,
        inputs: &BTreeMap<PathBuf, BTreeSet<StageName>>,
        ignore: &Ignore,
        tell: &(dyn Fn(Step) + Sync),
        found: &mut Verification,
    ) {
        let read = Mutex::new((0, BTreeMap::new()));
        inputs.par_iter().for_each(|(input, stages)| {
            let look = |path: &Path, metadata: &fs::Metadata| {
                let is_other = self.is_misremembered(path, metadata, tell)?;
                let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
                read.0 += 1;
                if is_other {
                    read.1.insert(self.shown(path), stages.clone());
                }
                Ok::<(), StoreError>(())
            };
            let Ok(metadata) = fs::metadata(input) else { return };
            if metadata.is_dir() {
                let visit =
                    |found: &Found| look(&found.path, &found.metadata).map(|()| (Digest::of_bytes(&[]), 0));
                let _ = Folder::walk_input(input, ignore, &visit);
            } else {
                let _ = look(input, &metadata);
            }
        });
        let (files, misremembered) = read.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.inputs = files;
        found.misremembered = misremembered
            .into_iter()
            .map(|(path, stages)| Misremembered { path, stages: stages.into_iter().collect() })
            .collect();
    }

    /// Whether a file, read anew, holds something else than is remembered of it.
    fn is_misremembered(
        &self,
        path: &Path,
        metadata: &fs::Metadata,
        tell: &(dyn Fn(Step) + Sync),
    ) -> Result<bool, StoreError> {
        tell(Step::Total(metadata.len()));
        let key = self.key_of(path, metadata);
        let known = self.stats().get(&key);
        let digest = Digest::of_file(path).map_err(at("read", path))?;
        tell(Step::Read(metadata.len()));
        let unchanged = fs::metadata(path).is_ok_and(|now| self.key_of(path, &now) == key);
        Ok(unchanged && known.is_some_and(|known| known != digest))
    }
}
