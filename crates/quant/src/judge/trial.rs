//! A float model in which every tensor that quantization would round can be rounded, or left as it is, from one call to the next:
//! its grids are inputs. So that one session tries any choice of ranges.
//!
//! Knows graphs and grids; knows neither methods nor what is better.

use std::collections::{BTreeMap, BTreeSet};

use onnx::{Attribute, Data, ElementType, Graph, Model, Names, Node, Shapes, Tensor, Value};

use crate::error::QuantError;
use crate::integers::{Grid, limits};
use crate::options::{ActivationType, Opsets};
use crate::plan::{Bounds, Layers, Plan, Role};
use crate::prepare::prepare;
use crate::ranges::Range;
use crate::weights::Weighty;

/// What the names of the inputs have in them that say how tensors are rounded.
pub const TRIAL_INPUT: &str = ".trial.";

/// The step of a tensor that is left as it is: no float between 10⁻¹¹ and 10²⁰ has digits below it that would be lost.
const FINEST: f32 = 1.0 / (1_u64 << 60) as f32;

/// An output of [`Trial::model`], which holds 32-bit floats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) name: String,
    /// The model's own output that it comes of, under its name.
    pub(super) of: String,
    /// Whether these are whole numbers, such as places and classes.
    pub(super) is_whole: bool,
}

/// Names of the inputs that say how a tensor is rounded: step, lowest and highest multiple of it.
#[derive(Debug, Clone)]
struct Knobs([String; 3]);

/// The model and what can be turned in it.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    pub(super) model: Model,
    /// The same with weights as they are once they are rounded to the nearest.
    pub(super) rounded: Model,
    /// In the order of the graph: the tensors that are rounded, each with what is merged into its rounding.
    pub(super) tensors: Vec<(String, Option<Bounds>)>,
    pub(super) outputs: Vec<Output>,
    knobs: BTreeMap<String, Knobs>,
}

impl Trial {
    /// Prepares `model`. As long as none of its additional inputs is given, which have values of their own, nothing is rounded.
    ///
    /// # Errors
    /// As [`crate::observed_model`].
    pub(super) fn new(model: &Model) -> Result<Self, QuantError> {
        let mut model = prepare(model, Opsets::default())?;
        let plan = Plan::new(&model, false, Layers::AllBut(&[]))?;
        let roots: BTreeSet<String> = plan.roots().into_iter().collect();
        let shapes = Shapes::infer(&model.graph)?;
        let weights = rounded_weights(&model.graph, &plan)?;
        let mut rounding = Rounding {
            names: model.graph.names(),
            knobs: BTreeMap::new(),
            tensors: Vec::new(),
            inputs: Vec::new(),
        };
        let mut nodes = Vec::with_capacity(model.graph.nodes.len() + 4 * roots.len());
        // Consumers of an input read another tensor; what a node gives gets another name instead.
        let mut renamed: BTreeMap<String, String> = BTreeMap::new();
        for value in model.graph.inputs.iter().filter(|value| roots.contains(&value.name)) {
            let rounded = rounding.names.fresh(&format!("{}_rounded", value.name));
            rounding.round(&value.name, &value.name, &rounded, &mut nodes);
            renamed.insert(value.name.clone(), rounded);
        }
        for mut node in std::mem::take(&mut model.graph.nodes) {
            for input in &mut node.inputs {
                if let Some(rounded) = renamed.get(input) {
                    input.clone_from(rounded);
                }
            }
            let mut after = Vec::new();
            for output in node.outputs.iter_mut().filter(|output| roots.contains(*output)) {
                let exact = rounding.names.fresh(&format!("{output}_exact"));
                rounding.round(output, &exact, output, &mut after);
                *output = exact;
            }
            nodes.push(node);
            nodes.extend(after);
        }
        model.graph.nodes = nodes;
        let Rounding { mut names, knobs, tensors, inputs } = rounding;
        for name in inputs {
            model.graph.inputs.push(Value { name, element: ElementType::F32, shape: Some(Vec::new()) });
        }
        for Knobs(names) in knobs.values() {
            for (name, value) in names.iter().zip([FINEST, f32::MIN, f32::MAX]) {
                model.graph.initializers.insert(name.clone(), Tensor::scalar_f32(value));
            }
        }
        let outputs = outputs(&mut model.graph, &shapes, &mut names);
        let tensors =
            tensors.into_iter().map(|name| (name.clone(), plan.bounds.get(&name).copied())).collect();
        // Older files have no inputs with values of their own.
        model.ir_version = model.ir_version.max(4);
        let mut rounded = model.clone();
        for (name, values) in weights {
            let shape = rounded.graph.initializers.get(&name).map(|tensor| tensor.shape().to_vec());
            if let Some(tensor) = shape.and_then(|shape| Tensor::new(shape, Data::F32(values))) {
                rounded.graph.initializers.insert(name, tensor);
            }
        }
        Ok(Self { model, rounded, tensors, outputs, knobs })
    }

