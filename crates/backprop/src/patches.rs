//! Convolutions over more than one pixel as a product: each row holds what the filters see at one place. Values are
//! `[height, width, padded channels]`, patches `[pixels, kernel · kernel · channels]`, padded.

use crate::simd::LANES;

/// Sizes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patches {
    /// Height and width of what goes in.
    pub(crate) input: [usize; 2],
    /// Height and width of what comes out.
    pub(crate) output: [usize; 2],
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    /// Of what goes in.
    pub(crate) channels: usize,
    /// The same with padding.
    pub(crate) padded: usize,
}

impl Patches {
    /// Values that a filter sees.
    pub(crate) fn depth(self) -> usize {
        self.kernel * self.kernel * self.channels
    }

    /// Distance of two rows.
    pub(crate) fn row(self) -> usize {
        self.depth().next_multiple_of(LANES)
    }

    /// Floats of all patches.
    pub(crate) fn len(self) -> usize {
        self.output[0] * self.output[1] * self.row()
    }

    /// Calls `each` with where `channels` values lie side by side, in the image, if they do, and in the patches.
    #[inline]
    fn runs(self, mut each: impl FnMut(Option<usize>, usize)) {
        let row = self.row();
        for y in 0..self.output[0] {
            for x in 0..self.output[1] {
                let patch = (y * self.output[1] + x) * row;
                for ky in 0..self.kernel {
                    let line =
                        (y * self.stride + ky).checked_sub(self.padding).filter(|&at| at < self.input[0]);
                    for kx in 0..self.kernel {
                        let column = (x * self.stride + kx).checked_sub(self.padding);
                        let column = column.filter(|&at| at < self.input[1]);
                        let pixel = line.zip(column).map(|(y, x)| (y * self.input[1] + x) * self.padded);
                        each(pixel, patch + (ky * self.kernel + kx) * self.channels);
                    }
                }
            }
        }
    }

    /// Writes the patches of `x`. What lies between rows is left as it is.
    pub(crate) fn gather(self, x: &[f32], patches: &mut [f32]) {
        let channels = self.channels;
        self.runs(|pixel, patch| match pixel {
            Some(pixel) => patches[patch..patch + channels].copy_from_slice(&x[pixel..pixel + channels]),
            None => patches[patch..patch + channels].fill(0.0),
        });
    }

    /// Adds each value of `patches` to where it came from.
    pub(crate) fn scatter(self, patches: &[f32], x: &mut [f32]) {
        let channels = self.channels;
        self.runs(|pixel, patch| {
            let Some(pixel) = pixel else { return };
            for (x, value) in x[pixel..pixel + channels].iter_mut().zip(&patches[patch..patch + channels]) {
                *x += value;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::numbers;

    #[test]
    fn patches_hold_what_a_filter_sees_and_go_back_to_where_they_came_from() {
        let size = Patches {
            input: [4, 5],
            output: [2, 3],
            kernel: 3,
            stride: 2,
            padding: 1,
            channels: 3,
            padded: 16,
        };
        let x = numbers(1, 4 * 5 * 16);
        let mut patches = vec![7.0; size.len()];
        size.gather(&x, &mut patches);
        let mut back = vec![0.0; x.len()];
        for (index, patch) in patches.chunks(size.row()).enumerate() {
            let (y, x_place) = (index / 3 * 2, index % 3 * 2);
            for (tap, seen) in patch[..size.depth()].chunks(3).enumerate() {
                let (row, column) = ((y + tap / 3).wrapping_sub(1), (x_place + tap % 3).wrapping_sub(1));
                let inside = row < 4 && column < 5;
                for (channel, seen) in seen.iter().enumerate() {
                    let at = row.wrapping_mul(5).wrapping_add(column).wrapping_mul(16).wrapping_add(channel);
                    assert_eq!(*seen, if inside { x[at] } else { 0.0 });
                    if inside {
                        back[at] += seen;
                    }
                }
            }
        }
        let mut got = vec![0.0; x.len()];
        size.scatter(&patches, &mut got);
        assert_eq!(got, back);
    }
}
