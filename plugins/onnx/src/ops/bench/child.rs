//! One measurement in a process of its own: starts `pipe-NAME time`, hands it a request, reads the result.
//! Knows processes, not what is compared.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use protocol::{TimeRequest, TimeResult};

/// How much of the end of a failed process's standard error is shown.
const QUOTED: usize = 2_000;

/// Times one batch size in a process started from `executable`.
///
/// # Errors
/// Where the process cannot be started, fails, is killed, or answers something else; the message ends with what
/// it wrote to standard error.
pub(crate) fn time(executable: &Path, request: &TimeRequest) -> Result<TimeResult> {
    let mut command = Command::new(executable);
    command.arg("time").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    die_with_this_process(&mut command);
    let child = command.spawn().with_context(|| format!("cannot start `{}`", executable.display()))?;
    let (status, output, errors) = converse(child, &serde_json::to_vec(request)?)?;
    if !status.success() {
        let end = tail(&errors);
        bail!("`{} time` ended with {}{}", executable.display(), outcome(status), quoted(&end));
    }
    let mut lines = output.lines();
    let result: TimeResult = match (lines.next(), lines.next()) {
        (Some(line), None) => serde_json::from_str(line)
            .with_context(|| format!("`{} time` answered `{}`", executable.display(), tail(line)))?,
        _ => bail!("`{} time` did not answer with one line", executable.display()),
    };
    let sane = result.times_ms.iter().all(|time| time.is_finite() && *time > 0.0)
        && result.load_ms.is_finite()
        && result.first_result_ms.is_finite();
    if request.batches != [result.batch] || result.times_ms.len() != request.calls || !sane {
        bail!("`{} time` answered with other measurements than asked for", executable.display());
    }
    Ok(result)
}

/// Writes the request, and reads both outputs to their ends at once so that neither blocks the process.
fn converse(mut child: Child, request: &[u8]) -> Result<(ExitStatus, String, String)> {
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        bail!("a started process has no pipes");
    };
    let errors = thread::spawn(move || {
        let mut bytes = Vec::new();
        let outcome = stderr.read_to_end(&mut bytes);
        outcome.map(|_| String::from_utf8_lossy(&bytes).into_owned())
    });
    // A process that died early closes its end; its exit status says more than the broken pipe.
    let _ = stdin.write_all(request).and_then(|()| stdin.write_all(b"\n"));
    let mut output = String::new();
    let read = stdout.read_to_string(&mut output);
    let status = child.wait()?;
    drop(stdin);
    read.context("standard output of the timing process")?;
    let errors = errors.join().map_err(|_| anyhow!("the reader of standard error failed"))??;
    Ok((status, output, errors))
}

/// Has the process of a command killed when this one ends, however it ends.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_this_process(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

    let parent = getpid();
    // SAFETY: between fork and exec only two system calls are made, and nothing allocates.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above.
            if getppid() == Some(parent) { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
        });
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_this_process(_command: &mut Command) {}

fn outcome(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("signal {signal}");
    }
    status.code().map_or_else(|| "an unknown status".into(), |code| format!("exit code {code}"))
}

fn quoted(end: &str) -> String {
    if end.is_empty() { String::new() } else { format!(": {end}") }
}

fn tail(text: &str) -> String {
    let text = text.trim_end();
    let skipped = text.chars().count().saturating_sub(QUOTED);
    text.chars().skip(skipped).collect()
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// A script must not be open for writing in a process that another test forks just then: starting it would
    /// fail with "text file busy".
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn request() -> TimeRequest {
        TimeRequest {
            model: "m.onnx".into(),
            data: std::collections::BTreeMap::new(),
            arrays: None,
            size: None,
            batches: vec![1],
            threads: 1,
            warmup_calls: 0,
            calls: 2,
            seed: 0,
        }
    }

    fn script(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("pipe-fake");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn outcome_of(text: &str) -> Result<TimeResult> {
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        time(&script(folder.path(), text), &request())
    }

    #[test]
    fn an_answer_is_read() {
        let answer = r#"read line; echo '{"batch":1,"warmup_calls":9,"times_ms":[1.5,2.5],"load_ms":3.0,"first_result_ms":4.5}'"#;
        let result = outcome_of(answer).unwrap();
        assert_eq!(result.times_ms, [1.5, 2.5]);
        assert_eq!((result.warmup_calls, result.first_result_ms), (9, 4.5));
        assert_eq!((result.peak_memory_kb, result.switches), (None, None));
    }

    #[test]
    fn a_failure_quotes_the_end_of_standard_error() {
        let message =
            format!("{:#}", outcome_of("echo first >&2; echo no such layer >&2; exit 3").unwrap_err());
        assert!(message.contains("exit code 3") && message.ends_with("no such layer"), "{message}");
    }

    #[test]
    fn a_kill_is_told_by_its_signal() {
        let message = format!("{:#}", outcome_of("kill -9 $$").unwrap_err());
        assert!(message.contains("signal 9"), "{message}");
    }

    #[test]
    fn rubbish_and_other_measurements_are_refused() {
        let message = format!("{:#}", outcome_of("read line; echo rubbish").unwrap_err());
        assert!(message.contains("answered `rubbish`"), "{message}");
        let other = r#"read line; echo '{"batch":8,"warmup_calls":9,"times_ms":[1.5,2.5],"load_ms":3.0,"first_result_ms":4.5}'"#;
        assert!(outcome_of(other).unwrap_err().to_string().contains("other measurements"));
        assert!(outcome_of("read line").unwrap_err().to_string().contains("one line"));
    }

    #[test]
    fn a_missing_executable_is_named() {
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let message = format!("{:#}", time(Path::new("/no/such/pipe-x"), &request()).unwrap_err());
        assert!(message.contains("/no/such/pipe-x"), "{message}");
    }
}
