//! `pipe run --watch`: runs, waits for an edit of what the run depended on, and runs again. Every round reads the
//! pipeline anew and is a run like any other; this module only knows when.
//!
//! **When.** Before a round it is noted what everything looks like that the stages read, after it what their artifacts
//! look like. Whatever looks different later was edited by somebody else, also while the stages ran. What a run itself
//! writes is none of it.
//!
//! **Ctrl-C** ends a round as it ends any run, with exit code 130, and the watch with it. While nothing runs it is how
//! one is done with watching: exit code 0.

mod edits;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use pipeline::spec;
use record::event::Event;
use store::ARTIFACTS;
use text::format;

use self::edits::{Looks, Places, Wake, wait};
use super::{Context, find_stages, run};
use crate::error::{Error, ExitStatus};
use crate::exec::BetweenRuns;
use crate::project::Project;
use crate::workspace::{Reads, reads};
use crate::{progress, streams};

/// How many names a line has.
const SHOWN: usize = 5;

/// How many rounds in a row may follow from the same files having changed while stages ran. After that it must be a
/// stage that writes them.
const PATIENCE: u32 = 3;

/// Runs again and again.
///
/// # Errors
/// When there is no pipeline to begin with, or the system cannot watch files. What is wrong with a pipeline that is
/// there is printed, and an edit waited for.
pub(super) fn watch(args: &run::Args, context: &Context) -> Result<ExitStatus, Error> {
    let file = std::path::absolute(&context.global.file).map_err(Error::failed)?;
    if !file.exists() {
        return run::run(args, context);
    }
    let is_idle = Arc::new(AtomicBool::new(false));
    let (wake, woken) = mpsc::channel();
    let _signals = listen(&is_idle, wake.clone())?;
    let mut watch =
        Watch { args, context, wake, woken, sources: Places::default(), artifacts: Places::default(), file };
    // What changed while stages ran, and how often in a row.
    let mut meanwhile = (Vec::new(), 0);
    loop {
        let (before, status) = watch.round();
        if status == ExitStatus::Interrupted {
            return Ok(status);
        }
        is_idle.store(true, Ordering::Relaxed);
        let mut expected = before.and(watch.artifacts.look());
        let changed = expected.differences(&watch.everything().look());
        meanwhile = if changed == meanwhile.0 { (changed, meanwhile.1 + 1) } else { (changed, 1) };
        if !meanwhile.0.is_empty() && meanwhile.1 > PATIENCE {
            watch.notice(format!(
                "changed whenever stages ran: {}; does one of them write that? It is not run again",
                watch.names(&meanwhile.0)
            ));
            expected = watch.everything().look();
        }
        let Some(edited) = watch.edited(&expected)? else { return Ok(ExitStatus::Done) };
        watch.notice(format!("edited: {}", watch.names(&edited)));
        is_idle.store(false, Ordering::Relaxed);
    }
}

/// Listens for Ctrl-C where no run does.
fn listen(is_idle: &Arc<AtomicBool>, wake: Sender<Wake>) -> Result<BetweenRuns, Error> {
    let is_idle = Arc::clone(is_idle);
    let stop = move || {
        if is_idle.load(Ordering::Relaxed) {
            // Nobody listens any more when the watch is about to end.
            let _ = wake.send(Wake::Stop);
        } else {
            // While the pipeline is read, or another run waited for: there is nothing to be tidied up.
            std::process::exit(ExitStatus::Interrupted.code().into());
        }
    };
    BetweenRuns::start(stop).map_err(|error| Error::failed(format!("cannot listen for Ctrl-C: {error}")))
}

struct Watch<'a> {
    args: &'a run::Args,
    context: &'a Context,
    wake: Sender<Wake>,
    woken: Receiver<Wake>,
    /// The pipeline's file, absolute.
    file: PathBuf,
    /// What the stages read, the pipeline and the plugins.
    sources: Places,
    /// What they made.
    artifacts: Places,
}

