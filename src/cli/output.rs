//! What commands print, and how.

use std::borrow::Cow;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use text::secret;

use crate::error::Error;
use crate::streams::{self, Shown};

/// Writes text without colours to standard output. A reader that has read enough, such as `head`, is no error.
///
/// # Errors
/// When standard output cannot be written to, for example on a full disk.
pub(super) fn print(text: &str) -> Result<(), Error> {
    streams::print(&Shown::Plain(text)).map_err(cannot_write)
}

/// [`print`] with colours, as a [`Paint`](crate::progress::Paint) makes them. What others wrote in it is clean already.
///
/// # Errors
/// As [`print`].
pub(super) fn print_painted(text: &str) -> Result<(), Error> {
    streams::print(&Shown::Painted(text)).map_err(cannot_write)
}

/// Writes a value to standard output as indented JSON, without what is secret in its URLs.
///
/// # Errors
/// As [`print`].
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Error> {
    let value = serde_json::to_value(value).map_err(Error::failed)?;
    let shown = secret::with_texts(&value, &|text| secret::hidden(text).into_owned());
    let text = serde_json::to_string_pretty(&shown).map_err(Error::failed)?;
    streams::print(&Shown::Json(&format!("{text}\n"))).map_err(cannot_write)
}

/// Writes a text that is JSON.
///
/// # Errors
/// As [`print`].
pub(super) fn print_json_text(text: &str) -> Result<(), Error> {
    streams::print(&Shown::Json(text)).map_err(cannot_write)
}

/// A line on standard error that is no error.
pub(super) fn tell(line: &str) {
    streams::tell(&format!("{line}\n"));
}

/// What `pipe report` and `pipe compare` write.
pub(super) const PAGE: &str = "page of `pipe`";

/// Refuses to write over a file that is not known to be of the same kind as what is written, unless with `force`. What is empty is
/// replaced, and what is no file is for who writes to look at.
///
/// # Errors
/// When the file holds something else, or cannot be read. `what` is what is written.
pub(super) fn may_replace(
    file: &Path,
    force: bool,
    what: &str,
    is_same_kind: &dyn Fn(&[u8]) -> bool,
) -> Result<(), Error> {
    if force {
        return Ok(());
    }
    let replaceable = is_replaceable(file, what, is_same_kind);
    replaceable.map_err(|error| error.hint("replace it with --force, or name another file"))
}

/// [`may_replace`] without saying what to do about it.
///
/// # Errors
/// As [`may_replace`].
pub(super) fn is_replaceable(
    file: &Path,
    what: &str,
    is_same_kind: &dyn Fn(&[u8]) -> bool,
) -> Result<(), Error> {
    if !std::fs::metadata(file).is_ok_and(|there| there.is_file()) {
        return Ok(());
    }
    let there = regular::read(file);
    if there.as_ref().is_ok_and(|bytes| bytes.is_empty() || is_same_kind(bytes)) {
        return Ok(());
    }
    let message = match there {
        Ok(_) => format!("`{}` is there already, and is no {what}", file.display()),
        Err(error) => format!("`{}` is there already, and cannot be read: {error}", file.display()),
    };
    Err(Error::usage(message))
}

fn cannot_write(error: std::io::Error) -> Error {
    Error::failed(format!("cannot write to standard output: {error}"))
}

/// Version of what commands print as JSON: `"version": 1`, first in each answer. A change that could break a reader
/// increases it; what is only added does not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Version;

impl Version {
    const NUMBER: u32 = 1;
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(Self::NUMBER)
    }
}

impl JsonSchema for Version {
    fn schema_name() -> Cow<'static, str> {
        "Version".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "const": Self::NUMBER })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_of_the_same_kind_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        let may = |file: &Path, force| may_replace(file, force, "page", &|bytes| bytes.starts_with(b"<"));
        for replaced in [&folder.path().join("none"), &file("page", "<x>"), &file("empty", ""), folder.path()]
        {
            may(replaced, false).unwrap();
        }
        let model = file("m.onnx", "weights");
        let error = may(&model, false).unwrap_err().to_string();
        snapshots::assert_message!(error);
        may(&model, true).unwrap();
    }
}
