//! `pipe why STAGE`: what a run would do with a stage and which ingredients of its key decide that.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::output::{print, print_json};
use super::{Context, Selection, find_stage};
use crate::error::{Error, ExitStatus};
use crate::event::Expectation;
use crate::format;
use crate::key::{changes, digest_of};
use crate::plan::{self, Prospect};
use crate::progress::{Paint, clean};
use crate::record::{Change, Ingredient};
use crate::spec::{Action, Stage};

/// Longer values are shortened, unless the whole key is asked for.
const MAX_VALUE: usize = 60;

/// Explain why a stage would run, stay as it is, or be restored from the cache
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The stage
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
/// When the pipeline is wrong, there is no such stage, or an input or a plugin cannot be read.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let project = context.load(&args.selection)?;
    let name = find_stage(&project, &args.stage)?;
    let prospects = plan::prospects(&project, &BTreeSet::from([name.clone()]), &BTreeSet::new())?;
    // What could not be remembered costs the next command time, nothing else.
    let _ = project.store.flush();
    let (Some(prospect), Some(stage)) = (prospects.first(), project.pipeline.stages.get(&name)) else {
        return Err(Error::failed(format!("nothing is known of stage `{name}`")));
    };
    let file = project.pipeline.file.file_name().map(|file| file.to_string_lossy().into_owned());
    let answer = Answer { prospect, stage, file: file.unwrap_or_default(), changes: all_changes(prospect) };
    if args.json {
        print_json(&answer.json())?;
    } else {
        print(&answer.text(args.all, Paint::new(context.color_stdout())))?;
    }
    Ok(ExitStatus::Done)
}

/// What differs from the key that the stage's artifacts came from. An input that is not known yet does not count.
fn all_changes(prospect: &Prospect) -> Vec<Change> {
    let Some(last) = &prospect.last else { return Vec::new() };
    if prospect.ingredients.is_empty() { vec![] } else { changes(&last.ingredients, &prospect.ingredients) }
}

struct Answer<'a> {
    prospect: &'a Prospect,
    stage: &'a Stage,
    /// Name of the pipeline's file.
    file: String,
    changes: Vec<Change>,
}

impl Answer<'_> {
    fn json(&self) -> serde_json::Value {
        let known = !self.prospect.ingredients.is_empty();
        json!({
            "stage": self.stage.name,
            "expectation": self.prospect.planned.expectation,
            "key": known.then(|| digest_of(&self.prospect.ingredients)),
            "ingredients": self.prospect.ingredients,
            "changes": self.changes,
            "last": self.prospect.last.as_ref().map(|last| last.key),
        })
    }

    fn text(&self, all: bool, paint: Paint) -> String {
        let mut lines = vec![format!(" {}", self.verdict(paint))];
        lines.extend(self.changed_lines(paint));
        if let (Expectation::Restorable, Some(record)) =
            (&self.prospect.planned.expectation, &self.prospect.record)
        {
            let made = when(record.started_ms);
            lines.push(format!(" a run with this key is in the cache ({made}): `pipe run` will restore it"));
        }
        if all {
            lines.extend(self.whole_key(paint));
        } else if !self.changes.is_empty() {
            lines.extend(self.unchanged().map(|unchanged| paint.faint(&format!(" unchanged: {unchanged}"))));
        }
        lines.push(String::new());
        lines.join("\n")
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
            Expectation::Fresh => match &self.prospect.record {
                Some(record) => format!(
                    "{name} is fresh: its outputs are those of {}, when it took {}",
                    when(record.started_ms),
                    format::millis(record.duration_ms)
                ),
                None => format!("{name} is fresh"),
            },
            Expectation::Restorable if self.changes.is_empty() => {
                format!("{name} would be restored: its artifacts were edited or removed")
            }
            Expectation::Restorable => format!("{name} would be restored: {}", differs()),
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
                let (noun, verb) = if inputs.len() == 1 { ("input", "is") } else { ("inputs", "are") };
                let (inputs, after) = (format::list(&inputs), format::list(&after));
                format!(
                    "{name} stays as it is if its {noun} {inputs} {verb} the same bytes again: {after} would run first"
                )
            }
        }
    }

    /// Each change with its place in the file.
    fn changed_lines(&self, paint: Paint) -> Vec<String> {
        let names = self.changes.iter().map(|change| change.name.chars().count()).max().unwrap_or(0);
        let value = |value: &Option<String>| value.as_deref().map_or_else(|| "(none)".into(), shortened);
        let values: Vec<String> = self
            .changes
            .iter()
            .map(|change| format!("{}  →  {}", value(&change.old), value(&change.new)))
            .collect();
        let widest = values.iter().map(|value| value.chars().count()).max().unwrap_or(0);
        let lines = self.changes.iter().zip(values).map(|(change, values)| {
            let place =
                self.line_of(&change.name).map(|line| format!("{}:{line}", self.file)).unwrap_or_default();
            let name = paint.live(&format!("{:<names$}", clean(&change.name)));
            let line = format!("   {name}  {values:<widest$}  {}", paint.faint(&place));
            line.trim_end().to_owned()
        });
        lines.collect()
    }

    /// The line of the pipeline's file that an ingredient comes from.
    fn line_of(&self, ingredient: &str) -> Option<usize> {
        match (&self.stage.action, ingredient.split_once('.')) {
            (Action::Op(action), Some(("with", path))) => {
                let name = path.split(['.', '[']).next()?;
                action.param_locations.get(name).map(|location| location.line)
            }
            (Action::Command(action), Some(("params", path))) => {
                let name = path.split(['.', '[']).next()?;
                action.param_locations.get(name).map(|location| location.line)
            }
            (Action::Command(_), Some(("env", _))) | (_, Some(("outputs", _))) => {
                Some(self.stage.location.line)
            }
            (Action::Command(_), _) if ingredient == "run" || ingredient == "run.args" => {
                Some(self.stage.location.line)
            }
            _ => None,
        }
    }

    /// What stayed the same, in one line: the op and what it runs on, inputs, and how many params.
    fn unchanged(&self) -> Option<String> {
        let changed: BTreeSet<&str> = self.changes.iter().map(|change| change.name.as_str()).collect();
        let same = || {
            self.prospect.ingredients.iter().filter(|ingredient| !changed.contains(ingredient.name.as_str()))
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
                format!("{name} {}", if shorten { shortened(value) } else { (*value).to_owned() })
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
        let ingredients = &self.prospect.ingredients;
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

/// A value on one line: digests by their first digits, long values cut.
fn shortened(value: &str) -> String {
    let value = clean(value).replace('\n', " ");
    let digest = value.strip_prefix("content ").unwrap_or(&value);
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (value, limit) = if is_digest { (digest, 12) } else { (value.as_str(), MAX_VALUE) };
    match value.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", value.get(..end).unwrap_or(value)),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests;
