//! What a stage needs of the machine, how long it may take, and how often it is tried: `resources`, `timeout`, `retries`.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::OpManifest;

use super::super::parse::{ParsedStage, unknown_or_missing};
use super::super::resources::{MEMORY_UNITS, TIME_UNITS, with_unit};
use super::super::tree::{Data, Key, Node, Problem};
use super::super::vars::Also;
use super::super::{Cpus, Resources, Retries, keys};
use super::Resolver;
use super::command::wrong_name;
use crate::name::is_name;

/// Longest time-out and longest backoff: a year.
const LONGEST: f64 = 366.0 * 86_400.0;
/// Most retries.
const MOST_RETRIES: u64 = 1000;

impl Resolver<'_> {
    pub(super) fn resources(&mut self, parsed: &ParsedStage, op: Option<&OpManifest>) -> Resources {
        let mut resources = op.map(|op| Resources::from(&op.resources)).unwrap_or_default();
        let Some(node) = parsed.get("resources").map(|node| self.fill(node, Also::Nothing)) else {
            return resources;
        };
        let entries = match &node.data {
            Data::Map(entries) => entries,
            Data::Null | Data::Broken => return resources,
            _ => {
                let message = format!(
                    "`resources` is a map of `cpus`, `memory`, `gpus` and more, not {}",
                    node.describe()
                );
                self.tell(Problem::at(&node, message));
                return resources;
            }
        };
        self.problems.extend(unknown_or_missing(entries, keys::RESOURCES, "`resources`", node.span));
        for (key, value) in entries.iter().filter(|(_, value)| !value.is_broken()) {
            self.resource(&mut resources, key, value);
        }
        resources
    }

    fn resource(&mut self, resources: &mut Resources, key: &Key, value: &Node) {
        let must_be = match key.name.as_str() {
            "cpus" => match (value.text(), whole(value)) {
                (Some("all"), _) => return resources.cpus = Cpus::All,
                (_, Some(count @ 1..)) => return resources.cpus = Cpus::Count(count),
                _ => "a whole number of at least 1, or `all`",
            },
            "gpus" => match whole(value) {
                Some(count) => return resources.gpus = count,
                None => "a whole number",
            },
            "memory" => match amount(value, MEMORY_UNITS).filter(|bytes| *bytes < 1e18) {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
                Some(bytes) => return resources.memory = bytes.ceil() as u64,
                None => "a number with a unit, such as `4 GB` or `500 MB`, or a number of bytes",
            },
            "exclusive" => match &value.data {
                Data::Bool(exclusive) => return resources.exclusive = *exclusive,
                _ => "true or false",
            },
            "mutexes" => match &value.data {
                Data::List(items) => return resources.mutexes = self.mutexes(items),
                _ => "a list of names",
            },
            // Told already.
            _ => return,
        };
        self.tell(Problem::at(value, format!("`{}` is {must_be}, not {}", key.name, value.describe())));
    }

    fn mutexes(&mut self, items: &[Node]) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for item in items.iter().filter(|item| !item.is_broken()) {
            match item.text() {
                Some(name) if is_name(name) => {
                    names.insert(name.to_owned());
                }
                Some(name) => self.tell(wrong_name(name, "a mutex", item.span)),
                None => self.tell(Problem::at(item, format!("a mutex is a name, not {}", item.describe()))),
            }
        }
        names
    }

    /// How long the stage may take.
    pub(super) fn timeout(&mut self, parsed: &ParsedStage) -> Option<Duration> {
        let node = self.fill(parsed.get("timeout")?, Also::Nothing);
        if matches!(node.data, Data::Null | Data::Broken) {
            return None;
        }
        let time = duration(&node);
        if time.is_some_and(|time| time.is_zero()) {
            let message = "`timeout` is no time at all: the stage would be stopped before it has begun";
            self.tell(
                Problem::at(&node, message)
                    .help("leave it out for a stage that may take as long as it takes"),
            );
            return None;
        }
        if time.is_none() {
            let message = format!("`timeout` is a time, not {}", node.describe());
            self.tell(
                Problem::at(&node, message).help("such as `90 s`, `10 min` or `2 h`; a number is seconds"),
            );
        }
        time
    }

    /// How often the stage is tried again.
    pub(super) fn retries(&mut self, parsed: &ParsedStage) -> Retries {
        let mut retries = Retries::default();
        let Some(node) = parsed.get("retries").map(|node| self.fill(node, Also::Nothing)) else {
            return retries;
        };
        match &node.data {
            Data::Null | Data::Broken => {}
            Data::Map(entries) => {
                self.problems.extend(unknown_or_missing(entries, keys::RETRIES, "`retries`", node.span));
                if let Some(times) = node.get("times").filter(|times| !times.is_broken()) {
                    retries.times = self.times(times, "times");
                }
                if let Some(wait) = node.get("backoff").filter(|wait| !wait.is_broken()) {
                    match duration(wait) {
                        Some(backoff) => retries.backoff = backoff,
                        None => {
                            let message = format!("`backoff` is a time, not {}", wait.describe());
                            self.tell(Problem::at(wait, message).help("such as `10 s`; a number is seconds"));
                        }
                    }
                }
            }
            _ => retries.times = self.times(&node, "retries"),
        }
        retries
    }

    fn times(&mut self, node: &Node, name: &str) -> u32 {
        let times = whole(node).filter(|times| u64::from(*times) <= MOST_RETRIES);
        if times.is_none() {
            let message =
                format!("`{name}` is a whole number of at most {MOST_RETRIES}, not {}", node.describe());
            let help = "or a map: `retries: { times: 3, backoff: 10 s }`";
            self.tell(Problem::at(node, message).maybe_help((name == "retries").then(|| help.into())));
        }
        times.unwrap_or(0)
    }
}

fn whole(node: &Node) -> Option<u32> {
    node.to_json().as_u64().and_then(|number| u32::try_from(number).ok())
}

/// A number with a unit, or one in the smallest unit; not negative.
fn amount(node: &Node, units: &[(&str, f64)]) -> Option<f64> {
    let amount = match &node.data {
        Data::Number(number) => number.as_f64(),
        Data::Text(text) => with_unit(text, units),
        _ => None,
    };
    amount.filter(|amount| *amount >= 0.0)
}

fn duration(node: &Node) -> Option<Duration> {
    amount(node, TIME_UNITS).filter(|seconds| *seconds <= LONGEST).map(Duration::from_secs_f64)
}
