//! `pipeline.yaml`: parsed, then resolved. The only reader of YAML.

mod diagnostic;
mod fault;
mod kept;
mod keys;
mod matrix;
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
mod unused;
mod vars;
mod written;
mod yaml;

pub use diagnostic::{Diagnostic, Diagnostics, Location, Snippet};
pub use fault::Fault;
pub use overlay::Overrides;
pub use parse::{Parsed, parse, parse_text};
pub use patterns::{CACHES, Ignore, USUAL};
pub use pipeline::{
    Action, CommandAction, CommandLine, Input, OpAction, Pipeline, ReportColumn, ReportSpec, Stage,
};
pub use resolve::{Manifests, Unusable, resolve};
pub use resources::{Cpus, Resources, Retries, parse_size};
pub use schema::schema;
pub use suggest::{did_you_mean_or_list, list};
pub use written::{Texts, Written};
