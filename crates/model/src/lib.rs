//! A network as data: what a user writes ([`Network`]), what is computed ([`Graph`]) and the numbers that fill it
//! ([`Weights`]).
//!
//! Knows layers, shapes, names of parameters and how to count them. Knows no library that computes: plugins
//! interpret the graph.
//!
//! Terms are those of `docs/glossary.md`.

mod error;
mod graph;
mod lower;
mod network;
mod weights;

pub use error::ModelError;
pub use graph::{Activation, BatchNorm, Conv, Graph, Linear, Node, NodeId, Op, Param, ParamKind, Pool};
pub use network::{
    ActivationName, ConvLayer, DropoutLayer, Gate, GlobalAveragePoolLayer, InvertedResidualLayer, Layer,
    LinearLayer, Network, Norm, PoolLayer, ResidualLayer,
};
pub use weights::{HeldOut, Weights, WeightsMetadata};
