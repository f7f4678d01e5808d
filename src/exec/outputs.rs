//! What an execution left: whether each output is there, is content, and is nobody's any more.

use std::path::Path;

use super::Failure;
use super::setting::Setting;
use crate::project::Project;
use crate::spec::{Action, Stage};

/// Looks at the outputs of a stage that has ended.
///
/// # Errors
/// When one is missing, is neither a file nor a folder, or may still be written to.
pub(super) fn check(project: &Project, stage: &Stage, setting: &Setting) -> Result<(), Failure> {
    are_there(stage, setting)?;
    are_released(project, stage, setting)
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
                    Action::Op(_) => "the plugin said `done` too early: please tell its authors".into(),
                })
            }
            (Ok(_), Err(error)) => {
                let to = std::fs::read_link(path).unwrap_or_default();
                Failure::new(format!("{output} is a link to `{}`: {error}", to.display()))
                    .hint("an output is a file or a folder, or a link to one that is there")
            }
            (Ok(_), Ok(_)) => Failure::new(format!("{output} is neither a file nor a folder"))
                .hint("what is kept of a stage are files: write what it gives to one"),
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
    let output = of.map(|(name, path)| {
        let inner = holder.path.strip_prefix(path).unwrap_or(Path::new(""));
        let inside =
            if inner.as_os_str().is_empty() { String::new() } else { format!("`{}` in ", inner.display()) };
        format!("{inside}{}", named(stage, name))
    });
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
            format!("it ended while `{program}` (process {pid}){others} still had {output} open for writing")
        }
        None => format!(
            "it ended while something that cannot be seen from here, as another user's or a container's process, still \
             had {output} open for writing"
        ),
    };
    Err(Failure::new(format!("{message}; nothing of it is kept"))
        .hint("see to it that the stage ends after all that writes for it; what is to go on must not hold its outputs, as by `> /dev/null 2>&1`"))
}

/// An output, as messages name it.
fn named(stage: &Stage, name: &str) -> String {
    format!("its output `{name}` (`{}`)", stage.outputs.get(name).map_or("", String::as_str))
}
