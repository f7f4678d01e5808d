//! Run records and figures become self-contained HTML files, the report of a run and the comparison of two: no network, one
//! script of its own for tooltips, light and dark, phone and print; or a run in short, as Markdown and as data. Pure functions
//! to markup; knows no stage, metric or figure by name.
//!
//! Terms are those of `docs/glossary.md`.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod advice;
mod answers;
mod brief;
mod changes;
mod chart;
mod comparison;
mod document;
mod environment;
mod figures;
mod file;
pub mod front;
mod gates;
mod markdown;
mod mention;
mod page;
mod provenance;
pub mod results;
mod run;
#[cfg(any(test, feature = "testing"))]
pub mod sample;
mod shown;
mod split;
mod stage;
mod stages_graph;
mod table;
mod tradeoff;
mod unfinished;

use std::collections::{BTreeMap, BTreeSet};

pub use brief::Brief;
pub use document::{head, is_document, policy, policy_of, style};
pub use file::{brief, is_page, make_room, of_past, of_two, spec_of_two, write, write_whole};
pub use front::PastRun;
use history::Undefined;
pub use markdown::markdown;
use maud::{Markup, html as markup};
pub use mention::{class, note};
use pipeline::StageName;
use protocol::Figure;
use record::{ActionRecord, Definition, RunRecord};
pub use stages_graph::{StageState, stages_svg};

/// What a report is made from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What the pipeline said when it was run, or what else the records tell of that.
    pub definition: &'a Definition,
    /// Why no more is known of the pipeline, where that is so.
    pub undefined: Option<Undefined>,
    /// The run.
    pub run: &'a RunRecord,
    /// Records of the stages that are done, and the last ones of stages that were not part of the run.
    pub records: &'a BTreeMap<StageName, ActionRecord>,
    /// The run before, where there was one, with what is still known of its stages.
    pub previous: Option<(&'a RunRecord, &'a BTreeMap<StageName, ActionRecord>)>,
    /// All runs on record, this one too, with what the result table reads of them; empty where it names no trade-off.
    pub past: &'a [PastRun],
    /// Logs of failed stages.
    pub logs: &'a BTreeMap<StageName, String>,
    /// Figures so far of stages that are being executed, or whose execution did not end.
    pub unfinished: &'a BTreeMap<StageName, Vec<Figure>>,
    /// How many folders above the report's own the pipeline's is; absent where it is not above.
    pub depth: Option<usize>,
}

impl<'a> Input<'a> {
    /// The stages that were part of the run.
    fn parts(&self) -> BTreeSet<&'a StageName> {
        self.run.stages.iter().map(|run| &run.stage).collect()
    }

    /// Stages that were not part of the run and are known from an earlier one, in the pipeline's order.
    fn others(&self) -> Vec<(&'a StageName, &'a ActionRecord)> {
        let parts = self.parts();
        let stages = self.definition.stages.keys().filter(|stage| !parts.contains(stage));
        stages.filter_map(|stage| Some((stage, self.records.get(stage)?))).collect()
    }
}

/// Text in which `backticks` mark code, as in all messages of this program.
#[must_use]
pub fn prose(text: &str) -> Markup {
    // An odd number of backticks marks nothing.
    if text.matches('`').count() % 2 == 1 {
        return markup! { (text) };
    }
    markup! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 0 { (part) } @else { code { (part) } }
        }
    }
}

/// The report as an HTML document.
#[must_use]
pub fn html(input: &Input) -> String {
    page::page(input, &Markup::default()).into_string()
}

/// What stages have shown that are not finished, as a section for another page.
#[must_use]
pub fn unfinished(figures: &BTreeMap<StageName, Vec<Figure>>) -> Markup {
    unfinished::section(figures, None, &figures::Budget::default())
}

#[cfg(test)]
mod tests;
