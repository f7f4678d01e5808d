//! Settings of this process that decide how fast libtorch is, made before it does anything.

use std::env;
use std::ffi::OsStr;

/// OpenMP's variables that say how long a thread that waits for others keeps its core busy.
const WAITING: [&str; 2] = ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"];
/// Rounds that a thread waits before it sleeps, some ten microseconds. libgomp's own 300,000 take longer than a time
/// slice: with anything else running, threads then burn the very core that the one they wait for wants, and
/// training was seen to slow down ten times.
const ROUNDS: &str = "1000";

/// Makes the C allocator keep what it got from the system. By default glibc maps every block above 32 MB anew and
/// clears it; activations are that large, and half of a training step is page faults.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn keep_memory() {
    // SAFETY: `mallopt` only stores a setting; no other thread runs yet. Both values are documented in mallopt(3):
    // no use of mmap, no trimming.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn keep_memory() {}

/// Makes waiting threads give up their core soon, unless the environment says otherwise. libgomp reads its variables
/// when it is loaded, before `main`, so the process replaces itself once; where that fails, it goes on as it is.
#[cfg(unix)]
pub(crate) fn wait_politely() {
    use std::os::unix::process::CommandExt;

    if WAITING.iter().any(|name| env::var_os(name).is_some()) {
        return;
    }
    let Ok(executable) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let name = arguments.next();
    let mut command = std::process::Command::new(executable);
    command.arg0(name.as_deref().unwrap_or(OsStr::new("pipe-torch"))).args(arguments).env(WAITING[0], ROUNDS);
    let failure = command.exec();
    protocol::say(&format!("cannot set {}: {failure}", WAITING[0]));
}

#[cfg(not(unix))]
pub(crate) fn wait_politely() {}
