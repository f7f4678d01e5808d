//! Training images in random order, augmented and normalised, prepared by a thread of their own so that a step never
//! waits for them. An epoch's batches depend on the seed and the epoch alone. Knows images of the host; knows no device and
//! no network.

use std::ops::Range;
use std::sync::mpsc::SyncSender;

use dataset::{Augment, Flip, Normalization, Split, View};
use rand::Rng;
use rand::seq::SliceRandom;

use crate::params::{Alternating, AugmentParams, Mirror};
use crate::random::{Purpose, generator};

/// An image of the split, and what is seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) index: usize,
    pub(crate) view: View,
}

/// Input and labels of one step.
pub(crate) struct Batch {
    /// Which images, and what is seen of them.
    pub(crate) seen: Vec<Seen>,
    /// The same, normalised, `[N, C, H, W]`, row-major; nothing where a device makes them itself.
    pub(crate) images: Vec<f32>,
    /// Labels `[N]`.
    pub(crate) labels: Vec<i64>,
}

/// Where batches come from.
#[derive(Clone, Copy)]
pub(crate) struct Loader<'a> {
    /// The images.
    pub(crate) split: &'a Split,
    /// Which of them.
    pub(crate) indices: &'a [usize],
    /// How they are changed.
    pub(crate) augment: AugmentParams,
    /// How pixels become input.
    pub(crate) normalization: &'a Normalization,
    /// Images a batch; the last may be smaller.
    pub(crate) batch_size: usize,
    /// Seed of order and augmentation.
    pub(crate) seed: u64,
    /// Whether images are made here.
    pub(crate) renders: bool,
}

impl Loader<'_> {
    /// Batches of one epoch. A single image left over is left out, because batch normalisation wants two.
    pub(crate) fn batches(&self) -> usize {
        let full = self.indices.len() / self.batch_size.max(1);
        let rest = self.indices.len() % self.batch_size.max(1);
        if full == 0 { 1 } else { full + usize::from(rest > 1) }
    }

    /// Whether an epoch mirrors an image of the split. Where it alternates, an image is never seen the same way round twice
    /// in a row (Jordan, *94 % on CIFAR-10 in 3.29 Seconds on a Single GPU* (2024), §3.6).
    fn flips(&self, epoch: u32) -> impl Fn(usize) -> Flip {
        let mut mirrored = Vec::new();
        let otherwise = match self.augment.flip {
            Mirror::Random(true) => Flip::Random,
            Mirror::Random(false) => Flip::Never,
            Mirror::Named(Alternating::Alternating) => {
                let mut rng = generator(self.seed, Purpose::Mirroring, 0);
                let odd = !epoch.is_multiple_of(2);
                mirrored.extend((0..self.split.len()).map(|_| rng.random_bool(0.5) != odd));
                Flip::Never
            }
        };
        move |image| match mirrored.get(image) {
            None => otherwise,
            Some(true) => Flip::Always,
            Some(false) => Flip::Never,
        }
    }

    /// Sends the batches of `epochs` until all are sent or nobody receives any more.
    pub(crate) fn send(&self, epochs: Range<u32>, sender: &SyncSender<Batch>) {
        for epoch in epochs {
            let mut order = self.indices.to_vec();
            order.shuffle(&mut generator(self.seed, Purpose::Order, epoch));
            let mut rng = generator(self.seed, Purpose::Augmentation, epoch);
            let flips = self.flips(epoch);
            for chunk in order.chunks(self.batch_size.max(1)).take(self.batches()) {
                let see = |&index: &usize| {
                    let augment = Augment { pad: self.augment.crop_padding, flip: flips(index) };
                    Seen { index, view: augment.draw(&mut rng) }
                };
                let seen: Vec<_> = chunk.iter().map(see).collect();
                let images = if self.renders { self.render(&seen) } else { Vec::new() };
                let labels = chunk.iter().map(|&index| self.split.label(index)).collect();
                if sender.send(Batch { seen, images, labels }).is_err() {
                    return;
                }
            }
        }
    }

    /// Normalised images `[N, C, H, W]`.
    fn render(&self, seen: &[Seen]) -> Vec<f32> {
        let shape = self.split.shape();
        let mut pixels = Vec::new();
        for Seen { index, view } in seen {
            view.render(self.split.image(*index), shape, self.augment.crop_padding, &mut pixels);
        }
        let mut images = Vec::with_capacity(pixels.len());
        self.normalization.apply_pixels(shape, &pixels, &mut images);
        images
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(count: usize, batch_size: usize, epochs: Range<u32>) -> Vec<Vec<i64>> {
        let split = Split::new([1, 1, 1], vec![7; count], (0..count as i64).collect()).unwrap();
        let indices: Vec<_> = (0..count).collect();
        let loader = Loader {
            split: &split,
            indices: &indices,
            augment: AugmentParams { crop_padding: 0, flip: Mirror::Random(false) },
            normalization: &Normalization { mean: vec![0.0], std: vec![1.0] },
            batch_size,
            seed: 3,
            renders: true,
        };
        let (sender, receiver) = std::sync::mpsc::sync_channel(1000);
        loader.send(epochs.clone(), &sender);
        drop(sender);
        let batches: Vec<_> = receiver.into_iter().map(|batch| batch.labels).collect();
        assert_eq!(batches.len(), loader.batches() * epochs.len());
        batches
    }

    #[test]
    fn an_epoch_shows_each_image_once_in_another_order() {
        let first = labels(10, 4, 0..1);
        assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
        let mut all = first.concat();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert_ne!(first, labels(10, 4, 1..2));
    }

    #[test]
    fn alternating_images_are_mirrored_in_every_other_epoch() {
        let split = Split::new([1, 1, 2], [1, 2].repeat(40), (0..40).collect()).unwrap();
        let indices: Vec<_> = (0..40).collect();
        let loader = Loader {
            split: &split,
            indices: &indices,
            augment: AugmentParams { crop_padding: 0, flip: Mirror::Named(Alternating::Alternating) },
            normalization: &Normalization { mean: vec![0.0], std: vec![1.0 / 255.0] },
            batch_size: 40,
            seed: 3,
            renders: true,
        };
        let (sender, receiver) = std::sync::mpsc::sync_channel(4);
        loader.send(0..3, &sender);
        let mirrored = |batch: Batch| {
            let images = batch.images.chunks(2).map(|pixels| pixels[0] > pixels[1]);
            let mut images: Vec<_> = batch.labels.into_iter().zip(images).collect();
            images.sort_unstable();
            images
        };
        let [first, second, third] = std::array::from_fn(|_| mirrored(receiver.recv().unwrap()));
        assert_eq!(first, third);
        assert!(first.iter().zip(&second).all(|(one, other)| one.0 == other.0 && one.1 != other.1));
        let count = first.iter().filter(|(_, mirrored)| *mirrored).count();
        assert!((8..=32).contains(&count), "{count} of 40");
    }

    #[test]
    fn an_epoch_does_not_depend_on_those_before() {
        assert_eq!(labels(10, 4, 0..3)[6..], labels(10, 4, 2..3));
    }

    #[test]
    fn a_single_image_left_over_is_left_out() {
        assert_eq!(labels(9, 4, 0..1).iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
        assert_eq!(labels(1, 4, 0..1).len(), 1);
    }
}
