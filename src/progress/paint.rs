//! Colours of the terminal, or none. Knows no text.

use console::Style;
use pipeline::gate::Judgement;

/// Puts text in colour, or leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    color: bool,
}

impl Paint {
    /// With colours or without.
    #[must_use]
    pub fn new(color: bool) -> Self {
        Self { color }
    }

    fn apply(self, style: Style, text: &str) -> String {
        if text.is_empty() {
            String::new()
        } else {
            style.force_styling(self.color).apply_to(text).to_string()
        }
    }

    /// Good news.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.apply(Style::new().green(), text)
    }

    /// Bad news.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.apply(Style::new().red().bold(), text)
    }

    /// Worth a look.
    #[must_use]
    pub fn warn(self, text: &str) -> String {
        self.apply(Style::new().yellow(), text)
    }

    /// Of a gate: good or bad news, or worth a look.
    #[must_use]
    pub fn judgement(self, judgement: Judgement, text: &str) -> String {
        match judgement {
            Judgement::Holds => self.good(text),
            Judgement::Fails | Judgement::Missed => self.bad(text),
            Judgement::Unknown | Judgement::Inconclusive => self.warn(text),
        }
    }

    /// Alive or changed.
    #[must_use]
    pub fn live(self, text: &str) -> String {
        self.apply(Style::new().cyan(), text)
    }

    /// Names and headings.
    #[must_use]
    pub fn strong(self, text: &str) -> String {
        self.apply(Style::new().bold(), text)
    }

    /// Of lesser weight.
    #[must_use]
    pub fn faint(self, text: &str) -> String {
        self.apply(Style::new().dim(), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_or_none() {
        assert_eq!(Paint::new(false).bad("x"), "x");
        assert_eq!(Paint::new(true).good("x"), "\u{1b}[32mx\u{1b}[0m");
        assert_eq!(Paint::new(true).good(""), "");
    }
}
