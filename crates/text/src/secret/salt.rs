//! The salt of a cache, and what it seals: a text in which a keyed digest stands for what is secret in it.
//!
//! A key has to change with what is secret in a URL, for `?version=4` is another file than `?version=3`, and keys are shown,
//! kept in records and sent around in reports. A plain digest of a weak password can be guessed by whoever sees it, at
//! billions of guesses a second, however it is cut short: what is too short to be guessed is too short to tell contents
//! apart. So the digest is keyed with a random text that never leaves the cache. Without it a record or a report says
//! nothing of the secret; who can read the cache can read what was downloaded, too.

use std::borrow::Cow;
use std::fs::{self, Permissions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{hidden, hidden_value};

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
    key: OnceLock<Key>,
}

#[derive(Debug)]
struct Key {
    bytes: [u8; LENGTH],
    /// Why it is of this process alone.
    trouble: Option<String>,
}

impl Salt {
    /// The salt that is kept in `file`.
    #[must_use]
    pub fn in_file(file: PathBuf, is_shared: bool) -> Self {
        Self { file: Some(file), is_shared, key: OnceLock::new() }
    }

    /// One of these bytes, for tests.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn fixed(byte: u8) -> Self {
        Self {
            file: None,
            is_shared: false,
            key: OnceLock::from(Key { bytes: [byte; LENGTH], trouble: None }),
        }
    }

    /// A text without what is secret in its URLs, and with a digest of that behind it: `https://***@host/x [hidden 0123…]`.
    #[must_use]
    pub fn sealed<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.seal(text, hidden(text))
    }

    /// [`sealed`](Self::sealed) of a text that is one value, such as a param: if it begins as a URL it is one, blanks included.
    #[must_use]
    pub fn sealed_value<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.seal(text, hidden_value(text))
    }

    /// [`sealed_value`](Self::sealed_value) of a value that a name may stand before: `--from=https://…`.
    #[must_use]
    pub fn sealed_argument(&self, text: &str) -> String {
        match text.split_once('=').filter(|(name, _)| !name.contains("://")) {
            Some((name, value)) => format!("{}={}", self.sealed(name), self.sealed_value(value)),
            None => self.sealed_value(text).into_owned(),
        }
    }

    fn seal<'t>(&self, text: &'t str, shown: Cow<'t, str>) -> Cow<'t, str> {
        match shown {
            Cow::Borrowed(text) => Cow::Borrowed(text),
            Cow::Owned(shown) => {
                let mut hasher = blake3::Hasher::new_keyed(&self.key().bytes);
                hasher.update(DOMAIN.as_bytes()).update(text.as_bytes());
                let digest = hasher.finalize().to_hex();
                Cow::Owned(format!("{shown}{OPENING}{}]", digest.get(..DIGITS).unwrap_or_default()))
            }
        }
    }

    /// Why stages with a secret in a URL will be executed again by the next run: the salt cannot be read or kept. `None`
    /// where it can, or where there was no secret so far.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.key.get()?.trouble.as_deref()
    }

    fn key(&self) -> &Key {
        self.key.get_or_init(|| {
            let Some(file) = &self.file else { return Key { bytes: random(), trouble: None } };
            match read_or_make(file, self.is_shared) {
                Ok(bytes) => Key { bytes, trouble: None },
                // Under a key of its own a stage is executed once more than it had to be, and nothing is mistaken.
                Err(error) => Key {
                    bytes: random(),
                    trouble: Some(format!(
                        "cannot read or create the secret salt `{}`, which stands for secrets in keys: {error}; \
                         until that is fixed, every run executes stages with a secret in a URL again",
                        file.display()
                    )),
                },
            }
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

/// 128 bits of the kernel's generator, which is where the standard library takes the key of a `RandomState` from.
fn random() -> [u8; LENGTH] {
    let state = RandomState::new();
    let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
    for word in 0_u8..4 {
        hasher.update(&state.hash_one(word).to_le_bytes());
    }
    hasher.finalize().into()
}

/// What is in the file. `None` where there is none, or none that holds a salt.
fn read(file: &Path) -> io::Result<Option<[u8; LENGTH]>> {
    let mut bytes = vec![];
    match regular::open(file) {
        Ok(open) => open.take(LENGTH as u64 + 1).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(<[u8; LENGTH]>::try_from(bytes.as_slice()).ok())
}

fn read_or_make(file: &Path, is_shared: bool) -> io::Result<[u8; LENGTH]> {
    if let Some(key) = read(file)? {
        return Ok(key);
    }
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder)?;
    // One that is damaged is replaced: what it sealed is executed again. One that cannot be read is another matter.
    if fs::symlink_metadata(file).is_ok_and(|there| there.is_file()) {
        fs::remove_file(file)?;
    }
    let key = random();
    let mut temporary = tempfile::Builder::new().prefix("salt-").tempfile_in(folder)?;
    temporary.write_all(&key)?;
    let mode = if is_shared { 0o644 } else { 0o600 };
    temporary.as_file().set_permissions(Permissions::from_mode(mode))?;
    temporary.as_file().sync_all()?;
    // Takes nothing from another process that was faster.
    match temporary.persist_noclobber(file) {
        Ok(_) => Ok(key),
        Err(failed) => read(file)?.ok_or(failed.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_secret_is_another_text_and_another_salt_too() {
        let salt = Salt::fixed(1);
        let one = salt.sealed("https://me:one@h/x").into_owned();
        assert_eq!(one, salt.sealed("https://me:one@h/x"));
        assert_eq!(visible(&one), ("https://***@h/x".into(), true));
        assert_ne!(one, salt.sealed("https://me:two@h/x"));
        assert_ne!(one, Salt::fixed(2).sealed("https://me:one@h/x"));
        assert_eq!(salt.sealed("https://h/x"), "https://h/x", "no secret, no digest");
        let value = "https://me:o ne@h/x?a b";
        assert_eq!(visible(&salt.sealed_value(value)), ("https://***@h/x?***".into(), true));
        let argument = salt.sealed_argument(&format!("--from={value}"));
        assert_eq!(argument, format!("--from={}", salt.sealed_value(value)));
        assert_eq!(salt.sealed_argument(value), salt.sealed_value(value));
        assert_eq!(salt.sealed_argument("a=b"), "a=b");
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
        let salt = Salt::in_file(file.clone(), false);
        assert!(visible(&salt.sealed("https://me:pw@h/")).1, "what cannot be kept still hides");
        let trouble = salt.trouble().unwrap();
        assert!(trouble.contains(&*file.display().to_string()), "{trouble}");
    }

    #[test]
    fn a_salt_that_cannot_be_read_now_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("salt");
        let salt = |file: &Path| {
            let salt = Salt::in_file(file.to_owned(), true);
            (salt.sealed("https://me:pw@h/").into_owned(), salt.trouble().map(str::to_owned))
        };
        let (first, none) = salt(&file);
        assert_eq!(none, None);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644, "whatever the umask");
        // Even root is refused a file whose name is too long, and one below a file.
        for unreadable in [folder.path().join("n".repeat(300)), file.join("salt")] {
            let (other, trouble) = salt(&unreadable);
            assert_ne!(other, first);
            assert!(
                trouble
                    .is_some_and(|trouble| trouble.contains("executes stages with a secret in a URL again"))
            );
        }
        assert_eq!(salt(&file), (first, None));
    }
}
