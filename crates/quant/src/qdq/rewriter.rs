//! The nodes of a graph emitted anew, on rounded operands and with rounded outcomes.
//!
//! Knows how each is rounded ([`Grid`]) and which are ([`Plan`]); decides neither.

mod moves;

use std::collections::{BTreeMap, BTreeSet};

use onnx::{Attribute, Data, Graph, Model, Node, Shapes, Tensor};

use crate::data_flow::computes_sizes;
use crate::emit::Emitter;
use crate::error::QuantError;
use crate::integers::{Grid, bias_floor, quantize_bias};
use crate::moments::{Moment, Moments};
use crate::neighbours::Neighbours;
use crate::options::{ActivationType, BiasType, Rounding, StaticOptions};
use crate::plan::{Layers, Plan, Role, has_weight};
use crate::prepare::prepare;
use crate::ranges::{Range, Ranges};
use crate::repeat::repeats;
use crate::rounding;
use crate::stored;
use crate::summary::{Form, Layer, Output, Weight};
use crate::weights::Weighty;
use crate::widen::{missing_channels, widened};

/// What the rewriting ends with.
pub(super) struct Rewritten {
    pub(super) source: Model,
    pub(super) emitter: Emitter,
    pub(super) layers: Vec<Layer>,
    /// By name in `source`, of the tensors that are rounded.
    pub(super) tensors: BTreeMap<String, Ends>,
}

/// Rewrites `model`, its graph brought into the form that rounding wants; only the layers of `which` compute in integers.
///
/// # Errors
/// As [`super::quantize_static`].
pub(super) fn rewrite(
    model: &Model,
    ranges: &Ranges,
    moments: Option<&Moments>,
    options: &StaticOptions,
    which: Layers<'_>,
) -> Result<Rewritten, QuantError> {
    let source = prepare(model, options.opsets())?;
    let plan = Plan::new(&source, options.quantize_output, which)?;
    let mut rewriter = Rewriter {
        source: &source.graph,
        shapes: Shapes::infer(&source.graph)?,
        computes_sizes: computes_sizes(&source.graph),
        grids: plan.grids(ranges, options.activation_type())?,
        plan: &plan,
        moments,
        options,
        emitter: Emitter::new(&source.graph),
        params: BTreeMap::new(),
        tensors: BTreeMap::new(),
    };
    let layers = rewriter.rewrite()?;
    let Rewriter { emitter, tensors, .. } = rewriter;
    Ok(Rewritten { source, emitter, layers, tensors })
}

/// Names of a grid's constants.
#[derive(Clone)]
struct Params {
    scale: String,
    /// Always there: ONNX Runtime takes a missing one for zero, but then fuses no `Gemm`, `MaxPool` or `Flatten`.
    zero_point: String,
}

/// Names of a quantized tensor's forms: float before rounding, integers, float after rounding.
pub(super) struct Ends {
    raw: String,
    pub(super) integers: String,
    pub(super) rounded: String,
}

struct Rewriter<'a> {
    source: &'a Graph,
    shapes: Shapes,
    /// By node.
    computes_sizes: Vec<bool>,
    plan: &'a Plan,
    grids: BTreeMap<String, Grid>,
    moments: Option<&'a Moments>,
    options: &'a StaticOptions,
    emitter: Emitter,
    /// Scale's bits and zero point → constants.
    params: BTreeMap<(u32, i32), Params>,
    tensors: BTreeMap<String, Ends>,
}

impl<'a> Rewriter<'a> {
    fn rewrite(&mut self) -> Result<Vec<Layer>, QuantError> {
        // Callers and bodies know these by their names, and get what is rounded.
        let captured = self.source.captured();
        // A model is given what it takes, whoever else reads that.
        let given: BTreeSet<&str> = self.source.inputs.iter().map(|value| value.name.as_str()).collect();
        for name in self.grids.keys().cloned().collect::<Vec<_>>() {
            let integers = self.emitter.fresh(&format!("{name}_integers"));
            let is_known = self.source.is_output(&name) || captured.contains(&*name);
            let (raw, rounded) = if is_known && !given.contains(name.as_str()) {
                (self.emitter.fresh(&format!("{name}_raw")), name.clone())
            } else {
                (name.clone(), self.emitter.fresh(&format!("{name}_rounded")))
            };
            self.tensors.insert(name, Ends { raw, integers, rounded });
        }
        for value in &self.source.inputs {
            self.round(&value.name);
        }
        let mut layers = Vec::with_capacity(self.source.nodes.len());
        for (index, (node, role)) in self.source.nodes.iter().zip(&self.plan.roles).enumerate() {
            let mut weight = None;
            match role {
                Role::Merged { .. } => {}
                Role::Integer => weight = self.integer(index, node)?,
                Role::Stored => {
                    let (node, stored) = stored::emit(&mut self.emitter, self.source, node)?;
                    self.copy(&node);
                    weight = Some(stored);
                }
                Role::Passes if node.is("Pad") => self.pad(node),
                Role::Passes | Role::Float(_) => self.copy(node),
            }
            layers.push(self.layer(index, node, role, weight)?);
        }
        Ok(layers)
    }

