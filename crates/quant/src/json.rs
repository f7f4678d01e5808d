//! JSON files.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::QuantError;

/// Reads the file at `path`, which should hold `what`.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T, QuantError> {
    let error = |reason: String| QuantError::File(format!("cannot read `{}`: {reason}", path.display()));
    let text = regular::read_text(path).map_err(|source| error(source.to_string()))?;
    serde_json::from_str(&text).map_err(|source| error(format!("not {what}: {source}")))
}

/// Writes the file at `path`. Equal values give equal files.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<(), QuantError> {
    let error = |reason: String| QuantError::File(format!("cannot write `{}`: {reason}", path.display()));
    let mut text = serde_json::to_string_pretty(value).map_err(|source| error(source.to_string()))?;
    text.push('\n');
    fs::write(path, text).map_err(|source| error(source.to_string()))
}
