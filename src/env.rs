//! The environment variables that `pipe` reads. Nothing else of the runner reads the environment: a test looks. What children
//! inherit is another matter, and so are variables that a pipeline or a plugin names.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

/// An environment variable of `pipe`'s own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it is for, as Markdown.
    pub about: &'static str,
}

macro_rules! variables {
    ($($constant:ident $name:literal $about:literal;)*) => {
        $(
            #[doc = $about]
            pub const $constant: Variable = Variable { name: $name, about: $about };
        )*

        /// All of them, as they are documented.
        pub const ALL: &[Variable] = &[$($constant),*];
    };
}

variables! {
    CACHE "PIPE_CACHE"
        "The folder of a cache that several pipelines share, as `--cache`";
    CACHE_SIZE "PIPE_CACHE_SIZE"
        "How large the cache may get before a run removes what nobody needs; 20 GB where not set";
    LOG "PIPE_LOG"
        "What is logged to standard error: a level for all (`error`, `warn`, `info`, `debug`, `trace`) and levels for parts (`pipe`, `store`, `plugin`), as in `info,store=trace`; `-v` goes first";
    LOG_FORMAT "PIPE_LOG_FORMAT"
        "How the log is written, `text` or `json`, as `--log-format`";
    DESCRIBE_TIMEOUT "PIPE_DESCRIBE_TIMEOUT"
        "Seconds that a plugin may take to describe itself; 10 where not set";
    CHECK_TIMEOUT "PIPE_CHECK_TIMEOUT"
        "Seconds that a plugin may take to check its stages; 60 where not set";
    HELLO_TIMEOUT "PIPE_HELLO_TIMEOUT"
        "Seconds that a plugin may take to say `hello`; 60 where not set";
    COMPLETE "PIPE_COMPLETE"
        "Set by the shell's completion script to ask for completions";
    PATH "PATH"
        "Where plugins and the programs of commands are looked for";
    VISIBLE_GPUS "CUDA_VISIBLE_DEVICES"
        "The GPUs that stages may use, separated by commas; all where not set";
    NO_COLOR "NO_COLOR"
        "Where set, nothing is coloured, unless `--color always` asks for it";
    TERM "TERM"
        "Where it is `dumb`, a run is shown as plain lines";
}

impl Variable {
    /// Its value, if it is set.
    #[must_use]
    pub fn value(&self) -> Option<OsString> {
        std::env::var_os(self.name)
    }

    /// Its value, if it is set and not empty.
    #[must_use]
    pub fn filled(&self) -> Option<OsString> {
        self.value().filter(|value| !value.is_empty())
    }

    /// Its value as text, if it is set and is one.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        self.value().and_then(|value| value.into_string().ok())
    }

    /// A number of seconds, if it is set to one.
    #[must_use]
    pub fn seconds(&self) -> Option<Duration> {
        self.text().and_then(|text| text.parse().ok()).map(Duration::from_secs)
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The value of a variable that a pipeline or a plugin names, or that children inherit.
#[must_use]
pub fn named(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::Path;

    #[test]
    fn nothing_else_reads_the_environment() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for entry in walkdir::WalkDir::new(source).into_iter().map(Result::unwrap) {
            let path = entry.path();
            let is_looked_at = path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("src/env.rs")
                && path.file_stem().is_some_and(|name| name != "tests")
                && !path.iter().any(|part| part == "tests");
            if is_looked_at {
                let text = std::fs::read_to_string(path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                for reads in ["env::var(", "env::var_os(", "env::vars(", "env::vars_os("] {
                    assert!(!code.contains(reads), "{} reads the environment: see `env.rs`", path.display());
                }
            }
        }
    }

    #[test]
    fn every_variable_is_documented_in_one_table() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(root.join("docs/reference.md")).unwrap();
        let rows: Vec<String> =
            ALL.iter().map(|variable| format!("| `{}` | {} |\n", variable.name, variable.about)).collect();
        assert!(
            page.contains(&rows.concat()),
            "`pipe schema --reference` writes the table:\n{}",
            rows.concat()
        );
    }

    #[test]
    fn what_is_not_set_has_no_value() {
        let none = Variable { name: "PIPE_TEST_NEVER_SET", about: "" };
        assert_eq!((none.value(), none.filled(), none.text(), none.seconds()), (None, None, None, None));
        assert!(PATH.text().is_some() && named("PATH").is_some() && PATH.seconds().is_none());
        assert_eq!(PATH.to_string(), "PATH");
    }
}
