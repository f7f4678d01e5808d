//! Labelled images: the dataset file, the formats it is made from, and what training and evaluation do with it.
//!
//! Images are bytes `[N, C, H, W]` with one label each; a dataset has a training and a test split. Knows files,
//! folders and archives on this machine; knows nothing of networks, of downloads or of the runner.
//!
//! Terms are those of `docs/glossary.md`.

mod augment;
mod error;
mod file;
mod formats;
mod normalization;
mod outline;
mod picture;
mod predictions;
mod sample;
mod source;
mod split;
mod synthetic;
#[cfg(test)]
mod testing;
mod validation;

pub use augment::{Augment, Flip, View};
pub use error::DatasetError;
pub use file::{Dataset, Provenance};
pub use formats::{
    Colors, FolderOptions, FolderRead, LeftOut, MAX_BYTES, MAX_LEFT_OUT, PictureOptions, TestShare,
    cifar10_binary, idx, image_folder, pictures,
};
pub use normalization::Normalization;
pub use outline::Outline;
pub use picture::{Fit, PictureSize, encode_png};
pub use predictions::{Predictions, wilson_interval};
pub use sample::{Sample, SplitName};
pub use source::Source;
pub use split::Split;
pub use synthetic::Synthetic;
pub use validation::validation_split;
