//! Sessions with the real `pipe`, as on a terminal, over a plugin that speaks the real protocol.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod architecture;
mod bad_plugins;
mod bench;
mod browser;
mod cache;
mod checks;
mod clean;
mod commands;
mod company;
mod crash;
mod damage;
mod docs;
mod earlier;
mod gates;
mod gc;
mod help;
mod hostile;
mod inputs;
mod interrupt;
mod json;
mod leftovers;
mod limits;
mod logs;
mod matrix;
mod memory;
mod model;
mod pages;
mod past;
mod project;
mod provisional;
mod quantize;
mod real;
mod report;
mod run;
mod secrets;
mod shell;
mod soak;
mod stale;
mod streams;
mod trace;
mod trouble;
mod ui;
mod verify;
mod watch;
