//! Which nodes of a prepared model compute in integers, and which tensors share a scale.
//!
//! Only operators that ONNX Runtime is known to run in integers inside a Q/DQ chain are chosen; for all others a
//! reason is kept. Knows no ranges and changes no graph.

mod classify;
mod merge;

use std::collections::{BTreeMap, BTreeSet};

use onnx::{Graph, Model, Node};

use self::classify::may_give_floats;
pub(crate) use self::classify::{classify_all, has_weight};
use crate::error::QuantError;
use crate::families::{Family, family};
use crate::integers::Grid;
use crate::islands;
use crate::options::ActivationType;
use crate::ranges::Ranges;

/// What becomes of a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Role {
    /// Computes on quantized operands; its outcome is quantized unless it is float logits.
    Integer,
    /// Hands integers on as they are: its outcome has its operand's scale.
    Passes,
    /// A `Relu`, a `Clip` or a product with one constant that the quantization of node `into`'s outcome performs.
    Merged {
        /// Index of that node.
        into: usize,
    },
    /// Computes in floats, with weights that are stored as integers.
    Stored,
    /// Stays as it is.
    Float(String),
}

/// The lowest and highest value that a merged `Relu` or `Clip` lets through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) low: f32,
    pub(crate) high: f32,
}

impl Bounds {
    const NONE: Self = Self { low: f32::NEG_INFINITY, high: f32::INFINITY };
}

/// Why what could be merged is not.
const AFTER_FLOATS: &str = "it follows an operator that gives floats";

/// Which nodes may compute in integers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Layers<'a> {
    /// All but those with these labels.
    AllBut(&'a [String]),
    /// The one with this label, and nothing else.
    Only(&'a str),
}

/// What becomes of a model's nodes and tensors.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// By node.
    pub(crate) roles: Vec<Role>,
    /// Quantized tensor → the tensor whose range gives its scale.
    pub(crate) roots: BTreeMap<String, String>,
    /// Tensor that ends a chain of merged nodes → what those let through.
    pub(crate) bounds: BTreeMap<String, Bounds>,
    /// Tensor that ends a chain of merged nodes → what those multiply by, where that is not 1.
    pub(crate) factors: BTreeMap<String, f32>,
    /// Node → the tensor that its outcome is after merged nodes.
    pub(crate) outcomes: BTreeMap<usize, String>,
}

impl Plan {
    /// The plan that quantizes the most, logits included.
    pub(crate) fn observing(model: &Model) -> Result<Self, QuantError> {
        Self::new(model, true, Layers::AllBut(&[]))
    }

    /// A plan for a prepared model, of which `layers` may compute in integers.
    pub(crate) fn new(model: &Model, quantize_output: bool, layers: Layers<'_>) -> Result<Self, QuantError> {
        let graph = &model.graph;
        let exclude = match layers {
            Layers::AllBut(exclude) => exclude,
            Layers::Only(_) => &[],
        };
        let mut planner = Planner {
            graph,
            consumers: graph.consumers(),
            roles: classify_all(graph, exclude)?,
            outcomes: BTreeMap::new(),
            bounds: BTreeMap::new(),
            factors: BTreeMap::new(),
        };
        planner.merge();
        planner.leave_what_feeds_floats(quantize_output);
        match layers {
            Layers::AllBut(_) => {
                planner.leave_what_floats_make();
                islands::to_floats(graph, &mut planner.roles);
            }
            Layers::Only(only) => planner.leave(only),
        }
        planner.release();
        let quantized = planner.quantized_tensors(quantize_output);
        planner.settle(&quantized);
        let roots = planner.roots(&quantized);
        let Planner { roles, outcomes, bounds, factors, .. } = planner;
        Ok(Self { roles, roots, bounds, factors, outcomes })
    }

    /// Quantized tensor → its grid.
    pub(crate) fn grids(
        &self,
        ranges: &Ranges,
        kind: ActivationType,
    ) -> Result<BTreeMap<String, Grid>, QuantError> {
        let grid = |(tensor, root): (&String, &String)| {
            let bounds = self.bounds.get(root).copied();
            Ok((tensor.clone(), Grid::spanning(ranges.get(root)?, bounds, kind)))
        };
        self.roots.iter().map(grid).collect()
    }

