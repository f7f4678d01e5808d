//! What the tests share that `cargo xtask soak` makes longer: counts from the environment, draws that can be drawn again,
//! and figures that it collects.

use std::fmt::Display;
use std::time::SystemTime;

use proptest::test_runner::{RngAlgorithm, TestRng};

/// A count from the environment.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Another seed in each run, or the one in the environment. It is printed.
pub(crate) fn seed(variable: &str) -> u64 {
    let seed = std::env::var(variable).map_or_else(
        |_| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos().into(),
        |text| text.parse::<u64>().unwrap(),
    );
    println!("{variable}={seed}");
    seed
}

/// What is drawn with a seed.
pub(crate) fn drawn(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

/// Prints a figure for `docs/reliability.md`.
pub(crate) fn figure(what: &str, value: impl Display) {
    println!("figure | {what} | {value}");
}
