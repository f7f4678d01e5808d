//! The secrets of a stage: which of them are missing, and what has to be taken out of all that it says. Reads environment
//! variables; knows no processes.

use pipeline::spec::{Action, CommandLine, Stage};
use protocol::{Figure, Metric, Progress};
use serde_json::Value;
use text::secret::{Masks, Search, TooLarge};

use super::{Failure, Notice};
use crate::env;
use crate::plugin::process::PROXIES;

/// The variables that a stage declares as secrets and that hold nothing here. What is empty is as good as not set: so are
/// secrets in a continuous integration that may not have them.
#[must_use]
pub fn missing_secrets(stage: &Stage) -> Vec<&str> {
    let is_missing = |name: &&str| env::named(name).is_none_or(|value| value.is_empty());
    stage.secrets.iter().map(String::as_str).filter(is_missing).collect()
}

/// What is to be taken out of the texts of a stage: the values of its secrets, and what is secret in the URLs of its params,
/// its command, its environment and of proxies.
///
/// # Errors
/// When that is too much to be looked for: then nothing may be executed, which might print it.
pub(super) fn masks(stage: &Stage) -> Result<Masks, Failure> {
    let value_of = |name: &str| env::named(name).map(|value| value.to_string_lossy().into_owned());
    let secrets: Vec<String> = stage.secrets.iter().filter_map(|name| value_of(name)).collect();
    // Such as the password of a database's address.
    let mut texts: Vec<String> = secrets.clone();
    for proxy in PROXIES.iter().filter_map(|name| value_of(name)) {
        texts.push(if proxy.contains("://") { proxy } else { format!("http://{proxy}") });
    }
    match &stage.action {
        Action::Op(action) => add_texts(&action.params, &mut texts),
        Action::Command(action) => {
            add_texts(&action.params, &mut texts);
            texts.extend(action.env.values().cloned());
            match &action.command {
                CommandLine::Shell(text) => texts.push(text.clone()),
                CommandLine::Args(args) => {
                    let values = args.iter().filter_map(|arg| Some(arg.split_once('=')?.1.to_owned()));
                    texts.extend(args.iter().cloned().chain(values));
                }
            }
        }
    }
    Masks::new(&secrets, texts.iter().map(String::as_str)).map_err(too_large)
}

fn too_large(error: TooLarge) -> Failure {
    Failure::new(error.to_string()).hint(
        "a secret is a password or a token: give the stage what is longer as a file that it reads, and take it out of `secrets`,          `with` and `env`",
    )
}

/// Finds the values of a stage's secrets in what it leaves. None where it has none. What is secret in URLs is not looked for: a
/// query such as `?download=true` is in many a file.
///
/// # Errors
/// When they are too much to be looked for: then nothing may be kept.
pub(super) fn search(stage: &Stage) -> Result<Option<Search>, Failure> {
    let value_of = |name: &String| Some((name.clone(), env::named(name)?));
    Search::new(stage.secrets.iter().filter_map(value_of)).map_err(too_large)
}

/// The names of secrets that are too short to be looked for.
pub(super) fn too_short(stage: &Stage) -> Vec<&str> {
    let is_short =
        |name: &&str| env::named(name).is_some_and(|value| Masks::is_too_short(&value.to_string_lossy()));
    stage.secrets.iter().map(String::as_str).filter(is_short).collect()
}

/// What a stage says, without secrets.
pub(super) fn hide_notice(notice: Notice, masks: &Masks) -> Notice {
    let hide = |text: String| masks.hide(&text).into_owned();
    match notice {
        Notice::Progress(progress) => {
            Notice::Progress(Progress { text: hide(progress.text), unit: hide(progress.unit), ..progress })
        }
        Notice::Log(level, text) => Notice::Log(level, hide(text)),
    }
}

/// A metric without secrets.
pub(super) fn hide_metric(metric: Metric, masks: &Masks) -> Metric {
    let hide = |text: String| masks.hide(&text).into_owned();
    Metric { unit: hide(metric.unit), basis: hide(metric.basis), ..metric }
}

/// A figure without secrets. None where it cannot be one without them, as where a secret is the name of a kind of figures.
pub(super) fn hide_figure(figure: Figure, masks: &Masks) -> Option<Figure> {
    let value = serde_json::to_value(&figure).ok()?;
    if !masks.concern(&value.to_string()) {
        return Some(figure);
    }
    serde_json::from_value(masks.hide_in(&value)).ok()
}

fn add_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| add_texts(item, texts)),
        Value::Object(fields) => fields.iter().for_each(|(name, field)| {
            texts.push(name.clone());
            add_texts(field, texts);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::StageName;
    use pipeline::spec::CommandAction;
    use serde_json::json;
    use std::collections::{BTreeMap, BTreeSet};

    fn stage(command: &str, secrets: &[&str]) -> Stage {
        let action = Action::Command(CommandAction {
            command: CommandLine::Shell(command.into()),
            params: json!({ "deep": [{ "url": "https://me:deeppass wo rd@h/" }] }),
            param_locations: BTreeMap::new(),
            env: BTreeMap::from([("U".into(), "https://h/?sig=signature1 two".into())]),
        });
        let stage = Stage::doing(StageName::try_from("s".to_owned()).unwrap(), action);
        Stage { secrets: secrets.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), ..stage }
    }

    #[test]
    fn a_secret_that_is_not_there_is_named() {
        assert_eq!(missing_secrets(&stage("x", &["PIPE_TEST_NOT_SET", "PATH"])), ["PIPE_TEST_NOT_SET"]);
    }

    #[test]
    fn whatever_is_secret_in_a_stage_is_hidden() {
        let masks = masks(&stage("curl https://u:clipass@h/", &["PATH"])).unwrap();
        let path = std::env::var("PATH").unwrap();
        for secret in ["deeppass", "deeppass wo rd", "deeppass%20wo%20rd", "signature1 two", "clipass", &path]
        {
            assert_eq!(masks.hide(&format!("<{secret}>")), "<***>");
        }
        let table = json!({ "kind": "table", "columns": [], "rows": [] });
        let figure = json!({ "id": "loss", "title": "of deeppass", "caption": "kind", "content": table });
        let figure: Figure = serde_json::from_value(figure).unwrap();
        assert_eq!(hide_figure(figure.clone(), &Masks::default()), Some(figure.clone()));
        let hidden = serde_json::to_string(&hide_figure(figure, &masks).unwrap()).unwrap();
        assert!(hidden.contains("of ***") && !hidden.contains("deeppass"), "{hidden}");
    }
}
