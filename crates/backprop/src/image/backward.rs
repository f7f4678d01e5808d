//! One image through one level backward.

use model::Activation;

use super::{ImagePass, Shared, kept};
use crate::memory::Memory;
use crate::norm::NormState;
use crate::plan::{Gradient, Kernel, Place, Shape, Widening};
use crate::pointwise::{self, Affine};
use crate::product::{self, Left, Size};
use crate::simd::Instructions;
use crate::statistics::Sums;
use crate::{depthwise, pooling};

impl ImagePass<'_> {
    /// Takes a step backward.
    pub(super) fn differentiate(&mut self, gradient: &Gradient) {
        let Shared { plan, norms, instructions: on, .. } = self.shared;
        match gradient {
            &Gradient::NormIn { norm, into } => {
                let (state, norm) = (&norms[norm], &plan.norms[norm]);
                let (place, length) = (Place::Stored(norm.stored), norm.shape.len());
                let x = self.values.get(place, length);
                self.gradients.change(Place::Scratch(into), length, |out, gradients| {
                    let dy = gradients.get(place, length);
                    pointwise::norm_gradient(on, dy, x, &state.factor, &state.slope, &state.offset, out);
                });
            }
            &Gradient::NormOut { norm, from, accumulate, last } => {
                let (state, plan) = (&norms[norm], &plan.norms[norm]);
                let (place, length) = (Place::Stored(plan.stored), plan.shape.len());
                let x = self.values.get(place, length);
                let affine = Affine { scale: &state.scale, shift: &state.shift, limits: plan.limits };
                let (sums, records) = (&mut *self.sums, &mut *self.records);
                self.gradients.change(place, length, |into, gradients| {
                    let sums = last.then_some((sums, &mut records.sums[norm]));
                    through_affine(on, gradients.get(from, length), x, affine, state, into, accumulate, sums);
                });
            }
            &Gradient::Widened { norm, widening, from, output, input, scratch } => {
                self.widened(norm, widening, [from, output, input], scratch);
            }
            &Gradient::Corrected {
                norm,
                widening: Widening { deferred, from, .. },
                input,
                into,
                accumulate,
            } => {
                let state = &norms[norm];
                let x = self.values.get(input, from.len());
                self.gradients.change(into, from.len(), |out, gradients| {
                    let size = Size { rows: from.pixels(), depth: from.channels, columns: from.padded() };
                    let left = Left { values: x, row: from.padded(), column: 1 };
                    product::multiply(on, size, left, &state.correction, out, accumulate);
                    let told = gradients.get(Place::Stored(deferred), from.len());
                    pointwise::add_shifted(on, told, &state.correction_shift, out);
                });
            }
            Gradient::Node { node, kernel, inputs, output, gradient, into } => {
                let shape = plan.shapes[*node];
                for (index, target) in into.iter().enumerate() {
                    let Some((place, accumulate)) = *target else { continue };
                    self.input_gradient(*node, *kernel, index, inputs, *output, *gradient, place, accumulate);
                }
                if let Kernel::Product { layer }
                | Kernel::Depthwise { layer, .. }
                | Kernel::Dense { layer, .. } = *kernel
                {
                    self.weight_gradient(layer, *kernel, inputs[0], shape, *gradient);
                }
            }
        }
    }

    /// See [`Widening`]. Places: of the gradient with respect to the activation's output, of the convolution's output, of its
    /// operand.
    fn widened(
        &mut self,
        norm: usize,
        widening: Widening,
        [from, output, input]: [Place; 3],
        scratch: usize,
    ) {
        let Shared { plan, norms, instructions: on, .. } = self.shared;
        let (state, planned) = (&norms[norm], &plan.norms[norm]);
        let Widening { layer, deferred, from: narrow } = widening;
        let wide = planned.shape;
        let (y, x) = (self.values.get(output, wide.len()), self.values.get(input, narrow.len()));
        let (sums, records) = (&mut *self.sums, &mut *self.records);
        self.gradients.change(Place::Scratch(scratch), wide.len(), |dz, gradients| {
            let affine = Affine { scale: &state.scale, shift: &state.shift, limits: planned.limits };
            let sums = Some((sums, &mut records.sums[norm]));
            through_affine(on, gradients.get(from, wide.len()), y, affine, state, dz, false, sums);
            let size = Size { rows: narrow.channels, depth: narrow.pixels(), columns: wide.padded() };
            let left = Left { values: x, row: 1, column: narrow.padded() };
            product::multiply(on, size, left, dz, &mut records.layers[layer].weights, true);
        });
        self.gradients.change(Place::Stored(deferred), narrow.len(), |told, gradients| {
            let size = Size { rows: narrow.pixels(), depth: wide.channels, columns: narrow.padded() };
            let left = Left {
                values: gradients.get(Place::Scratch(scratch), wide.len()),
                row: wide.padded(),
                column: 1,
            };
            product::multiply(on, size, left, &state.backward, told, false);
        });
    }

    /// The gradient with respect to one of the operands of `node`, from that with respect to its output.
    #[expect(clippy::too_many_arguments, reason = "the parts of a step")]
    #[expect(
        clippy::expect_used,
        reason = "without what a step reads, gradients would be zero and nobody would know"
    )]
    fn input_gradient(
        &mut self,
        node: usize,
        kernel: Kernel,
        which: usize,
        inputs: &[(usize, Option<Place>)],
        output: Option<Place>,
        gradient: Place,
        into: Place,
        accumulate: bool,
    ) {
        let Shared { plan, weights, instructions: on, dropout, .. } = self.shared;
        let shape = plan.shapes[node];
        let from = plan.shapes[inputs[which].0];
        let (values, image) = (&self.values, self.image);
        let value = |index: usize| {
            let (node, place) = inputs[index];
            values.get(place.expect("what a step reads is stored"), plan.shapes[node].len())
        };
        let patch_gradients = &mut *self.patch_gradients;
        self.gradients.change(into, from.len(), |out, gradients| {
            let dy = gradients.get(gradient, shape.len());
            let clear = |out: &mut [f32]| {
                if !accumulate {
                    out.fill(0.0);
                }
            };
            match kernel {
                Kernel::Image | Kernel::Affine { .. } => {}
                Kernel::Product { layer } => {
                    let size = Size { rows: shape.pixels(), depth: shape.channels, columns: from.padded() };
                    let left = Left { values: dy, row: shape.padded(), column: 1 };
                    product::multiply(on, size, left, &weights[layer].backward, out, accumulate);
                }
                Kernel::Depthwise { layer, size } => {
                    depthwise::backward(on, size, dy, &weights[layer].forward, out, accumulate);
                }
                Kernel::Dense { layer, size: patch } => {
                    let patches = patch_gradients.at_least(patch.len());
                    let size = Size { rows: shape.pixels(), depth: shape.channels, columns: patch.row() };
                    let left = Left { values: dy, row: shape.padded(), column: 1 };
                    product::multiply(on, size, left, &weights[layer].backward, patches, false);
                    clear(out);
                    patch.scatter(patches, out);
                }
                Kernel::Activation(activation) => {
                    let y = values.get(output.expect("what a step reads is stored"), shape.len());
                    clear(out);
                    for ((out, dy), y) in out.iter_mut().zip(dy).zip(y) {
                        *out += dy * slope(activation, *y);
                    }
                }
                Kernel::Add => pointwise::put(dy, out, accumulate),
                Kernel::Multiply if which == 0 => pointwise::gated(on, dy, value(1), out, accumulate),
                Kernel::Multiply => {
                    clear(out);
                    pointwise::channel_products(on, dy, value(0), out);
                }
                Kernel::GlobalAverage => {
                    clear(out);
                    let share = 1.0 / from.pixels() as f32;
                    let mean: Vec<f32> = dy.iter().map(|value| value * share).collect();
                    pointwise::spread(on, &mean, out);
                }
                Kernel::MaxPool(pool) => {
                    clear(out);
                    pooling::max_gradient(pool, [from, shape], value(0), dy, out);
                }
                Kernel::AveragePool(pool) => {
                    clear(out);
                    pooling::average_gradient(pool, [from, shape], dy, out);
                }
                Kernel::Flatten => {
                    clear(out);
                    for pixel in 0..from.pixels() {
                        for channel in 0..from.channels {
                            out[pixel * from.padded() + channel] += dy[channel * from.pixels() + pixel];
                        }
                    }
                }
                Kernel::Dropout { p } => {
                    clear(out);
                    for (index, (out, dy)) in out.iter_mut().zip(dy).enumerate() {
                        *out += dy * kept(dropout, image, node, index, p);
                    }
                }
            }
        });
    }

    fn weight_gradient(
        &mut self,
        layer: usize,
        kernel: Kernel,
        input: (usize, Option<Place>),
        shape: Shape,
        gradient: Place,
    ) {
        let Shared { plan, instructions: on, .. } = self.shared;
        let (node, Some(place)) = input else { return };
        let from = plan.shapes[node];
        let x = self.values.get(place, from.len());
        let dy = self.gradients.get(gradient, shape.len());
        let sums = &mut self.records.layers[layer];
        match kernel {
            Kernel::Product { .. } => {
                let size = Size { rows: from.channels, depth: shape.pixels(), columns: shape.padded() };
                let left = Left { values: x, row: 1, column: from.padded() };
                product::multiply(on, size, left, dy, &mut sums.weights, true);
            }
            Kernel::Depthwise { size, .. } => depthwise::weight_gradient(on, size, x, dy, &mut sums.weights),
            Kernel::Dense { size: patch, .. } => {
                let patches = self.patches.at_least(patch.len());
                patch.gather(x, patches);
                let size = Size { rows: patch.depth(), depth: shape.pixels(), columns: shape.padded() };
                let left = Left { values: patches, row: 1, column: patch.row() };
                product::multiply(on, size, left, dy, &mut sums.weights, true);
            }
            _ => return,
        }
        if plan.layers[layer].bias.is_some() {
            let nothing = self.sums[0].cleared(shape.padded());
            pointwise::channel_sums(on, dy, nothing, false, &mut sums.bias);
        }
    }
}

