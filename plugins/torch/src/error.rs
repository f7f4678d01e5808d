//! Why something cannot be computed: what libtorch says when it refuses, and what ends a training early. Knows words alone.

/// libtorch refused an operation; its first line says why.
#[derive(Debug, thiserror::Error)]
#[error("libtorch: {0}")]
pub(crate) struct TorchError(String);

impl From<tch::TchError> for TorchError {
    fn from(error: tch::TchError) -> Self {
        let text = match error {
            tch::TchError::Torch(text) => text,
            other => other.to_string(),
        };
        // What follows is the C++ call stack.
        Self(text.lines().next().unwrap_or_default().to_owned())
    }
}

impl TorchError {
    /// A graph whose nodes do not fit together: no graph that was lowered from a network is.
    pub(crate) fn inconsistent() -> Self {
        Self("the graph is inconsistent".into())
    }
}

/// Why a training ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrainError {
    /// The loss or a parameter is no longer a number.
    #[error("{what} became {value} in epoch {epoch}, step {step} of {steps} (learning rate {lr:.4})")]
    Diverged { what: &'static str, value: f64, epoch: u32, step: usize, steps: usize, lr: f64 },
    /// libtorch refused an operation.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// A param that does not fit the dataset.
    #[error("{0}")]
    Params(String),
    /// Our own kernels cannot be started.
    #[error("`engine` is native, but {0}; use `engine: auto` or `libtorch`")]
    Native(String),
    /// The system gave no thread.
    #[error("cannot start a thread to prepare images: {0}")]
    Thread(#[from] std::io::Error),
    /// The thread that prepares images is gone.
    #[error("the thread that prepares images ended early")]
    Starved,
}

impl From<tch::TchError> for TrainError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}
