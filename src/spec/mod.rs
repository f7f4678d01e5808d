//! `pipeline.yaml`: parsed, then resolved. The only reader of YAML.

mod diagnostic;
mod keys;
mod matrix;
mod name;
mod overlay;
mod parse;
mod pipeline;
mod resolve;
mod resources;
mod schema;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod vars;
mod written;
mod yaml;

pub use diagnostic::{Diagnostic, Diagnostics, Snippet};
pub use name::{Selector, StageName, split_reference};
pub use overlay::Overrides;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use parse::parse_text;
pub use parse::{Parsed, parse};
pub use patterns::{Ignore, USUAL};
pub use pipeline::{
    Action, Better, CommandAction, CommandLine, Input, Location, OpAction, Pipeline, ReportColumn,
    ReportSpec, Stage, StageId,
};
pub use resolve::{Manifests, Unusable, resolve};
pub use resources::{Cpus, Resources, Retries, parse_size};
pub use schema::schema;
pub(crate) use suggest::{did_you_mean_or_list, list};
pub use written::{Fault, Texts, Written};
