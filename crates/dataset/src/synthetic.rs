//! A built-in set of ten classes of 32×32 RGB images: five shapes and five textures, drawn at random.
//!
//! Position, size, rotation, colours, light, noise, clutter and occlusion vary and say nothing of the class, so
//! that colours and single pixels do not decide. Only `+ − × ÷ √` on f64, which IEEE 754 rounds in one way, and a
//! generator with stable values: the same settings give the same bytes everywhere.

mod figure;
mod scene;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Dataset, DatasetError, Split};
use figure::Figure;
use scene::Scene;

/// Rows and columns of an image.
const SIDE: usize = 32;
/// Most images of a split: what fits in memory many times over.
const MAX_IMAGES: usize = 1_000_000;

/// How many images to draw, and which. Class of image `i` is `i mod 10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Synthetic {
    /// Number of training images, at least 10.
    #[schemars(range(min = 10, max = 1_000_000))]
    pub train: usize,
    /// Number of test images, at least 10.
    #[schemars(range(min = 10, max = 1_000_000))]
    pub test: usize,
    /// Another seed gives other images of the same kind.
    pub seed: u64,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self { train: 8_000, test: 2_000, seed: 42 }
    }
}

impl Synthetic {
    /// Draws the set. More images keep the earlier ones as they are.
    ///
    /// # Errors
    /// [`DatasetError::Inconsistent`] where a split has fewer than 10 or more than 1,000,000 images.
    pub fn dataset(&self) -> Result<Dataset, DatasetError> {
        let classes = Figure::ALL.map(|figure| figure.name().to_owned()).to_vec();
        let train = self.split("train", 0, self.train)?;
        let test = self.split("test", 1, self.test)?;
        Dataset::new(classes, train, test, "synthetic", vec![format!("seed: {}", self.seed)])
    }

    fn split(&self, name: &str, stream: u64, count: usize) -> Result<Split, DatasetError> {
        if !(Figure::ALL.len()..=MAX_IMAGES).contains(&count) {
            return Err(DatasetError::inconsistent(format!(
                "`synthetic.{name}` is {count}, but must be from {} to {MAX_IMAGES}",
                Figure::ALL.len()
            )));
        }
        let mut pixels = vec![0; count * 3 * SIDE * SIDE];
        pixels.par_chunks_mut(3 * SIDE * SIDE).enumerate().for_each(|(index, image)| {
            // A stream for each image, so that they can be drawn in any order.
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(stream << 32 | index as u64);
            let figure = Figure::ALL[index % Figure::ALL.len()];
            Scene::random(figure, &mut rng).draw(&mut rng, image);
        });
        let labels = (0..count).map(|index| (index % Figure::ALL.len()) as i64).collect();
        Split::new([3, SIDE, SIDE], pixels, labels)
    }
}

#[cfg(test)]
mod tests;
