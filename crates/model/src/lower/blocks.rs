//! Layers that become several: the inverted residual with squeeze-and-excite, and the residual with its shortcut.

use super::{Builder, ConvSpec, MAX_CHANNELS, MAX_KERNEL, Site, describe, window_count};
use crate::ModelError;
use crate::graph::{Activation, NodeId, Op};
use crate::network::{ActivationName, Gate, InvertedResidualLayer, Norm, ResidualLayer};

impl Builder {
    pub(super) fn inverted_residual(
        &mut self,
        site: Site<'_>,
        name: &str,
        layer: &InvertedResidualLayer,
        input: NodeId,
    ) -> Result<NodeId, ModelError> {
        let InvertedResidualLayer { out, expand, stride, kernel, se, gate, activation, name: _ } = *layer;
        site.check("expand", expand, MAX_CHANNELS)?;
        if kernel.is_multiple_of(2) {
            return site.refuse(format!("`kernel` is {kernel}, but must be odd"));
        }
        let conv = format!("{name}.conv");
        let expanded = self.conv_block(site, &conv, 0, ConvSpec::pointwise(expand), activation, input)?;
        let depthwise = ConvSpec {
            out: expand,
            kernel,
            stride,
            padding: kernel.saturating_sub(1) / 2,
            groups: expand,
            bias: false,
        };
        let mut inner = self.conv_block(site, &conv, 3, depthwise, activation, expanded)?;
        if let Some(reduction) = se {
            inner = self.squeeze_and_excite(site, &format!("{name}.se"), reduction, gate, inner)?;
        }
        let project = format!("{name}.project");
        let projected =
            self.conv_block(site, &project, 0, ConvSpec::pointwise(out), ActivationName::None, inner)?;
        if stride != 1 || self.shape(input) != self.shape(projected) {
            return Ok(projected);
        }
        let shape = self.shape(input).to_vec();
        self.push(site, format!("{name}.add"), Op::Add, &[input, projected], shape)
    }

    fn squeeze_and_excite(
        &mut self,
        site: Site<'_>,
        name: &str,
        reduction: usize,
        gate: Gate,
        input: NodeId,
    ) -> Result<NodeId, ModelError> {
        let shape = self.image_shape(site, input)?;
        let [channels, ..] = shape;
        if reduction == 0 || reduction > channels {
            return site
                .refuse(format!("`se` is {reduction}, but must be 1 to the {channels} expanded channels"));
        }
        let squeezed = self.global_average_pool(site, format!("{name}.pool"), input)?;
        let with_bias = |out| ConvSpec { bias: true, ..ConvSpec::pointwise(out) };
        let reduced = self.conv(site, format!("{name}.fc1"), with_bias(channels / reduction), squeezed)?;
        let relu = self.activation(site, format!("{name}.relu"), ActivationName::Relu, reduced)?;
        let restored = self.conv(site, format!("{name}.fc2"), with_bias(channels), relu)?;
        let gate = match gate {
            Gate::Sigmoid => Activation::Sigmoid,
            Gate::HardSigmoid => Activation::HardSigmoid,
        };
        let op = Op::Activation(gate);
        let factors = self.push(site, format!("{name}.gate"), op, &[restored], vec![channels, 1, 1])?;
        self.push(site, format!("{name}.scale"), Op::Multiply, &[input, factors], shape.to_vec())
    }

    pub(super) fn residual(
        &mut self,
        site: Site<'_>,
        name: &str,
        layer: &ResidualLayer,
        input: NodeId,
    ) -> Result<NodeId, ModelError> {
        let from = self.image_shape(site, input)?;
        if layer.layers.is_empty() {
            return site.refuse("`layers` is empty; give the main path at least one layer");
        }
        let mut main = input;
        for (index, inner) in layer.layers.iter().enumerate() {
            let path = format!("{}.layers[{index}].{}", site.path, inner.kind());
            main = self.layer(Site { path: &path }, format!("{name}.{index}"), inner, main)?;
        }
        let to = self.image_shape(site, main)?;
        let shortcut =
            if from == to { input } else { self.shortcut(site, name, layer.norm, input, from, to)? };
        let sum = self.push(site, format!("{name}.add"), Op::Add, &[main, shortcut], to.to_vec())?;
        self.activation(site, format!("{name}.activation"), layer.activation, sum)
    }

    fn shortcut(
        &mut self,
        site: Site<'_>,
        name: &str,
        norm: Norm,
        input: NodeId,
        from: [usize; 3],
        to: [usize; 3],
    ) -> Result<NodeId, ModelError> {
        let leads = |stride: &usize| {
            from[1..]
                .iter()
                .zip(&to[1..])
                .all(|(&length, &wanted)| window_count(length, 1, *stride) == Some(wanted))
        };
        let Some(stride) = (1..=MAX_KERNEL).find(leads) else {
            return site.refuse(format!(
                "its layers turn {} into {}, to which no stride of a 1×1 convolution on the shortcut leads",
                describe(&from),
                describe(&to)
            ));
        };
        let [out, ..] = to;
        let spec = ConvSpec { stride, bias: norm == Norm::None, ..ConvSpec::pointwise(out) };
        self.conv_block(site, &format!("{name}.shortcut"), 0, spec, ActivationName::None, input)
    }
}
