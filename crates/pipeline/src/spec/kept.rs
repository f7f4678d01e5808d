//! A resolved pipeline as lines of JSON, and back: reading these takes a small part of the time that reading and resolving
//! YAML does. Knows no files and no digests: who keeps the lines sees to it that they are what was written.
//!
//! Where things are written is not kept. What has to point at a place reads the pipeline itself.

use std::path::PathBuf;

use indexmap::IndexMap;
use patterns::Ignore;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pipeline::{Pipeline, ReportSpec, Stage};
use super::written::Texts;
use crate::digest::Digest;
use crate::gate::Gate;
use crate::name::StageName;

/// All of a pipeline but its stages.
#[derive(Serialize, Deserialize)]
struct Head {
    name: String,
    file: PathBuf,
    digest: Digest,
    root: PathBuf,
    vars: IndexMap<String, Value>,
    profile: Option<String>,
    ignore: Vec<String>,
    gates: Vec<Gate>,
    report: ReportSpec,
    warnings: Vec<String>,
}

impl Pipeline {
    /// As lines: a first one, and one for each stage in the order of the file.
    ///
    /// # Errors
    /// When a path is no text.
    pub fn to_lines(&self) -> serde_json::Result<Vec<u8>> {
        let head = Head {
            name: self.name.clone(),
            file: self.file.clone(),
            digest: self.digest,
            root: self.root.clone(),
            vars: self.vars.clone(),
            profile: self.profile.clone(),
            ignore: self.ignore.patterns().map(str::to_owned).collect(),
            gates: self.gates.clone(),
            report: self.report.clone(),
            warnings: self.warnings.clone(),
        };
        let mut lines = serde_json::to_vec(&head)?;
        for stage in self.stages.values() {
            lines.push(b'\n');
            serde_json::to_writer(&mut lines, stage)?;
        }
        Ok(lines)
    }

    /// The pipeline that [`Pipeline::to_lines`] made lines of, but for where things are written. `None` where they are not such
    /// lines.
    #[must_use]
    pub fn from_lines(lines: &[u8]) -> Option<Self> {
        let lines: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').collect();
        let (head, stages) = lines.split_first()?;
        let head: Head = serde_json::from_slice(head).ok()?;
        let ignore = Ignore::exactly(&head.root, head.ignore.iter().map(String::as_str)).ok()?;
        let stages: Option<Vec<Stage>> =
            stages.par_iter().map(|line| serde_json::from_slice(line).ok()).collect();
        let stages: IndexMap<StageName, Stage> =
            stages?.into_iter().map(|stage| (stage.name.clone(), stage)).collect();
        (stages.len() + 1 == lines.len()).then_some(Self {
            name: head.name,
            file: head.file,
            digest: head.digest,
            root: head.root,
            vars: head.vars,
            profile: head.profile,
            ignore,
            stages,
            gates: head.gates,
            report: head.report,
            warnings: head.warnings,
            texts: Texts::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::spec::tests::{GOOD, read};

    #[test]
    fn what_is_kept_is_read_again_but_for_where_things_are_written() {
        let pipeline = read(GOOD).unwrap();
        let lines = pipeline.to_lines().unwrap();
        let again = Pipeline::from_lines(&lines).unwrap();
        assert_eq!(again.to_lines().unwrap(), lines);
        assert_eq!(again.graph().unwrap().order(), pipeline.graph().unwrap().order());
        assert!(
            again.ignore.patterns().eq(pipeline.ignore.patterns()) && again.ignore.root() == pipeline.root
        );
        assert_eq!(
            (&again.gates, &again.report, &again.vars),
            (&pipeline.gates, &pipeline.report, &pipeline.vars)
        );
        for (stage, was) in again.stages.values().zip(pipeline.stages.values()) {
            assert_eq!((&stage.name, &stage.action, &stage.inputs), (&was.name, &was.action, &was.inputs));
            assert_eq!((&stage.outputs, &stage.resources), (&was.outputs, &was.resources));
            assert_eq!((stage.timeout, stage.retries, stage.scope), (was.timeout, was.retries, was.scope));
            assert_eq!((&stage.secrets, stage.location), (&was.secrets, was.location));
        }
    }

    #[test]
    fn other_lines_are_no_pipeline() {
        let lines = read(GOOD).unwrap().to_lines().unwrap();
        let last = lines.iter().rposition(|byte| *byte == b'\n').unwrap();
        let twice = [&lines[..], &lines[last..]].concat();
        for text in [&lines[..last - 1], &lines[..lines.len() - 1], &twice, b"", b"{}"] {
            assert!(Pipeline::from_lines(text).is_none());
        }
    }
}
