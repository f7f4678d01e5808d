//! What gzip files hold: one after the other, as `gzip -d` reads them, with zeros behind the last passed over.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// The content of gzip files that follow each other.
pub(crate) struct Gunzip<R> {
    /// Absent at the end.
    file: Option<GzDecoder<R>>,
}

impl<R: BufRead> Gunzip<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { file: Some(GzDecoder::new(stream)) }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(file) = &mut self.file {
            let count = file.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            self.file = match self.file.take().map(GzDecoder::into_inner) {
                Some(mut stream) => skip_zeros(&mut stream)?.then(|| GzDecoder::new(stream)),
                None => None,
            };
        }
        Ok(0)
    }
}

/// Whether anything but zeros follows, at which the stream stands then.
fn skip_zeros(stream: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = stream.fill_buf()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let (zeros, length) = (bytes.iter().take_while(|&&byte| byte == 0).count(), bytes.len());
        stream.consume(zeros);
        if zeros < length {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::gz;

    fn content(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        // A buffer that ends anywhere.
        Gunzip::new(io::BufReader::with_capacity(7, bytes)).read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn files_follow_each_other_and_zeros_the_last() {
        let (one, two) = (gz(b"one"), gz(b"two"));
        assert_eq!(content(&one).unwrap(), b"one");
        assert_eq!(content(&[&*one, &*two].concat()).unwrap(), b"onetwo");
        assert_eq!(content(&[&*one, &[0; 1000]].concat()).unwrap(), b"one");
        assert_eq!(content(&[&*one, &[0; 9], &*two, &[0]].concat()).unwrap(), b"onetwo");
    }

    #[test]
    fn what_is_neither_is_an_error_and_so_is_an_early_end() {
        let one = gz(b"one");
        assert!(content(&[&*one, b"\0\0more than zeros"].concat()).is_err());
        for length in 0..one.len() {
            let error = content(&one[..length]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length}: {error}");
        }
    }
}