    /// The tensors whose ranges are needed, sorted.
    pub(crate) fn roots(&self) -> Vec<String> {
        self.roots.values().collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }
}

struct Planner<'a> {
    graph: &'a Graph,
    consumers: BTreeMap<&'a str, Vec<usize>>,
    roles: Vec<Role>,
    outcomes: BTreeMap<usize, String>,
    bounds: BTreeMap<String, Bounds>,
    factors: BTreeMap<String, f32>,
}

impl Planner<'_> {
    fn nodes(&self) -> impl DoubleEndedIterator<Item = (usize, &Node, &Role)> {
        self.graph.nodes.iter().zip(&self.roles).enumerate().map(|(index, (node, role))| (index, node, role))
    }

    /// Makes each `Concat` and `Softmax` floats of which nothing becomes an integer operator's operand: one grid for all that is
    /// joined, such as boxes up to 320 and scores up to 1, would leave the small ones next to nothing, and save one conversion. So
    /// with a pool over whole maps, unless outputs are rounded, too: few values, more precise than what they are means of.
    fn leave_what_feeds_floats(&mut self, quantize_output: bool) {
        for index in (0..self.graph.nodes.len()).rev() {
            let computes = self.roles.get(index) == Some(&Role::Integer);
            let node = self.graph.nodes.get(index).filter(|node| computes && node.is_onnx());
            let (reason, output) = match node.map(|node| (node.op.as_str(), node.output(0))) {
                Some(("Concat", Some(output))) => {
                    ("what it joins only becomes an output or feeds floats", output)
                }
                Some(("Softmax", Some(output))) => ("it only becomes an output or feeds floats", output),
                Some(("GlobalAveragePool", Some(output))) if !quantize_output => {
                    ("what it gives only becomes an output or feeds floats", output)
                }
                _ => continue,
            };
            if !self.feeds_integers(output)
                && let Some(role) = self.roles.get_mut(index)
            {
                *role = Role::Float(reason.into());
            }
        }
    }

    /// Makes each operator without weights floats all of whose operands float operators make: rounding its outcome costs no more
    /// conversions than rounding these, and less accuracy. Inputs count as rounded.
    fn leave_what_floats_make(&mut self) {
        let mut floats: BTreeSet<&str> = BTreeSet::new();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let is_float = |name: &String| floats.contains(name.as_str());
            let is_constant = |name: &&String| self.graph.initializers.contains_key(*name);
            let mut operands = node.inputs.iter().filter(|name| !name.is_empty() && !is_constant(name));
            let gives_floats = match self.roles.get(index) {
                Some(Role::Float(_) | Role::Stored) => true,
                Some(Role::Passes) => node.inputs.first().is_some_and(is_float),
                Some(Role::Merged { into }) => matches!(self.roles.get(*into), Some(Role::Float(_))),
                Some(Role::Integer) => {
                    matches!(family(node), Some(Family::Pair | Family::Function | Family::Join))
                        && operands.all(is_float)
                }
                None => false,
            };
            if !gives_floats {
                continue;
            }
            floats.extend(node.outputs.iter().map(String::as_str));
            if let Some(role) = self.roles.get_mut(index).filter(|role| **role == Role::Integer) {
                *role = Role::Float("what it reads is computed in floats".into());
            }
        }
    }

    /// Whether an integer operator reads the tensor, or what moves its elements.
    fn feeds_integers(&self, tensor: &str) -> bool {
        self.consumers.get(tensor).into_iter().flatten().any(|index| {
            let moved = || self.graph.nodes.get(*index).into_iter().flat_map(|node| &node.outputs);
            match self.roles.get(*index) {
                Some(Role::Integer) => true,
                Some(Role::Passes | Role::Merged { .. }) => moved().any(|output| self.feeds_integers(output)),
                _ => false,
            }
        })
    }

    /// Makes all integer operators floats but the one with the label `only`.
    fn leave(&mut self, only: &str) {
        for (node, role) in self.graph.nodes.iter().zip(&mut self.roles) {
            if *role == Role::Integer && node.label() != only {
                *role = Role::Float("another layer is looked at".into());
            }
        }
    }

    /// Makes each node floats that is merged into what turned out not to be an integer operator.
    fn release(&mut self) {
        let integers: Vec<bool> = self.roles.iter().map(|role| *role == Role::Integer).collect();
        for role in &mut self.roles {
            if matches!(role, Role::Merged { into } if !integers.get(*into).is_some_and(|is| *is)) {
                *role = Role::Float(AFTER_FLOATS.into());
            }
        }
        self.outcomes.retain(|index, _| integers.get(*index).is_some_and(|is| *is));
    }

    fn quantized_tensors(&self, quantize_output: bool) -> BTreeSet<String> {
        let mut quantized = BTreeSet::new();
        for (index, node, role) in self.nodes() {
            if *role == Role::Integer {
                let operands = if has_weight(self.graph, node) { 1 } else { node.inputs.len() };
                let activations = node.inputs.iter().take(operands);
                quantized
                    .extend(activations.filter(|name| !self.graph.initializers.contains_key(*name)).cloned());
                let outcome = self.outcomes.get(&index);
                // Of a product and the `Relu` behind it ONNX Runtime makes one operator of floats, or none, before it looks for integers.
                let is_fused = outcome.map(String::as_str) != node.output(0) && self.is_cut(node);
                if quantize_output || is_fused || !may_give_floats(node) {
                    quantized.extend(outcome.cloned());
                }
            }
        }
        // What is quantized behind a node that only moves elements is better quantized before it.
        for (_, node, role) in self.nodes().rev() {
            if *role == Role::Passes && node.outputs.iter().any(|name| quantized.contains(name)) {
                quantized.extend(node.input(0).map(str::to_owned));
            }
        }
        quantized
    }

    /// Whether a `Relu` or `Clip` reads what the node gives.
    fn is_cut(&self, node: &Node) -> bool {
        let readers = node.output(0).and_then(|output| self.consumers.get(output)).into_iter().flatten();
        let mut readers = readers.filter_map(|reader| self.graph.nodes.get(*reader));
        readers.any(|reader| family(reader) == Some(Family::Cut))
    }

    /// Makes the roles final, now that it is known which tensors are quantized.
    fn settle(&mut self, quantized: &BTreeSet<String>) {
        let left = self.outcomes.iter().filter(|(_, tensor)| !quantized.contains(*tensor));
        // What such a node gives by itself: what is behind it is not merged into it.
        let float_outcomes: BTreeMap<usize, String> = left
            .filter_map(|(&index, _)| Some((index, self.graph.nodes.get(index)?.output(0)?.to_owned())))
            .collect();
        for role in &mut self.roles {
            if matches!(role, Role::Merged { into } if float_outcomes.contains_key(into)) {
                *role = Role::Float(AFTER_FLOATS.into());
            }
        }
        self.outcomes.extend(float_outcomes);
        let mut reached = quantized.clone();
        for (node, role) in self.graph.nodes.iter().zip(&mut self.roles) {
            if *role != Role::Passes {
                continue;
            }
            match node.input(0) {
                Some(input) if reached.contains(input) => reached.extend(outputs(node).cloned()),
                _ => *role = Role::Float("its operand is not quantized".into()),
            }
        }
    }

    fn roots(&self, quantized: &BTreeSet<String>) -> BTreeMap<String, String> {
        let mut roots: BTreeMap<String, String> =
            quantized.iter().map(|name| (name.clone(), name.clone())).collect();
        for (_, node, role) in self.nodes() {
            if let (Role::Passes, Some(input)) = (role, node.input(0))
                && let Some(root) = roots.get(input).cloned()
            {
                roots.extend(outputs(node).map(|output| (output.clone(), root.clone())));
            }
        }
        roots
    }
}

/// The outputs of a node that are wanted.
fn outputs(node: &Node) -> impl Iterator<Item = &String> {
    node.outputs.iter().filter(|name| !name.is_empty())
}
