//! Ctrl-C, Ctrl-Z and their kin: signals become messages.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::{emulate_default_handler, register};
use text::clock;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// To end.
    Stop,
    /// To sleep until somebody wakes this process: Ctrl-Z.
    Suspend,
}

/// Whether an engine runs, whose business signals then are.
static RUNNING: AtomicBool = AtomicBool::new(false);

/// While this lives, signals that ask to stop or to sleep call a function instead of doing it.
struct Listener {
    handle: Handle,
}

/// While this lives, an engine is told of signals.
pub(super) struct Watch {
    _listener: Listener,
}

/// While this lives, somebody is told of signals that no engine is told of.
pub struct BetweenRuns {
    _listener: Listener,
}

impl Listener {
    /// Calls `told` for every such signal. One that this process was started to ignore, as `nohup` does with
    /// `SIGHUP`, stays ignored.
    ///
    /// # Errors
    /// When handlers cannot be installed.
    fn start(mut told: impl FnMut(Request) + Send + 'static) -> io::Result<Self> {
        let ignored = ignored();
        let wanted = [SIGINT, SIGTERM, SIGHUP, SIGTSTP];
        let mut signals = Signals::new(wanted.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0))?;
        let handle = signals.handle();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                told(if signal == SIGTSTP { Request::Suspend } else { Request::Stop });
            }
        });
        Ok(Self { handle })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.handle.close();
    }
}

impl Watch {
    /// Calls `told` for every signal, as an engine's.
    ///
    /// # Errors
    /// When handlers cannot be installed.
    pub(super) fn start(told: impl FnMut(Request) + Send + 'static) -> io::Result<Self> {
        let listener = Listener::start(told)?;
        RUNNING.store(true, Ordering::Relaxed);
        Ok(Self { _listener: listener })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        RUNNING.store(false, Ordering::Relaxed);
    }
}

impl BetweenRuns {
    /// Calls `stop` when this process is asked to end while no engine runs. Asked to sleep, it sleeps.
    ///
    /// # Errors
    /// When handlers cannot be installed.
    pub fn start(mut stop: impl FnMut() + Send + 'static) -> io::Result<Self> {
        let listener = Listener::start(move |request| match request {
            _ if RUNNING.load(Ordering::Relaxed) => {}
            Request::Suspend => sleep(),
            Request::Stop => stop(),
        })?;
        Ok(Self { _listener: listener })
    }
}

/// Sees to it that two signals mean what this process relies on, whatever its parent had set. With `SIGCHLD` ignored the kernel
/// tells nobody how a child ended. `SIGXFSZ`, which comes where a file would get larger than allowed, kills by default: here it
/// does nothing, so that the write fails and is told. Children have both as they are by default again: what a handler is set for
/// is not handed down. To be called once, before anything is started.
pub fn take_over_signals() {
    // SAFETY: no thread and no handler of this process is there yet; the default action is no function of this process.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
    // SAFETY: the handler does nothing at all.
    // Without it such a write kills this process, as it would any other.
    let _ = unsafe { register(libc::SIGXFSZ, || ()) };
}

/// Puts this process to sleep, as Ctrl-Z does; returns when it is woken.
pub(super) fn sleep() {
    clock::while_asleep(|| {
        // It cannot fail for a signal that has a default action.
        let _ = emulate_default_handler(SIGTSTP);
    });
}

/// The signals that this process ignores, as a bit mask: none where the system does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
