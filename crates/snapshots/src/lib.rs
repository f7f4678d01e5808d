//! Whole messages, held against the files in `snapshots/` beside their tests, which `cargo xtask bless` writes. Knows what
//! differs from one run of a test to the next, and what stands for it; knows no message. For tests only.

pub use insta;

/// Holds a message against its snapshot. Temporary folders and the ports of servers are left out.
#[macro_export]
macro_rules! assert_message {
    ($text:expr) => {
        $crate::without_places().bind(|| $crate::insta::assert_snapshot!($text))
    };
}

/// Holds what a command printed against its snapshot, which may have a name. Left out are places, as by
/// [`assert_message`], and times, durations, sizes, digests, and the names of runs and processes.
#[macro_export]
macro_rules! assert_printed {
    ($text:expr) => {
        $crate::without_times().bind(|| $crate::insta::assert_snapshot!($text))
    };
    ($name:expr, $text:expr) => {
        $crate::without_times().bind(|| $crate::insta::assert_snapshot!($name, $text))
    };
}

/// Settings that leave out where something is.
#[must_use]
pub fn without_places() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.add_filter(r"(/[\w.-]+)*/\.tmp\w{6}", "[FOLDER]");
    settings.add_filter(r"(/[\w.-]+)+/target/(\w+/)?(debug|release)\b", "[BUILD]");
    settings.add_filter(r"127\.0\.0\.1:\d+", "127.0.0.1:[PORT]");
    settings
}

/// Settings that leave out where and when something is, and how long it takes.
#[must_use]
pub fn without_times() -> insta::Settings {
    let mut settings = without_places();
    for (pattern, stands) in [
        // Of a line that a run or the log of a stage prints.
        (r"(?m)^\d\d:\d\d:\d\d ", "[CLOCK] "),
        (r"(?m)^ +\d+\.\d{3}  ", "    [SECONDS]  "),
        // With the spaces before them: columns are as wide as what is in them.
        (r" *\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?( UTC|Z)?", " [TIME]"),
        (r" *(< )?\b\d+(\.\d+)? (ms|s|min|h)\b( \d+ (s|min)\b)?", " [DURATION]"),
        (r" *\b\d+(\.\d+)? (B|KB|MB|GB)\b", " [SIZE]"),
        (r"/work/\d+-[0-9a-f]+-\d+/", "/work/[ATTEMPT]/"),
        (r"\b[0-9a-f]{12,64}\b", "[DIGEST]"),
        (r"\b([Rr]uns?) `?[0-9a-f]{4,8}\b`?", "$1 [RUN]"),
        (r"(?m)^ (old  |new  )?[0-9a-f]{4} ", " $1[RUN] "),
        (r"\b(PID|process) \d+", "$1 [PROCESS]"),
        // Stages that say the same in the same millisecond have one log.
        (r"\b\d+ objects\b", "[COUNT] objects"),
    ] {
        settings.add_filter(pattern, stands);
    }
    settings
}
