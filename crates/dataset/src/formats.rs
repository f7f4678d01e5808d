//! Readers of image sets, a format each: from a [`crate::Source`] to a [`crate::Dataset`].

mod cifar10;
mod filling;
mod idx;
mod image_folder;
mod layout;
mod left_out;
mod listing;
mod pictures;

pub use cifar10::cifar10_binary;
pub use filling::{Colors, FolderRead, MAX_BYTES, MAX_LEFT_OUT, PictureOptions};
pub use idx::idx;
pub use image_folder::{FolderOptions, TestShare, image_folder};
pub use left_out::LeftOut;
pub use pictures::pictures;
