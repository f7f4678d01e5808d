//! The environment variables that hold a stage's secrets: their names. Their values are nobody's business here.

use std::collections::BTreeSet;

use super::super::parse::ParsedStage;
use super::super::tree::{Data, Node, Problem};
use super::super::vars::Also;
use super::Resolver;
use super::command::{is_variable, wrong_variable};

impl Resolver<'_> {
    /// What `secrets` of a stage names.
    pub(super) fn secrets(&mut self, stage: &ParsedStage) -> BTreeSet<String> {
        let mut secrets = BTreeSet::new();
        let Some(node) = stage.get("secrets").map(|node| self.fill(node, Also::Nothing)) else {
            return secrets;
        };
        let items = match &node.data {
            Data::List(items) => items,
            Data::Null | Data::Broken => return secrets,
            _ => {
                let message =
                    format!("`secrets` is a list of names of environment variables, not {}", node.describe());
                self.tell(Problem::at(&node, message).help("such as `secrets: [API_TOKEN]`"));
                return secrets;
            }
        };
        let env: BTreeSet<&str> = stage
            .get("env")
            .and_then(Node::entries)
            .into_iter()
            .flatten()
            .map(|(key, _)| key.name.as_str())
            .collect();
        for item in items {
            match item.text() {
                Some(name) if !is_variable(name) => self.tell(wrong_variable(name, item.span)),
                Some(name) if env.contains(name) => {
                    let message = format!("`{name}` stands in both `env` and `secrets`");
                    let help = "what stands in `env` is part of the key and shown; take it away there";
                    self.tell(Problem::at(item, message).help(help));
                }
                Some(name) => {
                    if !secrets.insert(name.to_owned()) {
                        self.tell(Problem::at(item, format!("`{name}` is among the secrets already")));
                    }
                }
                None if item.is_broken() => {}
                None => self.tell(Problem::at(item, "a secret is the name of an environment variable")),
            }
        }
        secrets
    }
}
