//! Random pipelines, edited at random, against a slow and obvious model of what must be executed: whatever has a command,
//! a param or the content of an input that were not seen together before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::project::Project;

const SOURCES: usize = 3;

/// Contents of sources; those of one length look the same to a stage that counts.
const CONTENTS: [&str; 4] = ["alpha\n", "omega\n", "a longer text\n", ""];

/// A stage that reads some sources and some of the stages before it.
#[derive(Debug, Clone)]
struct Stage {
    name: String,
    param: u8,
    /// Whether it tells only how long its inputs are, so that what depends on it may stay.
    counts: bool,
    sources: BTreeSet<usize>,
    stages: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Pipeline {
    stages: Vec<Stage>,
    sources: Vec<usize>,
    /// Where each stage stands in the file.
    order: Vec<usize>,
}

#[derive(Debug, Clone)]
enum Edit {
    Source(Index, usize),
    Param(Index, u8),
    /// A stage that nothing depends on.
    Add(bool, Index),
    Reorder(Vec<Index>),
    /// A time of change is no content.
    Touch(Index),
    /// Nor is which file it is.
    Replace(Index),
    RemoveArtifacts,
    /// By hand.
    Artifact(Index),
}

/// What the model knows: the output of every key that was ever executed.
#[derive(Default)]
struct Seen(BTreeMap<(String, Vec<String>), String>);

/// What a run comes to.
struct Predicted {
    executed: Vec<String>,
    outputs: BTreeMap<String, String>,
}

impl Stage {
    fn inputs(&self) -> Vec<String> {
        let sources = self.sources.iter().map(|number| format!("s{number}"));
        sources.chain(self.stages.iter().cloned()).collect()
    }

    fn command(&self) -> String {
        let inputs: Vec<String> = self.inputs().iter().map(|name| format!("${{inputs.{name}}}")).collect();
        let filter = if self.counts { " | wc -c" } else { "" };
        let Self { name, .. } = self;
        format!(
            "echo {name} >> trace; {{ echo ${{params.p}}; cat /dev/null {}{filter}; }} > ${{outputs.o}}",
            inputs.join(" ")
        )
    }

    fn output(&self, inputs: &[String]) -> String {
        let all = inputs.concat();
        if self.counts {
            format!("{}\n{}\n", self.param, all.len())
        } else {
            format!("{}\n{all}", self.param)
        }
    }
}

impl Pipeline {
    fn yaml(&self) -> String {
        let mut yaml = String::new();
        for stage in self.order.iter().map(|index| &self.stages[*index]) {
            let sources = stage.sources.iter().map(|number| format!("s{number}: s{number}.txt"));
            let stages = stage.stages.iter().map(|name| format!("{name}: {name}.o"));
            let inputs: Vec<String> = sources.chain(stages).collect();
            writeln!(
                yaml,
                "{}:\n  run: '{}'\n  params: {{ p: {} }}\n  inputs: {{ {} }}\n  outputs: {{ o: o.txt }}",
                stage.name,
                stage.command(),
                stage.param,
                inputs.join(", ")
            )
            .unwrap();
        }
        yaml
    }

    fn write(&self, project: &Project) {
        for (number, content) in self.sources.iter().enumerate() {
            let name = format!("s{number}.txt");
            if fs::read_to_string(project.path(&name)).ok().as_deref() != Some(CONTENTS[*content]) {
                project.write(&name, CONTENTS[*content]);
            }
        }
        project.set_stages(&self.yaml());
    }

    /// Stages only read those before them, so that one after the other will do.
    fn predict(&self, seen: &mut Seen) -> Predicted {
        let mut predicted = Predicted { executed: vec![], outputs: BTreeMap::new() };
        for stage in &self.stages {
            let sources = stage.sources.iter().map(|number| CONTENTS[self.sources[*number]].to_owned());
            let stages = stage.stages.iter().map(|name| predicted.outputs[name].clone());
            let contents: Vec<String> = sources.chain(stages).collect();
            let key = (format!("{} {}", stage.command(), stage.param), contents.clone());
            let output = seen.0.entry(key).or_insert_with(|| {
                predicted.executed.push(stage.name.clone());
                stage.output(&contents)
            });
            predicted.outputs.insert(stage.name.clone(), output.clone());
        }
        predicted.executed.sort();
        predicted
    }

