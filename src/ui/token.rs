//! Secrets that requests must hold to be answered. Knows nothing of requests.

use std::fs::File;
use std::io::{self, Read};

/// Where the system gives random bytes.
const SOURCE: &str = "/dev/urandom";

/// 128 random bits. Never printed but by [`Token::text`].
pub(super) struct Token(String);

impl Token {
    /// A new one from the system.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(super) fn new() -> io::Result<Self> {
        let mut bytes = [0; 16];
        File::open(SOURCE)?.read_exact(&mut bytes)?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// In hex.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Whether `given` is it, in a time that tells nothing of how much of it is right: digests are compared, and these
    /// in constant time.
    pub(super) fn is(&self, given: &str) -> bool {
        blake3::hash(self.0.as_bytes()) == blake3::hash(given.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_another_and_only_the_whole_one_is_right() {
        let (one, other) = (Token::new().unwrap(), Token::new().unwrap());
        assert_eq!(one.text().len(), 32);
        assert!(one.is(one.text()));
        assert!(!one.is(other.text()) && !one.is("") && !one.is(&one.text()[..31]));
        assert!(!one.is(&format!("{}0", one.text())));
    }
}
