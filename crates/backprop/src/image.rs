//! One image through one level, forward or backward. Knows where values lie; knows no other image, except by the statistics
//! of the batch.

mod backward;

use model::Activation;

use crate::batch::{Bank, Group, Records};
use crate::memory::Memory;
use crate::norm::NormState;
use crate::packed::Weights;
use crate::plan::{Kernel, Level, Plan, Shape, Step};
use crate::pointwise;
use crate::product::{self, Left, Size};
use crate::simd::Instructions;
use crate::{depthwise, pooling};

/// What all images share.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) weights: &'a [Weights],
    pub(crate) norms: &'a [NormState],
    /// The batch: `[N, C, H, W]`.
    pub(crate) images: &'a [f32],
    pub(crate) instructions: Instructions,
    /// Seed of what is dropped out; none at inference.
    pub(crate) dropout: Option<u64>,
    /// Whether mean and variance of the batch are wanted.
    pub(crate) observe: bool,
}

/// Memory of a thread, for one image after the other.
#[derive(Default)]
pub(crate) struct Workspace {
    values: Vec<Memory>,
    gradients: Vec<Memory>,
    patches: Memory,
    patch_gradients: Memory,
    sums: [Memory; 2],
}

/// An image of a group with a workspace.
struct ImagePass<'a> {
    shared: Shared<'a>,
    /// Which of the batch.
    image: usize,
    values: Bank<'a>,
    gradients: Bank<'a>,
    records: &'a mut Records,
    patches: &'a mut Memory,
    patch_gradients: &'a mut Memory,
    sums: &'a mut [Memory; 2],
}

impl Shared<'_> {
    /// Computes `level` forward for all images of `group`.
    pub(crate) fn forward(self, level: &Level, group: &mut Group, workspace: &mut Workspace) {
        for image in 0..group.images {
            let mut pass = self.pass(image, group, workspace);
            for step in &level.forward {
                let observed = step.norm.filter(|_| self.observe);
                let widens = step.norm.is_some_and(|norm| self.plan.norms[norm].widening.is_some());
                if widens && observed.is_none() {
                    continue;
                }
                pass.compute(step);
                if let Some(norm) = observed {
                    pass.observe(step, norm);
                }
            }
        }
    }

    /// Computes `level` backward for all images of `group`.
    pub(crate) fn backward(self, level: &Level, group: &mut Group, workspace: &mut Workspace) {
        for image in 0..group.images {
            let mut pass = self.pass(image, group, workspace);
            for step in &level.again {
                pass.compute(step);
            }
            for gradient in &level.backward {
                pass.differentiate(gradient);
            }
        }
    }

    fn pass<'a>(self, image: usize, group: &'a mut Group, workspace: &'a mut Workspace) -> ImagePass<'a>
    where
        Self: 'a,
    {
        ImagePass {
            shared: self,
            image: group.first + image,
            values: Bank { scratch: &mut workspace.values, stored: &mut group.values, image },
            gradients: Bank { scratch: &mut workspace.gradients, stored: &mut group.gradients, image },
            records: &mut group.records,
            patches: &mut workspace.patches,
            patch_gradients: &mut workspace.patch_gradients,
            sums: &mut workspace.sums,
        }
    }
}

