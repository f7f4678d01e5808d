//! Why a plugin cannot be used: always with the plugin, and with what to do about it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

use protocol::PROTOCOL_VERSION;
use store::StoreError;

use crate::env::DESCRIBE_TIMEOUT;
use crate::plugin::{executable, loader};

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// No such executable.
    #[error("plugin `{plugin}` was not found: {looked}")]
    NotFound {
        /// Name of the plugin.
        plugin: String,
        /// Where it was looked for, in words.
        looked: String,
    },
    /// It is there and cannot be started.
    #[error("plugin `{plugin}` cannot be started: `{}`: {source}", path.display())]
    Start {
        /// Name of the plugin.
        plugin: String,
        /// Its executable.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It did not answer in time.
    #[error("plugin `{plugin}` hangs: `{} describe` did not end within {seconds} s and was killed", path.display())]
    Hangs {
        /// Name of the plugin.
        plugin: String,
        /// Its executable.
        path: PathBuf,
        /// How long it was given.
        seconds: u64,
    },
    /// It ended with an error.
    #[error("plugin `{plugin}` failed: `{} describe` ended with {status}{tail}", path.display())]
    Crashed {
        /// Name of the plugin.
        plugin: String,
        /// Its executable.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The end of its standard error, on lines of its own, or empty.
        tail: String,
    },
    /// What it printed is not a manifest.
    #[error("plugin `{plugin}` does not describe itself properly: `{} describe`: {problem}", path.display())]
    Rubbish {
        /// Name of the plugin.
        plugin: String,
        /// Its executable.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It speaks another version of the protocol.
    #[error("plugin `{plugin}` (`{}`) speaks protocol version {theirs}, this `pipe` speaks {PROTOCOL_VERSION}", path.display())]
    Version {
        /// Name of the plugin.
        plugin: String,
        /// Its executable.
        path: PathBuf,
        /// The version that it speaks.
        theirs: u64,
    },
    /// Its executable cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What to do about an executable that does not do as a plugin does.
const BROKEN: &str = "the executable is not a plugin of this `pipe`, or is broken: install it anew; `pipe doctor` shows what is found";

/// The same where it says itself what is wrong.
const FAILED: &str = "mend what it says itself; an executable that is no plugin of this `pipe` may have that name, too: `pipe doctor` shows what is found";

impl PluginError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { plugin, .. } => Some(format!(
                "put `pipe-{plugin}` beside `pipe` or on PATH, or name its path under `plugins:` in the pipeline; \
                 `pipe doctor` shows what is found"
            )),
            Self::Start { path, source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some(format!("make it executable: `chmod +x {}`", path.display()))
            }
            Self::Hangs { .. } => {
                Some(format!("if it is only slow, give it more time by setting {DESCRIBE_TIMEOUT} (seconds)"))
            }
            Self::Version { plugin, .. } => {
                Some(format!("install `pipe` and `pipe-{plugin}` from the same release"))
            }
            Self::Crashed { path, status, tail, .. } => {
                // It did start, if by an emulator: it is no matter of the machine.
                let misread = executable::head(path).and_then(|head| executable::misread(path, &head));
                let told = misread
                    .or_else(|| loader::library(tail))
                    .or_else(|| loader::missing_interpreter(path, tail))
                    .or_else(|| loader::exception(path, tail))
                    .or_else(|| status.signal().and_then(loader::signal));
                Some(told.unwrap_or_else(|| if tail.is_empty() { BROKEN } else { FAILED }.into()))
            }
            Self::Start { path, .. } => {
                let told = executable::unstartable(path).or_else(|| loader::lost_interpreter(path));
                Some(told.unwrap_or_else(|| BROKEN.into()))
            }
            Self::Rubbish { .. } => Some(BROKEN.into()),
            Self::Store(error) => error.hint(),
        }
    }
}
