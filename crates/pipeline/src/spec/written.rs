//! Where what a stage asks for is written, for problems that show only after the pipeline was read.

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

impl Written {
    pub(super) fn place(&self, place: &protocol::Place, message: &str) -> Problem {
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
