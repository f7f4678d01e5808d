//! Ctrl-C and its kin: signals become messages.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// While this lives, signals that ask to stop call a function instead of ending the process.
pub(super) struct Watch {
    handle: Handle,
}

impl Watch {
    /// Calls `stop` for every such signal.
    ///
    /// # Errors
    /// When handlers cannot be installed.
    pub(super) fn start(mut stop: impl FnMut() + Send + 'static) -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let handle = signals.handle();
        std::thread::spawn(move || {
            for _ in signals.forever() {
                stop();
            }
        });
        Ok(Self { handle })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.handle.close();
    }
}
