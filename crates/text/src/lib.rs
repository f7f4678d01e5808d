//! Text on its way to people and into records: made harmless for a terminal, without what is secret, and numbers, sizes and
//! times as they are read. Knows no pipeline, and not where a text is going.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod clock;
pub mod format;
pub mod printable;
pub mod secret;
