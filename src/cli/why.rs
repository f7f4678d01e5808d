//! `pipe why STAGE`: what a run would do with a stage and which ingredients of its key decide that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::spec::{Action, Pipeline, Stage};
use protocol::SOURCE_KEYWORD;
use record::event::Expectation;
use record::key::{changes, digest_of};
use record::words::{short_value, values};
use record::{ActionRecord, Change, Ingredient};
use schemars::JsonSchema;
use serde::Serialize;
use text::format;
use text::printable::{clean, clean_line};
use text::secret::visible;

use super::output::{Version, print_json, print_painted};
use super::status::{Refusal, Said};
use super::{Context, Selection, completions, find_stage};
use crate::error::{Error, ExitStatus};
use crate::plan::{self};
use crate::progress::{Grid, Origin, Paint, stdout_width};
use crate::project::Project;
use crate::prospect::Prospect;

/// Explain why a stage would run, stay as it is, or be restored from the cache
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The stage
    #[arg(add = completions::stages())]
    stage: String,
    #[command(flatten)]
    selection: Selection,
    /// Print all ingredients of the key
    #[arg(short, long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the pipeline is wrong, there is no such stage, an input or a plugin cannot be read, or a run would be refused because of
/// the stage.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let project = context.load(&args.selection)?;
    let name = find_stage(&project, &args.stage)?;
    let selected: BTreeSet<_> = project.pipeline.id(&name).into_iter().collect();
    let needed = project.graph.with_upstream(selected.iter().copied());
    let prospects = plan::prospects(&project, &needed, &BTreeSet::new())?;
    // What could not be remembered costs the next command time, nothing else.
    let _ = project.store.flush();
    let prospect = selected.first().and_then(|id| prospects.get(id));
    let (Some(prospect), Some(stage)) = (prospect, project.pipeline.stages.get(&name)) else {
        return Err(Error::failed(format!("nothing is known of stage `{name}`")));
    };
    let sources = sources(&project, stage);
    let view = View { prospect, pipeline: &project.pipeline, stage, changes: all_changes(prospect), sources };
    let said = if args.json {
        let said = Said::of(&project, &prospects, &selected);
        print_json(&view.json(&said))?;
        said
    } else {
        print_painted(&view.text(args.all, stdout_width(), Paint::new(context.color_stdout())))?;
        Said::of(&project, &prospects, &selected)
    };
    said.tell(context)?;
    Ok(ExitStatus::Done)
}

/// What differs from the key that the stage's artifacts came from. An input that is not known yet does not count.
fn all_changes(prospect: &Prospect) -> Vec<Change> {
    let Some(last) = &prospect.last else { return Vec::new() };
    if prospect.ingredients().is_empty() {
        vec![]
    } else {
        changes(&last.ingredients, prospect.ingredients())
    }
}

/// The ingredients that are URLs of sources.
fn sources(project: &Project, stage: &Stage) -> BTreeSet<String> {
    let Action::Op(action) = &stage.action else { return BTreeSet::new() };
    // What a plugin does not say cannot be told.
    let manifest = project.registry.manifest(&action.plugin).ok();
    let op = manifest.as_ref().and_then(|manifest| manifest.ops.get(&action.op));
    let params = op.and_then(|op| op.params.get("properties")?.as_object());
    let sources = params.into_iter().flatten().filter(|(_, param)| param.get(SOURCE_KEYWORD).is_some());
    sources.map(|(name, _)| format!("with.{name}")).collect()
}

/// What `pipe why --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Why", title = "pipe why --json")]
pub(super) struct Answer {
    version: Version,
    /// The stage.
    stage: StageName,
    /// What is expected of it.
    expectation: Expectation,
    /// How long it will take if it is executed, milliseconds; `null` where that is not known or it stays as it is.
    usual_ms: Option<u64>,
    /// How long its last execution took, milliseconds; `null` where there was none or it stays as it is.
    last_ms: Option<u64>,
    /// Digest of its key; `null` before stages that it reads from have run for the first time.
    key: Option<Digest>,
    /// The key, one by one.
    ingredients: Vec<Ingredient>,
    /// What differs from the key that its artifacts came from.
    changes: Vec<Change>,
    /// Where changed ingredients come from, as far as that is known.
    origins: BTreeMap<String, Origin>,
    /// The execution that its artifacts came from; `null` where there is none.
    last: Option<Execution>,
    /// The execution in the cache with this key; `null` where there is none.
    cached: Option<Execution>,
    /// What is odd, but no reason to refuse a run.
    warnings: Vec<String>,
    /// What a run would be refused for because of the stage; the command ends with 2 where there is anything.
    problems: Vec<Refusal>,
}

/// An execution.
#[derive(Debug, Serialize, JsonSchema)]
struct Execution {
    /// Digest of its key.
    key: Digest,
    /// Id of the run.
    run: String,
    /// When it started, milliseconds since 1970 (UTC).
    started_ms: u64,
    /// How long it took, milliseconds.
    duration_ms: u64,
}

