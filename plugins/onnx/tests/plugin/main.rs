//! The built executable on real models and images, over its real protocol.
//!
//! Needs ONNX Runtime in `native/onnxruntime` (or `ORT_DYLIB_PATH`) and the reference files beside the
//! repository; a test that misses something prints that it is skipped.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helps tests may fail loudly"
)]

mod arrays;
mod arrays_judged;
mod balance;
mod chain;
mod clipping;
mod data_files;
mod parity;
mod processors;
mod refusals;
mod support;
mod timing;
mod torch_export;
