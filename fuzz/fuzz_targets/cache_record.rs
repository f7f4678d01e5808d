//! See `pipe::fuzzing::cache_record`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pipe::fuzzing::cache_record(bytes));
