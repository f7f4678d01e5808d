//! Which nodes of a prepared model compute in integers, and which tensors share a scale.
//!
//! Only operators that ONNX Runtime is known to run in integers inside a Q/DQ chain are chosen; for all others a
//! reason is kept. Knows no ranges and changes no graph.

use std::collections::{BTreeMap, BTreeSet};

use onnx::{ElementType, Graph, Model, Node, Shapes};

use crate::error::QuantError;
use crate::integers::Grid;
use crate::islands;
use crate::options::ActivationType;
use crate::ranges::Ranges;
use crate::rewrite::is_dilated;

/// What becomes of a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Role {
    /// Computes on quantized operands; its outcome is quantized unless it is float logits.
    Integer,
    /// Hands integers on as they are: its outcome has its operand's scale.
    Passes,
    /// A `Relu` or `Clip` that the quantization of node `into`'s outcome performs.
    Merged {
        /// Index of that node.
        into: usize,
    },
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

/// Why a `Relu` or `Clip` that could be merged is not.
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
        };
        planner.merge();
        planner.leave_in_floats("Concat");
        if !quantize_output {
            planner.leave_in_floats("GlobalAveragePool");
        }
        match layers {
            Layers::AllBut(_) => islands::to_floats(graph, &mut planner.roles),
            Layers::Only(only) => planner.leave(only),
        }
        planner.release();
        let quantized = planner.quantized_tensors(quantize_output);
        planner.settle(&quantized);
        let roots = planner.roots(&quantized);
        let Planner { roles, outcomes, bounds, .. } = planner;
        Ok(Self { roles, roots, bounds, outcomes })
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

/// Whether the operator has constant weights as its second input.
pub(crate) fn has_weight(node: &Node) -> bool {
    matches!(node.op.as_str(), "Conv" | "Gemm" | "MatMul")
}

/// Whether ONNX Runtime's integer kernel of the operator can give floats.
fn may_give_floats(node: &Node) -> bool {
    matches!(node.op.as_str(), "Gemm" | "MatMul")
}

/// What could become of each node, by itself.
///
/// # Errors
/// [`QuantError::UnknownNode`], [`QuantError::NothingToQuantize`].
pub(crate) fn classify_all(graph: &Graph, exclude: &[String]) -> Result<Vec<Role>, QuantError> {
    if let Some(node) = exclude.iter().find(|name| !graph.nodes.iter().any(|node| node.label() == *name)) {
        return Err(QuantError::UnknownNode { node: node.clone() });
    }
    let shapes = Shapes::infer(graph)?;
    let roles: Vec<_> = graph.nodes.iter().map(|node| classify(graph, &shapes, node, exclude)).collect();
    let weighty = |(node, role): (&Node, &Role)| *role == Role::Integer && has_weight(node);
    if graph.nodes.iter().zip(&roles).any(weighty) { Ok(roles) } else { Err(QuantError::NothingToQuantize) }
}

fn classify(graph: &Graph, shapes: &Shapes, node: &Node, exclude: &[String]) -> Role {
    if exclude.iter().any(|name| name == node.label()) {
        return Role::Float("excluded by option".into());
    }
    if !node.is_onnx() {
        return Role::Float(format!("operator of the domain `{}`", node.domain));
    }
    let verdict = match node.op.as_str() {
        "Conv" | "Gemm" | "MatMul" => weighty(graph, shapes, node).map(|()| Role::Integer),
        "Add" | "Mul" => operands(graph, shapes, node, true).map(|()| Role::Integer),
        "AveragePool" if is_dilated(node) => Err("ONNX Runtime's integer form knows no dilations".into()),
        "Sigmoid" | "LeakyRelu" | "GlobalAveragePool" | "AveragePool" | "Concat" => {
            operands(graph, shapes, node, false).map(|()| Role::Integer)
        }
        "MaxPool" if node.output(1).is_some() => Err("its second output is wanted".into()),
        "MaxPool" | "Flatten" | "Reshape" | "Slice" | "Transpose" | "Squeeze" | "Unsqueeze" => {
            activation(graph, shapes, node, 0).map(|()| Role::Passes)
        }
        "Relu" | "Clip" => Err("it follows no integer operator alone".into()),
        _ => Err("no integer form of this operator is known".into()),
    };
    verdict.unwrap_or_else(Role::Float)
}

