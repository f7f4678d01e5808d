//! Readers of image sets, a format each: from a [`crate::Source`] to a [`crate::Dataset`].

mod cifar10;
mod idx;
mod image_folder;

pub use cifar10::cifar10_binary;
pub use idx::idx;
pub use image_folder::image_folder;
