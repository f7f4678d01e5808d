//! `docs/reliability.md`: one section a part, whose table lies between two comments and is written by nobody else.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Outcome;

pub(super) const FILE: &str = "docs/reliability.md";

/// Writes the figures of a part into its section.
pub(super) fn put(file: &Path, outcome: &Outcome) -> Result<()> {
    let page = fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let page = with_section(&page, &outcome.part, &section(outcome))
        .with_context(|| format!("`{}` has no section for `{}`", file.display(), outcome.part))?;
    fs::write(file, page).with_context(|| format!("cannot write `{}`", file.display()))
}

/// The page with another text between the comments of a part.
fn with_section(page: &str, part: &str, text: &str) -> Option<String> {
    let (begin, end) = marks(part);
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{text}{end}{after}"))
}

fn marks(part: &str) -> (String, String) {
    (format!("<!-- {part} -->\n"), format!("<!-- /{part} -->\n"))
}

fn section(outcome: &Outcome) -> String {
    let mut text = "| | |\n|---|--:|\n".to_owned();
    for (what, value) in &outcome.figures {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {what} | {value} |");
    }
    let Outcome { part, date, seconds, machine, commit, .. } = outcome;
    let date = date.rsplit_once(':').map_or(date.as_str(), |(minutes, _)| minutes);
    let _ = writeln!(
        text,
        "\n<sub>{machine} · pipe {commit} · {date} UTC, {seconds} s · `cargo xtask soak {part}`</sub>"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::super::part::PARTS;
    use super::*;

    fn page() -> String {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FILE)).unwrap()
    }

    #[test]
    fn a_section_is_replaced_and_the_rest_stays() {
        let page = "a\n<!-- kills -->\nold\n<!-- /kills -->\nb\n";
        let outcome = Outcome {
            part: "kills".into(),
            figures: vec![("kills".into(), "1,000".into())],
            date: "2026-11-30 08:53:54".into(),
            seconds: 90,
            machine: "A CPU, 2 cores".into(),
            commit: "abcdef0".into(),
        };
        let new = with_section(page, "kills", &section(&outcome)).unwrap();
        assert_eq!(
            new,
            "a\n<!-- kills -->\n| | |\n|---|--:|\n| kills | 1,000 |\n\n<sub>A CPU, 2 cores · pipe abcdef0 · 2026-11-30 08:53 \
             UTC, 90 s · `cargo xtask soak kills`</sub>\n<!-- /kills -->\nb\n"
        );
        assert_eq!(with_section(page, "damage", ""), None);
    }

    #[test]
    fn the_page_has_a_section_for_each_part_and_no_other() {
        let page = page();
        let begins: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("<!-- ")?.strip_suffix(" -->")).collect();
        let parts = PARTS.iter().flat_map(|part| [part.name.to_owned(), format!("/{}", part.name)]);
        assert_eq!(begins, parts.collect::<Vec<_>>());
    }

    #[test]
    fn every_section_holds_what_a_run_wrote_or_says_that_there_was_none() {
        let page = page();
        for part in &PARTS {
            let (begin, end) = marks(part.name);
            let section = page.split_once(&begin).unwrap().1.split_once(&end).unwrap().0;
            if section == "Not run yet.\n" {
                continue;
            }
            assert!(section.starts_with("| | |\n|---|--:|\n| "), "{}: {section}", part.name);
            let command = format!("s · `cargo xtask soak {}`</sub>\n", part.name);
            assert!(section.ends_with(&command) && section.contains(" UTC, "), "{}: {section}", part.name);
            assert!(!section.contains("/home/") && !section.contains("/root/"), "{}: {section}", part.name);
        }
    }
}
