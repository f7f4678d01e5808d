//! The steps of each level, forward and backward, and where each leaves its output.

use std::collections::{BTreeMap, BTreeSet};

use super::nodes::{Nodes, Role};
use super::{Gradient, Kernel, Level, Place, Plan, Step};

impl Nodes<'_> {
    /// The whole plan.
    #[expect(clippy::expect_used, reason = "any other place would be another node's numbers")]
    pub(super) fn plan(self) -> Plan {
        let last = self.graph.nodes().len() - 1;
        let levels = self.levels.iter().max().map_or(0, |level| level + 1);
        // The loss writes that of the logits.
        let mut written: BTreeSet<usize> = self.stored[last].into_iter().collect();
        let mut planned: Vec<Level> = (0..levels).map(|level| self.forward(level)).collect();
        for level in (0..levels).rev() {
            Backward::new(&self, level, &mut planned[level], &mut written).plan();
        }
        let widenings = || self.norms.iter().filter_map(|norm| norm.widening);
        let mut stored = vec![0; self.stored.iter().flatten().count() + widenings().count()];
        for widening in widenings() {
            stored[widening.deferred] = widening.from.len();
        }
        for (shape, place) in self.shapes.iter().zip(&self.stored) {
            if let Some(place) = place {
                stored[*place] = shape.len();
            }
        }
        Plan {
            logits: self.stored[last].expect("logits are stored"),
            shapes: self.shapes,
            layers: self.layers,
            norms: self.norms,
            stored,
            levels: planned,
            values: self.sizes[0],
            stats: self.sizes[1],
        }
    }

    fn computed(&self, level: usize) -> impl DoubleEndedIterator<Item = (usize, Kernel)> {
        self.roles.iter().enumerate().filter_map(move |(node, role)| match role {
            Role::Computed(kernel) if self.levels[node] == level => Some((node, *kernel)),
            _ => None,
        })
    }

    fn forward(&self, level: usize) -> Level {
        let mut steps = Steps { nodes: self, level, steps: Vec::new(), places: BTreeMap::new() };
        let mut stores = Vec::new();
        let mut norms = Vec::new();
        for (node, _) in self.computed(level) {
            steps.place(node);
            stores.extend(self.stored[node]);
            norms.extend(self.read_by[node]);
        }
        Level { forward: steps.steps, stores, norms, ..Level::default() }
    }

    fn inputs(&self, node: usize) -> Vec<usize> {
        self.graph.nodes()[node].inputs.iter().map(|input| input.index()).collect()
    }
}

/// The plan of a level backward, as far as it has come: from the last node to the first.
struct Backward<'a> {
    nodes: &'a Nodes<'a>,
    level: usize,
    plan: &'a mut Level,
    /// Stored gradients that somebody has written.
    written: &'a mut BTreeSet<usize>,
    values: Steps<'a>,
    /// Where the gradients with respect to nodes lie that are not stored.
    gradients: BTreeMap<usize, Place>,
    /// Places for such gradients so far.
    scratch: usize,
}

impl<'a> Backward<'a> {
    fn new(
        nodes: &'a Nodes<'a>,
        level: usize,
        plan: &'a mut Level,
        written: &'a mut BTreeSet<usize>,
    ) -> Self {
        // What is stored is there already.
        let stored =
            nodes.computed(level).filter_map(|(node, _)| Some((node, Place::Stored(nodes.stored[node]?))));
        let places = stored.collect();
        let values = Steps { nodes, level, steps: Vec::new(), places };
        Self { nodes, level, plan, written, values, gradients: BTreeMap::new(), scratch: 0 }
    }

    fn plan(mut self) {
        for (node, kernel) in self.nodes.computed(self.level).rev() {
            self.node(node, kernel);
            for operand in self.nodes.inputs(node) {
                if let Role::Restored { norm } = self.nodes.roles[operand] {
                    self.close(node, operand, norm);
                }
            }
        }
        self.plan.again = self.values.steps;
    }

    /// A place for a gradient that is not stored.
    fn fresh(&mut self) -> usize {
        self.scratch += 1;
        self.scratch - 1
    }

