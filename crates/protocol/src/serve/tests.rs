//! Conversations of a plugin with whoever runs it, in memory.

use super::*;
use crate::{Cell, Column, Content};
use std::collections::BTreeMap;

struct Doubler;

impl Plugin for Doubler {
    fn manifest(&self) -> Manifest {
        Manifest {
            protocol: PROTOCOL_VERSION,
            plugin: "test".into(),
            version: "0".into(),
            ops: BTreeMap::new(),
            natives: BTreeMap::new(),
            env: vec![],
        }
    }

    fn run(&self, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        let number = request.params["n"].as_f64().ok_or("no `n`")?;
        reporter.metric("twice", Metric::new(2.0 * number, ""));
        reporter.metric("bad", Metric::new(f64::NAN, ""));
        if number < 0.0 {
            reporter.provisional("below zero");
        }
        reporter.figure(Figure {
            id: "t".into(),
            title: "T".into(),
            caption: String::new(),
            content: Content::Table {
                columns: vec![Column { label: "n".into(), unit: String::new(), digits: 0 }],
                rows: vec![vec![Cell::Number(number)], vec![Cell::Empty]],
            },
        });
        Ok(())
    }

    fn check(&self, request: &CheckRequest) -> Vec<Problem> {
        match request.params["n"].as_f64() {
            Some(_) => vec![],
            None => vec![Problem::new("`n` is not a number").param("n").hint("such as 2")],
        }
    }
}

fn converse(input: &str) -> (Result<(), ServeError>, Vec<FromPlugin>) {
    let mut output = Vec::new();
    let outcome = serve(&Doubler, &mut input.as_bytes(), &mut output);
    let messages =
        String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (outcome, messages)
}

fn run_line(params: &str) -> String {
    format!(
        r#"{{"type":"run","op":"double","params":{params},"inputs":{{}},"outputs":{{}},"threads":1,"resume_dir":"/r"}}"#
    )
}

#[test]
fn a_whole_conversation() {
    let input = format!("{{\"type\":\"hello\",\"version\":{PROTOCOL_VERSION}}}\n{}\n", run_line("{\"n\":4}"));
    let (outcome, messages) = converse(&input);
    outcome.unwrap();
    assert_eq!(messages[0], FromPlugin::Hello { version: PROTOCOL_VERSION });
    assert_eq!(messages[1], FromPlugin::Metric { name: "twice".into(), metric: Metric::new(8.0, "") });
    assert!(
        matches!(&messages[2], FromPlugin::Log { level: LogLevel::Warn, message } if message.contains("NaN"))
    );
    assert!(matches!(messages[3], FromPlugin::Figure(_)));
    assert_eq!(messages[4], FromPlugin::Done { provisional: None });
}

#[test]
fn what_is_no_answer_yet_is_told_with_the_end_and_the_end_of_older_plugins_is_understood() {
    let input =
        format!("{{\"type\":\"hello\",\"version\":{PROTOCOL_VERSION}}}\n{}\n", run_line("{\"n\":-4}"));
    let (outcome, messages) = converse(&input);
    outcome.unwrap();
    assert_eq!(messages[4], FromPlugin::Done { provisional: Some("below zero".into()) });
    let done = FromPlugin::Done { provisional: None };
    assert_eq!(serde_json::from_str::<FromPlugin>(r#"{"type":"done"}"#).unwrap(), done);
    assert_eq!(serde_json::to_string(&done).unwrap(), r#"{"type":"done"}"#);
}

#[test]
fn every_check_is_answered_until_there_are_no_more() {
    let hello = format!("{{\"type\":\"hello\",\"version\":{PROTOCOL_VERSION}}}\n");
    let check = |params: &str| {
        format!(
            r#"{{"type":"check","op":"double","params":{params},"inputs":["a"],"present":{{}},"threads":1}}"#
        ) + "\n"
    };
    let (outcome, messages) = converse(&[hello.clone(), check("{}"), check("{\"n\":1}")].concat());
    outcome.unwrap();
    let problem = Problem::new("`n` is not a number").param("n").hint("such as 2");
    let answers = [vec![problem], vec![]].map(|problems| FromPlugin::Checked { problems });
    assert_eq!(messages[1..], answers);
    let (outcome, messages) = converse(&[hello, check("{}"), run_line("{}")].concat());
    assert!(matches!(outcome, Err(ServeError::Unexpected { .. })));
    assert_eq!(messages.len(), 2);
}

#[test]
fn a_problem_may_leave_out_where_it_is() {
    let problem: Problem = serde_json::from_str(r#"{"message":"m"}"#).unwrap();
    assert_eq!(problem, Problem::new("m"));
    let problem: Problem = serde_json::from_str(r#"{"message":"m","place":{"input":"a"}}"#).unwrap();
    assert_eq!(problem, Problem::new("m").input("a"));
    let params = serde_json::json!({"b": 1, "c": 2});
    let about = |message: &str| Problem::new(message).about(&params).place;
    assert_eq!(about("`a` wants `c` and `b`"), Place::Param("/c".into()));
    assert_eq!(about("b and c"), Place::Stage);
}

#[test]
fn a_failure_is_told() {
    let input = format!("{{\"type\":\"hello\",\"version\":{PROTOCOL_VERSION}}}\n{}\n", run_line("{}"));
    let (outcome, messages) = converse(&input);
    outcome.unwrap();
    assert_eq!(messages[1], FromPlugin::Failed { message: "no `n`".into(), hint: None });
}

#[test]
fn another_version_is_refused_with_a_hint() {
    let (outcome, messages) = converse("{\"type\":\"hello\",\"version\":999}\n");
    outcome.unwrap();
    assert!(matches!(&messages[1], FromPlugin::Failed { message, hint: Some(_) } if message.contains("999")));
}

#[test]
fn rubbish_and_silence_are_errors() {
    assert!(matches!(converse("rubbish\n").0, Err(ServeError::Unexpected { .. })));
    assert!(matches!(converse("").0, Err(ServeError::Io(_))));
    assert!(matches!(converse(&run_line("{}")).0, Err(ServeError::Unexpected { .. })));
}
