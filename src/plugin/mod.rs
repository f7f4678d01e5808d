//! Plugins: finding them, asking what they can do, and running their ops.

mod lines;
mod loader;
pub mod process;
mod registry;
mod warden;

pub use registry::{DESCRIBE_TIMEOUT_VARIABLE, PluginError, Registry, RestsOn, environment};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use registry::{Known, parse};
