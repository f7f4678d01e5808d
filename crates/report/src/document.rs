//! What every page has in common: head, style sheet, script, and the policy that lets it load nothing.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::chart;

/// The one script, which shows tooltips.
pub(super) const SCRIPT: &str = include_str!("page.js");

/// The one style sheet.
#[must_use]
pub fn style() -> String {
    [chart::STYLE, include_str!("page.css"), include_str!("comparison.css")].concat()
}

/// The head of every page, with what it has besides.
#[must_use]
pub fn head(title: &str, style: &str, besides: &Markup) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            (besides)
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) }
            style { (PreEscaped(style)) }
        }
    }
}

/// Where a page says what made it is within so many bytes.
const MOST_HEAD: usize = 4 << 10;

/// A whole page around what its body holds.
pub(crate) fn document(title: &str, body: &Markup) -> Markup {
    let besides = html! {
        meta http-equiv="Content-Security-Policy" content=(policy());
        meta name="referrer" content="no-referrer";
        meta name="generator" content={ "pipe " (env!("CARGO_PKG_VERSION")) };
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title, &style(), &besides))
            body {
                (body)
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// Whether these bytes are a page that [`document`] made, in this version or an earlier one.
#[must_use]
pub fn is_document(bytes: &[u8]) -> bool {
    let generator: &[u8] = br#"<meta name="generator" content="pipe "#;
    let head = bytes.get(..MOST_HEAD.min(bytes.len())).unwrap_or_default();
    head.starts_with(b"<!DOCTYPE html>") && head.windows(generator.len()).any(|there| there == generator)
}

/// The policy of a page of the report.
#[must_use]
pub fn policy() -> String {
    format!("{}; form-action 'none'", policy_of(&style(), SCRIPT))
}

/// Nothing may be loaded; one style sheet and one script are named by their digests, pictures come inside the file.
#[must_use]
pub fn policy_of(style: &str, script: &str) -> String {
    let digest = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; base-uri 'none'",
        digest(style),
        digest(script)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_known_again_and_nothing_else_is_one() {
        let page = document("T", &html! { p { "x" } }).into_string();
        assert!(is_document(page.as_bytes()));
        for other in
            ["", "<!DOCTYPE html><html><head></head></html>", r#"<meta name="generator" content="pipe 1""#]
        {
            assert!(!is_document(other.as_bytes()), "{other}");
        }
    }
}
