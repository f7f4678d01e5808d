//! INT8 for ONNX models: calibration, static and dynamic quantization.
//!
//! Knows which operators ONNX Runtime computes in integers and how to say so in a graph. Runs no model: the caller
//! runs [`observed_model`] in whatever runtime it has and feeds an [`Observer`] with what comes out.
//!
//! Terms are those of `docs/glossary.md`.

mod channel_factors;
mod clip;
mod data_flow;
mod dynamic;
mod emit;
mod equalize;
mod error;
mod families;
mod forms;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gelu;
mod halves;
mod histogram;
mod integers;
mod islands;
mod json;
mod judge;
mod mixed;
mod moments;
mod neighbours;
mod observe;
mod opset;
mod options;
mod plan;
mod prepare;
mod qdq;
mod ranges;
mod repeat;
mod rewrite;
mod rounding;
mod stored;
mod summary;
mod vectors;
mod versions;
mod view;
mod wasm;
mod weights;
mod widen;

pub use clip::Method;
pub use dynamic::quantize_dynamic;
pub use equalize::{Equalized, equalize};
pub use error::QuantError;
pub use families::operators_table;
pub use halves::Halves;
pub use histogram::{Bins, Histogram};
pub use judge::{
    Candidates, Choice, Chosen, Judge, Judged, Outcomes, Setting, Shortlist, TRIAL_INPUT, Trials,
};
pub use mixed::{IntegerLayer, LayerError, Sensitivity, integer_layers, next_to_keep};
pub use moments::{Moments, MomentsObserver};
pub use observe::{Observer, observed_model, tensors_to_observe};
pub use options::{ActivationType, BiasType, DynamicOptions, DynamicScheme, Rounding, StaticOptions, Target};
pub use qdq::{
    ActivationGrid, activation_grids, named_quantized_model, observed_quantized_model, quantize_one_layer,
    quantize_static,
};
pub use ranges::{Lineage, Range, Ranges};
pub use summary::{Form, Layer, Output, Summary, Weight};
pub use versions::Runtime;
pub use wasm::is_faster_in_wasm;