/// The gradient `dz` with respect to a normalisation's output, written or added to, from that with respect to the output of the
/// activation behind it; `y` is what the normalisation reads. With `sums`, adds what it must know of `dz`, a few pixels at a time,
/// while they are in the first cache.
#[expect(clippy::too_many_arguments, reason = "the parts of a step")]
fn through_affine(
    on: Instructions,
    gradient: &[f32],
    y: &[f32],
    affine: Affine<'_>,
    state: &NormState,
    dz: &mut [f32],
    accumulate: bool,
    sums: Option<(&mut [Memory; 2], &mut Sums)>,
) {
    let Some(([plain, products], sums)) = sums else {
        return pointwise::affine_gradient(on, gradient, y, affine, dz, accumulate);
    };
    let (plain, products) = (plain.cleared(state.mean.len()), products.cleared(state.mean.len()));
    let few = pointwise::PIXELS * state.mean.len();
    for ((gradient, y), dz) in gradient.chunks(few).zip(y.chunks(few)).zip(dz.chunks_mut(few)) {
        pointwise::affine_gradient(on, gradient, y, affine, dz, accumulate);
        pointwise::gradient_sums(on, dz, y, &state.mean, plain, products);
    }
    let wide = |value: &f32| f64::from(*value);
    sums.add(plain.iter().map(wide), products.iter().map(wide));
}

/// The slope of an activation where its output is `y`.
fn slope(activation: Activation, y: f32) -> f32 {
    let inside = |high: f32, slope: f32| if 0.0 < y && y < high { slope } else { 0.0 };
    match activation {
        Activation::Relu => inside(f32::INFINITY, 1.0),
        Activation::Relu6 => inside(6.0, 1.0),
        Activation::Sigmoid => y * (1.0 - y),
        Activation::HardSigmoid => inside(1.0, 1.0 / 6.0),
    }
}
