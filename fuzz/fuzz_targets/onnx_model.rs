//! See `quant::fuzzing::onnx_model`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quant::fuzzing::onnx_model(bytes));
