//! What can be wrong with a network or its weights, in words for the one who wrote them.

use std::path::PathBuf;

/// Why a network cannot be built or its weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The network as a whole makes no sense.
    #[error("network: {reason}")]
    Network {
        /// What is wrong and what to do.
        reason: String,
    },
    /// A layer makes no sense where it stands.
    #[error("`{layer}`: {reason}")]
    Layer {
        /// Where in the description, counted from 0: `layers[3].conv`.
        layer: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Weights do not fit the network.
    #[error("weights do not fit the network: {reason}")]
    Weights {
        /// Which tensor, and how.
        reason: String,
    },
    /// A weights file does not fit the network it holds.
    #[error("`{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<ModelError>,
    },
    /// A weights file cannot be read or written.
    #[error(transparent)]
    Tensors(#[from] tensors::Error),
}
