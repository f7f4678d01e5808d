//! Forward and backward passes of a network on the CPU: the logits of a batch, and the gradient of a loss with respect to all trained
//! values. Exactly the mathematics of PyTorch's modules, in another order: see [`Network`] and `plan.rs`. Knows no data, no
//! loss and no files, and of an optimiser only [`Orthogonal`].
//!
//! Terms are those of `docs/glossary.md`.

mod batch;
mod depthwise;
mod image;
mod memory;
mod network;
mod norm;
mod orthogonal;
mod packed;
mod patches;
mod plan;
mod pointwise;
mod pooling;
mod product;
mod simd;
mod statistics;

#[cfg(test)]
mod testing;

pub use network::{Mode, Network, StartError, supports};
pub use orthogonal::Orthogonal;
pub use plan::Unsupported;
