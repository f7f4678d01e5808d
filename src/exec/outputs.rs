//! What an execution left: whether each output is there, is content, is nobody's any more, and holds no secret.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pipeline::spec::{Action, Stage};
use text::secret::Leak;

use super::setting::Setting;
use super::{Failure, secrets};
use crate::project::Project;

/// Looks at the outputs of a stage that has ended.
///
/// # Errors
/// When one is missing, is neither a file nor a folder, may still be written to, or holds the value of a secret.
pub(super) fn check(project: &Project, stage: &Stage, setting: &Setting) -> Result<(), Failure> {
    are_there(stage, setting)?;
    are_released(project, stage, setting)?;
    hold_no_secret(project, stage, setting)
}

fn are_there(stage: &Stage, setting: &Setting) -> Result<(), Failure> {
    for (name, path) in &setting.outputs {
        let there = std::fs::metadata(path);
        if there.as_ref().is_ok_and(|there| there.is_file() || there.is_dir()) {
            continue;
        }
        let output = named(stage, name);
        return Err(match (std::fs::symlink_metadata(path), there) {
            (Err(error), _) => {
                Failure::new(format!("it ended without writing {output}: {error}")).hint(match stage.action {
                    Action::Command(_) => {
                        format!("write it to the path that `${{outputs.{name}}}` stands for")
                    }
                    Action::Op(_) => {
                        "the plugin said `done` too early: please report this to the plugin's authors".into()
                    }
                })
            }
            (Ok(_), Err(error)) => {
                let to = std::fs::read_link(path).unwrap_or_default();
                Failure::new(format!("{output} is a link to `{}`: {error}", to.display()))
                    .hint("an output is a file or a folder, or a link to one that is there")
            }
            (Ok(_), Ok(_)) => Failure::new(format!("{output} is neither a file nor a folder"))
                .hint("an output must be a file or folder: write the result to one"),
        });
    }
    Ok(())
}

/// What has left the stage's process group is not waited for, but as long as it has an output open for writing, the output
/// may be half of what it will be.
fn are_released(project: &Project, stage: &Stage, setting: &Setting) -> Result<(), Failure> {
    let holders = project.store.writers(setting.outputs.values().map(|path| path.as_path()))?;
    let Some(holder) = holders.first() else { return Ok(()) };
    let of = setting.outputs.iter().find(|(_, path)| holder.path.starts_with(path));
    let output = of.map(|(name, path)| format!("{}{}", inside(&holder.path, path), named(stage, name)));
    let output = output.unwrap_or_else(|| format!("`{}`", holder.path.display()));
    let mut pids: Vec<i32> = holders.iter().filter_map(|holder| Some(holder.process.as_ref()?.0)).collect();
    pids.sort_unstable();
    pids.dedup();
    let others = match pids.len() {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let message = match &holder.process {
        Some((pid, program)) => {
            let who = program.as_ref().map_or_else(
                || format!("a process that has ended since ({pid})"),
                |program| format!("`{program}` (process {pid})"),
            );
            format!("it ended while {who}{others} still had {output} open for writing")
        }
        None => format!(
            "it ended while something that cannot be seen from here, as another user's or a container's process, still \
             had {output} open for writing"
        ),
    };
    Err(Failure::new(format!("{message}; nothing of it is kept"))
        .hint("make the stage wait for its writers; background processes must not keep its outputs open (redirect them: `> /dev/null 2>&1`)"))
}

/// What a stage writes is kept, shared with whoever has the cache, and read by other stages: a secret in it is one no more.
fn hold_no_secret(project: &Project, stage: &Stage, setting: &Setting) -> Result<(), Failure> {
    let Some(search) = secrets::search(stage)? else { return Ok(()) };
    let first: Mutex<Option<(PathBuf, Leak)>> = Mutex::new(None);
    for (name, path) in &setting.outputs {
        let names = project.store.look_into(path, &|file| {
            if let Some(leak) = search.in_reader(regular::open(file)?)? {
                let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                // Several are looked at at once: which one is named does not depend on that.
                if first.as_ref().is_none_or(|(other, _)| file < other) {
                    *first = Some((file.to_owned(), leak));
                }
            }
            Ok(())
        })?;
        let in_name = || {
            let mut found = names.iter().filter_map(|name| search.in_bytes(name.as_bytes()).transpose());
            found.next().transpose().map_err(|error| Failure::new(error.to_string()))
        };
        let output = named(stage, name);
        let (holds, secret) = match first.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some((file, Leak { name, at })) => {
                let inside = inside(&file, path);
                (
                    format!(
                        "{inside}{output} holds the value of its secret `{name}`, from byte {} on",
                        at + 1
                    ),
                    name,
                )
            }
            None => match in_name()? {
                Some(Leak { name, .. }) => {
                    (format!("a name in {output} holds the value of its secret `{name}`"), name)
                }
                None => continue,
            },
        };
        // Nor does it lie about until the next run.
        let _ = std::fs::remove_dir_all(&setting.folder);
        return Err(Failure::new(format!("{holds}; nothing of it is kept")).hint(format!(
            "remove it from the output: a stage that needs it can list `secrets: [{secret}]` itself; if it is not \
             a secret, do not list it"
        )));
    }
    Ok(())
}

/// A file in an output, where that is a folder.
fn inside(file: &Path, output: &Path) -> String {
    let inner = file.strip_prefix(output).unwrap_or(Path::new(""));
    if inner.as_os_str().is_empty() { String::new() } else { format!("`{}` in ", inner.display()) }
}

/// An output, as messages name it.
fn named(stage: &Stage, name: &str) -> String {
    format!("its output `{name}` (`{}`)", stage.outputs.get(name).map_or("", String::as_str))
}
