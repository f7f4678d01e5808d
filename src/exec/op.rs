//! Executes an op: holds the runner's side of the conversation with a plugin. Trusts nothing it is told but
//! metrics and figures; outputs are looked at by the caller.

mod listener;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use protocol::{Figure, MetricNames, PROTOCOL_VERSION, RunRequest, ToPlugin};
use rustix::process::Signal;
use store::FigureFile;
use text::format;
use tracing::info_span;

use self::listener::Listener;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) use self::listener::overhear;
use super::log::Log;
use super::setting::{Setting, Timeout, next_within, stopped, warn_of_detached};
use super::{Failure, Notice, Yield};
use crate::env;
use crate::logs;
use crate::plugin::process::{Output, Process, Stdout, clean_environment};

/// How long a plugin may take to end once it has said `done`.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// A plugin's executable and the environment variables it declared.
#[derive(Debug, Clone)]
pub(super) struct Program<'a> {
    /// Name of the plugin, for messages.
    pub(super) plugin: &'a str,
    /// The executable.
    pub(super) executable: &'a Path,
    /// Variables passed on to it beside the usual ones.
    pub(super) env: &'a [String],
    /// The metrics that it declares for the op, where it does.
    pub(super) declared: Option<&'a MetricNames>,
}

/// Runs one op to its end.
///
/// # Errors
/// Whatever kept it from saying `done`.
pub(super) fn run(
    program: &Program<'_>,
    request: RunRequest,
    setting: &Setting,
    log: &mut Log,
    notify: &dyn Fn(Notice),
) -> Result<Yield, Failure> {
    let _op = info_span!("op", plugin = program.plugin).entered();
    let mut command = Command::new(program.executable);
    clean_environment(&mut command, program.env.iter().chain(&setting.secrets).map(String::as_str));
    // Where the plugin declares it, it is part of the key, and has the value that this says.
    let is_declared = program.env.iter().any(|name| name == env::LOG.name);
    if let Some(level) = logs::level().filter(|_| !is_declared) {
        command.env(env::LOG.name, level);
    }
    setting.show_gpus(&mut command);
    setting.mark(&mut command);
    let mut process =
        Process::start(command, Stdio::piped(), Stdout::Messages, &setting.stopper).map_err(|error| {
            Failure::new(format!("cannot start `{}`: {error}", program.executable.display()))
                .hint("`pipe doctor` shows which plugins are found and whether they work")
        })?;
    process.hide(&setting.masks);
    let spoken = speak(&mut process, request);
    let heard = spoken.and_then(|()| {
        let mut shown = FigureFile::new(setting.figures.clone());
        let show = &mut |figure: &Figure, all: &[Figure]| shown.show(figure, all);
        let listener = Listener::new(program, log, notify, show, setting.timeout);
        listener.hiding(setting.masks.clone()).listen(&mut process)
    });
    let mut finish = |process: &mut Process| process.finish(|line| log.line(line));
    match heard {
        Err(Stop::TimedOut) => Err(setting.stop(&mut process, log)),
        Err(Stop::Broke(what)) => {
            let status = finish(&mut process);
            Err(broken(program, &what, &status, &process.tail()))
        }
        // What it said counts, however it ends.
        Err(Stop::Told(failure)) => {
            let _ = finish(&mut process);
            Err(failure)
        }
        Ok(result) => end(program, &mut process, setting, log, notify).map(|()| result),
    }
}

/// Lets a plugin that said `done` end, with all that it started.
///
/// # Errors
/// When it does not: it may still be writing.
fn end(
    program: &Program<'_>,
    process: &mut Process,
    setting: &Setting,
    log: &mut Log,
    notify: &dyn Fn(Notice),
) -> Result<(), Failure> {
    process.close_stdin();
    let patience = Timeout::starting_now(END_TIMEOUT);
    while process.is_running() {
        match next_within(process, Some(patience)) {
            Ok(Some(Output::Err(line))) => log.line(&line),
            Ok(Some(Output::Detached(left))) => warn_of_detached(&left, log, notify),
            Ok(Some(_)) => {}
            Ok(None) => {
                process.stop(Signal::KILL);
                // It was killed: how it ends is no news.
                let _ = process.finish(|line| log.line(line));
                let message = format!(
                    "plugin `{}` said `done` and then did not end within {}; it was killed, and nothing of it is kept",
                    program.plugin,
                    format::duration(END_TIMEOUT)
                );
                return Err(Failure::new(message)
                    .hint("a plugin must end when its standard input is closed: please report this to the plugin's authors"));
            }
            Err(error) => {
                return Err(Failure::new(format!("lost contact with plugin `{}`: {error}", program.plugin)));
            }
        }
    }
    // What it said counts, however it ended itself.
    let end = setting.follow(process, log, notify)?;
    if end.was_stopped { Err(stopped()) } else { Ok(()) }
}

/// Why the conversation ended without `done`.
enum Stop {
    /// The plugin, or the runner about the plugin, says why.
    Told(Failure),
    /// The plugin ended or fell silent; how it ended says more.
    Broke(String),
    /// It took longer than it may.
    TimedOut,
}

fn speak(process: &mut Process, request: RunRequest) -> Result<(), Stop> {
    let Some(mut stdin) = process.take_stdin() else {
        return Err(Stop::Broke("has no standard input".into()));
    };
    let say = || -> io::Result<()> {
        let mut lines = Vec::new();
        for message in [ToPlugin::Hello { version: PROTOCOL_VERSION }, ToPlugin::Run(Box::new(request))] {
            serde_json::to_writer(&mut lines, &message)?;
            lines.push(b'\n');
        }
        // It may say much before it listens: all that it is told has to fit into the pipe, or both would wait. Where the
        // pipe cannot be made larger, what fits is what there is.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdin, lines.len());
        stdin.write_all(&lines)
    };
    let spoken = say();
    process.return_stdin(stdin);
    match spoken {
        Ok(()) => Ok(()),
        // It may have answered before it stopped listening: what it said is a better reason.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Stop::Broke(format!("does not listen: {error}"))),
    }
}

fn broken(program: &Program<'_>, what: &str, status: &io::Result<ExitStatus>, tail: &str) -> Failure {
    let how = match status {
        Ok(status) => describe_exit(*status),
        Err(error) => error.to_string(),
    };
    let mut message = format!("plugin `{}` {what} without saying `done` ({how})", program.plugin);
    if !tail.is_empty() {
        message.push_str("; the end of its standard error:\n");
        message.push_str(tail);
    }
    Failure::new(message)
}

/// How a process ended, in words.
#[must_use]
pub(super) fn describe_exit(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => {
            let names = BTreeMap::from([
                (4, "SIGILL: an instruction that this CPU lacks"),
                (6, "SIGABRT"),
                (
                    7,
                    "SIGBUS: a file that it had mapped was cut short, such as a native library, or could not be read",
                ),
                (9, "SIGKILL: stopped by hand, or out of memory"),
                (11, "SIGSEGV: a crash in native code"),
                (15, "SIGTERM"),
            ]);
            names.get(&signal).map_or(format!("signal {signal}"), |name| format!("signal {signal}, {name}"))
        }
        (None, None) => status.to_string(),
    }
}
