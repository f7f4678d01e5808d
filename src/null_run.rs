//! The null-run snapshot: what the last run came to, and everything that this rests on: the command line, the pipeline's text, plugins,
//! environment variables, and what the file system said of every file that was read or written. As long as all of it is
//! as it was, running again would find every stage fresh, and the answer is given without reading the pipeline. Where
//! nothing has changed but what some stages read or made, these and those behind them are all that an edit can reach:
//! what was found of the others [stands](Standing).
//!
//! It is kept of what is certain. Whatever is in doubt (a fact that changed, a damaged file, a run under way) means that the
//! pipeline is read and every stage decided on, so that the only thing to lose is time.

mod keep;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::gate::GateResult;
use pipeline::spec::ReportSpec;
use record::{ActionRecord, RunRecord};
use serde::{Deserialize, Serialize};
use store::{Seen, Store};
use tracing::debug_span;

pub use self::keep::{Settled, prepare};
pub use self::standing::{Standing, StandingRecords};
use crate::plugin::{self, Registry};

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
    /// Digest of the pipeline as lines, where it is kept.
    pipeline: Option<Digest>,
    /// The last run on record, without its stages.
    latest: Option<RunRecord>,
    /// Positions of stages that are not done, or of which not all is certain.
    open: BTreeSet<u32>,
    /// What the run came to. `None` where a stage is open.
    answer: Option<Answer>,
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

/// What is known before anything is read but what was kept.
pub enum Recalled {
    /// Nothing has changed on which it rests.
    Answer(Box<Answer>),
    /// Something has changed that some stages read or made.
    Standing(Box<Standing>),
}

/// What is known of a question.
#[must_use]
pub fn recall(question: &Question) -> Option<Recalled> {
    let _recall = debug_span!("recall").entered();
    let root = question.file.parent()?;
    let store = Store::open(root).ok()?.sharing(question.cache.as_deref());
    let kept = store.null_run()?;
    let snapshot: Snapshot = serde_json::from_slice(kept.text()).ok()?;
    let is_of_this = snapshot.question == question.sealed(&store)
        && snapshot.machine == Here::now(&store)
        && snapshot.plugins.hold(root, &store);
    if !is_of_this {
        return None;
    }
    let mut changed = match store.see_null_run(&kept) {
        Seen::Lost => return None,
        Seen::Same => BTreeSet::new(),
        Seen::Changed(changed) => changed,
    };
    changed.extend(&snapshot.open);
    let Snapshot { plugins, pipeline, latest, answer, .. } = snapshot;
    match answer {
        Some(answer) if changed.is_empty() && answer.report.exists() => {
            Some(Recalled::Answer(Box::new(answer)))
        }
        _ => Standing::new(store, kept, plugins, latest, pipeline?, changed)
            .map(|standing| Recalled::Standing(Box::new(standing))),
    }
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
                pipeline: shared.then_some(boot),
                latest: None,
                open: (0..u32::from(shared)).collect(),
                answer: (!shared).then_some(Answer {
                    warnings: vec![],
                    fresh: 3,
                    table: ReportSpec::default(),
                    records: BTreeMap::from([(record.stage.clone(), record)]),
                    gates: vec![],
                    report,
                }),
            };
            let text = serde_json::to_vec(&snapshot).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Snapshot>(&text).unwrap(), snapshot);
        }
    }
}
