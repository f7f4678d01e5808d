//! Plugins: finding them, asking what they can do and what is wrong with what is asked of them, and running their ops.

mod ask;
mod children;
mod executable;
mod group;
mod inherited;
mod left;
mod lines;
mod loader;
mod orphan_guard;
pub mod process;
mod registry;
mod stopper;

pub use ask::{Program, check};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use registry::{Known, parse};
pub use registry::{PluginError, Registry, RestsOn, environment};
