//! Entries of a zip archive, in the order of its central directory.

use std::fs::File;
use std::io;

use ::zip::CompressionMethod;
use ::zip::result::ZipError;

use super::{Entry, Guard, Visitor, damage};
use crate::DatasetError;

pub(super) fn visit(
    file: File,
    guard: &mut Guard<'_>,
    visitor: &mut Visitor<'_>,
) -> Result<(), DatasetError> {
    let mut archive = ::zip::ZipArchive::new(io::BufReader::new(file)).map_err(|error| match error {
        // The directory is at the end, so a lost end looks like this.
        ZipError::InvalidArchive(_) => DatasetError::Truncated {
            source_name: guard.source.into(),
            place: "before its directory of entries".into(),
        },
        other => zip_damage(guard, "in its directory of entries", other),
    })?;
    if archive.has_duplicate_names() {
        return Err(DatasetError::Damaged {
            source_name: guard.source.into(),
            place: "in its directory of entries".into(),
            reason: "an entry is there twice".into(),
        });
    }
    for index in 0..archive.len() {
        let at = format!("at entry {index}");
        let raw = archive.by_index_raw(index).map_err(|error| zip_damage(guard, &at, error))?;
        if let Some(how) = unread(raw.compression(), raw.encrypted()) {
            let entry = String::from_utf8_lossy(raw.name_raw()).into_owned();
            return Err(DatasetError::Packed { source_name: guard.source.into(), entry, how });
        }
        drop(raw);
        let mut entry = archive.by_index(index).map_err(|error| zip_damage(guard, &at, error))?;
        let raw = entry.name_raw().to_vec();
        let shown = String::from_utf8_lossy(&raw).into_owned();
        if let Some(reason) = refusal(entry.unix_mode(), entry.is_symlink()) {
            return Err(guard.refuse(&shown, reason));
        }
        let is_folder = entry.is_dir();
        let size = entry.size();
        let path = guard.admit(&raw, is_folder, size)?;
        if is_folder {
            visitor(Entry::new(guard.source, &path, size, None))?;
        } else {
            visitor(Entry::new(guard.source, &path, size, Some(&mut entry)))?;
        }
    }
    Ok(())
}

/// Type bits of a Unix mode, and the two types that are allowed. Zero is what archivers without Unix write.
const TYPE_MASK: u32 = 0o170_000;
const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

fn refusal(mode: Option<u32>, is_symlink: bool) -> Option<&'static str> {
    match mode.unwrap_or(0) & TYPE_MASK {
        _ if is_symlink => Some(
            "is a symbolic link, and those of an archive are followed in a tar only: pack the files themselves (`zip` without `-y`), or a tar",
        ),
        0 | FILE | FOLDER => None,
        _ => Some("is a device or another special file"),
    }
}

/// How an entry is packed, where that is not read.
fn unread(method: CompressionMethod, is_encrypted: bool) -> Option<String> {
    if is_encrypted {
        return Some("encrypted".into());
    }
    let name = match method {
        CompressionMethod::STORE | CompressionMethod::DEFLATE => return None,
        CompressionMethod::DEFLATE64 => "Deflate64",
        CompressionMethod::BZIP2 => "BZip2",
        CompressionMethod::LZMA => "LZMA",
        CompressionMethod::ZSTD | CompressionMethod::ZSTD_DEPRECATED => "Zstandard",
        CompressionMethod::XZ => "XZ",
        CompressionMethod::PPMD => "PPMd",
        CompressionMethod::AES => return Some("encrypted".into()),
        _ => "another method than Deflate",
    };
    Some(format!("compressed by {name}"))
}

fn zip_damage(guard: &Guard<'_>, place: &str, error: ZipError) -> DatasetError {
    match error {
        ZipError::Io(error) => damage(guard.source, place, error),
        other => DatasetError::Damaged {
            source_name: guard.source.into(),
            place: place.into(),
            reason: other.to_string(),
        },
    }
}