    /// By name of the input, the values with which `tensor` is rounded to unsigned bytes for this range.
    pub(super) fn set(&self, tensor: &str, grid: Grid) -> Vec<(String, f32)> {
        let Some(Knobs(names)) = self.knobs.get(tensor) else { return Vec::new() };
        let (lowest, highest) = limits(grid.kind);
        let steps = |integer: i32| {
            #[expect(clippy::cast_precision_loss, reason = "the difference of two bytes is exact")]
            let steps = (integer - grid.zero_point) as f32;
            steps
        };
        names.iter().cloned().zip([grid.scale, steps(lowest), steps(highest)]).collect()
    }
}

/// How `range` rounds a tensor with these bounds, where activations are unsigned. Signed ones lie elsewhere and are as far apart.
pub(super) fn grid(range: Range, bounds: Option<Bounds>) -> Grid {
    Grid::spanning(range, bounds, ActivationType::U8)
}

/// By name, the weights of layers in integers as they are once they are rounded to the nearest.
fn rounded_weights(graph: &Graph, plan: &Plan) -> Result<BTreeMap<String, Vec<f32>>, QuantError> {
    let mut weights = BTreeMap::new();
    for (node, role) in graph.nodes.iter().zip(&plan.roles) {
        if let (Role::Integer, Some(weighty)) = (role, Weighty::of(graph, node)?) {
            let rounded = weighty.quantize(true, &[], None).dequantize(weighty.channels);
            weights.insert(weighty.name.to_owned(), rounded);
        }
    }
    Ok(weights)
}

/// Emits roundings.
struct Rounding {
    names: Names,
    knobs: BTreeMap<String, Knobs>,
    tensors: Vec<String>,
    inputs: Vec<String>,
}

impl Rounding {
    /// Emits `to = scale · clip(round(from / scale), lowest, highest)` for `tensor`.
    fn round(&mut self, tensor: &str, from: &str, to: &str, nodes: &mut Vec<Node>) {
        let mut fresh = |what: &str| self.names.fresh(&format!("{tensor}_{what}"));
        let inputs = ["scale", "lowest", "highest"];
        let [scale, lowest, highest] = inputs.map(|what| fresh(&format!("{TRIAL_INPUT}{what}")));
        let [scaled, whole, within] = ["scaled", "whole", "within"].map(&mut fresh);
        nodes.push(Node::new("Div", [from, &scale], [scaled.as_str()]));
        nodes.push(Node::new("Round", [scaled.as_str()], [whole.as_str()]));
        nodes.push(Node::new("Clip", [&whole, &lowest, &highest].map(String::as_str), [within.as_str()]));
        nodes.push(Node::new("Mul", [&within, &scale].map(String::as_str), [to]));
        self.inputs.extend([&scale, &lowest, &highest].map(String::clone));
        self.knobs.insert(tensor.to_owned(), Knobs([scale, lowest, highest]));
        self.tensors.push(tensor.to_owned());
    }
}

/// Makes floats of all outputs that hold other numbers. Text says nothing of how far it is from other text, and goes.
fn outputs(graph: &mut Graph, shapes: &Shapes, names: &mut Names) -> Vec<Output> {
    /// ONNX's number for text (`TensorProto.STRING`).
    const TEXT: i32 = 8;
    let mut outputs = Vec::new();
    for value in std::mem::take(&mut graph.outputs) {
        match shapes.element(&value.name).unwrap_or(value.element) {
            ElementType::F32 => {
                outputs.push(Output { name: value.name.clone(), of: value.name, is_whole: false });
            }
            ElementType::Other(TEXT) => {}
            element => {
                let name = names.fresh(&format!("{}_float", value.name));
                let cast = Node::new("Cast", [value.name.as_str()], [name.as_str()]);
                let to = Attribute::Int(i64::from(ElementType::F32.code()));
                graph.nodes.push(cast.with("to", to));
                // The others are floats of other sizes.
                let is_whole = !matches!(element, ElementType::F16 | ElementType::Other(_));
                outputs.push(Output { name, of: value.name, is_whole });
            }
        }
    }
    let value = |output: &Output| Value { name: output.name.clone(), element: ElementType::F32, shape: None };
    graph.outputs = outputs.iter().map(value).collect();
    outputs
}
