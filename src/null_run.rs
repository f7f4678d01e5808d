//! The null-run snapshot: what the last run came to, and everything that this rests on: the command line, the pipeline's text, plugins,
//! environment variables, and what the file system said of every file that was read or written. As long as all of it is
//! as it was, running again would find every stage fresh, and the answer is given without reading the pipeline.
//!
//! It is kept only when each fact is certain: every content was digested when its file had settled. Whatever is in doubt
//! (a fact that changed, a damaged file, a run under way) means that the pipeline is read and every stage decided on, so
//! that the only thing to lose is time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::gate::GateResult;
use pipeline::spec::{Action, Input, ReportSpec, Stage};
use record::{ActionRecord, RunRecord};
use serde::{Deserialize, Serialize};
use store::{Sights, Store, StoreError};
use text::secret::hidden_in;
use tracing::debug_span;

use crate::plugin::{self, Registry};
use crate::project::Project;

/// What was asked for, and of whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The pipeline's file, absolute.
    pub file: PathBuf,
    /// A cache shared with others.
    pub cache: Option<PathBuf>,
    /// Vars set on the command line.
    pub set: Vec<String>,
    /// The profile chosen.
    pub profile: Option<String>,
    /// Stages named on the command line.
    pub stages: Vec<String>,
    /// Thread budget, where given.
    pub threads: Option<u16>,
    /// Whether certainty is asked for.
    pub certain: bool,
}

impl Question {
    /// The same without what is secret in URLs: it is kept.
    fn sealed(&self, store: &Store) -> Self {
        let set = self.set.iter().map(|set| store.salt().sealed_argument(set)).collect();
        let profile = self.profile.as_ref().map(|profile| store.salt().sealed(profile).into_owned());
        Self { set, profile, ..self.clone() }
    }
}

/// What it came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// How many stages are fresh.
    pub fresh: usize,
    /// What the table shows.
    pub table: ReportSpec,
    /// Records with the metrics that it takes its values from.
    pub records: BTreeMap<StageName, ActionRecord>,
    /// The gates that were checked.
    pub gates: Vec<GateResult>,
    /// Where the report is.
    pub report: PathBuf,
    /// What is odd in the pipeline.
    #[serde(default)]
    pub warnings: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Snapshot {
    question: Question,
    machine: Here,
    plugins: Plugins,
    answer: Answer,
}

/// Where it was asked.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Here {
    version: String,
    /// Which start of the machine: until the next one it has the same CPU.
    boot: Digest,
    cores: usize,
}

/// Which plugins were found, and what they depend on beside files.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Plugins {
    named: BTreeMap<String, PathBuf>,
    found: BTreeMap<String, PathBuf>,
    /// Digests of the values of environment variables; `None` for one that is not set.
    env: BTreeMap<String, Option<Digest>>,
}

impl Here {
    fn now(store: &Store) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            boot: store.boot(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl Plugins {
    fn hold(&self, root: &Path, store: &Store) -> bool {
        let registry = Registry::new(root, &self.named, store);
        self.env.iter().all(|(name, digest)| plugin::environment(name) == *digest)
            && self.found.iter().all(|(plugin, path)| registry.find(plugin).is_ok_and(|found| found == *path))
    }
}

/// The answer to a question, if it is known and nothing that it rests on has changed.
#[must_use]
pub fn recall(question: &Question) -> Option<Answer> {
    let _recall = debug_span!("recall").entered();
    let root = question.file.parent()?;
    let store = Store::open(root).ok()?.sharing(question.cache.as_deref());
    store.with_null_run(|text, sights| {
        let snapshot: Snapshot = serde_json::from_slice(text).ok()?;
        let holds = snapshot.question == question.sealed(&store)
            && snapshot.machine == Here::now(&store)
            && snapshot.plugins.hold(root, &store)
            && snapshot.answer.report.exists()
            && Sights::hold(sights, root);
        holds.then_some(snapshot.answer)
    })
}

/// A run whose outcome rests on digested files alone; the stat cache does not say so yet.
#[must_use]
pub struct Prepared<'a>(&'a Project);

/// A run whose outcome rests on files that the stat cache knows, as far as it could be written.
#[must_use]
pub struct Settled<'a>(&'a Project);

/// Digests what else an outcome rests on, so that [`Settled::keep`] finds it known.
pub fn prepare(project: &Project) -> Prepared<'_> {
    for file in std::env::current_exe().into_iter().chain([project.pipeline.file.clone()]) {
        // What cannot be read now is not certain, and nothing will be kept.
        let _ = project.store.digest_path(&file);
    }
    Prepared(project)
}

impl<'a> Prepared<'a> {
    /// Writes the stat cache, which the snapshot looks at; and why it could not be written. What it then does not know is not
    /// certain.
    pub fn flush(self) -> (Settled<'a>, Option<StoreError>) {
        (Settled(self.0), self.0.store.flush().err())
    }
}

impl Settled<'_> {
    /// Keeps what a run came to that left every selected stage in place. Does nothing where something that it rests on is
    /// not certain.
    pub fn keep(
        self,
        question: &Question,
        run: &RunRecord,
        records: &BTreeMap<StageName, ActionRecord>,
        report: &Path,
    ) {
        if let Some((snapshot, sights)) = snapshot(self.0, question, run, records, report)
            && let Ok(text) = serde_json::to_vec(&snapshot)
        {
            // Without it the next run takes longer, nothing else.
            let _ = self.0.store.keep_null_run(&text, &sights);
        }
    }
}

