//! Where a source lies: on a server or on this machine. Reads the text of the param `source` and nothing else.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use protocol::Failure;
use protocol::masking::hidden_value;

use crate::url::Url;

/// A parsed source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// An `http://` or `https://` URL without a fragment, and the checks that its fragment asked for.
    Remote { url: Url, fragment: Vec<(String, String)> },
    /// A file or folder on this machine.
    Local(PathBuf),
}

/// Reads a URL or a path.
///
/// # Errors
/// An unsupported scheme, or a `file://` URL of another machine.
pub(crate) fn parse(source: &str) -> Result<Location, Failure> {
    let Some((scheme, rest)) = source.split_once("://") else {
        return Ok(Location::Local(source.into()));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => {
            let (url, fragment) = source.split_once('#').unwrap_or((source, ""));
            let url =
                Url::parse(url).map_err(|reason| Failure::new(reason).hint("check the URL in `source`"))?;
            let pairs = fragment.split('&').filter(|pair| !pair.is_empty());
            let fragment = pairs
                .map(|pair| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| {
                    Failure::new(format!(
                        "the part of `{}` after `#` is not `name=value`",
                        hidden_value(source)
                    ))
                })?;
            Ok(Location::Remote { url, fragment })
        }
        "file" => {
            let path = rest.strip_prefix("localhost").unwrap_or(rest);
            if !path.starts_with('/') {
                return Err(Failure::new(format!(
                    "`{}` does not name a file on this machine",
                    hidden_value(source)
                ))
                .hint("a `file://` URL has an absolute path: `file:///home/me/set.tar.gz`"));
            }
            let path = percent_decode_str(path).decode_utf8();
            let path = path
                .map_err(|_| Failure::new(format!("`{}` is not UTF-8 when decoded", hidden_value(source))))?;
            Ok(Location::Local(path.as_ref().into()))
        }
        other => {
            Err(Failure::new(format!("`{}`: the scheme `{other}://` is not supported", hidden_value(source)))
                .hint("give an `https://`, `http://` or `file://` URL, or a path"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_file_urls_are_local() {
        assert_eq!(parse("../a b.zip").unwrap(), Location::Local("../a b.zip".into()));
        assert_eq!(parse("a#1.zip").unwrap(), Location::Local("a#1.zip".into()));
        assert_eq!(parse("file:///a%20b.zip").unwrap(), Location::Local("/a b.zip".into()));
        assert_eq!(parse("file://localhost/a").unwrap(), Location::Local("/a".into()));
    }

    #[test]
    fn a_url_is_remote_and_its_fragment_is_taken_off() {
        let expected = Location::Remote {
            url: Url::parse("HTTPS://h/a?b=1").unwrap(),
            fragment: vec![("md5".into(), "12".into()), ("size".into(), "7".into())],
        };
        assert_eq!(parse("HTTPS://h/a?b=1#md5=12&size=7").unwrap(), expected);
        assert_eq!(
            parse("http://h/").unwrap(),
            Location::Remote { url: Url::parse("http://h/").unwrap(), fragment: vec![] }
        );
    }

    #[test]
    fn anything_else_is_refused() {
        let message = |source| format!("{:?}", parse(source).unwrap_err());
        snapshots::assert_message!(message("ftp://h/a"));
        snapshots::assert_message!(message("s3://b/a"));
        snapshots::assert_message!(message("file://other/a"));
        snapshots::assert_message!(message("https://h/a#md5"));
        snapshots::assert_message!(message("https://h:99999/a"));
        for source in [
            "s3://key:secret@b/a",
            "https://u:secret@h/a?secret#md5",
            "file://u:secret@h/a",
            "https://u:secret@h:0/",
            "ftp://u:a secret@h/x",
            "https://u:a /secret@h/x",
            "ftp://h/x?a secret",
            "file:///x%ff?a secret",
        ] {
            assert!(!message(source).contains("secret"), "{source}");
        }
    }
}
