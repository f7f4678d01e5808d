//! Where what a stage asks for is written, for problems that show only after the pipeline was read.

use std::collections::BTreeMap;

use super::diagnostic::Diagnostics;
use super::pipeline::{Pipeline, Stage};
use super::tree::{Data, Node, Problem, Sources, Span};

/// Where a stage and what it asks for are written.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Its name.
    pub(super) name: Span,
    /// Its inputs.
    pub(super) inputs: Option<Node>,
    /// Its params; kept where something may be found wrong with them later.
    pub(super) with: Option<Node>,
}

/// The texts that a pipeline was read from.
#[derive(Debug, Clone, Default)]
pub struct Texts(pub(super) Sources);

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
            1 => problem.help("so it is with 1 other variant"),
            _ => problem.help(format!("so it is with {others} other variants")),
        });
        self.texts.0.diagnose(told.collect())
    }
}

impl Written {
    fn place(&self, place: &protocol::Place, message: &str) -> Problem {
        let node = match place {
            protocol::Place::Stage => None,
            protocol::Place::Param(pointer) => self.with.as_ref().map(|with| deepest(with, pointer)),
            protocol::Place::Input(name) => self.inputs.as_ref().and_then(|inputs| inputs.get(name)),
        };
        match node {
            Some(node) => Problem::at(node, message),
            None => Problem::new(self.name, message),
        }
    }
}

/// The value that a JSON Pointer leads to, or as far towards it as there is one: a default is not written.
fn deepest<'n>(node: &'n Node, pointer: &str) -> &'n Node {
    let mut at = node;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let next = match &at.data {
            Data::List(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => at.get(&part),
        };
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}
