//! A loaded project: the resolved pipeline with all that is needed to ask what its stages are and to run them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pipeline::graph::{Graph, StageId};
use pipeline::spec::{self, Overrides, Pipeline};
use record::Machine;
use serde_json::Value;
use store::{ARTIFACTS, Store};
use text::secret::with_texts;
use tracing::{debug_span, info_span};

use crate::error::Error;
use crate::misplaced::misplaced;
use crate::plugin::Registry;

/// A loaded project.
pub struct Project {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Its stages' dependencies.
    pub graph: Graph,
    /// Its plugins.
    pub registry: Registry,
    /// Its cache.
    pub store: Store,
    /// This machine.
    pub machine: Machine,
    /// Thread budget.
    pub threads: usize,
    /// GPUs that stages may be given, by the name that CUDA has for them.
    pub gpus: Vec<String>,
    /// Bytes of memory that stages share.
    pub memory: u64,
}

impl Project {
    /// Reads and resolves `file`, finding the plugins it uses. `cache` is the folder of a cache shared with others.
    /// `threads` is the budget; all cores where it is absent.
    ///
    /// # Errors
    /// Whatever is wrong with the pipeline, its plugins, or the cache folder.
    pub fn load(
        file: &Path,
        cache: Option<&Path>,
        overrides: &Overrides,
        threads: Option<usize>,
        color: bool,
    ) -> Result<Self, Error> {
        let _load = info_span!("load", file = %file.display()).entered();
        let parsed = spec::parse(file).map_err(|problems| Error::pipeline(problems.render(color)))?;
        let store = Store::open(parsed.root())?.sharing(cache);
        let registry = Registry::new(parsed.root(), parsed.plugins(), &store);
        let pipeline = debug_span!("resolve")
            .in_scope(|| spec::resolve(parsed, overrides, &registry))
            .map_err(|problems| Error::pipeline(problems.render(color)))?;
        let store = store.ignoring(&pipeline.ignore);
        if let Some(problems) = misplaced(&pipeline, &store, pipeline.stages.values()) {
            return Err(Error::pipeline(problems.render(color)));
        }
        let graph = pipeline.graph().map_err(Error::usage)?;
        let machine = crate::hardware::machine();
        let threads = threads.unwrap_or(machine.cores).max(1);
        let (gpus, memory) = (crate::hardware::gpus(), crate::hardware::memory());
        Ok(Self { pipeline, graph, registry, store, machine, threads, gpus, memory })
    }

    /// The stages in `named` and what they depend on, or all where none is named.
    #[must_use]
    pub fn selected(&self, named: &BTreeSet<StageId>) -> BTreeSet<StageId> {
        if named.is_empty() {
            self.pipeline.ids().collect()
        } else {
            self.graph.with_upstream(named.iter().copied())
        }
    }

    /// The vars as records keep them: without what is secret in URLs.
    #[must_use]
    pub fn recorded_vars(&self) -> BTreeMap<String, Value> {
        let salt = self.store.salt();
        let sealed = |value| with_texts(value, &|text| salt.sealed_value(text).into_owned());
        self.pipeline.vars.iter().map(|(name, value)| (name.clone(), sealed(value))).collect()
    }

    /// Where the report lies.
    #[must_use]
    pub fn report_file(&self) -> PathBuf {
        self.pipeline.root.join(ARTIFACTS).join("report.html")
    }
}