fn activation(graph: &Graph, shapes: &Shapes, node: &Node, index: usize) -> Result<(), String> {
    let name = node.input(index).ok_or("an operand is left out")?;
    if graph.initializers.contains_key(name) {
        return Err(format!("its operand `{name}` is a constant"));
    }
    match shapes.element(name) {
        Some(ElementType::F32) => Ok(()),
        Some(_) => Err(format!("its operand `{name}` does not hold 32-bit floats")),
        None => Err(format!("the type of its operand `{name}` is not known")),
    }
}

fn operands(graph: &Graph, shapes: &Shapes, node: &Node, constants: bool) -> Result<(), String> {
    let mut activations = 0;
    for (index, name) in node.inputs.iter().enumerate() {
        match graph.initializers.get(name) {
            Some(tensor) if constants => {
                let values = tensor.as_f32().ok_or("a constant operand does not hold 32-bit floats")?;
                if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
                    return Err("a constant operand is empty or not finite".into());
                }
            }
            _ => {
                activation(graph, shapes, node, index)?;
                activations += 1;
            }
        }
    }
    if activations == 0 { Err("all its operands are constants".into()) } else { Ok(()) }
}

fn weighty(graph: &Graph, shapes: &Shapes, node: &Node) -> Result<(), String> {
    activation(graph, shapes, node, 0)?;
    let weight = graph.constant(node, 1).ok_or("its weights are not constant")?;
    if weight.as_f32().is_none_or(<[f32]>::is_empty) {
        return Err("its weights are empty or do not hold 32-bit floats".into());
    }
    let rank = weight.shape().len();
    let channels = match node.op.as_str() {
        "Conv" if rank >= 3 => weight.shape().first(),
        "Gemm" if rank == 2 => weight.shape().get(usize::from(node.int("transB", 0) == 0)),
        "MatMul" if rank == 2 => weight.shape().get(1),
        _ => None,
    };
    let channels = *channels.ok_or_else(|| format!("its weights have {rank} dimensions"))?;
    if node.op == "Gemm" {
        let one = |name| node.float(name, 1.0).to_bits() == 1.0_f32.to_bits();
        if node.int("transA", 0) != 0 || !one("alpha") || (node.input(2).is_some() && !one("beta")) {
            return Err("it transposes or scales its operand".into());
        }
    }
    match node.input(2) {
        None => Ok(()),
        Some(name) => match graph.initializers.get(name) {
            Some(bias) if bias.as_f32().is_some_and(|values| values.len() == channels) => Ok(()),
            _ => Err(format!("its bias is not {channels} constant 32-bit floats")),
        },
    }
}

struct Planner<'a> {
    graph: &'a Graph,
    consumers: BTreeMap<&'a str, Vec<usize>>,
    roles: Vec<Role>,
    outcomes: BTreeMap<usize, String>,
    bounds: BTreeMap<String, Bounds>,
}

