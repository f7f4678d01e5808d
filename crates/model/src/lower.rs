//! From the description to the graph: every layer becomes nodes with known shapes, or an error that names the
//! layer. The only place that makes a [`Graph`].

mod blocks;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::ModelError;
use crate::graph::{Activation, BatchNorm, Conv, Graph, Linear, Node, NodeId, Op, Pool};
use crate::network::{ActivationName, ConvLayer, Layer, LinearLayer, Network, Norm, PoolLayer};

const MAX_CHANNELS: usize = 65_536;
const MAX_SIDE: usize = 16_384;
const MAX_KERNEL: usize = 64;
/// Far above what this is for, far below what makes sizes overflow.
const MAX_VALUES: usize = 1_000_000_000;
/// PyTorch's default.
const BATCH_NORM_EPS: f64 = 1e-5;

impl Network {
    /// Works out every shape for images of `self.input` and `classes` classes.
    ///
    /// # Errors
    /// [`ModelError::Layer`] naming the first layer that makes no sense where it stands;
    /// [`ModelError::Network`] where the layers as a whole do not yield one number per class.
    pub fn lower(&self, classes: usize) -> Result<Graph, ModelError> {
        let whole = |reason: String| ModelError::Network { reason };
        let [channels, height, width] = self.input;
        if !(1..=MAX_CHANNELS).contains(&channels)
            || !(1..=MAX_SIDE).contains(&height)
            || !(1..=MAX_SIDE).contains(&width)
        {
            return Err(whole(format!(
                "`input` is {:?}: channels must be 1 to {MAX_CHANNELS}, height and width 1 to {MAX_SIDE}",
                self.input
            )));
        }
        if !(1..=MAX_CHANNELS).contains(&classes) {
            return Err(whole(format!("{classes} classes, but 1 to {MAX_CHANNELS} are supported")));
        }
        let mut builder = Builder { nodes: Vec::new(), names: BTreeSet::new(), classes, blocks: 0 };
        let mut last = builder.push(Site::root(), "input".into(), Op::Input, &[], self.input.to_vec())?;
        for (index, layer) in self.layers.iter().enumerate() {
            let site = Site { path: &format!("layers[{index}].{}", layer.kind()) };
            let default_name = match layer {
                Layer::Conv(_) if index == 0 => "stem".to_owned(),
                Layer::InvertedResidual(_) => format!("blocks.{}", builder.blocks),
                Layer::Linear(_) if index + 1 == self.layers.len() => "fc".to_owned(),
                _ => format!("layers.{index}"),
            };
            if matches!(layer, Layer::InvertedResidual(_)) {
                builder.blocks += 1;
            }
            last = builder.layer(site, default_name, layer, last)?;
        }
        let shape = builder.shape(last);
        if shape != [classes] {
            return Err(whole(format!(
                "the last layer yields {}, not one number for each of the {classes} classes; end with \
                 `linear: {{}}`",
                describe(shape)
            )));
        }
        let graph = Graph { nodes: builder.nodes };
        let values: usize = graph.params().iter().fold(0, |sum, param| sum.saturating_add(param.count()));
        if values > MAX_VALUES {
            return Err(whole(format!("{values} parameters are more than the {MAX_VALUES} supported")));
        }
        Ok(graph)
    }
}

/// Where in the description a layer stands.
#[derive(Clone, Copy)]
struct Site<'a> {
    path: &'a str,
}

impl Site<'_> {
    fn root() -> Self {
        Self { path: "input" }
    }

    fn refuse<T>(self, reason: impl Into<String>) -> Result<T, ModelError> {
        Err(ModelError::Layer { layer: self.path.into(), reason: reason.into() })
    }

    fn check(self, key: &str, value: usize, max: usize) -> Result<(), ModelError> {
        if (1..=max).contains(&value) {
            return Ok(());
        }
        self.refuse(format!("`{key}` is {value}, but must be 1 to {max}"))
    }
}

struct Builder {
    nodes: Vec<Node>,
    names: BTreeSet<String>,
    classes: usize,
    blocks: usize,
}

