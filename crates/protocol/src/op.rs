//! What an op is to its plugin: one type in one file, which says what the manifest says of it, checks what is asked of it and does
//! it; and the list of a plugin's ops. Knows requests and params; knows no conversation and no plugin.

use std::collections::BTreeMap;

use schemars::{JsonSchema, schema_for};
use serde::de::DeserializeOwned;

use crate::{
    CheckRequest, Failure, InputSpec, KeyScope, OpManifest, OutputSpec, Problem, Reporter, Resources,
    RunRequest, params,
};

/// One op of a plugin.
pub trait Op {
    /// Its name, as in `uses: PLUGIN/NAME`.
    const NAME: &'static str;

    /// Bumped whenever outputs could differ for the same inputs and params.
    const VERSION: u32;

    /// One sentence for people.
    const DESCRIPTION: &'static str;

    /// Names of the native libraries whose version is part of the key.
    const NATIVES: &'static [&'static str] = &[];

    /// Whether [`Op::check`] is asked before anything runs.
    const CHECKS: bool = false;

    /// Its params. Their JSON Schema is what the manifest says of them, and what is read is valid against it: what is said there of
    /// a param, such as its range, need not be checked again.
    type Params: DeserializeOwned + JsonSchema;

    /// Its inputs by name.
    fn inputs(&self) -> Vec<(&'static str, InputSpec)> {
        Vec::new()
    }

    /// Its outputs by name.
    fn outputs(&self) -> Vec<(&'static str, OutputSpec)> {
        Vec::new()
    }

    /// All that the manifest says of it: what the other items say, [`OpManifest::of`], and whatever else there is.
    fn manifest(&self) -> OpManifest
    where
        Self: Sized,
    {
        OpManifest::of(self)
    }

    /// All that is wrong with what a stage asks for, as far as it can be told from params and the inputs that are there already. Must
    /// not take long. Asked before the op runs, too, when all inputs are there: what is told here need not be told by [`Op::run`].
    fn check(&self, params: &Self::Params, request: &CheckRequest) -> Vec<Problem> {
        let _ = (params, request);
        Vec::new()
    }

    /// Runs it to its end: writes every output, then returns.
    ///
    /// # Errors
    /// Whatever the user should read; it ends the stage.
    fn run(
        &self,
        params: Self::Params,
        request: &RunRequest,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), Failure>;
}

impl OpManifest {
    /// What the items of an op say of it: portable, on one thread, and with metrics of any names.
    pub fn of<T: Op>(op: &T) -> Self {
        let named = |(name, spec): (&str, InputSpec)| (name.to_owned(), spec);
        Self {
            description: T::DESCRIPTION.into(),
            version: T::VERSION,
            params: schema_for!(T::Params).to_value(),
            inputs: op.inputs().into_iter().map(named).collect(),
            extra_inputs: None,
            outputs: op.outputs().into_iter().map(|(name, spec)| (name.to_owned(), spec)).collect(),
            resources: Resources::default(),
            scope: KeyScope::Portable,
            natives: T::NATIVES.iter().map(ToString::to_string).collect(),
            companions: Vec::new(),
            continues: Vec::new(),
            metrics: None,
            checks: T::CHECKS,
            time: None,
        }
    }
}

/// An op of any type.
trait AnyOp {
    fn name(&self) -> &'static str;
    fn manifest(&self) -> OpManifest;
    fn check(&self, request: &CheckRequest) -> Vec<Problem>;
    fn run(&self, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure>;
}

impl<T: Op> AnyOp for T {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn manifest(&self) -> OpManifest {
        Op::manifest(self)
    }

    fn check(&self, request: &CheckRequest) -> Vec<Problem> {
        match params(&request.params) {
            Ok(params) => Op::check(self, &params, request),
            Err(problems) => problems,
        }
    }

    fn run(&self, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        let first = |problems: Vec<Problem>| problems.into_iter().next();
        let params = params(&request.params).map_err(|problems| {
            first(problems).unwrap_or_else(|| Problem::new("the params cannot be read"))
        })?;
        let problems = Op::check(self, &params, &request.as_check());
        match first(problems.into_iter().filter(|problem| !problem.harmless).collect()) {
            Some(problem) => Err(problem.into()),
            None => Op::run(self, params, request, reporter),
        }
    }
}

/// The ops of a plugin.
#[derive(Default)]
pub struct Ops(Vec<Box<dyn AnyOp>>);

impl Ops {
    /// With one more.
    #[must_use]
    pub fn and(mut self, op: impl Op + 'static) -> Self {
        self.0.push(Box::new(op));
        self
    }

    /// What the manifest says of each.
    #[must_use]
    pub fn manifests(&self) -> BTreeMap<String, OpManifest> {
        self.0.iter().map(|op| (op.name().to_owned(), op.manifest())).collect()
    }

    /// All that is wrong with what a stage asks for.
    #[must_use]
    pub fn check(&self, request: &CheckRequest) -> Vec<Problem> {
        match self.find(&request.op) {
            Ok(op) => op.check(request),
            Err(problem) => vec![problem],
        }
    }

    /// Runs the op that the request names, unless something is wrong with what is asked for.
    ///
    /// # Errors
    /// The first thing that is wrong, or whatever the op fails with.
    pub fn run(&self, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        self.find(&request.op)?.run(request, reporter)
    }

    fn find(&self, name: &str) -> Result<&dyn AnyOp, Problem> {
        let found = self.0.iter().find(|op| op.name() == name);
        found.map(AsRef::as_ref).ok_or_else(|| {
            let names: Vec<_> = self.0.iter().map(|op| format!("`{}`", op.name())).collect();
            Problem::new(format!("there is no op `{name}`")).hint(format!("there are {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests;