    /// Emits `node` on rounded operands, and the rounding of its outcomes.
    fn copy(&mut self, node: &Node) {
        self.emitter.keep_constants(self.source, node);
        let inputs = node.inputs.iter().map(|name| self.rounded(name)).collect();
        let outputs = node.outputs.iter().map(|name| self.raw(name)).collect();
        self.emitter.node(Node { inputs, outputs, ..node.clone() });
        for name in &node.outputs {
            self.round(name);
        }
    }

    /// Emits an operator that the runtime computes in integers.
    fn integer(&mut self, index: usize, node: &Node) -> Result<Option<Weight>, QuantError> {
        let outcome = self.plan.outcomes.get(&index);
        let outcome = outcome.ok_or_else(|| QuantError::unplanned(node, "output"))?;
        let mut summary = None;
        let inputs = match Weighty::of(self.source, node)? {
            Some(weighty) => {
                let rounded = node.input(0).and_then(|input| Some((input, *self.grids.get(input)?)));
                let (input, grid) = rounded.ok_or_else(|| QuantError::unplanned(node, "rounded input"))?;
                // ONNX Runtime quantizes a float bias only where the outcome is rounded.
                let bias =
                    if self.grids.contains_key(outcome) { self.options.bias_type() } else { BiasType::Int32 };
                let missing = match self.options.activation_type() {
                    ActivationType::U8 => missing_channels(node, weighty.tensor),
                    ActivationType::S8 => 0,
                };
                let (weight, constants) = self.weights(node, &weighty, grid, bias, missing)?;
                summary = Some(weight);
                std::iter::once(self.widened(input, missing)?).chain(constants).collect()
            }
            None => {
                let operands = node.inputs.iter().enumerate();
                let operand = |(index, name): (usize, &String)| match repeats(node, &self.shapes, index) {
                    Some(times) => self.repeated(name, times),
                    None => self.operand(name),
                };
                operands.map(operand).collect::<Result<Vec<_>, _>>()?
            }
        };
        let outputs = vec![self.raw(outcome)];
        self.emitter.node(Node { inputs, outputs, ..node.clone() });
        self.round(outcome);
        Ok(summary)
    }

    /// Emits rounded weights and bias, and returns the names of their float forms.
    fn weights(
        &mut self,
        node: &Node,
        weighty: &Weighty<'_>,
        grid: Grid,
        bias_type: BiasType,
        missing: usize,
    ) -> Result<(Weight, Vec<String>), QuantError> {
        let floors: Vec<f32> = weighty
            .bias
            .map(|(_, bias)| bias.iter().map(|&bias| bias_floor(bias, grid.scale)).collect())
            .unwrap_or_default();
        let neighbours =
            if self.options.target.adds_in_pairs() { Neighbours::of(node, weighty, missing) } else { None };
        let mut rounded = weighty.quantize(self.options.per_channel, &floors, neighbours.as_ref());
        let moment = self.moment(node, weighty)?;
        let shared = self.shared_moment(weighty, moment)?;
        // A `MatMul` has no place for a bias.
        let corrects_bias = self.options.bias_correction && !node.is("MatMul");
        if let (Some(moment), Rounding::Search) = (shared.as_ref().or(moment), self.options.rounding) {
            let (values, channels) = (weighty.values, weighty.channels);
            rounding::search(values, channels, &mut rounded, neighbours.as_ref(), moment, !corrects_bias);
        }
        let integers = match missing {
            0 => weighty.integers(&rounded),
            _ => widened(weighty.tensor.shape(), &rounded.integers, missing),
        };
        let integers = integers.ok_or_else(|| QuantError::unfilled(weighty.name))?;
        let axis = self.options.per_channel.then(|| weighty.channels.axis());
        // The same holds for a `Gemm`'s weights: without zero points it is not fused. Others do without.
        let zero_points = node.is("Gemm").then(|| Data::I8(vec![0; rounded.scales.len()]));
        let (weight, weight_scale) =
            self.dequantized(weighty.name, integers, &rounded.scales, axis, zero_points)?;
        let mut names = vec![weight];
        let lost = moment
            .filter(|_| corrects_bias)
            .and_then(|moment| rounding::lost_mean(weighty.values, weighty.channels, &rounded, moment));
        if let Some((name, bias)) = weighty.bias_with(lost.as_deref()) {
            names.push(match bias_type {
                BiasType::Float => {
                    self.emitter.constant(&format!("{name}_vector"), Tensor::vector(Data::F32(bias)))
                }
                BiasType::Int32 => {
                    let steps = bias.iter().zip(rounded.scales.iter().cycle());
                    let steps = steps.map(|(&bias, &scale)| quantize_bias(bias, scale * grid.scale));
                    let steps = Tensor::vector(Data::I32(steps.collect()));
                    let steps = self.emitter.constant(&format!("{name}_integers"), steps);
                    // What runtimes multiply when they load the model need not be stored.
                    let input_scale = self.params(grid).scale;
                    let scale =
                        self.emitter.value("Mul", &[&weight_scale, &input_scale], &format!("{name}_scale"));
                    self.floats(&name, vec![steps, scale], axis.map(|_| 0))
                }
            });
        }
        Ok((weighty.summary(&rounded), names))
    }