impl Builder {
    fn push(
        &mut self,
        site: Site<'_>,
        name: String,
        op: Op,
        inputs: &[NodeId],
        shape: Vec<usize>,
    ) -> Result<NodeId, ModelError> {
        if shape.iter().product::<usize>() > MAX_VALUES {
            return site.refuse(format!("yields {}: more values than supported", describe(&shape)));
        }
        if !self.names.insert(name.clone()) {
            return site.refuse(format!("the name `{name}` is taken; give it another `name`"));
        }
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node { id, name, op, inputs: inputs.to_vec(), shape });
        Ok(id)
    }

    fn shape(&self, id: NodeId) -> &[usize] {
        &self.nodes[id.0].shape
    }

    fn image_shape(&self, site: Site<'_>, id: NodeId) -> Result<[usize; 3], ModelError> {
        match *self.shape(id) {
            [channels, height, width] => Ok([channels, height, width]),
            ref other => site.refuse(format!(
                "needs channels, height and width but gets {}; put it before the first `linear`",
                describe(other)
            )),
        }
    }

    fn layer(
        &mut self,
        site: Site<'_>,
        default_name: String,
        layer: &Layer,
        input: NodeId,
    ) -> Result<NodeId, ModelError> {
        match layer {
            Layer::Conv(layer) => {
                let name = chosen_name(site, layer.name.as_ref(), default_name)?;
                self.conv_layer(site, &name, layer, input)
            }
            Layer::InvertedResidual(layer) => {
                let name = chosen_name(site, layer.name.as_ref(), default_name)?;
                self.inverted_residual(site, &name, layer, input)
            }
            Layer::Residual(layer) => {
                let name = chosen_name(site, layer.name.as_ref(), default_name)?;
                self.residual(site, &name, layer, input)
            }
            Layer::GlobalAveragePool(_) => self.global_average_pool(site, default_name, input),
            Layer::MaxPool(layer) => self.pool(site, default_name, layer, input, Op::MaxPool),
            Layer::AveragePool(layer) => self.pool(site, default_name, layer, input, Op::AveragePool),
            Layer::Dropout(layer) => {
                if !(0.0..1.0).contains(&layer.p) {
                    return site.refuse(format!("`p` is {}, but must be at least 0 and below 1", layer.p));
                }
                let shape = self.shape(input).to_vec();
                self.push(site, default_name, Op::Dropout { p: layer.p }, &[input], shape)
            }
            Layer::Linear(layer) => {
                let name = chosen_name(site, layer.name.as_ref(), default_name)?;
                self.linear(site, name, layer, input)
            }
        }
    }

    fn conv_layer(
        &mut self,
        site: Site<'_>,
        name: &str,
        layer: &ConvLayer,
        input: NodeId,
    ) -> Result<NodeId, ModelError> {
        let spec = ConvSpec {
            out: layer.out,
            kernel: layer.kernel,
            stride: layer.stride,
            padding: layer.padding.unwrap_or(layer.kernel.saturating_sub(1) / 2),
            groups: layer.groups,
            bias: layer.norm == Norm::None,
        };
        self.conv_block(site, name, 0, spec, layer.activation, input)
    }

    /// `PREFIX.START` convolution, then normalisation unless it has a bias, then activation, numbered on as in a
    /// PyTorch `Sequential`.
    fn conv_block(
        &mut self,
        site: Site<'_>,
        prefix: &str,
        start: usize,
        spec: ConvSpec,
        activation: ActivationName,
        input: NodeId,
    ) -> Result<NodeId, ModelError> {
        let mut number = start;
        let mut last = self.conv(site, format!("{prefix}.{number}"), spec, input)?;
        if !spec.bias {
            number += 1;
            last = self.batch_norm(site, format!("{prefix}.{number}"), last)?;
        }
        self.activation(site, format!("{prefix}.{}", number + 1), activation, last)
    }

    fn conv(
        &mut self,
        site: Site<'_>,
        prefix: String,
        spec: ConvSpec,
        input: NodeId,
    ) -> Result<NodeId, ModelError> {
        let [channels, height, width] = self.image_shape(site, input)?;
        let ConvSpec { out, kernel, stride, padding, groups, bias } = spec;
        site.check("out", out, MAX_CHANNELS)?;
        site.check("kernel", kernel, MAX_KERNEL)?;
        site.check("stride", stride, MAX_KERNEL)?;
        site.check("groups", groups, MAX_CHANNELS)?;
        if padding > MAX_KERNEL {
            return site.refuse(format!("`padding` is {padding}, but must be 0 to {MAX_KERNEL}"));
        }
        if channels % groups != 0 || out % groups != 0 {
            return site.refuse(format!(
                "`groups` is {groups}, which must divide both the {channels} input and the {out} output channels"
            ));
        }
        let side = |length| window_count(length + 2 * padding, kernel, stride);
        let (Some(out_height), Some(out_width)) = (side(height), side(width)) else {
            return site.refuse(format!(
                "a kernel of {kernel} with padding {padding} does not fit into {height}×{width}"
            ));
        };
        let op = Op::Conv(Conv {
            prefix: prefix.clone(),
            in_channels: channels,
            out_channels: out,
            kernel,
            stride,
            padding,
            groups,
            bias,
        });
        self.push(site, prefix, op, &[input], vec![out, out_height, out_width])
    }

    fn batch_norm(&mut self, site: Site<'_>, prefix: String, input: NodeId) -> Result<NodeId, ModelError> {
        let shape = self.image_shape(site, input)?;
        let [channels, ..] = shape;
        let op = Op::BatchNorm(BatchNorm { prefix: prefix.clone(), channels, eps: BATCH_NORM_EPS });
        self.push(site, prefix, op, &[input], shape.to_vec())
    }

    fn activation(
        &mut self,
        site: Site<'_>,
        name: String,
        activation: ActivationName,
        input: NodeId,
    ) -> Result<NodeId, ModelError> {
        let activation = match activation {
            ActivationName::None => return Ok(input),
            ActivationName::Relu => Activation::Relu,
            ActivationName::Relu6 => Activation::Relu6,
        };
        let shape = self.shape(input).to_vec();
        self.push(site, name, Op::Activation(activation), &[input], shape)
    }

    fn global_average_pool(
        &mut self,
        site: Site<'_>,
        name: String,
        input: NodeId,
    ) -> Result<NodeId, ModelError> {
        let [channels, ..] = self.image_shape(site, input)?;
        self.push(site, name, Op::GlobalAveragePool, &[input], vec![channels, 1, 1])
    }

    fn pool(
        &mut self,
        site: Site<'_>,
        name: String,
        layer: &PoolLayer,
        input: NodeId,
        op: fn(Pool) -> Op,
    ) -> Result<NodeId, ModelError> {
        let [channels, height, width] = self.image_shape(site, input)?;
        let pool = Pool { kernel: layer.kernel, stride: layer.stride.unwrap_or(layer.kernel) };
        site.check("kernel", pool.kernel, MAX_KERNEL)?;
        site.check("stride", pool.stride, MAX_KERNEL)?;
        let side = |length| window_count(length, pool.kernel, pool.stride);
        let (Some(out_height), Some(out_width)) = (side(height), side(width)) else {
            return site.refuse(format!("a window of {} does not fit into {height}×{width}", pool.kernel));
        };
        self.push(site, name, op(pool), &[input], vec![channels, out_height, out_width])
    }

    fn linear(
        &mut self,
        site: Site<'_>,
        prefix: String,
        layer: &LinearLayer,
        input: NodeId,
    ) -> Result<NodeId, ModelError> {
        let out_features = layer.out.unwrap_or(self.classes);
        site.check("out", out_features, MAX_CHANNELS)?;
        let in_features = self.shape(input).iter().product();
        let features = if self.shape(input).len() == 1 {
            input
        } else {
            self.push(site, format!("{prefix}.flatten"), Op::Flatten, &[input], vec![in_features])?
        };
        let op = Op::Linear(Linear { prefix: prefix.clone(), in_features, out_features });
        let last = self.push(site, prefix.clone(), op, &[features], vec![out_features])?;
        self.activation(site, format!("{prefix}.activation"), layer.activation, last)
    }
}

#[derive(Clone, Copy)]
struct ConvSpec {
    out: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    groups: usize,
    bias: bool,
}

impl ConvSpec {
    fn pointwise(out: usize) -> Self {
        Self { out, kernel: 1, stride: 1, padding: 0, groups: 1, bias: false }
    }
}

/// How many windows of `kernel` fit into `length` at steps of `stride`; none where not even one does.
fn window_count(length: usize, kernel: usize, stride: usize) -> Option<usize> {
    Some(length.checked_sub(kernel)? / stride + 1)
}

fn chosen_name(site: Site<'_>, name: Option<&String>, default: String) -> Result<String, ModelError> {
    let Some(name) = name else { return Ok(default) };
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) || name.split('.').any(str::is_empty) {
        return site.refuse(format!(
            "`name` is `{name}`, but must be 1 to 64 letters, digits, `_`, `-` and inner dots"
        ));
    }
    Ok(name.clone())
}

/// A shape in words: `64 features` or `16 channels of 32×32`.
fn describe(shape: &[usize]) -> String {
    match shape {
        [features] => format!("{features} features"),
        [channels, height, width] => format!("{channels} channels of {height}×{width}"),
        other => format!("{other:?}"),
    }
}