    fn apply(&mut self, edit: &Edit, project: &Project) {
        match edit {
            Edit::Source(at, content) => self.sources[at.index(SOURCES)] = *content,
            Edit::Param(at, param) => {
                let index = at.index(self.stages.len());
                self.stages[index].param = *param;
            }
            Edit::Add(counts, source) => {
                self.order.insert(0, self.stages.len());
                self.stages.push(Stage {
                    name: format!("added{}", self.stages.len()),
                    param: 0,
                    counts: *counts,
                    sources: BTreeSet::from([source.index(SOURCES)]),
                    stages: BTreeSet::new(),
                });
            }
            Edit::Reorder(places) => {
                for (one, other) in places.iter().enumerate() {
                    let count = self.order.len();
                    self.order.swap(one % count, other.index(count));
                }
            }
            Edit::Touch(at) => {
                let path = project.path(&format!("s{}.txt", at.index(SOURCES)));
                let file = fs::File::options().write(true).open(path).unwrap();
                file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            }
            Edit::Replace(at) => {
                let path = project.path(&format!("s{}.txt", at.index(SOURCES)));
                let other = project.path("other.txt");
                fs::copy(&path, &other).unwrap();
                fs::rename(other, path).unwrap();
            }
            Edit::RemoveArtifacts => fs::remove_dir_all(project.path("artifacts")).unwrap(),
            Edit::Artifact(at) => {
                let stage = &self.stages[at.index(self.stages.len())];
                fs::write(project.path(&format!("artifacts/{}/o.txt", stage.name)), "by hand").unwrap();
            }
        }
    }
}

fn pipelines() -> impl Strategy<Value = Pipeline> {
    let stage = (0u8..3, any::<bool>(), vec(any::<Index>(), 0..2), vec(any::<Index>(), 0..3));
    (vec(stage, 1..8), vec(0..CONTENTS.len(), SOURCES), vec(any::<Index>(), 8)).prop_map(
        |(drawn, sources, places)| {
            let mut stages: Vec<Stage> = Vec::new();
            for (number, (param, counts, sources, before)) in drawn.into_iter().enumerate() {
                let before =
                    before.iter().filter(|_| number > 0).map(|at| stages[at.index(number)].name.clone());
                stages.push(Stage {
                    name: format!("n{number}"),
                    param,
                    counts,
                    sources: sources.iter().map(|at| at.index(SOURCES)).collect(),
                    stages: before.collect(),
                });
            }
            let mut order: Vec<usize> = (0..stages.len()).collect();
            for (one, other) in places.iter().enumerate().take(stages.len()) {
                order.swap(one, other.index(stages.len()));
            }
            Pipeline { stages, sources, order }
        },
    )
}

fn edits() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (any::<Index>(), 0..CONTENTS.len()).prop_map(|(at, content)| Edit::Source(at, content)),
        3 => (any::<Index>(), 0u8..3).prop_map(|(at, param)| Edit::Param(at, param)),
        1 => (any::<bool>(), any::<Index>()).prop_map(|(counts, source)| Edit::Add(counts, source)),
        1 => vec(any::<Index>(), 4).prop_map(Edit::Reorder),
        1 => any::<Index>().prop_map(Edit::Touch),
        1 => any::<Index>().prop_map(Edit::Replace),
        1 => Just(Edit::RemoveArtifacts),
        1 => any::<Index>().prop_map(Edit::Artifact),
    ]
}

/// Runs, and compares what was executed, in which order, and what came out.
fn check(
    project: &Project,
    pipeline: &Pipeline,
    jobs: &str,
    predicted: &Predicted,
) -> Result<(), TestCaseError> {
    let outcome = project.pipe_ok(&["run", jobs]);
    let executed = project.executed();
    for stage in &pipeline.stages {
        let place = |name: &str| executed.iter().position(|line| line == name);
        for input in &stage.stages {
            // Neither need have been executed.
            if let (Some(one), Some(other)) = (place(input), place(&stage.name)) {
                prop_assert!(one < other, "{} before its input {input}: {executed:?}", stage.name);
            }
        }
    }
    let mut sorted = executed;
    sorted.sort();
    prop_assert_eq!(&sorted, &predicted.executed, "executed, and predicted\n{}", outcome.stderr);
    for (stage, output) in &predicted.outputs {
        prop_assert_eq!(&project.read(&format!("artifacts/{stage}/o.txt")), output, "{}", stage);
    }
    Ok(())
}

proptest! {
    // A case is a dozen runs of the program: one that fails is shrunk no further than is bearable.
    #![proptest_config(ProptestConfig {
        cases: 40,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn exactly_what_was_not_seen_before_is_executed(
        mut pipeline in pipelines(),
        edits in vec(edits(), 1..5),
        at_once in any::<bool>(),
    ) {
        let (jobs, other) = if at_once { ("-j4", "-j1") } else { ("-j1", "-j4") };
        let project = Project::new("");
        let mut seen = Seen::default();
        pipeline.write(&project);
        let predicted = pipeline.predict(&mut seen);
        prop_assert_eq!(predicted.executed.len(), pipeline.stages.len());
        check(&project, &pipeline, jobs, &predicted)?;

        let elsewhere = Project::new("");
        pipeline.write(&elsewhere);
        check(&elsewhere, &pipeline, other, &predicted)?;

        for edit in &edits {
            let nothing = pipeline.predict(&mut seen);
            prop_assert!(nothing.executed.is_empty());
            check(&project, &pipeline, jobs, &nothing)?;
            pipeline.apply(edit, &project);
            pipeline.write(&project);
            check(&project, &pipeline, jobs, &pipeline.predict(&mut seen))?;
        }
    }
}
