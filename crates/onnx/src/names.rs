//! Names that are not taken yet.

use std::collections::BTreeSet;

/// A set of names in use, and a source of others.
#[derive(Debug, Clone, Default)]
pub struct Names {
    used: BTreeSet<String>,
    next_short: usize,
}

impl Names {
    /// With these names in use.
    pub fn new(used: impl IntoIterator<Item = String>) -> Self {
        Self { used: used.into_iter().collect(), next_short: 0 }
    }

    /// `wanted`, or `wanted` with the first number that makes it unused; in use from now on.
    pub fn fresh(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut number = 1_usize;
        while !self.used.insert(name.clone()) {
            number += 1;
            name = format!("{wanted}_{number}");
        }
        name
    }

    /// The next unused of `a`, `b`, … `Z`, `aa`, …: the shortest there are; in use from now on.
    pub fn short(&mut self) -> String {
        loop {
            let name = letters(self.next_short);
            self.next_short += 1;
            if self.used.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// The `number`-th word over 52 letters in order of length: bijective base 52.
fn letters(mut number: usize) -> String {
    const ALPHABET: [char; 52] = [
        'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't',
        'u', 'v', 'w', 'x', 'y', 'z', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N',
        'O', 'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z',
    ];
    let mut reversed = Vec::new();
    loop {
        reversed.push(ALPHABET[number % ALPHABET.len()]);
        match (number / ALPHABET.len()).checked_sub(1) {
            Some(rest) => number = rest,
            None => return reversed.iter().rev().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_names_are_new() {
        let mut names = Names::new(["x".to_owned(), "x_2".to_owned()]);
        assert_eq!(names.fresh("x"), "x_3");
        assert_eq!(names.fresh("x"), "x_4");
        assert_eq!(names.fresh("y"), "y");
    }

    #[test]
    fn short_names_are_distinct_and_skip_those_in_use() {
        let mut names = Names::new(["b".to_owned(), "aa".to_owned()]);
        let made: Vec<_> = (0..3000).map(|_| names.short()).collect();
        assert_eq!(&made[..2], ["a", "c"]);
        assert_eq!(made[51], "ab");
        let distinct: BTreeSet<_> = made.iter().collect();
        assert_eq!(distinct.len(), made.len());
        assert!(made.iter().all(|name| name.len() <= 3));
    }
}
