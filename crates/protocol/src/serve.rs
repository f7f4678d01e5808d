//! A plugin's side of the conversation. Knows readers and writers, so that it is tested in memory; only
//! [`main`] knows about processes.

use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;

use crate::{
    CheckRequest, Figure, FromPlugin, LogLevel, Manifest, Metric, PROTOCOL_VERSION, Place, Problem, Progress,
    RunRequest, ToPlugin,
};

/// A plugin: a manifest and the ops it names.
pub trait Plugin {
    /// What it can do, with native libraries as found on this machine.
    fn manifest(&self) -> Manifest;

    /// Runs one op to its end: writes every output, then returns.
    ///
    /// # Errors
    /// Whatever the user should read; it ends the stage.
    fn run(&self, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure>;

    /// All that is known to be wrong with what a stage will ask for, before anything runs. Asked for ops with
    /// [`OpManifest::checks`] alone. Must not take long: the run waits for it.
    ///
    /// [`OpManifest::checks`]: crate::OpManifest::checks
    fn check(&self, request: &CheckRequest) -> Vec<Problem> {
        let _ = request;
        Vec::new()
    }
}

/// Why an op failed, in words for the user: what happened and where, and what to do next.
///
/// Made from any error by `?`; deliberately not an error itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure without a hint. Lowercase, names in backticks, no final period.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What a check finds ends the op, too: for runners that did not ask, and for what only shows once the inputs are there.
impl From<Problem> for Failure {
    fn from(Problem { message, hint, .. }: Problem) -> Self {
        Self { message, hint }
    }
}

/// What would end the op is told before anything runs.
impl From<Failure> for Problem {
    fn from(Failure { message, hint }: Failure) -> Self {
        Self { message, hint, place: Place::Stage, harmless: false }
    }
}

impl<E: Display> From<E> for Failure {
    /// The alternate form (`{:#}`), in which chains of causes print whole.
    fn from(error: E) -> Self {
        Self::new(format!("{error:#}"))
    }
}

/// Sends messages while an op runs. A runner that is gone is noticed at the end, not at every message.
pub struct Reporter<'a> {
    writer: &'a mut dyn Write,
    broken: Option<io::Error>,
    provisional: Option<String>,
}

impl<'a> Reporter<'a> {
    /// A reporter that writes to `writer`.
    pub fn new(writer: &'a mut dyn Write) -> Self {
        Self { writer, broken: None, provisional: None }
    }

    /// Says how far the op is.
    pub fn progress(&mut self, progress: Progress) {
        self.send(&FromPlugin::Progress(progress));
    }

    /// Records a number. A number that is not finite is logged as a warning instead: records hold none.
    pub fn metric(&mut self, name: &str, metric: Metric) {
        let finite = metric.value.is_finite() && metric.interval.iter().flatten().all(|end| end.is_finite());
        if finite {
            self.send(&FromPlugin::Metric { name: name.into(), metric });
        } else {
            self.warn(format!("metric `{name}` is {} and was left out", metric.value));
        }
    }

    /// Records a figure, replacing one of the same id.
    pub fn figure(&mut self, figure: Figure) {
        self.send(&FromPlugin::Figure(figure));
    }

    /// Writes to the stage's log.
    pub fn info(&mut self, message: impl Into<String>) {
        self.send(&FromPlugin::Log { level: LogLevel::Info, message: message.into() });
    }

    /// Writes to the stage's log and to the terminal.
    pub fn warn(&mut self, message: impl Into<String>) {
        self.send(&FromPlugin::Log { level: LogLevel::Warn, message: message.into() });
    }

    /// Says that what the op gives is no answer yet, and why, in a few words: the runner keeps and shows it, marked, and
    /// executes the stage again in the next run.
    pub fn provisional(&mut self, why: impl Into<String>) {
        self.provisional = Some(why.into());
    }

    fn send(&mut self, message: &FromPlugin) {
        if self.broken.is_none() {
            self.broken = write_line(self.writer, message).err();
        }
    }
}

/// Why a conversation could not be held. Failures of the op itself are told to the runner, not here.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The runner closed the line, or the line broke.
    #[error("lost the runner: {0}")]
    Io(#[from] io::Error),
    /// What the runner said is not what the protocol allows.
    #[error("expected {expected} from the runner, got `{got}`")]
    Unexpected {
        /// What should have come.
        expected: &'static str,
        /// What came.
        got: String,
    },
}

/// Holds one conversation: reads `hello` and `run`, runs the op, answers; or reads `hello` and any number of `check`, and
/// answers each.
///
/// # Errors
/// When the runner speaks out of turn or is gone.
pub fn serve<P: Plugin + ?Sized>(
    plugin: &P,
    reader: &mut dyn BufRead,
    writer: &mut dyn Write,
) -> Result<(), ServeError> {
    let hello = read_line(reader, "`hello`")?;
    let ToPlugin::Hello { version } = hello else {
        return Err(ServeError::Unexpected { expected: "`hello`", got: "run".into() });
    };
    write_line(writer, &FromPlugin::Hello { version: PROTOCOL_VERSION })?;
    if version != PROTOCOL_VERSION {
        let message = format!("the runner speaks protocol version {version}, this plugin {PROTOCOL_VERSION}");
        let hint = Some("build runner and plugin from the same release".into());
        write_line(writer, &FromPlugin::Failed { message, hint })?;
        return Ok(());
    }
    let request = match read_line(reader, "`run` or `check`")? {
        ToPlugin::Run(request) => request,
        ToPlugin::Check(request) => return check_all(plugin, *request, reader, writer),
        ToPlugin::Hello { .. } => {
            return Err(ServeError::Unexpected { expected: "`run` or `check`", got: "hello".into() });
        }
    };
    let mut reporter = Reporter::new(writer);
    let outcome = plugin.run(&request, &mut reporter);
    let Reporter { broken, provisional, .. } = reporter;
    if let Some(broken) = broken {
        return Err(broken.into());
    }
    let last = match outcome {
        Ok(()) => FromPlugin::Done { provisional },
        Err(Failure { message, hint }) => FromPlugin::Failed { message, hint },
    };
    write_line(writer, &last)?;
    Ok(())
}

