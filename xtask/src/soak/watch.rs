//! A command whose every line is kept, and of which somebody who looks in now and then hears that it still goes on.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::say;
use crate::workspace::Workspace;

/// How often it is said that a command still goes on.
const EVERY: Duration = Duration::from_secs(60);

/// How much of a failed command's end is shown.
const TAIL: usize = 40;

/// Runs a command to its end, and gives what it printed on both streams. All of it also goes to `target/soak/NAME.log`.
pub(super) fn watch(command: &mut Command, name: &str, workspace: &Workspace) -> Result<Vec<String>> {
    let path = workspace.path(&format!("target/soak/{name}.log"));
    let mut log = File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start `{program}`"))?;
    let (sender, lines) = channel();
    let streams: [Option<Box<dyn std::io::Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as _),
        child.stderr.take().map(|stream| Box::new(stream) as _),
    ];
    for stream in streams.into_iter().flatten() {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut bytes = vec![];
            while stream.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
                let line = String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned();
                bytes.clear();
                // Nobody listens any more where the log could not be written.
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    drop(sender);
    let begin = Instant::now();
    let mut said: Vec<String> = vec![];
    loop {
        match lines.recv_timeout(EVERY) {
            Ok(line) => {
                writeln!(log, "{line}").with_context(|| format!("cannot write `{}`", path.display()))?;
                said.push(line);
            }
            Err(RecvTimeoutError::Timeout) => {
                let last = said.last().map(String::as_str).unwrap_or_default();
                say(&format!("{name}: goes on, {} s: {last}", begin.elapsed().as_secs()));
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait()?;
    if !status.success() {
        let tail = said.get(said.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n");
        bail!("{status}; all of it is in `{}`\n{tail}", path.display());
    }
    Ok(said)
}