impl ImagePass<'_> {
    fn compute(&mut self, step: &Step) {
        let Shared { plan, weights, norms, images, instructions: on, dropout, .. } = self.shared;
        let shape = plan.shapes[step.node];
        let image = self.image;
        let (patches, sums) = (&mut *self.patches, &mut *self.sums);
        self.values.change(step.output, shape.len(), |out, values| {
            let input = |index: usize| {
                let (node, place) = step.inputs[index];
                values.get(place, plan.shapes[node].len())
            };
            let shapes = || [plan.shapes[step.inputs[0].0], shape];
            match step.kernel {
                Kernel::Image => {
                    let length = shape.channels * shape.pixels();
                    interleave(&images[image * length..(image + 1) * length], shape, out);
                }
                Kernel::Affine { norm } => {
                    let state = &norms[norm];
                    pointwise::affine(on, input(0), &state.scale, &state.shift, plan.norms[norm].limits, out);
                }
                Kernel::Product { layer } => {
                    let x = input(0);
                    let [from, _] = shapes();
                    let size = Size { rows: shape.pixels(), depth: from.channels, columns: shape.padded() };
                    let left = Left { values: x, row: from.padded(), column: 1 };
                    product::multiply(on, size, left, &weights[layer].forward, out, false);
                    add_bias(plan, layer, weights, on, out);
                }
                Kernel::Depthwise { layer, size } => {
                    depthwise::forward(on, size, input(0), &weights[layer].forward, out);
                    add_bias(plan, layer, weights, on, out);
                }
                Kernel::Dense { layer, size: patch } => {
                    let patches = patches.at_least(patch.len());
                    patch.gather(input(0), patches);
                    let size = Size { rows: shape.pixels(), depth: patch.depth(), columns: shape.padded() };
                    let left = Left { values: patches, row: patch.row(), column: 1 };
                    product::multiply(on, size, left, &weights[layer].forward, out, false);
                    add_bias(plan, layer, weights, on, out);
                }
                Kernel::Activation(activation) => {
                    for (out, x) in out.iter_mut().zip(input(0)) {
                        *out = activate(activation, *x);
                    }
                }
                Kernel::Add => {
                    for ((out, left), right) in out.iter_mut().zip(input(0)).zip(input(1)) {
                        *out = left + right;
                    }
                }
                Kernel::Multiply => pointwise::gated(on, input(0), input(1), out, false),
                Kernel::GlobalAverage => {
                    let [from, _] = shapes();
                    out.fill(0.0);
                    let nothing = sums[0].cleared(out.len());
                    pointwise::channel_sums(on, input(0), nothing, false, out);
                    let share = 1.0 / from.pixels() as f32;
                    out.iter_mut().for_each(|value| *value *= share);
                }
                Kernel::MaxPool(pool) => pooling::max(pool, shapes(), input(0), out),
                Kernel::AveragePool(pool) => pooling::average(pool, shapes(), input(0), out),
                Kernel::Flatten => {
                    out.fill(0.0);
                    let [from, _] = shapes();
                    deinterleave(input(0), from, out);
                }
                Kernel::Dropout { p } => {
                    for (index, (out, x)) in out.iter_mut().zip(input(0)).enumerate() {
                        *out = x * kept(dropout, image, step.node, index, p);
                    }
                }
            }
        });
    }

    /// Mean and squares of what is to be normalised, while it is in the cache.
    fn observe(&mut self, step: &Step, norm: usize) {
        let Shared { plan, instructions: on, .. } = self.shared;
        let shape = plan.norms[norm].shape;
        if let (Some(widening), [(_, place)]) = (plan.norms[norm].widening, step.inputs.as_slice()) {
            let (x, from) = (self.values.get(*place, widening.from.len()), widening.from);
            let records = &mut self.records.products[norm];
            let nothing = self.sums[0].cleared(from.padded());
            pointwise::channel_sums(on, x, nothing, false, &mut records.sums);
            let size = Size { rows: from.channels, depth: from.pixels(), columns: from.padded() };
            let left = Left { values: x, row: 1, column: from.padded() };
            product::multiply(on, size, left, x, &mut records.products, true);
        }
        let x = self.values.get(step.output, shape.len());
        let [mean, squares] = &mut *self.sums;
        let (nothing, mean) = (squares.cleared(shape.padded()), mean.cleared(shape.padded()));
        pointwise::channel_sums(on, x, nothing, false, mean);
        let pixels = shape.pixels() as f32;
        mean.iter_mut().for_each(|value| *value /= pixels);
        let squares = nothing;
        pointwise::channel_sums(on, x, mean, true, squares);
        let wide = |values: &'_ [f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
        self.records.moments[norm].join(f64::from(pixels), wide(mean).into_iter(), wide(squares).into_iter());
    }
}

fn add_bias(plan: &Plan, layer: usize, weights: &[Weights], on: Instructions, out: &mut [f32]) {
    if plan.layers[layer].bias.is_some() {
        pointwise::spread(on, &weights[layer].bias, out);
    }
}

/// `[C, H, W]` to `[H, W, padded C]`.
fn interleave(image: &[f32], shape: Shape, out: &mut [f32]) {
    out.fill(0.0);
    for (channel, plane) in image.chunks_exact(shape.pixels()).enumerate() {
        for (value, pixel) in plane.iter().zip(out.chunks_exact_mut(shape.padded())) {
            pixel[channel] = *value;
        }
    }
}

/// `[H, W, padded C]` to `[C, H, W]`.
fn deinterleave(x: &[f32], shape: Shape, out: &mut [f32]) {
    for (pixel, values) in x.chunks_exact(shape.padded()).enumerate() {
        for (channel, value) in values[..shape.channels].iter().enumerate() {
            out[channel * shape.pixels() + pixel] = *value;
        }
    }
}

fn activate(activation: Activation, x: f32) -> f32 {
    match activation {
        // `clamp`, unlike `max`, keeps what is not a number.
        Activation::Relu => x.clamp(0.0, f32::INFINITY),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::HardSigmoid => (x / 6.0 + 0.5).clamp(0.0, 1.0),
    }
}

/// What a value of an image is multiplied with by dropout: depends on nothing but the seed and its place.
fn kept(seed: Option<u64>, image: usize, node: usize, index: usize, p: f64) -> f32 {
    let Some(seed) = seed else { return 1.0 };
    // SplitMix64: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators (2014).
    let mix = |state: u64| {
        let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let bits = [image, node, index].into_iter().fold(mix(seed), |state, part| mix(state ^ part as u64));
    let drawn = (bits >> 11) as f64 / (1_u64 << 53) as f64;
    if drawn < p { 0.0 } else { (1.0 / (1.0 - p)) as f32 }
}
