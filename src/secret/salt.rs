//! The salt of a cache, and what it seals: a text in which a keyed digest stands for what is secret in it.
//!
//! A key has to change with what is secret in a URL, for `?version=4` is another file than `?version=3`, and keys are shown,
//! kept in records and sent around in reports. A plain digest of a weak password can be guessed by whoever sees it, at
//! billions of guesses a second, however it is cut short: what is too short to be guessed is too short to tell contents
//! apart. So the digest is keyed with a random text that never leaves the cache. Without it a record or a report says
//! nothing of the secret; who can read the cache can read what was downloaded, too.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::hidden;

/// Separates digests of secrets from digests of anything else.
const DOMAIN: &str = "pipe 2026-12 secret v1";

/// Comes before the digest of what is hidden in a text.
const OPENING: &str = " [hidden ";

/// Hex digits of the digest: another secret has another one, but for one in 2⁶⁴.
const DIGITS: usize = 16;

const LENGTH: usize = 32;

/// The salt of a cache. Read, or made, when the first secret is met.
#[derive(Debug, Default)]
pub struct Salt {
    file: Option<PathBuf>,
    /// Whether others may read it: those who use the same cache.
    is_shared: bool,
    key: OnceLock<[u8; LENGTH]>,
}

impl Salt {
    /// The salt that is kept in `file`.
    #[must_use]
    pub fn in_file(file: PathBuf, is_shared: bool) -> Self {
        Self { file: Some(file), is_shared, key: OnceLock::new() }
    }

    /// One of these bytes, for tests.
    #[cfg(test)]
    pub(crate) fn fixed(byte: u8) -> Self {
        Self { file: None, is_shared: false, key: OnceLock::from([byte; LENGTH]) }
    }

    /// A text without what is secret in its URLs, and with a digest of that behind it: `https://***@host/x [hidden 0123…]`.
    #[must_use]
    pub fn sealed<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match hidden(text) {
            Cow::Borrowed(text) => Cow::Borrowed(text),
            Cow::Owned(shown) => {
                let mut hasher = blake3::Hasher::new_keyed(self.key());
                hasher.update(DOMAIN.as_bytes()).update(text.as_bytes());
                let digest = hasher.finalize().to_hex();
                Cow::Owned(format!("{shown}{OPENING}{}]", digest.get(..DIGITS).unwrap_or_default()))
            }
        }
    }

    fn key(&self) -> &[u8; LENGTH] {
        self.key.get_or_init(|| {
            let kept = self.file.as_ref().and_then(|file| read_or_make(file, self.is_shared).ok());
            // Where none can be kept, nothing was kept under one either: keys differ from all that are known.
            kept.or_else(|| random().ok()).unwrap_or_default()
        })
    }
}

/// What is seen of a text that may be sealed, and whether something is hidden in it.
#[must_use]
pub fn visible(text: &str) -> (Cow<'_, str>, bool) {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPENING) {
        shown.push_str(before);
        let digest = after.split_once(']').filter(|(digest, _)| {
            digest.len() == DIGITS && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        rest = match digest {
            Some((_, behind)) => behind,
            None => {
                shown.push_str(OPENING);
                after
            }
        };
    }
    if rest.len() == text.len() {
        return (Cow::Borrowed(text), false);
    }
    shown.push_str(rest);
    let is_hidden = shown.len() < text.len();
    (Cow::Owned(shown), is_hidden)
}

fn random() -> io::Result<[u8; LENGTH]> {
    let mut key = [0; LENGTH];
    fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}

fn read_or_make(file: &Path, is_shared: bool) -> io::Result<[u8; LENGTH]> {
    let read = || -> io::Result<[u8; LENGTH]> {
        // Opening a FIFO would wait for a writer.
        if !fs::metadata(file)?.is_file() {
            return Err(io::Error::other("not a file"));
        }
        let bytes = fs::read(file)?;
        <[u8; LENGTH]>::try_from(bytes.as_slice()).map_err(|_| io::Error::other("not a salt"))
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // One that is damaged is replaced: what it sealed is executed again.
        Err(_) if fs::symlink_metadata(file).is_ok_and(|there| there.is_file()) => fs::remove_file(file)?,
        read => return read,
    }
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder)?;
    let key = random()?;
    let temporary = file.with_extension(format!("{}-new", std::process::id()));
    let mode = if is_shared { 0o644 } else { 0o600 };
    let mut options = fs::File::options();
    let made = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut open| {
            open.write_all(&key)?;
            open.sync_all()
        })
        // Unlike a rename this takes nothing from another process that was faster.
        .and_then(|()| fs::hard_link(&temporary, file));
    // It has its name, or is not wanted.
    let _ = fs::remove_file(&temporary);
    match made {
        Ok(()) => Ok(key),
        Err(_) => read(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn another_secret_is_another_text_and_another_salt_too() {
        let salt = Salt::fixed(1);
        let one = salt.sealed("https://me:one@h/x").into_owned();
        assert_eq!(one, salt.sealed("https://me:one@h/x"));
        assert_eq!(visible(&one), ("https://***@h/x".into(), true));
        assert_ne!(one, salt.sealed("https://me:two@h/x"));
        assert_ne!(one, Salt::fixed(2).sealed("https://me:one@h/x"));
        assert_eq!(salt.sealed("https://h/x"), "https://h/x", "no secret, no digest");
        for text in ["plain", "a [hidden ", "a [hidden xyz] b", ""] {
            assert_eq!(visible(text), (text.into(), false));
        }
    }

    #[test]
    fn a_salt_is_made_once_and_is_nobody_elses_business() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cache/v1/salt");
        let sealed = || Salt::in_file(file.clone(), false).sealed("https://me:pw@h/").into_owned();
        assert_eq!(Salt::in_file(file.clone(), false).sealed("https://h/"), "https://h/");
        assert!(!file.exists(), "where there is no secret there is no salt");
        let first = sealed();
        assert_eq!(first, sealed());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path().join("cache/v1")).unwrap().count(), 1);
        fs::write(&file, "torn").unwrap();
        let second = sealed();
        assert_ne!(first, second);
        assert_eq!(second, sealed());
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(visible(&sealed()).1, "what cannot be kept still hides");
    }
}
