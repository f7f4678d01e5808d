//! What all pages of this server have in common, and those that only say something. Text is escaped by `maud`.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use report::{head, prose};
use text::printable::clean;

use super::response::{SCRIPT, own_style};

/// A page.
pub(super) struct Page<'a> {
    /// What it is about.
    pub(super) title: &'a str,
    /// Beside the way back to the list of runs.
    pub(super) eyebrow: &'a str,
    /// Whether it is the list of runs itself.
    pub(super) is_home: bool,
    /// Where what happens on it is told; nothing happens where there is none.
    pub(super) events: Option<String>,
}

impl Page<'_> {
    /// As HTML.
    pub(super) fn html(&self, main: &Markup) -> String {
        let title = format!("{} · pipe", self.title);
        let document = html! {
            (DOCTYPE)
            html lang="en" {
                (head(&title, &own_style(), &html! { link rel="icon" href="data:,"; }))
                body data-events=[self.events.as_deref()] {
                    header.top {
                        p.eyebrow {
                            @if !self.is_home { a href="/" { "All runs" } span.sep { "·" } }
                            (self.eyebrow)
                            @if self.events.is_some() { span.sep { "·" } span #connection { "reload to see what is new" } }
                        }
                        h1 { (self.title) }
                    }
                    main { (main) }
                    @if self.events.is_some() { script { (PreEscaped(SCRIPT)) } }
                }
            }
        };
        document.into_string()
    }
}

/// A page that says why there is no other.
pub(super) fn notice(title: &str, message: &str, hint: Option<&str>) -> String {
    // Names out of addresses are in it.
    let (message, hint) = (clean(message), hint.map(clean));
    let main = html! {
        div.failure {
            pre.plain { (prose(&message)) }
            @if let Some(hint) = &hint { p { (prose(hint)) } }
        }
    };
    Page { title, eyebrow: "pipe ui", is_home: false, events: None }.html(&main)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_text() {
        let hostile = "<script>alert(1)</script>\"><img src=x onerror=alert(1)>";
        let page = Page { title: hostile, eyebrow: hostile, is_home: false, events: Some(hostile.into()) }
            .html(&html! { (hostile) });
        assert!(page.contains("&lt;script&gt;") && !page.contains("<img"), "{page}");
        assert_eq!(page.matches("<script>").count(), 1, "the page's own");
        assert!(!notice(hostile, hostile, Some(hostile)).contains("<script>"));
        assert!(!notice("", "a\u{1b}[2Jb\u{7}", Some("\u{9b}")).contains(['\u{1b}', '\u{7}', '\u{9b}']));
    }
}
