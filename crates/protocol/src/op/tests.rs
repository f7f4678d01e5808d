//! A plugin of two ops: what its manifest says, and that what a check finds ends the op, too.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::Place;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Range {
    #[schemars(range(min = 1))]
    from: u32,
    to: u32,
}

/// Writes nothing, and fails with how far it is from one end to the other.
struct Measure;

impl Op for Measure {
    const NAME: &'static str = "measure";
    const VERSION: u32 = 3;
    const DESCRIPTION: &'static str = "How long a range is";
    const NATIVES: &'static [&'static str] = &["ruler"];
    const CHECKS: bool = true;
    type Params = Range;

    fn inputs(&self) -> Vec<(&'static str, InputSpec)> {
        vec![("a", InputSpec::required("A")), ("b", InputSpec::optional("B"))]
    }

    fn outputs(&self) -> Vec<(&'static str, OutputSpec)> {
        vec![("length", OutputSpec::new("Its length", "length.txt"))]
    }

    fn manifest(&self) -> OpManifest {
        OpManifest::of(self).with_metrics(&["length"]).with_time(&["inputs.a"], &["with.to"]).on_all_threads()
    }

    fn check(&self, params: &Range, request: &CheckRequest) -> Vec<Problem> {
        let is_backward = params.to < params.from;
        let problem = Problem::new("`to` is before `from`").param("to").hint("turn them round");
        let lonely =
            (!request.present.contains_key("a")).then(|| Problem::new("nothing is there").input("a"));
        is_backward.then_some(problem).into_iter().chain(lonely).collect()
    }

    fn run(&self, params: Range, _: &RunRequest, _: &mut Reporter<'_>) -> Result<(), Failure> {
        Err(Failure::new((params.to - params.from).to_string()))
    }
}

struct Nothing;

impl Op for Nothing {
    const NAME: &'static str = "nothing";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Nothing";
    type Params = Range;

    fn run(&self, _: Range, _: &RunRequest, _: &mut Reporter<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

fn ops() -> Ops {
    Ops::default().and(Measure).and(Nothing)
}

fn run(op: &str, params: Value, inputs: Value) -> Result<(), Failure> {
    let request = json!({
        "op": op, "params": params, "inputs": inputs, "outputs": {}, "threads": 1, "resume_dir": "/r", "companions": {},
    });
    ops().run(&serde_json::from_value(request).unwrap(), &mut Reporter::new(&mut Vec::new()))
}

#[test]
fn the_manifest_says_what_the_op_says() {
    let manifests = ops().manifests();
    assert_eq!(manifests.keys().collect::<Vec<_>>(), ["measure", "nothing"]);
    let value = serde_json::to_value(&manifests["measure"]).unwrap();
    assert_eq!(value["version"], 3);
    assert_eq!(value["params"]["properties"]["from"]["minimum"], 1);
    assert_eq!(value["inputs"]["b"], json!({"description": "B", "optional": true}));
    assert_eq!(value["outputs"]["length"], json!({"description": "Its length", "file": "length.txt"}));
    assert_eq!((&value["natives"], &value["checks"]), (&json!(["ruler"]), &json!(true)));
    assert_eq!(value["resources"], json!({"threads": "all", "exclusive": false}));
    assert_eq!(value["time"], json!({"scales_with": ["inputs.a"], "ignores": ["with.to"]}));
    let nothing = serde_json::to_value(&manifests["nothing"]).unwrap();
    assert!(["checks", "metrics", "time"].iter().all(|key| nothing.get(key).is_none()), "{nothing}");
}

#[test]
fn what_a_check_finds_ends_the_op_too() {
    let there = json!({"a": "/a"});
    assert_eq!(run("measure", json!({"from": 2, "to": 9}), there.clone()), Err(Failure::new("7")));
    let backward = Failure::new("`to` is before `from`").hint("turn them round");
    assert_eq!(run("measure", json!({"from": 2, "to": 1}), there.clone()), Err(backward));
    let range = Failure::new("`from` is 0, but must be at least 1");
    assert_eq!(run("measure", json!({"from": 0, "to": 1}), there.clone()), Err(range.clone()));
    assert_eq!(run("measure", json!({"from": 2, "to": 9}), json!({})), Err(Failure::new("nothing is there")));
    assert_eq!(run("nothing", json!({"from": 0, "to": 1}), there.clone()), Err(range));
    let unknown = Failure::new("there is no op `length`").hint("there are `measure`, `nothing`");
    assert_eq!(run("length", json!({}), there), Err(unknown));
}

#[test]
fn a_check_tells_all_of_it_where_it_stands() {
    let check = |op: &str, params: Value| {
        let request = json!({"op": op, "params": params, "inputs": ["a"], "present": {}, "threads": 1});
        let problems = ops().check(&serde_json::from_value(request).unwrap());
        problems.into_iter().map(|problem| problem.place).collect::<Vec<_>>()
    };
    let param = |name: &str| Place::Param(name.into());
    assert_eq!(check("measure", json!({"from": 2, "to": 1})), [param("/to"), Place::Input("a".into())]);
    assert_eq!(check("measure", json!({"from": 0, "to": "x"})), [param("/to")]);
    assert_eq!(check("nothing", json!({"from": 1, "to": 1})), []);
    assert_eq!(check("length", json!({})), [Place::Stage]);
}
