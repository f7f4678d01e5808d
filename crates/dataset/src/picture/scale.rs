//! Scaling a picture to a size. Knows nothing of files.

use std::fmt;
use std::str::FromStr;

use image::RgbImage;
use image::imageops::{self, FilterType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_SIDE, Picture};

/// Width and height in pixels, each from 1 to 8192.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PictureSize {
    /// Pixels in a row.
    #[schemars(range(min = 1, max = 8192))]
    width: u32,
    /// Pixels in a column.
    #[schemars(range(min = 1, max = 8192))]
    height: u32,
}

/// How a picture gets a size of other proportions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// What sticks out is cut off, half of it on either side: proportions stay.
    #[default]
    Crop,
    /// Width and height are scaled each by itself: all of the picture stays.
    Resize,
}

impl PictureSize {
    /// A size, unless a side is zero or above 8192.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Option<Self> {
        let allowed = 1..=MAX_SIDE;
        [width, height]
            .iter()
            .all(|&side| allowed.contains(&(side as usize)))
            .then_some(Self { width, height })
    }

    /// Pixels in a column.
    #[must_use]
    pub fn height(self) -> usize {
        self.height as usize
    }

    /// Pixels in a row.
    #[must_use]
    pub fn width(self) -> usize {
        self.width as usize
    }
}

impl fmt::Display for PictureSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}×{}", self.width, self.height)
    }
}

impl FromStr for PictureSize {
    type Err = &'static str;

    /// `32` or `32x24`, width first.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (width, height) = text.split_once(['x', '×']).unwrap_or((text, text));
        let side = |text: &str| text.parse().ok();
        side(width)
            .zip(side(height))
            .and_then(|(width, height)| Self::new(width, height))
            .ok_or("not a size: `32`, or `32x24` with the width first, each from 1 to 8192")
    }
}

impl Picture {
    /// Scaled to `size` by a triangle filter as wide as the scale (bilinear with antialiasing); the same picture
    /// where it has that size.
    pub(crate) fn scaled(self, size: PictureSize, fit: Fit) -> Self {
        let (width, height) = (size.width(), size.height());
        if (self.width, self.height) == (width, height) {
            return self;
        }
        let [left, top, crop_width, crop_height] = match fit {
            Fit::Resize => [0, 0, self.width, self.height],
            Fit::Crop => window([self.width, self.height], [width, height]),
        };
        let plane = self.width * self.height;
        let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
        let view = RgbImage::from_fn(side(crop_width), side(crop_height), |x, y| {
            let at = (top + y as usize) * self.width + left + x as usize;
            image::Rgb([0, 1, 2].map(|channel| self.pixels[channel * plane + at]))
        });
        let scaled = imageops::resize(&view, size.width, size.height, FilterType::Triangle);
        let mut pixels = vec![0; 3 * width * height];
        for (index, pixel) in scaled.pixels().enumerate() {
            for (channel, value) in pixel.0.into_iter().enumerate() {
                pixels[channel * width * height + index] = value;
            }
        }
        Self { height, width, pixels }
    }
}

/// Left, top, width and height of the largest window in the middle of `from` that has the proportions of `to`.
fn window(from: [usize; 2], to: [usize; 2]) -> [usize; 4] {
    let [width, height] = from;
    let rounded = |product: usize, by: usize| (product + by / 2) / by;
    let wanted_width = rounded(height * to[0], to[1]).clamp(1, width);
    let wanted_height = rounded(width * to[1], to[0]).clamp(1, height);
    // One of the two is the whole side.
    [(width - wanted_width) / 2, (height - wanted_height) / 2, wanted_width, wanted_height]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red is the column, green the row.
    fn picture(width: usize, height: usize) -> Picture {
        let at = |index: usize| (index % width, index / width);
        let count = width * height;
        let red = (0..count).map(|index| at(index).0 as u8);
        let green = (0..count).map(|index| at(index).1 as u8);
        Picture { height, width, pixels: red.chain(green).chain((0..count).map(|_| 7)).collect() }
    }

    fn size(width: u32, height: u32) -> PictureSize {
        PictureSize::new(width, height).unwrap()
    }

    #[test]
    fn a_picture_of_that_size_stays_as_it_is() {
        for fit in [Fit::Crop, Fit::Resize] {
            assert_eq!(picture(5, 3).scaled(size(5, 3), fit), picture(5, 3));
        }
    }

    #[test]
    fn cropping_keeps_the_middle_and_the_scale() {
        let scaled = picture(10, 4).scaled(size(4, 4), Fit::Crop);
        assert_eq!((scaled.width, scaled.height), (4, 4));
        assert_eq!(scaled.pixels[..4], [3, 4, 5, 6]);
        assert_eq!(scaled.pixels[16..20], [0, 0, 0, 0]);
        assert_eq!(window([4, 11], [2, 2]), [0, 3, 4, 4]);
        assert_eq!(window([1, 8192], [8192, 1]), [0, 4095, 1, 1]);
    }

    #[test]
    fn resizing_keeps_all_and_halves_by_the_mean() {
        // Each pixel is a mean weighted 1, 3, 3, 1 along a side, and of what is there at the edge.
        let scaled = picture(8, 4).scaled(size(4, 2), Fit::Resize);
        assert_eq!(scaled.pixels[..4], [1, 3, 5, 6]);
        assert_eq!(scaled.pixels[16..], [7; 8]);
    }

    #[test]
    fn a_picture_of_one_colour_keeps_it_at_any_size() {
        for (width, height) in [(1, 1), (3, 200), (50, 50)] {
            let pixels =
                [vec![9; width * height], vec![99; width * height], vec![250; width * height]].concat();
            let scaled = Picture { height, width, pixels }.scaled(size(16, 8), Fit::Crop);
            assert_eq!(scaled.pixels, [[9; 128], [99; 128], [250; 128]].concat());
        }
    }

    #[test]
    fn sizes_are_read_and_bounded() {
        assert_eq!("32".parse(), Ok(size(32, 32)));
        assert_eq!("32x24".parse(), Ok(size(32, 24)));
        for text in ["", "0", "32x", "x", "8193", "3.5", "-1", "32x24x3"] {
            assert!(text.parse::<PictureSize>().is_err(), "{text}");
        }
        assert_eq!(size(4, 3).to_string(), "4×3");
    }
}
