//! Asks a plugin what is wrong with what stages will ask of it. Trusts nothing that it says: an answer that is late, too long
//! or makes no sense is an error, and nothing waits for long. Knows nothing of stages.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use protocol::{CheckRequest, FromPlugin, PROTOCOL_VERSION, Problem, ToPlugin};
use rustix::fs::{MemfdFlags, memfd_create};

use super::process::{Output, Process, Stdout, Stopper, clean_environment};
use crate::env;

const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

/// All that a plugin may say, in bytes.
const MOST_BYTES: usize = 64 << 20;

/// A plugin's executable and the environment variables that it declared.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// The executable.
    pub executable: &'a Path,
    /// Variables passed on to it beside the usual ones.
    pub env: &'a [String],
}

/// What is wrong with each request, in their order.
///
/// # Errors
/// In words, when the plugin does not answer all of them.
pub fn check(program: Program<'_>, requests: &[CheckRequest]) -> Result<Vec<Vec<Problem>>, String> {
    let allowed = env::CHECK_TIMEOUT.seconds().unwrap_or(CHECK_TIMEOUT);
    let questions = written(requests).map_err(|error| format!("cannot ask it: {error}"))?;
    let mut command = Command::new(program.executable);
    clean_environment(&mut command, program.env.iter().map(String::as_str));
    let process = Process::start(command, questions, Stdout::Messages, &Stopper::default());
    let mut process = process.map_err(|error| format!("cannot start it: {error}"))?;
    process.kill_rest();
    // None where it would be beyond all clocks.
    let deadline = Instant::now().checked_add(allowed);
    let mut answers = Vec::with_capacity(requests.len());
    let (mut greeted, mut heard) = (false, 0_usize);
    // Dropped on any way out, the process is killed: it was asked all there is to ask.
    while answers.len() < requests.len() {
        match process.next(deadline).map_err(|error| format!("lost contact with the process: {error}"))? {
            Some(Output::Out(line)) => {
                heard = heard.saturating_add(line.len());
                if heard > MOST_BYTES {
                    return Err(format!("it said more than {} MB", MOST_BYTES >> 20));
                }
                match (greeted, read(&line)?) {
                    (false, FromPlugin::Hello { version: PROTOCOL_VERSION }) => greeted = true,
                    (false, _) => return Err("it did not say `hello` first, in this version".into()),
                    (true, FromPlugin::Checked { problems }) => answers.push(problems),
                    (true, FromPlugin::Log { .. }) => {}
                    (true, FromPlugin::Failed { message, .. }) => return Err(message),
                    (true, _) => return Err("it said something else than `checked`".into()),
                }
            }
            Some(
                Output::Err(_)
                | Output::OutClosed(None)
                | Output::Left(_)
                | Output::Escaped(_)
                | Output::Detached(_),
            ) => {}
            Some(Output::OutClosed(Some(why))) => return Err(why),
            Some(Output::Ended(end)) => {
                let status = end.status;
                let tail = process.tail();
                let tail =
                    if tail.is_empty() { tail } else { format!("; the end of its standard error:\n{tail}") };
                return Err(format!("it ended without an answer ({status}){tail}"));
            }
            None => {
                return Err(format!(
                    "it took longer than {} s ({})",
                    allowed.as_secs(),
                    env::CHECK_TIMEOUT.name
                ));
            }
        }
    }
    Ok(answers)
}

/// All that is asked as a file, so that who does not listen keeps nobody waiting.
fn written(requests: &[CheckRequest]) -> io::Result<Stdio> {
    let mut file = io::BufWriter::new(File::from(memfd_create("pipe-check", MemfdFlags::CLOEXEC)?));
    let mut say = |message: &ToPlugin| -> io::Result<()> {
        serde_json::to_writer(&mut file, message)?;
        file.write_all(b"\n")
    };
    say(&ToPlugin::Hello { version: PROTOCOL_VERSION })?;
    for request in requests {
        say(&ToPlugin::Check(Box::new(request.clone())))?;
    }
    let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(Stdio::from(file))
}

fn read(line: &str) -> Result<FromPlugin, String> {
    serde_json::from_str(line).map_err(|error| {
        let shown: String = line.chars().take(200).collect();
        format!("it sent an invalid protocol message ({error}): {shown}")
    })
}