impl Planner<'_> {
    fn nodes(&self) -> impl DoubleEndedIterator<Item = (usize, &Node, &Role)> {
        self.graph.nodes.iter().zip(&self.roles).enumerate().map(|(index, (node, role))| (index, node, role))
    }

    /// Merges each `Relu` and `Clip` that alone consumes an integer operator's outcome.
    fn merge(&mut self) {
        let mut producers: BTreeMap<String, usize> = BTreeMap::new();
        let mut merged = Vec::new();
        for (index, node, role) in self.nodes() {
            let Some(output) = node.output(0).map(str::to_owned) else { continue };
            if *role == Role::Integer {
                producers.insert(output, index);
                continue;
            }
            let into = node.input(0).and_then(|input| {
                let alone = self.consumers.get(input).is_some_and(|consumers| consumers.len() == 1);
                let producer = producers.get(input).copied()?;
                (alone && !self.graph.is_output(input)).then_some((input, producer))
            });
            let excluded = matches!(role, Role::Float(reason) if reason.starts_with("excluded"));
            if let (Some((input, into)), Some(bounds), false) =
                (into, clip_bounds(self.graph, node), excluded)
            {
                merged.push((index, into, input.to_owned(), output.clone(), bounds));
                producers.insert(output, into);
            }
        }
        self.outcomes = producers.iter().map(|(output, &index)| (index, output.clone())).collect();
        for (index, into, input, output, bounds) in merged {
            let before = self.bounds.get(&input).copied().unwrap_or(Bounds::NONE);
            let both = Bounds { low: before.low.max(bounds.low), high: before.high.min(bounds.high) };
            self.bounds.insert(output.clone(), both);
            self.outcomes.insert(into, output);
            if let Some(role) = self.roles.get_mut(index) {
                *role = Role::Merged { into };
            }
        }
    }

    /// Makes each operator `op` floats of which nothing becomes an integer operator's operand. Of a `Concat`, one grid for all that it
    /// joins, such as boxes up to 320 and scores up to 1, would leave the small ones next to nothing, and save one conversion. Of a
    /// pool over whole maps, it would round few values that are more precise than what they are means of.
    fn leave_in_floats(&mut self, op: &str) {
        for index in (0..self.graph.nodes.len()).rev() {
            let is_integer = self.roles.get(index) == Some(&Role::Integer);
            let node = self.graph.nodes.get(index).filter(|node| is_integer && node.is(op));
            let Some(output) = node.and_then(|node| node.output(0)) else { continue };
            if !self.feeds_integers(output)
                && let Some(role) = self.roles.get_mut(index)
            {
                *role = Role::Float("what it gives only becomes an output or feeds floats".into());
            }
        }
    }

    /// Whether an integer operator reads the tensor, or what moves its elements.
    fn feeds_integers(&self, tensor: &str) -> bool {
        self.consumers.get(tensor).into_iter().flatten().any(|index| {
            let moved = || self.graph.nodes.get(*index).and_then(|node| node.output(0));
            match self.roles.get(*index) {
                Some(Role::Integer) => true,
                Some(Role::Passes | Role::Merged { .. }) => {
                    moved().is_some_and(|output| self.feeds_integers(output))
                }
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

    /// Makes each `Relu` and `Clip` floats that is merged into what turned out not to be an integer operator.
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
                let operands = if has_weight(node) { 1 } else { node.inputs.len() };
                let activations = node.inputs.iter().take(operands);
                quantized
                    .extend(activations.filter(|name| !self.graph.initializers.contains_key(*name)).cloned());
                let outcome = self.outcomes.get(&index);
                // ONNX Runtime makes one operator of floats of a `Gemm` and the `Relu` behind it before it looks for integers.
                let is_fused = node.is("Gemm") && outcome.map(String::as_str) != node.output(0);
                if quantize_output || is_fused || !may_give_floats(node) {
                    quantized.extend(outcome.cloned());
                }
            }
        }
        // What is quantized behind a node that only moves elements is better quantized before it.
        for (_, node, role) in self.nodes().rev() {
            if *role == Role::Passes && node.output(0).is_some_and(|name| quantized.contains(name)) {
                quantized.extend(node.input(0).map(str::to_owned));
            }
        }
        quantized
    }

    /// Makes the roles final, now that it is known which tensors are quantized.
    fn settle(&mut self, quantized: &BTreeSet<String>) {
        let left = self.outcomes.iter().filter(|(_, tensor)| !quantized.contains(*tensor));
        // What such a node gives by itself: the `Relu` or `Clip` behind it is not merged into it.
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
            match (node.input(0), node.output(0)) {
                (Some(input), Some(output)) if reached.contains(input) => {
                    reached.insert(output.to_owned());
                }
                _ => *role = Role::Float("its operand is not quantized".into()),
            }
        }
    }

    fn roots(&self, quantized: &BTreeSet<String>) -> BTreeMap<String, String> {
        let mut roots: BTreeMap<String, String> =
            quantized.iter().map(|name| (name.clone(), name.clone())).collect();
        for (_, node, role) in self.nodes() {
            if let (Role::Passes, Some(input), Some(output)) = (role, node.input(0), node.output(0))
                && let Some(root) = roots.get(input).cloned()
            {
                roots.insert(output.to_owned(), root);
            }
        }
        roots
    }
}

/// What a `Relu` or `Clip` lets through, if its bounds are constant and zero is between them.
fn clip_bounds(graph: &Graph, node: &Node) -> Option<Bounds> {
    let bound = |index, default| match node.input(index) {
        None => Some(default),
        Some(_) => graph.constant(node, index)?.as_single_f32(),
    };
    let bounds = match node.op.as_str() {
        "Relu" => Bounds { low: 0.0, high: f32::INFINITY },
        "Clip" => Bounds { low: bound(1, f32::NEG_INFINITY)?, high: bound(2, f32::INFINITY)? },
        _ => return None,
    };
    (bounds.low <= 0.0 && bounds.high > 0.0).then_some(bounds)
}
