//! What can happen to a file or a folder.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Truncated,
    Flipped,
    Zeroed,
    Emptied,
    Garbage,
    Longer,
    Others,
    Huge,
    Removed,
    File,
    Folder,
    FullFolder,
    Fifo,
    Socket,
    Device,
    Dangling,
    Loop,
    Outside,
    Unreadable,
    ReadOnly,
    Foreign,
}

use Kind::*;

/// What can happen to a file.
pub(super) const TO_FILES: [Kind; 20] = [
    Truncated, Flipped, Zeroed, Emptied, Garbage, Longer, Others, Huge, Removed, Folder, FullFolder, Fifo,
    Socket, Device, Dangling, Loop, Outside, Unreadable, ReadOnly, Foreign,
];

/// What can happen to a folder.
pub(super) const TO_FOLDERS: [Kind; 10] =
    [Removed, File, Fifo, Socket, Device, Dangling, Loop, Unreadable, ReadOnly, Foreign];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Truncated => "cut in half",
            Flipped => "a bit flipped",
            Zeroed => "all zeros",
            Emptied => "empty",
            Garbage => "random bytes",
            Longer => "bytes added at its end",
            Others => "another file's content",
            Huge => "4 GB long",
            Removed => "removed",
            File => "a file in its place",
            Folder => "an empty folder in its place",
            FullFolder => "a folder with files in its place",
            Fifo => "a fifo in its place",
            Socket => "a socket in its place",
            Device => "an endless device in its place",
            Dangling => "a dangling link in its place",
            Loop => "a link to itself in its place",
            Outside => "a link to a file outside in its place",
            Unreadable => "not to be read",
            ReadOnly => "not to be written to, nor its folder",
            Foreign => "another user's",
        })
    }
}
