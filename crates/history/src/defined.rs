//! What the pipeline said at a run, as far as the cache knows it.

use record::{Definition, RunRecord};
use store::Store;

/// Why nothing is known of what the pipeline said at a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undefined {
    /// The run's record names nothing.
    #[error("what the pipeline said was not recorded with this run")]
    NotRecorded,
    /// What it names is not there, damaged, or cannot be read.
    #[error(
        "what the pipeline said at this run is lost: its file in `cache/v1/definitions` is gone, damaged or unreadable"
    )]
    Lost,
}

/// What the pipeline said at a run.
///
/// # Errors
/// Why that is not known. What the pipeline says now is no answer.
pub fn definition(store: &Store, run: &RunRecord) -> Result<Definition, Undefined> {
    let digest = run.definition.ok_or(Undefined::NotRecorded)?;
    store.definition(&digest).ok_or(Undefined::Lost)
}
