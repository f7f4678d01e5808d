//! `pipe gc`: keeps the cache below a size without taking what the pipeline needs; `pipe run` does the same at its end.

use std::collections::BTreeMap;

use pipeline::spec::parse_size;
use schemars::JsonSchema;
use serde::Serialize;
use store::{Collection, Evicted, Unreadable};
use text::format;

use super::output::{Version, print_json, print_painted, tell};
use super::{Context, Selection};
use crate::env;
use crate::error::{Error, ExitStatus};
use crate::progress::{Grid, Paint, stdout_width};
use crate::streams;
use crate::workspace::needed;

/// How large it may get where nobody says otherwise.
const DEFAULT: &str = "20 GB";

/// Why nothing went that a record could name.
const IN_DOUBT: &str = "cannot determine what is needed there, so every cached result and object was kept: fix the \
                        permissions, or remove it if nobody needs it";

/// Stages that are listed with what goes of them.
const MAX_STAGES: usize = 12;

/// Remove the least recently used cache entries until the cache is small enough
///
/// What the pipeline needs stays: the cached results that its artifacts came from, those that a run now would use, and partial
/// work that it would continue. The same goes for the artifacts of other pipelines that use a shared cache. `pipe run`
/// does this by itself when the cache has grown beyond PIPE_CACHE_SIZE.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How large cached results may be in all: a number with KB, MB, GB or TB, or a number of bytes
    #[arg(long, value_name = "SIZE", env = env::CACHE_SIZE.name, default_value = DEFAULT, value_parser = parse_size)]
    max_size: u64,
    /// Show what would go without removing anything
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    selection: Selection,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `pipe gc --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Gc", title = "pipe gc --json")]
pub(super) struct Answer {
    version: Version,
    /// Whether nothing was removed, and this is what would be.
    dry_run: bool,
    /// What was removed and what is left.
    collection: Collection,
}

/// How large the cache may get.
///
/// # Errors
/// When the environment says something that is not a size.
pub(super) fn limit() -> Result<u64, Error> {
    let text = env::CACHE_SIZE.text().unwrap_or_else(|| DEFAULT.into());
    parse_size(&text)
        .map_err(|error| Error::usage(format!("environment variable {}: {error}", env::CACHE_SIZE.name)))
}

/// Runs the command.
///
/// # Errors
/// When the cache cannot be read or written to, or it cannot be told what another pipeline needs.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let project = match context.load(&args.selection) {
        Ok(project) => Some(project),
        Err(error) => {
            streams::tell(&error.to_string());
            tell("note: what any stage made last is kept, because the pipeline cannot be read");
            None
        }
    };
    let store = match &project {
        Some(project) => project.store.clone(),
        None => context.store_here()?,
    };
    let mut waiting = |message: &str| tell(&format!(" {message}"));
    let mut lock = store.lock(&mut waiting)?;
    let alone = store.alone(&mut lock, &mut waiting)?;
    let needed = needed(project.as_ref(), &store);
    let collection = store.collect(&alone, &needed, args.max_size, args.dry_run)?;
    // What could not be remembered costs the next command time, nothing else.
    let _ = store.flush();
    if args.json {
        print_json(&Answer { version: Version, dry_run: args.dry_run, collection })?;
    } else {
        print_painted(&text(&collection, args.dry_run, stdout_width(), Paint::new(context.color_stdout())))?;
    }
    Ok(ExitStatus::Done)
}

/// What went, by kind and by stage, and what is left.
fn text(collection: &Collection, dry_run: bool, width: usize, paint: Paint) -> String {
    let mut grid = Grid::new("llr", 2);
    let mut verb = Some(if dry_run { "would remove" } else { "removed" });
    let mut row = |count: usize, what: String, bytes: u64| {
        if count > 0 {
            let verb = paint.strong(verb.take().unwrap_or_default());
            grid.row([verb, what, format::bytes(bytes)]);
        }
    };
    let evicted = collection.evicted.len();
    let outcomes = format!("{}, unused for the longest time", format::count(evicted, "cached result"));
    row(evicted, outcomes, collection.evicted_bytes);
    let unreachable = format::count(collection.unreachable, "unreferenced file");
    row(collection.unreachable, unreachable, collection.unreachable_bytes);
    let leftovers =
        format!("{} of partial work and the like", format::count(collection.leftovers, "leftover"));
    row(collection.leftovers, leftovers, collection.leftover_bytes);
    let left = format!(
        "{} of {} in {} and {}",
        format::bytes(collection.bytes),
        format::bytes(collection.limit),
        format::count(collection.records, "cached result"),
        format::count(collection.objects, "object")
    );
    let nothing = if collection.is_empty() { "nothing to remove: " } else { "" };
    let mut lines = grid.lines(width);
    lines.extend(by_stage(&collection.evicted).into_iter().map(|line| paint.faint(&format!("   {line}"))));
    let is_left = if dry_run && !collection.is_empty() { "would be left" } else { "left" };
    lines
        .push(format!(" {nothing}{left} {is_left}, {} of it needed", format::bytes(collection.needed_bytes)));
    for Unreadable { path, why } in collection.unreadable.iter().take(MAX_STAGES) {
        lines.push(format!(" {} `{}` cannot be read: {why}", paint.warn("!"), path.display()));
    }
    if collection.unreadable.len() > MAX_STAGES {
        let more = format::count(collection.unreadable.len() - MAX_STAGES, "other place");
        lines.push(format!("   and {more}"));
    }
    if collection.kept_in_doubt {
        lines.push(format!(" {} {IN_DOUBT}", paint.warn("!")));
    } else if collection.bytes > collection.limit {
        lines.push(format!(" {} everything left is needed, but exceeds the requested size", paint.warn("!")));
    }
    lines.join("\n") + "\n"
}

/// `train  3 cached results, last used 2026-11-20 14:03`.
fn by_stage(evicted: &[Evicted]) -> Vec<String> {
    let mut stages: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for one in evicted {
        let (count, used) = stages.entry(one.stage.as_str()).or_default();
        *count += 1;
        *used = one.used_ms.max(*used);
    }
    let mut grid = Grid::new("ll", 2);
    for (stage, (count, used)) in stages.iter().take(MAX_STAGES) {
        let used = format::date_time(*used);
        grid.row([
            (*stage).to_owned(),
            format!("{}, used until {used}", format::count(*count, "cached result")),
        ]);
    }
    let mut lines = grid.lines(usize::MAX);
    if stages.len() > MAX_STAGES {
        lines.push(format!(" and {}", format::count(stages.len() - MAX_STAGES, "other stage")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    use pipeline::StageName;
    use pipeline::digest::Digest;

    #[test]
    fn what_goes_is_told_by_kind_and_by_stage() {
        let evicted = |stage: &str, used_ms| Evicted {
            stage: StageName::try_from(stage.to_owned()).unwrap(),
            key: Digest::of_bytes(b""),
            used_ms,
        };
        let collection = Collection {
            limit: 20 << 30,
            evicted: vec![evicted("train", 60_000), evicted("export", 120_000), evicted("train", 180_000)],
            evicted_bytes: 5 << 20,
            leftovers: 1,
            leftover_bytes: 10,
            records: 2,
            objects: 1_500,
            bytes: 3 << 30,
            needed_bytes: 1 << 30,
            ..Collection::default()
        };
        let expected = " removed  3 cached results, unused for the longest time  5.0 MB
          1 leftover of partial work and the like          10 B
    export  1 cached result, used until 1970-01-01 00:02
    train   2 cached results, used until 1970-01-01 00:03
 3.0 GB of 20.0 GB in 2 cached results and 1,500 objects left, 1.0 GB of it needed
";
        assert_eq!(text(&collection, false, 100, Paint::new(false)), expected);
    }

    #[test]
    fn nothing_to_remove_is_said_and_so_is_a_size_that_cannot_be_kept() {
        let collection = Collection { limit: 10, bytes: 20, needed_bytes: 20, ..Collection::default() };
        let expected =
            " nothing to remove: 20 B of 10 B in 0 cached results and 0 objects left, 20 B of it needed
 ! everything left is needed, but exceeds the requested size
";
        assert_eq!(text(&collection, true, 100, Paint::new(false)), expected);
    }
}
