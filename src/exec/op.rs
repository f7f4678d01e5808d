//! Executes an op: holds the runner's side of the conversation with a plugin. Trusts nothing it is told but
//! metrics and figures; outputs are looked at by the caller.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use protocol::{Figure, FromPlugin, LogLevel, MetricNames, PROTOCOL_VERSION, RunRequest, ToPlugin};
use rustix::process::Signal;
use store::FigureFile;
use text::format;
use text::secret::Masks;

use super::course::Course;
use super::log::Log;
use super::secrets::{hide_figure, hide_metric};
use super::setting::{Setting, Timeout, next_within, stopped};
use super::{Failure, Notice, Yield};
use crate::plugin::process::{Output, Process, Stdout, clean_environment};

/// Environment variable: seconds that a plugin may take to say `hello`; 60 where it is not set.
pub const HELLO_TIMEOUT_VARIABLE: &str = "PIPE_HELLO_TIMEOUT";

const HELLO_TIMEOUT: Duration = Duration::from_secs(60);

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
    let mut command = Command::new(program.executable);
    clean_environment(&mut command, program.env.iter().chain(&setting.secrets).map(String::as_str));
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
        Listener { masks: setting.masks.clone(), ..listener }.listen(&mut process)
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

/// Puts a figure where a report finds it while the op goes on; is given all that count as well.
type Show<'a> = &'a mut dyn FnMut(&Figure, &[Figure]);

struct Listener<'a> {
    program: &'a Program<'a>,
    log: &'a mut Log,
    notify: &'a dyn Fn(Notice),
    show: Show<'a>,
    /// Places of figures by their ids.
    places: HashMap<String, usize>,
    /// How long it may take.
    timeout: Option<Timeout>,
    /// What is to be taken out of metrics and figures.
    masks: Masks,
    course: Course,
    result: Yield,
}

impl<'a> Listener<'a> {
    fn new(
        program: &'a Program<'a>,
        log: &'a mut Log,
        notify: &'a dyn Fn(Notice),
        show: Show<'a>,
        timeout: Option<Timeout>,
    ) -> Self {
        let (places, masks, result) = (HashMap::new(), Masks::default(), Yield::default());
        let course = Course::new(Instant::now());
        Self { program, log, notify, show, places, timeout, masks, course, result }
    }

    fn listen(mut self, process: &mut Process) -> Result<Yield, Stop> {
        self.hello(process)?;
        loop {
            let message = self.next(process, self.timeout, Stop::TimedOut)?;
            if self.take(message)?.is_break() {
                return Ok(self.result);
            }
        }
    }