    fn node(&mut self, node: usize, kernel: Kernel) {
        let nodes = self.nodes;
        let operands = nodes.inputs(node);
        if let (Some(norm), Some(widening)) = (nodes.read_by[node], nodes.widening(node)) {
            let input = self.values.place(operands[0]);
            self.plan.spent.push(widening.deferred);
            if let Some((into, accumulate)) = self.target(operands[0]) {
                self.plan.backward.push(Gradient::Corrected { norm, widening, input, into, accumulate });
            }
            return;
        }
        let gradient = match (nodes.read_by[node], nodes.stored[node]) {
            (Some(norm), _) => {
                let into = self.fresh();
                self.plan.backward.push(Gradient::NormIn { norm, into });
                Place::Scratch(into)
            }
            (None, Some(stored)) => Place::Stored(stored),
            (None, None) => match self.gradients.get(&node) {
                Some(place) => *place,
                None => return,
            },
        };
        let layer = match kernel {
            Kernel::Product { layer } | Kernel::Depthwise { layer, .. } | Kernel::Dense { layer, .. } => {
                Some(layer)
            }
            _ => None,
        };
        self.plan.layers.extend(layer);
        let wants_inputs = layer.is_some() || matches!(kernel, Kernel::Multiply | Kernel::MaxPool(_));
        let value = |values: &mut Steps<'_>, input| (input, wants_inputs.then(|| values.place(input)));
        let inputs = operands.iter().map(|&input| value(&mut self.values, input)).collect();
        let output = matches!(kernel, Kernel::Activation(_)).then(|| self.values.place(node));
        let into = operands.iter().map(|&input| self.target(input)).collect();
        self.plan.backward.push(Gradient::Node { node, kernel, inputs, output, gradient, into });
    }

    /// Notes that a stored gradient is written. Returns whether something is there already.
    fn write(&mut self, stored: usize) -> bool {
        let accumulate = !self.written.insert(stored);
        if !accumulate {
            self.plan.first_written.push(stored);
        }
        accumulate
    }

    /// Where the gradient with respect to `input` goes, if anybody wants it, and whether something is there already.
    fn target(&mut self, input: usize) -> Option<(Place, bool)> {
        match (self.nodes.roles[input], self.nodes.stored[input]) {
            (Role::Image | Role::Hidden { .. }, _) => None,
            (Role::Computed(_), Some(stored)) => Some((Place::Stored(stored), self.write(stored))),
            (Role::Computed(_) | Role::Restored { .. }, _) => match self.gradients.get(&input) {
                Some(place) => Some((*place, true)),
                None => {
                    let place = Place::Scratch(self.fresh());
                    self.gradients.insert(input, place);
                    Some((place, false))
                }
            },
        }
    }

    /// Goes on from the output of a normalisation, which `node` has read, if no other node of the level is still to come
    /// that reads it.
    fn close(&mut self, node: usize, output: usize, norm: usize) {
        let (nodes, level) = (self.nodes, self.level);
        let readers = nodes.readers(nodes.graph.nodes()[output].id);
        if readers.iter().any(|&reader| nodes.levels[reader] == level && reader < node) {
            return;
        }
        let Some(from) = self.gradients.remove(&output) else { return };
        let last = readers.iter().all(|&reader| nodes.levels[reader] >= level);
        self.plan.completes.extend(last.then_some(norm));
        let convolution = nodes.read_by.iter().position(|reader| *reader == Some(norm));
        if let (Some(widening), Some(convolution)) = (nodes.norms[norm].widening, convolution) {
            self.plan.first_written.push(widening.deferred);
            let input = nodes.inputs(convolution)[0];
            let input = self.values.place(input);
            let output = self.values.place(convolution);
            let scratch = self.fresh();
            self.plan.backward.push(Gradient::Widened { norm, widening, from, output, input, scratch });
        } else {
            let accumulate = self.write(nodes.norms[norm].stored);
            self.plan.backward.push(Gradient::NormOut { norm, from, accumulate, last });
        }
    }
}

/// Steps of a level, and where they leave their outputs.
struct Steps<'a> {
    nodes: &'a Nodes<'a>,
    level: usize,
    steps: Vec<Step>,
    places: BTreeMap<usize, Place>,
}

impl Steps<'_> {
    /// Where the value of `node` lies; adds the steps that compute it where nobody did.
    fn place(&mut self, node: usize) -> Place {
        if let Some(place) = self.places.get(&node) {
            return *place;
        }
        let nodes = self.nodes;
        if let (true, Some(stored)) = (nodes.levels[node] < self.level, nodes.stored[node]) {
            return Place::Stored(stored);
        }
        let (kernel, inputs) = match nodes.roles[node] {
            Role::Image => (Kernel::Image, Vec::new()),
            Role::Restored { norm } | Role::Hidden { norm } => {
                let convolution = nodes.read_by.iter().position(|reader| *reader == Some(norm));
                (Kernel::Affine { norm }, convolution.into_iter().collect())
            }
            Role::Computed(kernel) => (kernel, nodes.inputs(node)),
        };
        let inputs = inputs.into_iter().map(|input| (input, self.place(input))).collect();
        let output = match (nodes.roles[node], nodes.stored[node]) {
            (Role::Computed(_), Some(stored)) => Place::Stored(stored),
            _ => Place::Scratch(self.steps.len()),
        };
        let norm = nodes.read_by[node].filter(|_| nodes.levels[node] == self.level);
        self.steps.push(Step { node, kernel, inputs, output, norm });
        self.places.insert(node, output);
        output
    }
}