impl Execution {
    fn of(record: &ActionRecord) -> Self {
        let ActionRecord { key, run, started_ms, duration_ms, .. } = record;
        Self { key: *key, run: run.clone(), started_ms: *started_ms, duration_ms: *duration_ms }
    }
}

/// The answer for people.
struct View<'a> {
    prospect: &'a Prospect,
    pipeline: &'a Pipeline,
    stage: &'a Stage,
    changes: Vec<Change>,
    /// Ingredients that are URLs of sources.
    sources: BTreeSet<String>,
}

impl View<'_> {
    fn json(&self, said: &Said) -> Answer {
        let prospect = self.prospect;
        let known = !prospect.ingredients().is_empty();
        let origins = self.changes.iter().map(|change| (change.name.clone(), self.origin(&change.name)));
        Answer {
            version: Version,
            stage: self.stage.name.clone(),
            expectation: prospect.planned.expectation.clone(),
            usual_ms: prospect.planned.usual_ms,
            last_ms: prospect.planned.last_ms,
            key: known.then(|| digest_of(prospect.ingredients())),
            ingredients: prospect.ingredients().to_vec(),
            changes: self.changes.clone(),
            origins: origins.filter(|(_, origin)| !origin.is_unknown()).collect(),
            last: prospect.last.as_deref().map(Execution::of),
            cached: prospect.record().map(Execution::of),
            warnings: said.warnings(),
            problems: said.problems(),
        }
    }

    fn origin(&self, ingredient: &str) -> Origin {
        Origin::of(self.pipeline, self.stage, ingredient)
    }

    fn text(&self, all: bool, width: usize, paint: Paint) -> String {
        let mut lines = vec![format!(" {}", self.verdict(paint))];
        lines.extend(self.changed_lines(width, paint));
        lines.extend(self.changes.iter().filter_map(|change| self.hidden_change(change)));
        lines.extend(self.cached());
        lines.extend(self.duration());
        if all {
            lines.extend(self.whole_key(paint));
        } else if !self.changes.is_empty() {
            lines.extend(self.unchanged().map(|unchanged| paint.faint(&format!(" unchanged: {unchanged}"))));
        }
        lines.push(String::new());
        lines.join("\n")
    }

    /// How long it will take, or where that is not known how long it took.
    fn duration(&self) -> Option<String> {
        let planned = &self.prospect.planned;
        let rough = |millis| format::duration_rough(Duration::from_millis(millis));
        let known = planned
            .usual_ms
            .map(|usual| format!(" estimated duration: {}, from previous executions", rough(usual)));
        let last = || {
            let last = rough(planned.last_ms?);
            Some(format!(
                " duration unknown; it last took {last}, under other conditions (params, inputs, CPU or threads)"
            ))
        };
        known.or_else(last).filter(|_| planned.expectation.may_execute())
    }

    fn verdict(&self, paint: Paint) -> String {
        let name = paint.strong(self.stage.name.as_str());
        let last = self.prospect.last.as_ref();
        let made = last.map(|last| when(last.started_ms)).unwrap_or_default();
        let places = match self.changes.len() {
            1 => "one place".into(),
            count => format!("{count} places"),
        };
        let differs = || format!("its key differs from that of its artifacts ({made}) in {places}");
        match &self.prospect.planned.expectation {
            Expectation::Fresh => match self.prospect.record() {
                Some(record) => format!(
                    "{name} is fresh: its outputs are those of {}, when it took {}",
                    when(record.started_ms),
                    format::millis(record.duration_ms)
                ),
                None => format!("{name} is fresh"),
            },
            Expectation::Restorable { .. } if self.changes.is_empty() => {
                format!("{name} would be restored: its artifacts were edited or removed")
            }
            Expectation::Restorable { .. } => format!("{name} would be restored: {}", differs()),
            Expectation::Run { reason: Some(reason), .. } if self.changes.is_empty() => {
                format!("{name} would run: {reason}")
            }
            Expectation::Run { reason: Some(reason), .. } => {
                format!("{name} would run: {reason}; {}", differs())
            }
            Expectation::Run { reason: None, .. } => format!("{name} would run: {}", differs()),
            Expectation::Maybe { after } => {
                let inputs: Vec<String> =
                    self.prospect.unknown.iter().map(|input| format!("`{input}`")).collect();
                let after: Vec<String> = after.iter().map(|stage| format!("`{stage}`")).collect();
                let (noun, verb) = if inputs.len() == 1 { ("input", "has") } else { ("inputs", "have") };
                let (inputs, after) = (format::list(&inputs), format::list(&after));
                format!(
                    "{name} is unchanged if its {noun} {inputs} {verb} the same bytes again: {after} would run first"
                )
            }
        }
    }

    /// Each change with what it is and its place in the file.
    fn changed_lines(&self, width: usize, paint: Paint) -> Vec<String> {
        let mut grid = Grid::new("lllll", 2);
        for change in &self.changes {
            let (origin, (old, new)) = (self.origin(&change.name), values(change));
            grid.row([
                paint.live(&clean_line(&change.name)),
                origin.from.as_deref().map(clean_line).unwrap_or_default(),
                format!("{old}  →  {new}"),
                paint.faint(&origin.place(self.pipeline).unwrap_or_default()),
            ]);
        }
        grid.lines(width.saturating_sub(2)).into_iter().map(|line| format!("  {line}")).collect()
    }

    /// What to say of a change that cannot be seen.
    fn hidden_change(&self, change: &Change) -> Option<String> {
        let (old, was_hidden) = visible(change.old.as_deref()?);
        let (new, is_hidden) = visible(change.new.as_deref()?);
        if old != new || !(was_hidden || is_hidden) {
            return None;
        }
        let name = clean_line(&change.name);
        Some(if self.sources.contains(&change.name) {
            format!(
                " only what is hidden of `{name}` differs, as where a URL was signed anew: with `#sha256=…` at its end, the \
                 digest of what it leads to, it is the same source however it is signed"
            )
        } else {
            format!(" only what is hidden of `{name}` differs")
        })
    }

    /// Whether the cache has an outcome for the key as it is now, or what of the key is not known yet.
    fn cached(&self) -> Option<String> {
        let prospect = self.prospect;
        if let (Expectation::Run { .. }, [_, ..]) =
            (&prospect.planned.expectation, prospect.unknown.as_slice())
        {
            let from = |input: &String| self.origin(&format!("inputs.{input}")).from;
            let from: Vec<String> =
                prospect.unknown.iter().filter_map(from).map(|from| format!("`{from}`")).collect();
            let run = if from.len() == 1 { "runs" } else { "run" };
            return Some(format!(" its inputs may change as well: {} {run} first", format::list(&from)));
        }
        match (&prospect.planned.expectation, prospect.record()) {
            (Expectation::Restorable { .. }, Some(record)) => {
                let made = when(record.started_ms);
                Some(format!(" a run with this key is in the cache ({made}): `pipe run` will restore it"))
            }
            (Expectation::Run { reason: None, .. }, _) => Some(" no cached result for this key".into()),
            _ => None,
        }
    }

    /// What stayed the same, in one line: the op and what it runs on, inputs, and how many params.
    fn unchanged(&self) -> Option<String> {
        let changed: BTreeSet<&str> = self.changes.iter().map(|change| change.name.as_str()).collect();
        let same = || {
            self.prospect
                .ingredients()
                .iter()
                .filter(|ingredient| !changed.contains(ingredient.name.as_str()))
        };
        let values: BTreeMap<&str, &str> =
            same().map(|ingredient| (ingredient.name.as_str(), ingredient.value.as_str())).collect();
        let mut parts = Vec::new();
        if let (Some(op), Some(version)) = (values.get("op"), values.get("op.version")) {
            parts.push(format!("op {op} v{version}"));
        }
        for (kind, shorten) in [("natives", false), ("inputs", true)] {
            let of_kind = values
                .iter()
                .filter_map(|(name, value)| Some((name.strip_prefix(kind)?.strip_prefix('.')?, value)));
            parts.extend(of_kind.map(|(name, value)| {
                format!("{name} {}", if shorten { short_value(value) } else { (*value).to_owned() })
            }));
        }
        let params =
            values.keys().filter(|name| name.starts_with("with.") || name.starts_with("params.")).count();
        if params > 0 {
            parts.push(format::count(params, "param"));
        }
        (!parts.is_empty()).then(|| parts.join(" · "))
    }

    fn whole_key(&self, paint: Paint) -> Vec<String> {
        let ingredients = self.prospect.ingredients();
        if ingredients.is_empty() {
            return vec![" its key is not known before those it reads from have run".into()];
        }
        let changed: BTreeSet<&str> = self.changes.iter().map(|change| change.name.as_str()).collect();
        let names = ingredients.iter().map(|ingredient| ingredient.name.chars().count()).max().unwrap_or(0);
        let line = |ingredient: &Ingredient| {
            let mark = if changed.contains(ingredient.name.as_str()) { "*" } else { " " };
            let value = clean(&ingredient.value).replace('\n', "\n     ");
            format!(" {} {:<names$}  {value}", paint.live(mark), clean(&ingredient.name))
        };
        let heading = format!(" key {}", digest_of(ingredients));
        std::iter::once(heading).chain(ingredients.iter().map(line)).collect()
    }
}

/// Date and time of milliseconds since 1970.
fn when(millis: u64) -> String {
    format!("{} UTC", format::date_time(millis))
}

#[cfg(test)]
mod tests;
