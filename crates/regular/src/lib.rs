//! Regular files: opened only where they are that. A FIFO would keep who opens it waiting for somebody at its other end, and a
//! device may do anything. And written whole or not at all. Knows nothing of what is read or written.

mod whole;

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

pub use whole::{write_whole, write_whole_with};

/// At most so much is reserved for what a file says its length is.
const MOST_RESERVED: u64 = 16 << 20;

/// Opens a file for reading.
///
/// # Errors
/// When it is none, is missing, or cannot be opened.
pub fn open(path: &Path) -> io::Result<File> {
    check(&fs::metadata(path)?)?;
    open_with(File::options().read(true), path)
}

/// Opens a file of our own for reading and writing, and makes it where nothing is. A link may lead to somebody else's, and is
/// not followed.
///
/// # Errors
/// When something else is there, or it cannot be opened.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    check_own(path)?;
    open_own(File::options().read(true).write(true).create(true).truncate(false), path)
}

/// Opens a file of our own for writing, empty, and makes it where nothing is. No link is followed.
///
/// # Errors
/// As [`open_or_create`].
pub fn create(path: &Path) -> io::Result<File> {
    check_own(path)?;
    open_own(File::options().write(true).create(true).truncate(true), path)
}

/// Opens a file of our own for adding to its end, and makes it where nothing is. No link is followed.
///
/// # Errors
/// As [`open_or_create`].
pub fn append(path: &Path) -> io::Result<File> {
    check_own(path)?;
    open_own(File::options().append(true).create(true), path)
}

/// The content of a file.
///
/// # Errors
/// As [`open`], or when it cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(MOST_RESERVED)).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The content of a file as text.
///
/// # Errors
/// As [`read`], or when it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn open_with(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    open_flagged(options, 0, path)
}

fn open_own(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    open_flagged(options, libc::O_NOFOLLOW, path)
}

/// It may have become something else since it was looked at: nobody waits for that then.
fn open_flagged(options: &mut OpenOptions, flags: i32, path: &Path) -> io::Result<File> {
    let file = options.custom_flags(flags | libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

fn check_own(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_symlink() => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a link, and not a file"))
        }
        Ok(there) => check(&there),
        // What is the matter shows when it is opened.
        Err(_) => Ok(()),
    }
}

/// What something is, in words.
#[must_use]
pub fn kind(of: FileType) -> &'static str {
    if of.is_file() {
        "a file"
    } else if of.is_dir() {
        "a folder"
    } else if of.is_symlink() {
        "a link"
    } else if of.is_fifo() {
        "a FIFO"
    } else if of.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

fn check(metadata: &Metadata) -> io::Result<()> {
    let there = metadata.file_type();
    if there.is_file() {
        return Ok(());
    }
    if there.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {}, and not a file", kind(there))))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Write;

    #[test]
    fn what_is_no_file_is_neither_waited_for_nor_read() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for (name, told) in [
            (path("fifo"), "FIFO"),
            (path("socket"), "socket"),
            ("/dev/zero".into(), "device"),
            (root.path().to_owned(), "directory"),
        ] {
            let opened = [open(&name), open_or_create(&name), create(&name), append(&name)];
            let errors = opened.into_iter().map(Result::err).chain([read(&name).err()]);
            for error in errors {
                let error = error.unwrap().to_string();
                assert!(error.contains(told), "{error}");
            }
        }
    }

    #[test]
    fn files_and_links_to_them_are_opened_and_made() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::write(path("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        for refused in [append(&path("link")), open_or_create(&path("link")), create(&path("link"))] {
            assert!(refused.unwrap_err().to_string().contains("it is a link"));
        }
        append(&path("file")).unwrap().write_all(b"s").unwrap();
        assert_eq!(read_text(&path("link")).unwrap(), "texts");
        open_or_create(&path("new")).unwrap().write_all(b"x").unwrap();
        open_or_create(&path("new")).unwrap().write_all(b"y").unwrap();
        assert_eq!(read(&path("new")).unwrap(), b"y");
        drop(create(&path("new")).unwrap());
        assert_eq!(read(&path("new")).unwrap(), b"");
        fs::write(path("latin"), [0xe9]).unwrap();
        assert_eq!(read_text(&path("latin")).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(&path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