fn check_all<P: Plugin + ?Sized>(
    plugin: &P,
    mut request: CheckRequest,
    reader: &mut dyn BufRead,
    writer: &mut dyn Write,
) -> Result<(), ServeError> {
    loop {
        write_line(writer, &FromPlugin::Checked { problems: plugin.check(&request) })?;
        if reader.fill_buf()?.is_empty() {
            return Ok(());
        }
        request = match read_line(reader, "`check`")? {
            ToPlugin::Check(request) => *request,
            other => {
                let got = if matches!(other, ToPlugin::Run(_)) { "run" } else { "hello" };
                return Err(ServeError::Unexpected { expected: "`check`", got: got.into() });
            }
        };
    }
}

/// The `main` of a plugin: `describe` prints the manifest; no argument serves one conversation on standard input
/// and output.
///
/// While an op runs, file descriptor 1 points at standard error, because native libraries print; and a closed
/// standard input ends the process, because then the runner is gone. While it checks, that is how the questions end.
pub fn main<P: Plugin>(plugin: &P) -> ExitCode {
    let mut args = std::env::args().skip(1);
    let outcome = match (args.next().as_deref(), args.next()) {
        (Some("describe"), None) => {
            write_line(&mut io::stdout().lock(), &plugin.manifest()).map_err(Into::into)
        }
        (None, None) => serve_process(plugin),
        _ => {
            say("this is a plugin of `pipe`: it is started by `pipe run`, or by hand with `describe`");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to standard error, which becomes the log. Unlike `eprintln!` it does not panic where nothing takes it, as on a
/// full disk or when the runner is gone.
pub fn say(line: &str) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

fn serve_process<P: Plugin>(plugin: &P) -> Result<(), ServeError> {
    let mut writer = claim_stdout()?;
    let (sender, receiver) = std::sync::mpsc::sync_channel(4);
    let over = Arc::new(AtomicBool::new(false));
    let (watched, watching) = (Watched { plugin, over: Arc::clone(&over) }, Arc::clone(&over));
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            // Said before the line is handed on: the end may follow at once.
            if is_check(&line) {
                watching.store(true, Ordering::Release);
            }
            if sender.send(line).is_err() {
                return;
            }
        }
        // Standard input is closed while an op runs: nobody waits for the outcome any more.
        if !over.load(Ordering::Acquire) {
            std::process::exit(1);
        }
    });
    let mut reader = BufReader::new(Lines { receiver, rest: Vec::new() });
    serve(&watched, &mut reader, &mut writer)
}

/// Whether a line asks for a check. Everything but its type is left unread.
fn is_check(line: &str) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    serde_json::from_str::<Kind>(line).is_ok_and(|line| line.kind == "check")
}

/// A plugin that notes when its op has ended: a runner that has read the outcome may close standard input before
/// this process is gone, and that must not look like a failure.
struct Watched<'a, P: ?Sized> {
    plugin: &'a P,
    over: Arc<AtomicBool>,
}

impl<P: Plugin + ?Sized> Plugin for Watched<'_, P> {
    fn manifest(&self) -> Manifest {
        self.plugin.manifest()
    }

    fn run(&self, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        let outcome = self.plugin.run(request, reporter);
        self.over.store(true, Ordering::Release);
        outcome
    }

    fn check(&self, request: &CheckRequest) -> Vec<Problem> {
        self.plugin.check(request)
    }
}

/// Lines from the thread that watches standard input, as a byte stream.
struct Lines {
    receiver: std::sync::mpsc::Receiver<String>,
    rest: Vec<u8>,
}

impl io::Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            let Ok(line) = self.receiver.recv() else { return Ok(0) };
            self.rest = line.into_bytes();
            self.rest.push(b'\n');
        }
        let count = buffer.len().min(self.rest.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

#[cfg(unix)]
fn claim_stdout() -> io::Result<std::fs::File> {
    let own = rustix::io::dup(io::stdout())?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok(own.into())
}

#[cfg(not(unix))]
fn claim_stdout() -> io::Result<io::Stdout> {
    Ok(io::stdout())
}

fn write_line<T: serde::Serialize + ?Sized>(writer: &mut dyn Write, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    writer.write_all(&line)?;
    writer.flush()
}

fn read_line(reader: &mut dyn BufRead, expected: &'static str) -> Result<ToPlugin, ServeError> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    serde_json::from_str(&line)
        .map_err(|_| ServeError::Unexpected { expected, got: line.trim_end().chars().take(200).collect() })
}

#[cfg(test)]
mod tests;
