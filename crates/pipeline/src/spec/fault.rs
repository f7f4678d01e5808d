//! What is wrong with stages of a pipeline that was read already, told where it is written. Finds nothing wrong itself.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::pipeline::{Pipeline, Stage};
use super::tree::{Problem, Span};

/// Something that is wrong with a stage of a pipeline that was read.
#[derive(Debug)]
pub struct Fault<'a> {
    /// The stage.
    pub stage: &'a Stage,
    /// What is wrong and what it is about.
    pub problem: protocol::Problem,
}

impl Pipeline {
    /// What is wrong with stages, each where it is written, in the order of the file. What is wrong with several variants of a
    /// stage alike is told of the first one, and how many others there are. At least one fault is expected.
    #[must_use]
    pub fn diagnose(&self, faults: Vec<Fault<'_>>) -> Diagnostics {
        let mut problems: Vec<(Problem, usize)> = Vec::new();
        let mut seen: BTreeMap<(&str, String, Option<Span>), usize> = BTreeMap::new();
        for Fault { stage, problem } in faults {
            let mut told = stage.written.place(&problem.place, &problem.message);
            told.help.extend(problem.hint);
            match seen.get(&(stage.family.as_str(), told.message.clone(), told.span)) {
                Some(&first) => {
                    if let Some((_, others)) = problems.get_mut(first) {
                        *others += 1;
                    }
                }
                None => {
                    seen.insert((stage.family.as_str(), told.message.clone(), told.span), problems.len());
                    told.message = format!("stage `{}`: {}", stage.name, told.message);
                    problems.push((told, 0));
                }
            }
        }
        let told = problems.into_iter().map(|(problem, others)| match others {
            0 => problem,
            1 => problem.help("the same applies to 1 other variant"),
            _ => problem.help(format!("the same applies to {others} other variants")),
        });
        self.texts.0.diagnose(told.collect())
    }
}

impl Pipeline {
    /// A problem of a stage where it is written, without the stage's name.
    #[must_use]
    pub fn locate(&self, stage: &Stage, problem: protocol::Problem) -> Diagnostic {
        let mut told = stage.written.place(&problem.place, &problem.message);
        told.help.extend(problem.hint);
        self.texts.0.diagnostic(told)
    }
}
