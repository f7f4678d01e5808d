//! Every field of a stage either changes its key or does not, and this says which. A new field does not compile until it
//! is said here too.

use super::*;

use std::time::Duration;

use pipeline::spec::{Location, Retries};
use proptest::sample::Index;

/// A change of a stage by name.
type Edit = (&'static str, fn(&mut Stage));

fn op(stage: &mut Stage) -> &mut OpAction {
    match &mut stage.action {
        Action::Op(action) => action,
        Action::Command(_) => panic!("a command"),
    }
}

fn run(stage: &mut Stage) -> &mut CommandAction {
    match &mut stage.action {
        Action::Command(action) => action,
        Action::Op(_) => panic!("an op"),
    }
}

const COUNTS: [Edit; 3] = [
    ("an input's name", |stage| {
        // The digest of the input that `make` knows by this name is the same.
        let input = stage.inputs.remove("dataset").unwrap();
        stage.inputs.insert("other".into(), input);
    }),
    ("an output's name", |stage| {
        let file = stage.outputs.remove("weights").unwrap();
        stage.outputs.insert("other".into(), file);
    }),
    ("an output's file", |stage| {
        stage.outputs.insert("weights".into(), "other.safetensors".into());
    }),
];

const COUNTS_IN_OP: [Edit; 5] = [
    ("the op", |stage| op(stage).op = "evaluate".into()),
    ("the plugin", |stage| op(stage).plugin = "other".into()),
    ("a param's value", |stage| op(stage).params["lr"] = json!(0.1)),
    ("a new param", |stage| op(stage).params["new"] = json!(null)),
    ("whether a param is a source", |stage| {
        op(stage).sources.clear();
    }),
];

const COUNTS_IN_COMMAND: [Edit; 6] = [
    ("the command", |stage| run(stage).command = CommandLine::Shell("x  y".into())),
    ("whether it is for the shell", |stage| run(stage).command = CommandLine::Args(vec!["x y".into()])),
    ("a param", |stage| run(stage).params = json!({"p": 2})),
    ("a variable's value", |stage| {
        run(stage).env.insert("A".into(), "2".into());
    }),
    ("a variable's name", |stage| run(stage).env = BTreeMap::from([("B".into(), "1".into())])),
    ("no variable", |stage| run(stage).env.clear()),
];

const DOES_NOT_COUNT: [Edit; 12] = [
    ("its name", |stage| stage.name = StageName::try_from("other".to_owned()).unwrap()),
    ("description", |stage| stage.description = Some("for people".into())),
    ("place in the file", |stage| stage.location = Location { line: 9, column: 9 }),
    ("where an input lies", |stage| {
        stage.inputs.insert("dataset".into(), Input::Path("/elsewhere".into()));
    }),
    ("variant of a sweep", |stage| stage.variant = vec![("lr".into(), json!(0.1))]),
    ("cpus", |stage| stage.resources.cpus = Cpus::Count(7)),
    ("gpus", |stage| stage.resources.gpus = 3),
    ("memory", |stage| stage.resources.memory = 1 << 30),
    ("mutexes", |stage| {
        stage.resources.mutexes.insert("lock".into());
    }),
    ("exclusive", |stage| stage.resources.exclusive = true),
    ("timeout", |stage| stage.timeout = Some(Duration::from_secs(1))),
    ("retries", |stage| stage.retries = Retries { times: 3, backoff: Duration::from_secs(1) }),
];

/// All fields there are.
fn every_field(stage: &Stage) {
    let Stage {
        name: _,
        family: _,
        variant: _,
        description: _,
        location: _,
        action: _,
        inputs: _,
        outputs: _,
        resources: Resources { cpus: _, gpus: _, memory: _, mutexes: _, exclusive: _ },
        timeout: _,
        retries: _,
        scope: _,
        secrets: _,
        written: _,
    } = stage;
    match &stage.action {
        Action::Op(OpAction {
            plugin: _,
            op: _,
            params: _,
            param_locations: _,
            sources: _,
            filtered: _,
            continues: _,
        }) => {}
        Action::Command(CommandAction { command: _, params: _, param_locations: _, env: _ }) => {}
    }
}

/// A key where every name that the edits above give is known, with the same contents.
fn made(stage: &Stage) -> Digest {
    every_field(stage);
    let digest = Digest::of_bytes(b"content");
    let mut described = manifest(1);
    described.ops.insert("evaluate".into(), described.ops["train"].clone());
    let described = Arc::new(described);
    let manifests = ["torch", "other", "helper"].map(|plugin| (plugin.to_owned(), described.clone()));
    let parts = Parts {
        inputs: &["dataset", "other"].map(|name| (name.to_owned(), digest)).into(),
        sources: &BTreeMap::from([("source".to_owned(), digest)]),
        manifests: &manifests.into(),
        machine: &Machine { cpu: "EPYC".into(), ..Machine::default() },
        threads: 8,
        salt: &Salt::fixed(0),
    };
    key(stage, &parts).unwrap().digest()
}

fn an_op() -> Stage {
    stage(sample())
}

fn a_command() -> Stage {
    let mut stage = command(CommandLine::Shell("x y".into()), &[("A", "1")]);
    run(&mut stage).params = json!({"p": 1});
    stage
}

fn with(mut stage: Stage, edits: &[&Edit]) -> Stage {
    for (_, edit) in edits {
        edit(&mut stage);
    }
    stage
}

#[test]
fn every_field_that_makes_the_outcome_changes_the_key() {
    for (stage, own) in [(an_op(), &COUNTS_IN_OP[..]), (a_command(), &COUNTS_IN_COMMAND[..])] {
        let mut keys = BTreeMap::from([(made(&stage), "nothing")]);
        for edit in COUNTS.iter().chain(own) {
            let other = keys.insert(made(&with(stage.clone(), &[edit])), edit.0);
            assert_eq!(other, None, "{} is as good as this", edit.0);
        }
    }
    let measured = Stage { scope: KeyScope::Hardware, ..an_op() };
    assert_ne!(made(&measured), made(&an_op()));
}

proptest! {
    #[test]
    fn no_other_field_changes_it_whatever_is_done_to_several(
        quiet in proptest::collection::vec(any::<Index>(), 0..6),
        loud in any::<Index>(),
        is_op in any::<bool>(),
    ) {
        let (stage, own) = if is_op { (an_op(), &COUNTS_IN_OP[..]) } else { (a_command(), &COUNTS_IN_COMMAND[..]) };
        let quiet: Vec<&Edit> = quiet.iter().map(|at| at.get(&DOES_NOT_COUNT)).collect();
        let loud: Vec<&Edit> = vec![COUNTS.iter().chain(own).collect::<Vec<_>>()[loud.index(COUNTS.len() + own.len())]];
        let names: Vec<&str> = quiet.iter().map(|edit| edit.0).collect();
        let edited = with(stage.clone(), &quiet);
        prop_assert_eq!(made(&edited), made(&stage), "{:?}", names);
        // Nor do they hide a field that counts.
        prop_assert_eq!(made(&with(edited.clone(), &loud)), made(&with(stage.clone(), &loud)), "{:?}", names);
        prop_assert_ne!(made(&with(edited, &loud)), made(&stage), "{}", loud[0].0);
    }
}
