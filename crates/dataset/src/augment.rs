//! Augmentation of training images, on bytes. Knows no labels and no normalisation.

use rand::Rng;

/// Whether an image is mirrored left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flip {
    /// It is not.
    Never,
    /// Every other one, at random.
    Random,
    /// It is.
    Always,
}

/// Random crop after zero padding, and horizontal flip, as is customary for CIFAR-10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Augment {
    /// Pixels of black added on each side before a crop of the original size; 0 for no crop.
    pub pad: usize,
    /// Whether it is mirrored.
    pub flip: Flip,
}

/// What is seen of an image: a crop of the padded image, as large as the image itself, mirrored or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Rows of the padded image above the crop.
    pub top: usize,
    /// Columns of the padded image left of the crop.
    pub left: usize,
    /// Whether the crop is mirrored left to right.
    pub mirrored: bool,
}

impl Augment {
    /// Draws the vertical and the horizontal offset where there is padding, then the flip where it is wanted.
    pub fn draw(&self, rng: &mut impl Rng) -> View {
        let (mut top, mut left) = (0, 0);
        if self.pad > 0 {
            // Drawn as u32, whose values are the same on every platform.
            let most = u32::try_from(self.pad.saturating_mul(2)).unwrap_or(u32::MAX);
            top = rng.random_range(0..=most) as usize;
            left = rng.random_range(0..=most) as usize;
        }
        let mirrored = match self.flip {
            Flip::Never => false,
            Flip::Random => rng.random_bool(0.5),
            Flip::Always => true,
        };
        View { top, left, mirrored }
    }
}

impl View {
    /// Appends what is seen of `image` (`[C, H, W]` of `shape`), padded by `pad`, to `out`.
    ///
    /// # Panics
    /// Unless `image` is as long as the product of `shape`.
    pub fn render(self, image: &[u8], shape: [usize; 3], pad: usize, out: &mut Vec<u8>) {
        let [_, height, width] = shape;
        assert_eq!(image.len(), shape.iter().product::<usize>(), "pixels of an image of {shape:?}");
        for plane in image.chunks_exact((height * width).max(1)) {
            for row in 0..height {
                let start = out.len();
                out.resize(start + width, 0);
                let target = &mut out[start..];
                let Some(y) = (row + self.top).checked_sub(pad).filter(|&y| y < height) else { continue };
                let source = &plane[y * width..(y + 1) * width];
                // Column x of the crop shows column x + left − pad of the image.
                let skipped = pad.saturating_sub(self.left).min(width);
                let first = self.left.saturating_sub(pad).min(width);
                let shown = (width - skipped).min(width - first);
                target[skipped..skipped + shown].copy_from_slice(&source[first..first + shown]);
                if self.mirrored {
                    target.reverse();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::BTreeSet;

    const IMAGE: [u8; 12] = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16];
    const SHAPE: [usize; 3] = [2, 2, 3];

    fn many(augment: Augment) -> BTreeSet<Vec<u8>> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        (0..5000)
            .map(|_| {
                let mut out = Vec::new();
                augment.draw(&mut rng).render(&IMAGE, SHAPE, augment.pad, &mut out);
                out
            })
            .collect()
    }

    /// What the crop at an offset must show, from the definition.
    fn crop(pad: usize, down: usize, right: usize, flip: bool) -> Vec<u8> {
        let [channels, height, width] = SHAPE;
        let mut out = Vec::new();
        for channel in 0..channels {
            for row in 0..height {
                for column in 0..width {
                    let column = if flip { width - 1 - column } else { column };
                    let (y, x) = ((row + down).wrapping_sub(pad), (column + right).wrapping_sub(pad));
                    let inside = y < height && x < width;
                    out.push(if inside { IMAGE[(channel * height + y) * width + x] } else { 0 });
                }
            }
        }
        out
    }

    #[test]
    fn nothing_asked_changes_nothing() {
        assert_eq!(many(Augment { pad: 0, flip: Flip::Never }), BTreeSet::from([IMAGE.to_vec()]));
    }

    #[test]
    fn every_crop_and_flip_occurs_and_no_other_image() {
        for pad in [1, 2, 4] {
            let mut expected = BTreeSet::new();
            for down in 0..=2 * pad {
                for right in 0..=2 * pad {
                    expected.extend([false, true].map(|flip| crop(pad, down, right, flip)));
                }
            }
            assert_eq!(many(Augment { pad, flip: Flip::Random }), expected, "pad {pad}");
        }
    }

    #[test]
    fn a_flip_mirrors_each_row() {
        let mirrored = vec![3, 2, 1, 6, 5, 4, 13, 12, 11, 16, 15, 14];
        assert_eq!(
            many(Augment { pad: 0, flip: Flip::Random }),
            BTreeSet::from([IMAGE.to_vec(), mirrored.clone()])
        );
        assert_eq!(many(Augment { pad: 0, flip: Flip::Always }), BTreeSet::from([mirrored]));
    }
}
