//! See `pipe::fuzzing::pipeline`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pipe::fuzzing::pipeline(bytes));