/// What is kept, and what that rests on. `None` where something is not certain.
fn snapshot(
    project: &Project,
    question: &Question,
    run: &RunRecord,
    records: &BTreeMap<StageName, ActionRecord>,
    report: &Path,
) -> Option<(Snapshot, Sights)> {
    // What is provisional is executed again.
    if records.values().any(|record| record.provisional.is_some()) {
        return None;
    }
    let mut sights = Sights::default();
    let plugins = facts(project, records, &mut sights)?;
    let table = project.pipeline.report.clone();
    let shown = records.iter().filter(|(_, record)| !table.rows.is_empty() && !record.metrics.is_empty());
    let bare = |record: &ActionRecord| ActionRecord {
        ingredients: vec![],
        outputs: BTreeMap::new(),
        figures: vec![],
        ..record.clone()
    };
    let answer = Answer {
        fresh: run.stages.len(),
        records: shown.map(|(stage, record)| (stage.clone(), bare(record))).collect(),
        table,
        gates: run.gates.clone(),
        report: report.to_owned(),
        warnings: project.pipeline.warnings.clone(),
    };
    let machine = Here::now(&project.store);
    let answer = hidden_in(answer);
    let snapshot = Snapshot { question: question.sealed(&project.store), machine, plugins, answer };
    Some((snapshot, sights))
}

/// Collects everything that the outcome rests on. `None` where something is not certain.
fn facts(
    project: &Project,
    records: &BTreeMap<StageName, ActionRecord>,
    sights: &mut Sights,
) -> Option<Plugins> {
    let (store, pipeline) = (&project.store, &project.pipeline);
    store.look(&pipeline.file, &pipeline.digest, sights)?;
    let own = std::env::current_exe().ok()?;
    store.look(&own, &store.digest_path(&own).ok()?, sights)?;
    let mut plugins = Plugins { named: project.registry.named().clone(), ..Plugins::default() };
    for (name, record) in records {
        let stage = pipeline.stages.get(name)?;
        look_at_stage(project, stage, record, sights)?;
        if let Action::Op(action) = &stage.action {
            let manifest = project.registry.manifest(&action.plugin).ok()?;
            let companions = manifest.ops.get(&action.op).into_iter().flat_map(|op| &op.companions);
            for plugin in std::iter::once(&action.plugin).chain(companions) {
                if !plugins.found.contains_key(plugin) {
                    let rests_on = project.registry.rests_on(plugin)?;
                    for (path, digest) in &rests_on.files {
                        store.look(path, digest, sights)?;
                    }
                    plugins.env.extend(rests_on.env);
                    plugins.found.insert(plugin.clone(), project.registry.find(plugin).ok()?);
                }
            }
        }
    }
    store.look_at_cache(sights)?;
    Some(plugins)
}

/// What a stage reads from outside and what it made. What it reads from other stages, these made.
fn look_at_stage(project: &Project, stage: &Stage, record: &ActionRecord, sights: &mut Sights) -> Option<()> {
    let (store, ignore) = (&project.store, &project.pipeline.ignore);
    let has = |name: &str, value: &str| {
        record.ingredients.iter().any(|found| found.name.starts_with(name) && found.value == value)
    };
    for (name, input) in &stage.inputs {
        if let Input::Path(path) = input {
            let digest = store.digest_input(path, ignore).ok()?;
            has(&format!("inputs.{name}"), &digest.to_string()).then_some(())?;
            store.look_at_input(path, &digest, ignore, sights)?;
        }
    }
    if let Action::Op(action) = &stage.action {
        for (name, path) in &action.sources {
            let ignore = action.ignore(name, &project.pipeline);
            let digest = match ignore {
                Some(ignore) => store.digest_input(path, ignore),
                None => store.digest_path(path),
            }
            .ok()?;
            has("with.", &format!("content {digest}")).then_some(())?;
            match ignore {
                Some(ignore) => store.look_at_input(path, &digest, ignore, sights)?,
                None => store.look(path, &digest, sights)?,
            }
        }
    }
    for output in record.outputs.values() {
        store.look_at_output(&store.artifacts(&stage.name).join(&output.file), &output.digest, sights)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    use record::arbitrary::action_records;

    fn digests() -> impl Strategy<Value = Digest> {
        any::<[u8; 32]>().prop_map(Digest::from_bytes)
    }

    fn texts() -> impl Strategy<Value = String> {
        "[a-z\"\\\\/é ]{0,6}"
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_a_run_came_to_is_read_as_it_was_written(
            paths in [texts(), texts(), texts(), texts()],
            set in proptest::collection::vec(texts(), 0..3),
            threads in any::<Option<u16>>(),
            boot in digests(),
            env in proptest::collection::btree_map(texts(), proptest::option::of(digests()), 0..3),
            record in action_records(),
            shared in any::<bool>(),
        ) {
            let [file, cache, plugin, report] = paths.map(PathBuf::from);
            let snapshot = Snapshot {
                question: Question {
                    file,
                    cache: shared.then_some(cache),
                    set: set.clone(),
                    profile: set.first().cloned(),
                    stages: set,
                    threads,
                    certain: shared,
                },
                machine: Here { version: "0".into(), boot, cores: 2 },
                plugins: Plugins {
                    named: BTreeMap::from([("p".into(), plugin.clone())]),
                    found: BTreeMap::from([("p".into(), plugin)]),
                    env,
                },
                answer: Answer {
                    warnings: vec![],
                    fresh: 3,
                    table: ReportSpec::default(),
                    records: BTreeMap::from([(record.stage.clone(), record)]),
                    gates: vec![],
                    report,
                },
            };
            let text = serde_json::to_vec(&snapshot).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Snapshot>(&text).unwrap(), snapshot);
        }
    }
}
