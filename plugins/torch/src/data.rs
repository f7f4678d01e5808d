//! Training images on their way into a step: batches that a thread prepares, or a device itself. Knows images and how they are
//! changed; knows no network.

pub(crate) mod device_images;
pub(crate) mod loader;
