//! Logs and traces. What the runner does is told to `tracing` as spans; here these become lines on standard error, for
//! whoever asked for them, and a recording for `--profile-to`. Where nobody asks, nobody listens, and a span costs one
//! comparison. What is written has no secrets of URLs in it and is harmless; values of secrets are taken out by who has
//! them, before they get here. Knows no stages and no runs but by the names of fields.

mod fields;
mod lines;
mod recording;

use std::sync::OnceLock;

use pipeline::spec::did_you_mean_or_list;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, registry};

pub use self::lines::Format;
use self::lines::Lines;
pub use self::recording::Recording;

/// What has something to say: the runner, the cache, plugins.
const PARTS: [&str; 3] = ["pipe", "store", PLUGIN];

const PLUGIN: &str = "plugin";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The most that is logged of plugins, if anything is logged.
static LEVEL: OnceLock<LevelFilter> = OnceLock::new();

/// Which spans and events are logged.
#[derive(Debug, Clone)]
pub struct Filter(Targets);

impl Filter {
    /// Everything up to a level: `-v` is the first above warnings.
    #[must_use]
    pub fn verbose(times: u8) -> Self {
        let level = match times {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            2 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        Self(Targets::new().with_default(level))
    }

    /// Reads `debug`, or `info,store=trace`: a level for all, and levels for parts.
    ///
    /// # Errors
    /// In words, where it names no level or no part. The second is what to do about it.
    pub fn parse(text: &str) -> Result<Self, (String, String)> {
        let directives: Vec<&str> =
            text.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
        for directive in &directives {
            let (part, level) = match directive.split_once('=') {
                Some((part, level)) => (Some(part), Some(level)),
                None if is_level(directive) => (None, Some(*directive)),
                None => (Some(*directive), None),
            };
            if let Some(level) = level.filter(|level| !is_level(level)) {
                let hint = did_you_mean_or_list(level, "levels are", LEVELS);
                return Err((format!("there is no level `{level}`"), hint));
            }
            let root = part.map(|part| part.split("::").next().unwrap_or(part));
            if let Some(root) = root.filter(|root| !PARTS.contains(root)) {
                let known = LEVELS.into_iter().chain(PARTS);
                let hint = did_you_mean_or_list(root, "levels and parts are", known);
                return Err((format!("`{root}` is neither a level nor a part"), hint));
            }
        }
        if directives.is_empty() {
            return Ok(Self(Targets::new()));
        }
        let targets = directives.join(",").parse().map_err(|error| {
            (format!("{error}"), "write it as in `debug` or `info,store=trace`".to_owned())
        })?;
        Ok(Self(targets))
    }

    /// The most that is logged of plugins.
    fn of_plugins(&self) -> LevelFilter {
        let of_plugins = self.0.iter().find(|(part, _)| *part == PLUGIN).map(|(_, level)| level);
        of_plugins.or_else(|| self.0.default_level()).unwrap_or(LevelFilter::OFF)
    }

    fn level(&self) -> LevelFilter {
        let parts = self.0.iter().map(|(_, level)| level);
        parts.chain(self.0.default_level()).max().unwrap_or(LevelFilter::OFF)
    }
}

fn is_level(text: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text))
}

/// Listens from now on, where there is anything to listen for. To be called once.
pub fn start(filter: Option<(Filter, Format)>, recording: Option<&Recording>) {
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = vec![];
    if let Some((filter, format)) = filter.filter(|(filter, _)| filter.level() != LevelFilter::OFF) {
        // The first one stays.
        let _ = LEVEL.set(filter.of_plugins());
        layers.push(Lines::new(format).with_filter(filter.0).boxed());
    }
    if let Some(recording) = recording {
        layers.push(recording.clone().with_filter(LevelFilter::DEBUG).boxed());
    }
    if !layers.is_empty() {
        // Where somebody listens already, as in tests, it is they who hear.
        let _ = tracing::subscriber::set_global_default(registry().with(layers));
    }
}

/// Whether anything is logged.
pub(crate) fn is_on() -> bool {
    LEVEL.get().is_some()
}

/// The most that is logged of plugins, as they are told; `None` where nothing is.
pub(crate) fn level() -> Option<String> {
    LEVEL.get().filter(|level| **level != LevelFilter::OFF).map(|level| level.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_levels_of_parts() {
        let level = |text| Filter::parse(text).map(|filter| filter.level().to_string());
        assert_eq!(level("debug"), Ok("debug".into()));
        assert_eq!(level("INFO, store=trace"), Ok("trace".into()));
        assert_eq!(level("pipe::exec=debug"), Ok("debug".into()));
        assert_eq!(level("store"), Ok("trace".into()));
        assert_eq!(level("off"), Ok("off".into()));
        assert_eq!(level(""), Ok("off".into()));
        let of_plugins = |text| Filter::parse(text).map(|filter| filter.of_plugins().to_string());
        for (text, level) in [
            ("store=trace", "off"),
            ("info,store=trace", "info"),
            ("store=trace,plugin=debug", "debug"),
            ("debug,plugin=off", "off"),
            ("trace", "trace"),
            ("plugin", "trace"),
        ] {
            assert_eq!(of_plugins(text), Ok(level.into()), "{text}");
        }
        for (text, said) in
            [("debgu", "`debgu` is neither"), ("stor=debug", "`stor`"), ("store=lots", "`lots`")]
        {
            let (message, hint) = Filter::parse(text).unwrap_err();
            assert!(message.contains(said) && !hint.is_empty(), "{message}: {hint}");
        }
        assert_eq!(Filter::parse("debgu").unwrap_err().1, "did you mean `debug`?");
        let verbose = |times| Filter::verbose(times).level().to_string();
        assert_eq!([verbose(1), verbose(2), verbose(9)], ["info", "debug", "trace"]);
    }
}
