//! Plugin onnx: exports, calibrates, quantizes, evaluates and times with ONNX Runtime.
//!
//! `runtime` is the only module that holds sessions of ONNX Runtime, `ops` has one module for each op. Nothing
//! here knows stages, keys or caches.
//!
//! Terms are those of `docs/glossary.md`.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod contrast;
mod executed;
mod heads;
mod images;
mod labels;
mod library;
mod metadata;
mod network;
mod noise;
mod ops;
mod plugin;
mod request;
mod runtime;
mod samples;
mod sizes;
mod statistics;
mod time;
mod trials;
mod turns;

use std::process::ExitCode;

fn main() -> ExitCode {
    // ONNX Runtime's own builds send what models and machines they run on to Microsoft, and keep a database for it in the
    // user's cache, unless this is set before they are loaded (microsoft/onnxruntime, pull request 27379).
    // SAFETY: no other thread is there yet that could read the environment.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
    let mut args = std::env::args_os().skip(1);
    match (args.next(), args.next()) {
        (Some(word), None) if word == "time" => time::main(),
        _ => protocol::main(&plugin::Onnx::new()),
    }
}