    /// What is known of a layer's inputs.
    ///
    /// # Errors
    /// Moments of a layer with other weights.
    fn moment(&self, node: &Node, weighty: &Weighty<'_>) -> Result<Option<&'a Moment>, QuantError> {
        let Some(moment) = self.moments.and_then(|moments| moments.layers.get(node.label())) else {
            return Ok(None);
        };
        let filters = weighty.channels.count().max(1);
        let groups = if node.is("Conv") { node.int("group", 1) } else { 1 };
        let terms = weighty.values.len() / filters;
        let wanted = usize::try_from(groups).ok().and_then(|groups| groups.checked_mul(terms));
        if moment.terms == terms && Some(moment.mean.len()) == wanted {
            return Ok(Some(moment));
        }
        Err(QuantError::File(format!(
            "the moments of `{}` are those of a layer with other weights; calibrate this very model again",
            node.label()
        )))
    }

    /// Of weights that several layers have, what is known of the inputs of all of them: so that they are rounded once, and stay one.
    /// `None` where `own` is all that there is.
    fn shared_moment(
        &self,
        weighty: &Weighty<'_>,
        own: Option<&Moment>,
    ) -> Result<Option<Moment>, QuantError> {
        let Some(own) = own else { return Ok(None) };
        let users = self.source.nodes.iter().filter(|node| node.input(1) == Some(weighty.name));
        let users: Vec<&Node> = users.filter(|node| has_weight(self.source, node)).collect();
        if users.len() < 2 {
            return Ok(None);
        }
        let mut all = Vec::with_capacity(users.len());
        for user in users {
            all.extend(self.moment(user, weighty)?);
        }
        Ok(Some(own.averaged(&all)))
    }

    /// Emits constant integers and what makes them floats, and gives the names of the floats and of the scales. `axis` says that scales
    /// are by channel; no zero points stand for zeros.
    fn dequantized(
        &mut self,
        name: &str,
        integers: Tensor,
        scales: &[f32],
        axis: Option<i64>,
        zero_points: Option<Data>,
    ) -> Result<(String, String), QuantError> {
        let shaped = |data: Data| match axis {
            None => Tensor::new(Vec::new(), data),
            Some(_) => Some(Tensor::vector(data)),
        };
        let integers = self.emitter.constant(&format!("{name}_integers"), integers);
        let mut constant = |what: &str, data| {
            let tensor = shaped(data).ok_or_else(|| QuantError::unfilled(name))?;
            Ok::<_, QuantError>(self.emitter.constant(&format!("{name}_{what}"), tensor))
        };
        let scale = constant("scale", Data::F32(scales.to_vec()))?;
        let zero_points = zero_points.map(|data| constant("zero_point", data)).transpose()?;
        let inputs = [integers, scale.clone()].into_iter().chain(zero_points).collect();
        Ok((self.floats(name, inputs, axis), scale))
    }

    /// Emits what makes floats of `inputs`: integers, their scales and perhaps zero points.
    fn floats(&mut self, name: &str, inputs: Vec<String>, axis: Option<i64>) -> String {
        let output = self.emitter.fresh(&format!("{name}_rounded"));
        let mut node = Node::new("DequantizeLinear", inputs, [output.clone()]);
        if let Some(axis) = axis {
            node = node.with("axis", Attribute::Int(axis));
        }
        self.emitter.node(node);
        output
    }

    /// The rounded form of an operand, which may be a constant.
    fn operand(&mut self, name: &str) -> Result<String, QuantError> {
        let Some(tensor) = self.source.initializers.get(name) else { return Ok(self.rounded(name)) };
        let values = tensor.as_f32();
        let values = values
            .ok_or_else(|| QuantError::Internal(format!("the constant operand `{name}` holds no floats")))?;
        let range = values.iter().fold(Range { min: 0.0, max: 0.0 }, |range, &value| Range {
            min: range.min.min(value),
            max: range.max.max(value),
        });
        let grid = Grid::spanning(range, None, self.options.activation_type());
        let integers = Tensor::new(tensor.shape().to_vec(), grid.integers(values));
        let integers = integers.ok_or_else(|| QuantError::unfilled(name))?;
        let integers = self.emitter.constant(&format!("{name}_integers"), integers);
        let params = self.params(grid);
        Ok(self.emitter.value("DequantizeLinear", &operands(&integers, &params), &format!("{name}_rounded")))
    }

    /// Emits the rounding of `tensor`, if it is to be rounded.
    fn round(&mut self, tensor: &str) {
        let (Some(&grid), Some(ends)) = (self.grids.get(tensor), self.tensors.get(tensor)) else { return };
        let [raw, integers, rounded] = [&ends.raw, &ends.integers, &ends.rounded].map(String::clone);
        // A factor that was merged makes other numbers of the same integers.
        let factor = self.plan.factors.get(tensor).copied().unwrap_or(1.0);
        let before = self.params(Grid { scale: grid.scale / factor, ..grid });
        let params = self.params(grid);
        self.emitter.node(Node::new("QuantizeLinear", operands(&raw, &before), [integers.as_str()]));
        self.emitter.node(Node::new("DequantizeLinear", operands(&integers, &params), [rounded.as_str()]));
    }

    fn params(&mut self, grid: Grid) -> Params {
        let key = (grid.scale.to_bits(), grid.zero_point);
        if let Some(params) = self.params.get(&key) {
            return params.clone();
        }
        let scale = self.emitter.constant("scale", Tensor::scalar_f32(grid.scale));
        let zero_point = self.emitter.constant("zero_point", grid.zero_point());
        let params = Params { scale, zero_point };
        self.params.insert(key, params.clone());
        params
    }

    fn rounded(&self, tensor: &str) -> String {
        self.tensors.get(tensor).map_or_else(|| tensor.to_owned(), |ends| ends.rounded.clone())
    }

    fn raw(&self, tensor: &str) -> String {
        self.tensors.get(tensor).map_or_else(|| tensor.to_owned(), |ends| ends.raw.clone())
    }

    fn layer(
        &self,
        index: usize,
        node: &Node,
        role: &Role,
        weight: Option<Weight>,
    ) -> Result<Layer, QuantError> {
        let tensor = match role {
            Role::Merged { .. } => None,
            Role::Integer => self.plan.outcomes.get(&index).map(String::as_str),
            Role::Passes | Role::Stored | Role::Float(_) => node.output(0),
        };
        let output = tensor.and_then(|tensor| {
            let grid = self.grids.get(tensor)?;
            let (min, max) = grid.span();
            let (scale, zero_point) = (grid.scale, grid.zero_point);
            Some(Output { tensor: tensor.to_owned(), scale, zero_point, min, max })
        });
        let form = match role {
            Role::Integer | Role::Passes => Form::Integer,
            Role::Stored => Form::WeightOnly,
            Role::Float(reason) => Form::left(reason.clone(), self.computes_sizes[index]),
            Role::Merged { into } => {
                let into = self.source.nodes.get(*into);
                let into = into.ok_or_else(|| QuantError::unplanned(node, "node that it is merged into"))?;
                Form::Merged { into: into.label().into() }
            }
        };
        Ok(Layer { name: node.label().into(), op: node.op.clone(), form, weight, output })
    }
}

/// The inputs of `QuantizeLinear` or `DequantizeLinear`.
fn operands<'a>(values: &'a str, params: &'a Params) -> [&'a str; 3] {
    [values, &params.scale, &params.zero_point]
}