impl Watch<'_> {
    /// Runs once. How it ended, and what its sources looked like before.
    fn round(&mut self) -> (Looks, ExitStatus) {
        // Looked at before it is read: an edit in between is not missed.
        let pipeline = Places::of([self.file.clone()]).look();
        let loaded = self.context.load(&self.args.selection);
        let ready = loaded.and_then(|project| self.depend_on(&project));
        if ready.is_err() {
            self.hope();
        }
        let before = self.sources.look().and(pipeline);
        let status = ready.and_then(|()| run::run(self.args, self.context)).unwrap_or_else(|error| {
            streams::tell(&error.to_string());
            error.status()
        });
        (before, status)
    }

    /// Finds out what is to be watched.
    fn depend_on(&mut self, project: &Project) -> Result<(), Error> {
        let named = find_stages(project, &self.args.stages)?;
        let Reads { sources, whole, artifacts } = reads(project, &project.selected(&named))?;
        self.artifacts = Places::of(artifacts);
        self.sources = Places::of([self.file.clone()].into_iter().chain(sources));
        self.sources.ignore = Some(project.pipeline.ignore.clone());
        self.sources.whole = whole;
        // A stage may read the folder in which all of this lies.
        self.sources.except.extend(project.store.folder().parent().map(Path::to_owned));
        self.sources.except.insert(project.pipeline.root.join(ARTIFACTS));
        Ok(())
    }

    /// A pipeline that is wrong may become right by what appears where it looks for something.
    fn hope(&mut self) {
        self.sources.paths.insert(self.file.clone());
        if let Ok(parsed) = spec::parse(&self.file) {
            self.sources.paths.extend(parsed.input_paths());
            self.sources.paths.extend(parsed.plugins().values().cloned());
        }
    }

    fn everything(&self) -> Places {
        let mut all = self.sources.clone();
        all.paths.extend(self.artifacts.paths.iter().cloned());
        all
    }

    /// Waits until something looks different from what is `expected`; what it is. `None` when it was asked to end.
    fn edited(&self, expected: &Looks) -> Result<Option<Vec<PathBuf>>, Error> {
        let all = self.everything();
        let mut is_told = false;
        loop {
            // Anew each time: folders may have come and gone.
            let watcher = all.watch(self.wake.clone()).map_err(cannot_watch)?;
            let edited = expected.differences(&all.look());
            if !edited.is_empty() {
                let is_stopped = self.woken.try_iter().any(|wake| matches!(wake, Wake::Stop));
                return Ok((!is_stopped).then_some(edited));
            }
            if !is_told {
                let sources: Vec<PathBuf> = self.sources.paths.iter().cloned().collect();
                self.notice(format!("watching {}; Ctrl-C ends", self.names(&sources)));
                is_told = true;
            }
            if !wait(&self.woken) {
                return Ok(None);
            }
            drop(watcher);
        }
    }

    fn notice(&self, message: String) {
        progress::choose(self.args.json, self.context.color_stderr()).event(&Event::Notice { message });
    }

    /// Paths in words, the pipeline first, not too many.
    fn names(&self, paths: &[PathBuf]) -> String {
        let root = self.file.parent().unwrap_or(Path::new(""));
        let name = |path: &PathBuf| {
            let slash = if path.is_dir() { "/" } else { "" };
            format!("{}{slash}", path.strip_prefix(root).unwrap_or(path).display())
        };
        let (pipeline, others): (Vec<_>, Vec<_>) = paths.iter().partition(|path| **path == self.file);
        let mut names: Vec<String> = pipeline.into_iter().chain(others).map(name).collect();
        if names.len() > SHOWN {
            let more = names.split_off(SHOWN - 1).len();
            names.push(format!("{more} more"));
        }
        format::list(&names)
    }
}

fn cannot_watch(error: notify::Error) -> Error {
    let failed = Error::failed(format!("cannot watch files: {error}"));
    match error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            failed.hint("the system allows more with `sysctl fs.inotify.max_user_watches=524288`")
        }
        _ => failed,
    }
}
