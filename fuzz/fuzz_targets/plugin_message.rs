//! See `pipe::fuzzing::plugin_message`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pipe::fuzzing::plugin_message(bytes));
