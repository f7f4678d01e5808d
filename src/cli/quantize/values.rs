//! What can be said on the command line of `pipe quantize`. Knows where the ops list their words: in the manifests that are
//! committed with the plugins, because the runner must say them before it has an executable to ask.

use std::ffi::OsStr;
use std::sync::LazyLock;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use serde_json::Value;

/// The ops of a plugin, as its committed manifest has them.
type Ops = LazyLock<Value>;

#[expect(clippy::expect_used, reason = "it is committed, and the plugin's tests hold it against the ops")]
fn read(manifest: &str) -> Value {
    serde_json::from_str(manifest).expect("a manifest is JSON")
}

static DATA: Ops = Ops::new(|| read(include_str!("../../../plugins/data/manifest.json")));
static ONNX: Ops = Ops::new(|| read(include_str!("../../../plugins/onnx/manifest.json")));

/// The words that a param of an op takes, with what the op says of each. They are looked up only where one was given, or all
/// are listed.
#[derive(Clone, Copy)]
pub(super) struct Words {
    ops: &'static Ops,
    op: &'static str,
    /// The part of the schema of the op's params that lists them.
    definition: &'static str,
    /// Those that make no sense here.
    without: &'static [&'static str],
}

/// Layouts of images. Nobody quantizes for images that are made up.
pub(super) const LAYOUT: Words =
    Words { ops: &DATA, op: "download", definition: "Format", without: &["synthetic"] };
/// How ranges are chosen.
pub(super) const METHOD: Words = Words::of_onnx("calibrate", "Method");
/// How weights are rounded.
pub(super) const ROUNDING: Words = Words::of_onnx("quantize", "Rounding");
/// Processors.
pub(super) const TARGET: Words = Words::of_onnx("quantize", "Target");
/// Types of activations.
pub(super) const ACTIVATIONS: Words = Words::of_onnx("quantize", "ActivationType");

/// The layout of pictures without classes.
pub(super) const PICTURES: &str = "pictures";
/// The layout of pictures in a folder for each class.
pub(super) const IMAGE_FOLDER: &str = "image-folder";
/// The rounding that needs the moments of activations.
pub(super) const SEARCH: &str = "search";

impl Words {
    const fn of_onnx(op: &'static str, definition: &'static str) -> Self {
        Self { ops: &ONNX, op, definition, without: &[] }
    }

    /// Each word with what the op says of it.
    fn listed(self) -> Vec<(&'static str, String)> {
        let cases = self.ops[self.op]["params"]["$defs"][self.definition]["oneOf"].as_array();
        let listed = |case: &'static Value| {
            let word = case["const"].as_str().filter(|word| !self.without.contains(word))?;
            Some((word, case["description"].as_str()?.trim_end_matches('.').replace('\n', " ")))
        };
        cases.into_iter().flatten().filter_map(listed).collect()
    }
}

impl TypedValueParser for Words {
    type Value = &'static str;

    /// `-` may stand for `_`.
    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<&'static str, clap::Error> {
        let dashed = |word: &str| word.replace('_', "-");
        let given = value.to_str().map(dashed);
        match self.listed().into_iter().find(|(word, _)| given.as_ref() == Some(&dashed(word))) {
            Some((word, _)) => Ok(word),
            None => {
                let words = self.listed().into_iter().map(|(word, _)| word.to_owned());
                Err(refused(command, arg, value, words.collect()))
            }
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let value = |(word, about)| PossibleValue::new(word).help(about);
        Some(Box::new(self.listed().into_iter().map(value)))
    }
}

/// What clap says of a value that is not listed.
fn refused(command: &Command, arg: Option<&Arg>, value: &OsStr, words: Vec<String>) -> clap::Error {
    let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
    if let Some(arg) = arg {
        error.insert(ContextKind::InvalidArg, ContextValue::String(arg.to_string()));
    }
    error.insert(ContextKind::InvalidValue, ContextValue::String(value.to_string_lossy().into_owned()));
    error.insert(ContextKind::ValidValue, ContextValue::Strings(words));
    error
}

/// The size of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pixels {
    pub(super) width: u32,
    pub(super) height: u32,
}

pub(super) fn pixels(text: &str) -> Result<Pixels, String> {
    let (width, height) = text.split_once(['x', '×']).unwrap_or((text, text));
    let side = |text: &str| text.parse().ok().filter(|side| (1..=8192).contains(side));
    match (side(width), side(height)) {
        (Some(width), Some(height)) => Ok(Pixels { width, height }),
        _ => Err("not one or two numbers from 1 to 8192, as in 224 or 320x240".into()),
    }
}

/// A version of ONNX Runtime, as `onnx/quantize` takes it.
pub(super) fn runtime(text: &str) -> Result<String, String> {
    let minor = text.strip_prefix("1.").and_then(|minor| minor.parse::<u8>().ok());
    match minor {
        Some(minor @ 15..=99) if text == format!("1.{minor}") => Ok(text.to_owned()),
        _ => Err("not a version of ONNX Runtime from 1.15 on, such as 1.20".into()),
    }
}

pub(super) fn finite(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|value: &f32| value.is_finite()).ok_or_else(|| "not a number".into())
}

pub(super) fn positive(text: &str) -> Result<f32, String> {
    finite(text).and_then(|value| if value > 0.0 { Ok(value) } else { Err("not above zero".into()) })
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("not between 0 and 1".into()) }
}

pub(super) fn percent(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (50.0..=100.0).contains(&value) { Ok(value) } else { Err("not between 50 and 100".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_square_or_width_and_height() {
        assert_eq!(pixels("224"), Ok(Pixels { width: 224, height: 224 }));
        assert_eq!(pixels("320x240"), Ok(Pixels { width: 320, height: 240 }));
    }

    #[test]
    fn the_words_are_those_of_the_ops() {
        let words = |words: Words| words.listed().into_iter().map(|(word, _)| word).collect::<Vec<_>>();
        for (list, known) in [
            (LAYOUT, &[PICTURES, IMAGE_FOLDER, "idx"][..]),
            (METHOD, &["auto", "moving_average"]),
            (ROUNDING, &[SEARCH, "nearest"]),
            (TARGET, &["x86_64", "x86_64-vnni"]),
            (ACTIVATIONS, &["u8", "s8"]),
        ] {
            let listed = words(list);
            assert!(known.iter().all(|word| listed.contains(word)), "{}: {listed:?}", list.definition);
        }
        assert!(!words(LAYOUT).contains(&"synthetic"));
        assert!(
            words(Words { without: &[], ..LAYOUT }).contains(&"synthetic"),
            "no word is left out for nothing"
        );
    }

    #[test]
    fn a_word_may_be_typed_with_dashes() {
        let command = Command::new("c");
        let parsed = |words: Words, word: &str| words.parse_ref(&command, None, OsStr::new(word)).ok();
        assert_eq!(parsed(METHOD, "moving-average"), Some("moving_average"));
        assert_eq!(parsed(TARGET, "x86_64-vnni"), Some("x86_64-vnni"));
        assert_eq!(parsed(METHOD, "median"), None);
    }
}