    /// Acts on a message after `hello`; breaks at `done`.
    fn take(&mut self, message: FromPlugin) -> Result<ControlFlow<()>, Stop> {
        match message {
            FromPlugin::Hello { .. } => return Err(self.out_of_turn("`hello` twice")),
            FromPlugin::Progress(progress) => {
                self.course.observe(Instant::now(), &progress);
                if progress.milestone {
                    self.log.line(&format!(
                        "{} {}/{}  {}",
                        progress.unit, progress.done, progress.total, progress.text
                    ));
                }
                (self.notify)(Notice::Progress(progress));
            }
            FromPlugin::Metric { name, metric } => {
                let (name, metric) = (self.masks.hide(&name).into_owned(), hide_metric(metric, &self.masks));
                self.log.line(&format!("{name} = {} {}", metric.value, metric.unit));
                let is_declared = self.program.declared.is_none_or(|names| names.contain(&name));
                if !is_declared && !self.result.metrics.contains_key(&name) {
                    let message = format!(
                        "plugin `{}` reports metric `{name}`, which its op does not declare: gates and columns cannot use it; \
                         please report this to the plugin's authors",
                        self.program.plugin
                    );
                    self.log.line(&format!("warning: {message}"));
                    (self.notify)(Notice::Log(LogLevel::Warn, message));
                }
                self.result.metrics.insert(name, metric);
            }
            FromPlugin::Figure(figure) => {
                let Some(figure) = hide_figure(figure, &self.masks) else {
                    self.log.line("warning: a figure is left out: it cannot be drawn without a secret");
                    return Ok(ControlFlow::Continue(()));
                };
                let figures = &mut self.result.figures;
                let place = *self.places.entry(figure.id.clone()).or_insert(figures.len());
                match figures.get_mut(place) {
                    Some(known) => *known = figure,
                    None => figures.push(figure),
                }
                if let Some(figure) = figures.get(place) {
                    (self.show)(figure, figures);
                }
            }
            FromPlugin::Log { level, message } => {
                self.log.line(&match level {
                    LogLevel::Warn => format!("warning: {message}"),
                    LogLevel::Info | LogLevel::Debug => message.clone(),
                });
                (self.notify)(Notice::Log(level, message));
            }
            FromPlugin::Checked { .. } => return Err(self.out_of_turn("`checked` without being asked")),
            FromPlugin::Done { provisional } => {
                if let Some(why) = &provisional {
                    let message = format!(
                        "{why}; the result is provisional: the next run will execute the stage again"
                    );
                    self.log.line(&format!("warning: {message}"));
                    (self.notify)(Notice::Log(LogLevel::Warn, message));
                }
                self.result.provisional = provisional.map(|why| self.masks.hide(&why).into_owned());
                self.result.pace = self.course.pace();
                return Ok(ControlFlow::Break(()));
            }
            FromPlugin::Failed { message, hint } => {
                let message = if message.trim().is_empty() {
                    format!("plugin `{}` failed without giving a reason", self.program.plugin)
                } else {
                    message
                };
                return Err(Stop::Told(Failure { message, hint }));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn hello(&mut self, process: &mut Process) -> Result<(), Stop> {
        let patience = std::env::var(HELLO_TIMEOUT_VARIABLE)
            .ok()
            .and_then(|text| text.parse().ok())
            .map_or(HELLO_TIMEOUT, Duration::from_secs);
        let silent = Stop::Told(
            Failure::new(format!(
                "plugin `{}` was started but did not say `hello` in time",
                self.program.plugin
            ))
            .hint(format!(
                "is `{}` a plugin of `pipe`? a slow one gets more time by setting {HELLO_TIMEOUT_VARIABLE} (seconds)",
                self.program.executable.display()
            )),
        );
        let first = self.next(process, Some(Timeout::starting_now(patience)), silent)?;
        self.greet(&first)
    }

    /// Checks the first message.
    fn greet(&self, first: &FromPlugin) -> Result<(), Stop> {
        match *first {
            FromPlugin::Hello { version: PROTOCOL_VERSION } => Ok(()),
            FromPlugin::Hello { version } => {
                let plugin = self.program.plugin;
                Err(Stop::Told(
                    Failure::new(format!(
                        "plugin `{plugin}` speaks protocol version {version}, this `pipe` {PROTOCOL_VERSION}"
                    ))
                    .hint("build runner and plugin from the same release"),
                ))
            }
            _ => Err(self.out_of_turn("something before `hello`")),
        }
    }

    /// The next message, or `late` where there is none in time.
    fn next(
        &mut self,
        process: &mut Process,
        timeout: Option<Timeout>,
        late: Stop,
    ) -> Result<FromPlugin, Stop> {
        loop {
            match next_within(process, timeout) {
                Ok(Some(Output::Out(line))) => {
                    return self.read(&line);
                }
                Ok(Some(Output::Err(line))) => self.log.line(&line),
                Ok(Some(Output::OutClosed(None))) => return Err(Stop::Broke("stopped talking".into())),
                Ok(Some(Output::OutClosed(Some(why)))) => {
                    return Err(Stop::Broke(format!("cannot be understood: {why}")));
                }
                // What it left running says nothing for it.
                Ok(Some(Output::Ended(_) | Output::Left(_) | Output::Escaped(_) | Output::Detached(_))) => {
                    return Err(Stop::Broke("ended".into()));
                }
                Ok(None) => return Err(late),
                Err(error) => return Err(Stop::Broke(format!("can no longer be reached: {error}"))),
            }
        }
    }

    fn read(&self, line: &str) -> Result<FromPlugin, Stop> {
        serde_json::from_str(line).map_err(|error| self.rubbish(line, &error))
    }

    fn rubbish(&self, line: &str, error: &serde_json::Error) -> Stop {
        let shown: String = self.masks.hide(line).chars().take(200).collect();
        Stop::Told(
            Failure::new(format!(
                "plugin `{}` sent an invalid protocol message ({error}): {shown}",
                self.program.plugin
            ))
            .hint("a plugin must keep standard output for the protocol and print everything else to standard error"),
        )
    }

    fn out_of_turn(&self, what: &str) -> Stop {
        Stop::Told(Failure::new(format!("plugin `{}` said {what}", self.program.plugin)))
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

/// What is made of `lines` as if a plugin had printed them.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn overhear(
    program: &Program<'_>,
    lines: &str,
    log: &mut Log,
    notify: &dyn Fn(Notice),
) -> Result<Yield, Failure> {
    let show = &mut |_: &Figure, _: &[Figure]| ();
    let mut listener = Listener::new(program, log, notify, show, None);
    let mut greeted = false;
    for line in lines.lines() {
        let heard = listener.read(line).and_then(|message| match greeted {
            false => listener.greet(&message).map(|()| ControlFlow::Continue(())),
            true => listener.take(message),
        });
        greeted = true;
        match heard {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(listener.result),
            Err(Stop::Told(failure)) => return Err(failure),
            Err(Stop::Broke(what)) => return Err(Failure::new(what)),
            Err(Stop::TimedOut) => return Err(Failure::new("took too long")),
        }
    }
    Err(Failure::new("ended"))
}
