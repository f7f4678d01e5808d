//! What children inherit of the environment, and what is taken out of it. Knows no processes.

use std::process::Command;

use text::secret::without_credentials;

use crate::env;

/// Environment variables that every child gets: what programs need to find themselves, their files and the
/// network. Everything else is withheld, so that a result cannot depend on it unnoticed.
const USUAL_ENVIRONMENT: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "TERM",
    "LD_LIBRARY_PATH",
    "RUST_BACKTRACE",
    "CUDA_VISIBLE_DEVICES",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "no_proxy",
    "NO_PROXY",
];

/// Variables that name a proxy. Every child gets them, too, but with user and password only if it declares them.
pub const PROXIES: &[&str] =
    &["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// Clears the environment of `command` but for the usual variables and `declared` ones that are set.
pub fn clean_environment<'a>(command: &mut Command, declared: impl IntoIterator<Item = &'a str>) {
    command.env_clear();
    for name in PROXIES {
        // What is no text cannot be told from a secret.
        if let Some(value) = env::named(name).as_ref().and_then(|value| value.to_str()) {
            command.env(name, &*without_credentials(value));
        }
    }
    for name in USUAL_ENVIRONMENT.iter().copied().chain(declared) {
        if let Some(value) = env::named(name) {
            command.env(name, value);
        }
    }
}
