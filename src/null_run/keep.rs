//! What is kept of a run so that the next one need not look at what has not changed: of each stage that is done its record, and
//! what the file system says of all that it read and made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pipeline::StageName;
use pipeline::spec::{Action, Input, Stage};
use record::key::ingredient_of_param;
use record::{ActionRecord, RunRecord};
use store::{Group, KeptRecord, Sights, StoreError};
use text::secret::{hidden, hidden_in};

use super::{Answer, Here, Plugins, Question, Snapshot, Standing};
use crate::project::Project;

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
        (Settled(self.0), self.0.store.flush_soon().err())
    }
}

impl Settled<'_> {
    /// Keeps what a run came to, as far as that is certain. `latest` is the last run on record, without its stages, and `before`
    /// is what stood when it began.
    pub fn keep(
        self,
        question: &Question,
        run: &RunRecord,
        records: &BTreeMap<StageName, ActionRecord>,
        report: &Path,
        latest: Option<RunRecord>,
        before: Option<&Standing>,
    ) {
        if let Some(kept) = Keeping::of(self.0, run, records, before) {
            // Without it the next run takes longer, nothing else.
            let _ = kept.write(question, run, records, report, latest);
        }
    }
}

/// What is to be kept.
struct Keeping<'a> {
    project: &'a Project,
    before: Option<&'a Standing>,
    plugins: Plugins,
    sights: Sights,
    records: Vec<KeptRecord>,
    open: BTreeSet<u32>,
}

impl<'a> Keeping<'a> {
    /// Collects everything that the outcome rests on. `None` where something is not certain on which everything rests.
    fn of(
        project: &'a Project,
        run: &RunRecord,
        records: &BTreeMap<StageName, ActionRecord>,
        before: Option<&'a Standing>,
    ) -> Option<Self> {
        let (store, pipeline) = (&project.store, &project.pipeline);
        let mut sights = Sights::default();
        store.look(&pipeline.file, &pipeline.digest, &mut sights)?;
        let own = std::env::current_exe().ok()?;
        store.look(&own, &store.digest_path(&own).ok()?, &mut sights)?;
        let plugins = look_at_plugins(project, records.keys(), &mut sights)?;
        store.look_at_cache(&mut sights)?;
        let selected: BTreeSet<&StageName> = run.stages.iter().map(|run| &run.stage).collect();
        let mut keeping = Self { project, before, plugins, sights, records: vec![], open: BTreeSet::new() };
        for (position, stage) in (0..).zip(pipeline.stages.values()) {
            let kept = match records.get(&stage.name) {
                Some(record) => keeping.look_at(position, stage, record),
                None => None,
            };
            if kept.is_none() && selected.contains(&stage.name) {
                keeping.open.insert(position);
            }
            keeping.records.push(kept.unwrap_or(KeptRecord::None));
        }
        Some(keeping)
    }

    /// Looks at what a stage reads and made, unless that stands. `None` where it is not certain.
    fn look_at(&mut self, position: u32, stage: &Stage, record: &ActionRecord) -> Option<KeptRecord> {
        self.sights.begin(Group::Stage(position));
        let before = self.before.filter(|before| before.has_key(position, &record.key));
        if let Some(sights) = before.and_then(|before| before.sights_of(position)) {
            self.sights.extend(sights);
            return Some(KeptRecord::Before);
        }
        // What is provisional is executed again.
        if record.provisional.is_some() {
            return None;
        }
        let start = self.sights.mark();
        if look_at_stage(self.project, stage, record, &mut self.sights).is_none() {
            self.sights.back_to(start);
            return None;
        }
        match before {
            Some(_) => Some(KeptRecord::Before),
            None => serde_json::to_vec(record).ok().map(KeptRecord::Anew),
        }
    }

    fn write(
        self,
        question: &Question,
        run: &RunRecord,
        records: &BTreeMap<StageName, ActionRecord>,
        report: &Path,
        latest: Option<RunRecord>,
    ) -> Result<(), StoreError> {
        let (store, pipeline) = (&self.project.store, &self.project.pipeline);
        let table = &pipeline.report;
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
            table: table.clone(),
            gates: run.gates.clone(),
            report: report.to_owned(),
            warnings: pipeline.warnings.clone(),
        };
        let lines = match self.before {
            Some(before) => Some(before.pipeline),
            None => self.pipeline()?,
        };
        let snapshot = Snapshot {
            question: question.sealed(store),
            machine: Here::now(store),
            plugins: self.plugins,
            pipeline: lines,
            latest: latest.map(hidden_in),
            answer: self.open.is_empty().then(|| hidden_in(answer)),
            open: self.open,
        };
        let Ok(text) = serde_json::to_vec(&snapshot) else { return Ok(()) };
        store.keep_null_run(&text, self.records, self.before.map(Standing::kept), &self.sights)
    }

    /// Keeps the pipeline, unless that would keep a secret.
    fn pipeline(&self) -> Result<Option<pipeline::digest::Digest>, StoreError> {
        let Ok(lines) = self.project.pipeline.to_lines() else { return Ok(None) };
        let text = String::from_utf8_lossy(&lines);
        if *hidden(&text) != *text {
            return Ok(None);
        }
        self.project.store.keep_pipeline(&lines).map(Some)
    }
}

/// The plugins of these stages, and sights of their files. `None` where something is not certain.
fn look_at_plugins<'s>(
    project: &Project,
    stages: impl Iterator<Item = &'s StageName>,
    sights: &mut Sights,
) -> Option<Plugins> {
    let mut plugins = Plugins { named: project.registry.named().clone(), ..Plugins::default() };
    for name in stages {
        let Action::Op(action) = &project.pipeline.stages.get(name)?.action else { continue };
        let manifest = project.registry.manifest(&action.plugin).ok()?;
        let companions = manifest.ops.get(&action.op).into_iter().flat_map(|op| &op.companions);
        for plugin in std::iter::once(&action.plugin).chain(companions) {
            if !plugins.found.contains_key(plugin) {
                let rests_on = project.registry.rests_on(plugin)?;
                for (path, digest) in &rests_on.files {
                    project.store.look(path, digest, sights)?;
                }
                plugins.env.extend(rests_on.env);
                plugins.found.insert(plugin.clone(), project.registry.find(plugin).ok()?);
            }
        }
    }
    Some(plugins)
}

/// What a stage reads from outside and what it made. What it reads from other stages, these made.
fn look_at_stage(project: &Project, stage: &Stage, record: &ActionRecord, sights: &mut Sights) -> Option<()> {
    let (store, ignore) = (&project.store, &project.pipeline.ignore);
    let has = |name: &str, value: &str| {
        record.ingredients.iter().any(|found| found.name == name && found.value == value)
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
            has(&ingredient_of_param(name), &format!("content {digest}")).then_some(())?;
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
