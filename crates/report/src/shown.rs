//! Which stages a report shows. A page that lists thousands of them is read by nobody and takes a browser minutes.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use pipeline::StageName;
use record::{ActionRecord, Outcome, StageRun};

use super::Input;

/// More stages than this are not shown; what happened to the others is counted.
const MOST: usize = 150;

/// The stages that are shown.
pub(super) struct Shown<'a> {
    /// Those of the run, in the order of the file.
    pub(super) runs: Vec<&'a StageRun>,
    /// Those known from an earlier run, in the order of the file.
    pub(super) others: Vec<(&'a StageName, &'a ActionRecord)>,
    names: BTreeSet<&'a StageName>,
    /// How many are not shown.
    pub(super) left_out: usize,
}

impl<'a> Shown<'a> {
    /// All stages of a report, or those most worth a look: first those that failed, then those with metrics or
    /// figures, then those that took longest.
    pub(super) fn new(input: &Input<'a>) -> Self {
        let rank = |run: &StageRun| {
            let told = input
                .records
                .get(&run.stage)
                .is_some_and(|record| !record.metrics.is_empty() || !record.figures.is_empty());
            let kind = match run.outcome {
                Outcome::Failed { .. } => 0,
                _ if told => 1,
                Outcome::Interrupted => 2,
                Outcome::Ran => 3,
                Outcome::Restored => 4,
                Outcome::Fresh => 5,
                Outcome::Blocked { .. } => 6,
            };
            (kind, Reverse(run.duration_ms))
        };
        let all = input.run.stages.len();
        let mut runs: Vec<(usize, &StageRun)> = input.run.stages.iter().enumerate().collect();
        if all > MOST {
            runs.sort_by_key(|(_, run)| rank(run));
            runs.truncate(MOST);
            runs.sort_by_key(|(position, _)| *position);
        }
        let runs: Vec<&StageRun> = runs.into_iter().map(|(_, run)| run).collect();
        let mut others = input.others();
        let left_out = (all - runs.len()) + others.len().saturating_sub(MOST);
        others.truncate(MOST);
        let names = runs.iter().map(|run| &run.stage).chain(others.iter().map(|(name, _)| *name)).collect();
        Self { runs, others, names, left_out }
    }

    /// Whether a stage has a section to link to.
    pub(super) fn has(&self, stage: &StageName) -> bool {
        self.names.contains(stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{html, sample};

    #[test]
    fn of_thousands_those_that_matter_are_shown() {
        let mut sample = sample::train_fails();
        for number in 0..1_000 {
            let stage = sample::name(&format!("many{number}"));
            let run = StageRun { stage, outcome: Outcome::Fresh, ..sample.run.stages[0].clone() };
            sample.run.stages.insert(0, run);
        }
        let input = sample.input();
        let shown = Shown::new(&input);
        assert_eq!(shown.runs.len(), MOST);
        assert!(shown.has(&sample::name("train")) && !shown.has(&sample::name("many5000")));
        assert_eq!(shown.left_out, input.run.stages.len() - MOST);
        let html = html(&input);
        assert!(html.contains("train failed") || html.contains(">train</a> failed"), "the failure is told");
        assert_eq!(html.matches("<article class=\"stage\"").count(), MOST);
    }

    #[test]
    fn a_small_pipeline_is_shown_whole() {
        let sample = sample::tinynet();
        let input = sample.input();
        let shown = Shown::new(&input);
        assert_eq!((shown.runs.len(), shown.left_out), (input.run.stages.len(), 0));
    }
}
