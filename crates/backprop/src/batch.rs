//! Memory of a batch. Images are divided into groups of a fixed size, each with everything of its own: groups can be
//! computed by any thread in any order, and what they sum is joined in the order of the groups.

use std::ops::Range;

use crate::memory::Memory;
use crate::packed::LayerGradient;
use crate::plan::{Level, Norm, Place, Plan, Widening};
use crate::statistics::{Moments, Sums};

/// Images of a group. Few, so that all threads have work; not fewer, because each group holds a gradient of its own.
pub(crate) const GROUP: usize = 8;

/// A few images and all that is kept of them.
#[derive(Default)]
pub(crate) struct Group {
    /// Place of its first image in the batch.
    pub(crate) first: usize,
    pub(crate) images: usize,
    /// Stored values, each of all images.
    pub(crate) values: Vec<Memory>,
    /// Gradients by stored values; where a normalisation reads the value, by its output.
    pub(crate) gradients: Vec<Memory>,
    pub(crate) records: Records,
    spare: Vec<Memory>,
}

/// What a group sums over its images.
#[derive(Default)]
pub(crate) struct Records {
    /// By layer.
    pub(crate) layers: Vec<LayerGradient>,
    /// By normalisation.
    pub(crate) moments: Vec<Moments>,
    /// By normalisation.
    pub(crate) sums: Vec<Sums>,
    /// By normalisation: sums of its widening's operand, and of their products. Empty where there is no widening.
    pub(crate) products: Vec<Products>,
}

/// Sums over pixels of values, and of products of two of a pixel: `[channels, padded channels]`.
#[derive(Default)]
pub(crate) struct Products {
    pub(crate) sums: Memory,
    pub(crate) products: Memory,
}

impl Products {
    fn new(norm: &Norm) -> Self {
        norm.widening.map_or_else(Self::default, |Widening { from, .. }| Self {
            sums: Memory::zeros(from.padded()),
            products: Memory::zeros(from.channels * from.padded()),
        })
    }
}

impl Group {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            values: vec![Memory::default(); plan.stored.len()],
            gradients: vec![Memory::default(); plan.stored.len()],
            records: Records {
                // Of use in training only.
                layers: vec![LayerGradient::default(); plan.layers.len()],
                moments: plan.norms.iter().map(|norm| Moments::new(norm.shape.padded())).collect(),
                sums: plan.norms.iter().map(|norm| Sums::new(norm.shape.padded())).collect(),
                products: plan.norms.iter().map(Products::new).collect(),
            },
            ..Self::default()
        }
    }

    /// Gets ready to compute `level` forward.
    pub(crate) fn before_forward(&mut self, plan: &Plan, level: &Level) {
        for &stored in &level.stores {
            let length = plan.stored[stored] * self.images;
            recycle(&mut self.spare, &mut self.values[stored]);
            self.values[stored] = take(&mut self.spare, length);
        }
        for &norm in &level.norms {
            self.records.moments[norm].clear();
            self.records.products[norm].sums.fill(0.0);
            self.records.products[norm].products.fill(0.0);
        }
    }

    /// Gets ready to compute `level` backward.
    pub(crate) fn before_backward(&mut self, plan: &Plan, level: &Level) {
        for &stored in &level.first_written {
            self.gradients[stored] = take(&mut self.spare, plan.stored[stored] * self.images);
        }
        for &layer in &level.layers {
            self.records.layers[layer].clear(&plan.layers[layer]);
        }
        for &norm in &level.completes {
            self.records.sums[norm].clear();
            if let Some(widening) = plan.norms[norm].widening {
                self.records.layers[widening.layer].clear(&plan.layers[widening.layer]);
            }
        }
    }

    /// Gives back what nobody needs once `level` was computed backward.
    pub(crate) fn after_backward(&mut self, level: &Level) {
        for &stored in &level.stores {
            recycle(&mut self.spare, &mut self.values[stored]);
            recycle(&mut self.spare, &mut self.gradients[stored]);
        }
        for &deferred in &level.spent {
            recycle(&mut self.spare, &mut self.gradients[deferred]);
        }
    }

    /// Puts the gradient with respect to the logits where the plan looks for it.
    pub(crate) fn set_gradient(&mut self, stored: usize, gradient: &[f32]) {
        let mut memory = take(&mut self.spare, gradient.len());
        memory.copy_from_slice(gradient);
        self.gradients[stored] = memory;
    }
}

/// Memory of `length` floats with anything in it: the spare one that wastes least, if there is one.
fn take(spare: &mut Vec<Memory>, length: usize) -> Memory {
    let fitting = spare.iter().enumerate().filter(|(_, memory)| memory.capacity() >= length);
    let best =
        fitting.min_by_key(|(index, memory)| (memory.capacity(), usize::MAX - index)).map(|(index, _)| index);
    let mut memory = best.map(|index| spare.swap_remove(index)).unwrap_or_default();
    memory.resize(length);
    memory
}

fn recycle(spare: &mut Vec<Memory>, memory: &mut Memory) {
    if memory.capacity() > 0 {
        spare.push(std::mem::take(memory));
    }
}

/// Values, or gradients: those of the image with a workspace, and those that are stored.
pub(crate) struct Bank<'a> {
    pub(crate) scratch: &'a mut Vec<Memory>,
    pub(crate) stored: &'a mut [Memory],
    /// Place of the image in the group.
    pub(crate) image: usize,
}

impl Bank<'_> {
    fn range(&self, place: Place, length: usize) -> Range<usize> {
        match place {
            Place::Scratch(_) => 0..length,
            Place::Stored(_) => self.image * length..(self.image + 1) * length,
        }
    }

    /// The `length` floats at `place`.
    pub(crate) fn get(&self, place: Place, length: usize) -> &[f32] {
        let range = self.range(place, length);
        match place {
            Place::Scratch(index) => &self.scratch[index][range],
            Place::Stored(index) => &self.stored[index][range],
        }
    }

    /// Lets `change` have the `length` floats at `place`, beside all others.
    pub(crate) fn change(&mut self, place: Place, length: usize, change: impl FnOnce(&mut [f32], &Self)) {
        let range = self.range(place, length);
        let mut memory = std::mem::take(self.memory(place));
        memory.at_least(range.end);
        change(&mut memory[range], self);
        *self.memory(place) = memory;
    }

    fn memory(&mut self, place: Place) -> &mut Memory {
        match place {
            Place::Scratch(index) => {
                if self.scratch.len() <= index {
                    self.scratch.resize_with(index + 1, Memory::default);
                }
                &mut self.scratch[index]
            }
            Place::Stored(index) => &mut self.stored[index],
        }
    }
}
