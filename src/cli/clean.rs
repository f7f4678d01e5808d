//! `pipe clean`: removes artifacts, which the next run restores, and the cache where that is asked for twice. Works while
//! the pipeline is broken.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};
use std::path::Path;

use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::spec::did_you_mean_or_list;
use store::{ARTIFACTS, Cleaned, Kept, Store};
use text::format;

use super::output::{print, tell};
use super::{Context, completions};
use crate::error::{Error, ExitStatus};
use crate::streams;

/// Files that are listed because they stay.
const MAX_KEPT: usize = 10;

/// Remove the artifacts of stages; the next run restores them from the cache
///
/// Only what a stage made and nobody edited since is removed, with folders that are empty then. Whatever else is there
/// stays and is named.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stages whose artifacts go; all of them, and the report, where none is named
    #[arg(add = completions::stages())]
    stages: Vec<String>,
    /// Remove the cache beside the pipeline, too, with the history of runs
    #[arg(long, conflicts_with = "stages")]
    with_cache: bool,
    /// With --with-cache: remove the cache that others share, too
    #[arg(long, requires = "with_cache")]
    shared: bool,
    /// Remove the cache without asking
    #[arg(short, long, requires = "with_cache")]
    yes: bool,
    /// Show what would go without removing anything
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Runs the command.
///
/// # Errors
/// When a stage is not known, the cache must not be removed, or something cannot be.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let store = context.store_here()?;
    let stages = chosen(&store, &args.stages, context)?;
    if args.with_cache {
        refuse_shared(&args, &store)?;
    }
    let root = store.folder().parent().and_then(Path::parent).map(Path::to_owned);
    let root = root.unwrap_or_default();
    let page = args.stages.is_empty().then(|| root.join(ARTIFACTS).join("report.html"));
    // What somebody else put there is theirs.
    let page = page.filter(|file| report::is_page(file));
    if !store.folder().exists() {
        print(" nothing to remove: nothing has run here\n")?;
        return Ok(ExitStatus::Done);
    }
    if args.with_cache && !args.dry_run && !args.yes && !confirmed()? {
        print(" nothing was removed\n")?;
        return Ok(ExitStatus::Done);
    }
    let mut waiting = |message: &str| tell(&format!(" {message}"));
    let mut lock = store.lock(&mut waiting)?;
    let others: Vec<_> = page.into_iter().collect();
    let cleaned = store.clean(&lock, &stages, &others, args.dry_run)?;
    // What could not be remembered costs the next command time, nothing else.
    let _ = store.flush();
    print(&text(&cleaned, &root, args.dry_run))?;
    if args.with_cache {
        let which = if args.shared && store.is_shared() { "both caches" } else { "the cache" };
        if args.dry_run {
            print(&format!(" would remove {which}\n"))?;
        } else {
            let alone = store.alone(&mut lock, &mut waiting)?;
            store.remove_all(alone, args.shared)?;
            print(&format!(" removed {which}\n"))?;
        }
    }
    Ok(ExitStatus::Done)
}

/// The stages that are named, or all that have made something, with the keys that their artifacts came from.
fn chosen(store: &Store, named: &[String], context: &Context) -> Result<BTreeMap<StageName, Digest>, Error> {
    let all = store.all_last();
    if named.is_empty() {
        return Ok(all);
    }
    let mut chosen = BTreeMap::new();
    for name in named {
        match all.iter().find(|(stage, _)| stage.as_str() == name) {
            Some((stage, key)) => drop(chosen.insert(stage.clone(), *key)),
            // One that has made nothing has nothing to remove.
            None if is_stage(name, context) => {}
            None => {
                let hint = did_you_mean_or_list(
                    name,
                    "stages with artifacts are",
                    all.keys().map(StageName::as_str),
                );
                return Err(Error::usage(format!("there is no stage `{name}`")).hint(hint));
            }
        }
    }
    Ok(chosen)
}

fn is_stage(name: &str, context: &Context) -> bool {
    let project = context.load(&super::Selection::default());
    project.is_ok_and(|project| project.pipeline.stages.keys().any(|stage| stage.as_str() == name))
}

/// Others may need what is in a cache that they share.
fn refuse_shared(args: &Args, store: &Store) -> Result<(), Error> {
    let others = store.others()?;
    if args.shared || (others.is_empty() && !store.is_shared()) {
        return Ok(());
    }
    let whom = match others.as_slice() {
        [] => "others may share it".to_owned(),
        [one] => format!("`{}` shares it", one.display()),
        [one, rest @ ..] => {
            format!("`{}` and {} share it", one.display(), format::count(rest.len(), "other pipeline"))
        }
    };
    Err(Error::usage(format!("the cache is not removed: {whom}")).hint(
        "`pipe gc` makes it smaller without harm; `pipe clean --with-cache --shared` removes it all the same",
    ))
}

/// Asks on a terminal.
fn confirmed() -> Result<bool, Error> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::usage(
            "removing the cache needs confirmation, but standard input is not a terminal",
        )
        .hint("`--yes` removes it without asking"));
    }
    streams::tell(
        " Remove the cache with all results and the history of runs? Everything has to run again. [y/N] ",
    );
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(Error::failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn text(cleaned: &Cleaned, root: &Path, dry_run: bool) -> String {
    let verb = if dry_run { "would remove" } else { "removed" };
    let files = format::count(cleaned.files, "file");
    let mut text = match cleaned.files {
        0 => " no artifacts to remove\n".to_owned(),
        _ => format!(" {verb} {files}, {}\n", format::bytes(cleaned.bytes)),
    };
    for (path, why) in cleaned.kept.iter().take(MAX_KEPT) {
        let why = match why {
            Kept::Edited => "was edited since its stage made it",
            Kept::Foreign => "is no output that the cache knows of",
        };
        let path = path.strip_prefix(root).unwrap_or(path).display();
        text.push_str(&format!(" ! `{path}` stays: it {why}\n"));
    }
    if cleaned.kept.len() > MAX_KEPT {
        text.push_str(&format!(
            " ! and {} stay\n",
            format::count(cleaned.kept.len() - MAX_KEPT, "other file")
        ));
    }
    text
}
