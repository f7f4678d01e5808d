//! Weights as the kernels read them, and their gradients as the kernels write them: channels padded and side by side.

use crate::memory::Memory;
use crate::plan::Layer;
use crate::simd::LANES;

impl Layer {
    /// Values that each output, or channel, sees.
    pub(crate) fn depth(&self) -> usize {
        self.kernel * self.kernel * self.inputs
    }

    /// Outputs with padding.
    pub(crate) fn padded(&self) -> usize {
        self.outputs.next_multiple_of(LANES)
    }

    /// Calls `each` with the place of each weight, counted from the layer's first, its output and its place in depth:
    /// row, column, input.
    fn places(&self, mut each: impl FnMut(usize, usize, usize)) {
        let taps = self.kernel * self.kernel;
        for output in 0..self.outputs {
            for input in 0..self.inputs {
                for tap in 0..taps {
                    each((output * self.inputs + input) * taps + tap, output, tap * self.inputs + input);
                }
            }
        }
    }
}

/// The weights of a layer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Weights {
    /// `[depth, padded outputs]`.
    pub(crate) forward: Memory,
    /// `[outputs, padded depth]`; empty where depthwise.
    pub(crate) backward: Memory,
    /// `[padded outputs]`; zeros where there is none.
    pub(crate) bias: Memory,
}

impl Weights {
    pub(crate) fn new(layer: &Layer) -> Self {
        let row = layer.depth().next_multiple_of(LANES);
        Self {
            forward: Memory::zeros(layer.depth() * layer.padded()),
            backward: Memory::zeros(if layer.depthwise { 0 } else { layer.outputs * row }),
            bias: Memory::zeros(layer.padded()),
        }
    }

    /// Takes the layer's numbers from all trained `values`.
    pub(crate) fn pack(&mut self, layer: &Layer, values: &[f32]) {
        let (padded, row) = (layer.padded(), layer.depth().next_multiple_of(LANES));
        let weights = &values[layer.weight..];
        layer.places(|place, output, depth| {
            self.forward[depth * padded + output] = weights[place];
            if !layer.depthwise {
                self.backward[output * row + depth] = weights[place];
            }
        });
        if let Some(bias) = layer.bias {
            self.bias[..layer.outputs].copy_from_slice(&values[bias..bias + layer.outputs]);
        }
    }
}

/// The gradient with respect to a layer's weights, as [`Weights::forward`], and to its bias.
#[derive(Debug, Clone, Default)]
pub(crate) struct LayerGradient {
    pub(crate) weights: Memory,
    pub(crate) bias: Memory,
}

impl LayerGradient {
    /// Makes it zeros, of the layer's size.
    pub(crate) fn clear(&mut self, layer: &Layer) {
        self.weights.cleared(layer.depth() * layer.padded());
        self.bias.cleared(layer.padded());
    }

    /// Adds it to the gradient with respect to all trained values.
    pub(crate) fn add_to(&self, layer: &Layer, gradient: &mut [f32]) {
        let padded = layer.padded();
        let weights = &mut gradient[layer.weight..];
        layer.places(|place, output, depth| weights[place] += self.weights[depth * padded + output]);
        if let Some(bias) = layer.bias {
            crate::pointwise::add_to(&self.bias[..layer.outputs], &mut gradient[bias..]);
        }
    }
}
