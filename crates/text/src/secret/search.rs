//! Values of secrets, looked for in what a stage leaves: in the same forms in which they are hidden where it prints them. Knows
//! bytes and readers; knows no files, and never says what it found.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;

use aho_corasick::AhoCorasick;

use super::MASK;
use super::forms::{Parts, add_forms};
use super::masks::{Masks, TooLarge, automaton};

/// Bytes that are looked through at a time.
const PIECE: usize = 256 << 10;

/// Looks for the values of some secrets.
#[derive(Debug)]
pub struct Search {
    forms: AhoCorasick,
    /// Whose form it is, by number of the form.
    names: Vec<String>,
    /// Bytes of the longest form.
    longest: usize,
}

/// Where a value begins, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// The name of the secret.
    pub name: String,
    /// How many bytes are before it.
    pub at: u64,
}

impl Search {
    /// For secrets by name. None where there is nothing to look for: values that are too short to be hidden are found in
    /// anything.
    ///
    /// # Errors
    /// When the values are too many or too long to be looked for.
    pub fn new(secrets: impl IntoIterator<Item = (String, OsString)>) -> Result<Option<Self>, TooLarge> {
        let (mut all, mut names) = (Vec::new(), Vec::new());
        for (name, value) in secrets {
            let text = value.to_string_lossy().into_owned();
            let mut forms = BTreeSet::new();
            add_forms(&text, Parts::Large, &mut forms);
            // Such as the password of a database's address.
            protocol::masking::secrets(&text)
                .iter()
                .for_each(|part| add_forms(part, Parts::Large, &mut forms));
            let mut forms: BTreeSet<Vec<u8>> = forms.into_iter().map(String::into_bytes).collect();
            // As it is, where it is no text.
            forms.extend((!Masks::is_too_short(&text)).then(|| value.into_vec().trim_ascii().to_vec()));
            forms.remove(MASK.as_bytes());
            names.extend(std::iter::repeat_n(name, forms.len()));
            all.extend(forms);
        }
        let Some(longest) = all.iter().map(Vec::len).max() else { return Ok(None) };
        Ok(Some(Self { forms: automaton(&all)?, names, longest }))
    }

    /// The first value in what a reader gives.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn in_reader(&self, mut reader: impl Read) -> io::Result<Option<Leak>> {
        let mut bytes = vec![0; self.longest + PIECE];
        // So much of the beginning has been looked through, as far as it is no beginning of a form.
        let (mut kept, mut before) = (0, 0);
        loop {
            let space = bytes.get_mut(kept..).unwrap_or_default();
            let read = match reader.read(space) {
                Ok(0) => return Ok(None),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = kept + read;
            let there = bytes.get(..end).unwrap_or_default();
            if let Some(Leak { name, at }) = self.in_bytes(there)? {
                return Ok(Some(Leak { name, at: before + at }));
            }
            // A form may have begun in the last bytes.
            kept = end.min(self.longest - 1);
            bytes.copy_within(end - kept..end, 0);
            before += (end - kept) as u64;
        }
    }

    /// The first value in bytes.
    ///
    /// # Errors
    /// When it is not known whose it is, which is no reason to pass it over.
    pub fn in_bytes(&self, bytes: &[u8]) -> io::Result<Option<Leak>> {
        let Some(found) = self.forms.find(bytes) else { return Ok(None) };
        let name = self.names.get(found.pattern().as_usize());
        let name =
            name.ok_or_else(|| io::Error::other("it holds the value of a secret whose name is lost"))?;
        Ok(Some(Leak { name: name.clone(), at: found.start() as u64 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn search(secrets: &[(&str, &str)]) -> Option<Search> {
        Search::new(secrets.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(*value)))).unwrap()
    }

    fn leak(name: &str, at: u64) -> Option<Leak> {
        Some(Leak { name: name.into(), at })
    }

    /// Gives a text in pieces of the lengths given, the last one again and again.
    struct Pieces<'a>(&'a [u8], Vec<usize>);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = if self.1.len() > 1 { self.1.remove(0) } else { self.1[0] };
            let length = most.min(self.0.len()).min(buffer.len());
            let (piece, rest) = self.0.split_at(length);
            buffer[..length].copy_from_slice(piece);
            self.0 = rest;
            Ok(length)
        }
    }

    #[test]
    fn a_value_is_found_in_every_form_in_which_it_would_be_hidden() {
        let search = search(&[("OTHER", "nothing-of-it"), ("TOKEN", "s3cr/t \"é'")]).unwrap();
        for (text, at) in [
            (&b"s3cr/t \"\xc3\xa9'"[..], 0),
            (b"{\"t\": \"s3cr/t \\\"\\u00e9'\"}", 7),
            (b"?t=s3cr%2Ft%20%22%C3%A9%27", 3),
        ] {
            assert_eq!(search.in_bytes(text).unwrap(), leak("TOKEN", at));
        }
        // `user:` before it, as in the header of a login.
        assert_eq!(search.in_bytes(b"Basic dXNlcjpzM2NyL3QgIsOpJw==").unwrap().unwrap().name, "TOKEN");
        assert_eq!(search.in_bytes(b"s3cr/t").unwrap(), None);
        assert_eq!(search.in_bytes(b"").unwrap(), None);
        let search =
            super::Search::new([("DB".to_owned(), "pg://me:hunter2pass@h/db".into())]).unwrap().unwrap();
        assert_eq!(search.in_bytes(b"password = hunter2pass").unwrap(), leak("DB", 11));
        assert_eq!(search.in_bytes(b"user = me, host = h").unwrap(), None);
    }

    #[test]
    fn what_is_too_short_is_not_looked_for_and_what_is_no_text_is() {
        assert!(search(&[("A", "abc"), ("B", " \n"), ("C", "")]).is_none());
        assert!(search(&[]).is_none());
        let raw = OsString::from_vec(b"\xff\xfekey\xff\n".to_vec());
        let search = Search::new([("RAW".to_owned(), raw)]).unwrap().unwrap();
        assert_eq!(search.in_bytes(b"12\xff\xfekey\xff").unwrap(), leak("RAW", 2));
    }

    #[test]
    fn a_value_that_lies_across_two_pieces_is_found() {
        let search = search(&[("TOKEN", "hunter2pass")]).unwrap();
        for start in PIECE - 12..PIECE + 24 {
            let mut bytes = vec![b'x'; start];
            bytes.extend_from_slice(b"hunter2pass");
            bytes.resize(start + 2 * PIECE, b'y');
            assert_eq!(search.in_bytes(&bytes).unwrap(), leak("TOKEN", start as u64), "{start}");
        }
    }

    proptest! {
        #[test]
        fn however_it_is_read_it_is_found_where_it_is(
            before in "[a-z]{0,40}",
            after in "[a-z]{0,40}",
            pieces in proptest::collection::vec(1usize..9, 1..20),
        ) {
            let search = search(&[("T", "T0KEN-of-some-length")]).unwrap();
            let text = format!("{before}T0KEN-of-some-length{after}");
            let found = search.in_reader(Pieces(text.as_bytes(), pieces.clone())).unwrap();
            prop_assert_eq!(found, leak("T", before.len() as u64));
            let none = format!("{before}T0KEN-of-some-lengt_{after}");
            prop_assert_eq!(search.in_reader(Pieces(none.as_bytes(), pieces)).unwrap(), None);
        }
    }
}
