//! The keys of `pipeline.yaml`, each with its meaning and its JSON Schema. The parser refuses what is not listed
//! here, and `pipe schema` prints what is.

use serde_json::{Value, json};

/// A key of a map.
pub(super) struct KeySpec {
    pub(super) name: &'static str,
    /// A sentence or two for people.
    pub(super) doc: &'static str,
    pub(super) required: bool,
    pub(super) schema: fn() -> Value,
}

const fn key(name: &'static str, doc: &'static str, schema: fn() -> Value) -> KeySpec {
    KeySpec { name, doc, required: false, schema }
}

const fn required(name: &'static str, doc: &'static str, schema: fn() -> Value) -> KeySpec {
    KeySpec { name, doc, required: true, schema }
}

/// Names of stages, inputs and outputs.
pub(super) const NAME_PATTERN: &str = "^[A-Za-z][A-Za-z0-9_-]{0,99}$";

/// Keys of the file.
pub(super) const FILE: &[KeySpec] = &[
    required("version", "Version of this format: 1.", || json!({ "const": 1 })),
    required("name", "Name of the pipeline, for people.", || json!({ "type": "string", "minLength": 1 })),
    key(
        "vars",
        "Values by name. `${vars.NAME}` puts one anywhere into stages, gates and report; `--set NAME=VALUE` replaces \
         it. A var may refer to those before it.",
        || json!({ "type": "object" }),
    ),
    key(
        "profiles",
        "Values for vars by profile: `--profile NAME` replaces those vars. A key with dots reaches into a map.",
        || json!({ "type": "object", "additionalProperties": { "type": "object" } }),
    ),
    key(
        "plugins",
        "Executables of plugins by name, for those that lie neither beside `pipe` nor on PATH as `pipe-NAME`. \
         Relative paths start at this file's folder.",
        || json!({ "type": "object", "additionalProperties": { "type": "string" } }),
    ),
    key(
        "ignore",
        "What counts for nothing in folders that stages read, as patterns of `.gitignore`, after the usual ones such as \
         `__pycache__/` and `.git`: `!PATTERN` takes one back.",
        || json!({ "type": "array", "items": { "type": "string", "minLength": 1 } }),
    ),
    required("stages", "Stages by name, in any order.", || {
        json!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": { "pattern": NAME_PATTERN },
            "additionalProperties": { "$ref": "#/$defs/stage" },
        })
    }),
    key(
        "gates",
        "What the result must satisfy: comparisons of metrics (`stage.metric`) and numbers with `<`, `<=`, `>`, \
         `>=`, `==` or `!=`. Both sides may add, subtract and multiply. `baseline.stage.metric` is that of an earlier run.",
        || json!({ "type": "array", "items": { "type": "string" } }),
    ),
    key(
        "report",
        "The table printed after a run and shown first in the report.",
        || json!({ "$ref": "#/$defs/report" }),
    ),
];

/// Keys of a stage.
pub(super) const STAGE: &[KeySpec] = &[
    key("description", "What the stage is for, for people.", || json!({ "type": "string" })),
    key("uses", "The op to run: `PLUGIN/OP`.", || json!({ "type": "string" })),
    key("with", "Params of the op.", || json!({ "type": "object" })),
    key(
        "run",
        "The command to run in place of an op: a text for `sh -c`, or a list of program and arguments that no shell \
         sees. `${inputs.NAME}` and `${outputs.NAME}` stand for paths, `${params.NAME}` for a param.",
        || {
            json!({ "oneOf": [
                { "type": "string", "minLength": 1 },
                { "type": "array", "minItems": 1, "items": { "type": ["string", "number", "boolean"] } },
            ] })
        },
    ),
    key("inputs", "What the stage reads, by name: `STAGE.OUTPUT`, or the path of a file or folder.", || {
        json!({
            "type": "object",
            "propertyNames": { "pattern": NAME_PATTERN },
            "additionalProperties": { "type": "string" },
        })
    }),
    key(
        "outputs",
        "What a command writes, by name: the name of a file or folder. It lies at `artifacts/STAGE/FILE` afterwards.",
        || {
            json!({
                "type": "object",
                "propertyNames": { "pattern": NAME_PATTERN },
                "additionalProperties": { "type": "string" },
            })
        },
    ),
    key(
        "params",
        "Params of a command, any values by name. `${params.NAME}` puts one into `run`, quoted for the shell; dots reach \
         into maps. All of them are part of the stage's key, each by its name.",
        || json!({ "type": "object", "propertyNames": { "pattern": NAME_PATTERN } }),
    ),
    key(
        "env",
        "Environment variables of a command. It gets no others beside the usual ones.",
        || json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } }),
    ),
    key(
        "secrets",
        "Names of environment variables that the stage may read and whose values are secret: they are no part of its key, and \
         `***` stands for them in its log and in everything else that is shown or kept of it.",
        || {
            json!({
                "type": "array",
                "items": { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
            })
        },
    ),
    key(
        "matrix",
        "A sweep: lists of values by the name of a variable. The stage becomes a variant for each combination, and so does \
         every stage that reads from it; `${matrix.NAME}` stands for the value. `exclude` takes combinations away, `include` \
         adds some.",
        || {
            let maps = || json!({ "type": "array", "items": { "type": "object", "minProperties": 1 } });
            json!({
                "type": "object",
                "minProperties": 1,
                "properties": { "include": maps(), "exclude": maps() },
                "propertyNames": { "pattern": NAME_PATTERN },
                "additionalProperties": { "type": "array", "minItems": 1 },
            })
        },
    ),
    key("resources", "What the stage needs while it runs.", || json!({ "$ref": "#/$defs/resources" })),
    key(
        "timeout",
        "How long the stage may take: a number with `ms`, `s`, `min`, `h` or `d`, or a number of seconds. Then it is \
         stopped and has failed.",
        time,
    ),
    key(
        "retries",
        "How often the stage is tried again when it fails.",
        || json!({ "oneOf": [{ "type": "integer", "minimum": 0, "maximum": 1000 }, { "$ref": "#/$defs/retries" }] }),
    ),
];

fn time() -> Value {
    json!({ "oneOf": [
        { "type": "number", "minimum": 0 },
        { "type": "string", "pattern": r"^ *[0-9.]+ *(ms|s|min|h|d) *$" },
    ] })
}

/// Keys of `retries`.
pub(super) const RETRIES: &[KeySpec] = &[
    required(
        "times",
        "How often, after the first try.",
        || json!({ "type": "integer", "minimum": 0, "maximum": 1000 }),
    ),
    key(
        "backoff",
        "Wait before the first retry, as a time; each later one waits twice as long as the one before.",
        time,
    ),
];

/// Keys of `resources`.
pub(super) const RESOURCES: &[KeySpec] = &[
    key(
        "cpus",
        "Threads: a number, or `all` of the run's. 1 where absent.",
        || json!({ "oneOf": [{ "type": "integer", "minimum": 1 }, { "const": "all" }] }),
    ),
    key(
        "memory",
        "Memory: a number with `KB`, `MB`, `GB` or `TB` (1 KB is 1024 bytes), or a number of bytes.",
        || {
            json!({ "oneOf": [
            { "type": "number", "minimum": 0 },
            { "type": "string", "pattern": r"^ *[0-9.]+ *(B|KB|MB|GB|TB) *$" },
        ] })
        },
    ),
    key(
        "gpus",
        "GPUs of its own, which `CUDA_VISIBLE_DEVICES` names.",
        || json!({ "type": "integer", "minimum": 0 }),
    ),
    key(
        "mutexes",
        "Names of locks: two stages that name the same one never run at the same time.",
        || json!({ "type": "array", "items": { "type": "string", "pattern": NAME_PATTERN } }),
    ),
    key(
        "exclusive",
        "Whether nothing else may run meanwhile, as a measurement wants.",
        || json!({ "type": "boolean" }),
    ),
];

/// Keys of `report`.
pub(super) const REPORT: &[KeySpec] = &[
    key("title", "Heading; the pipeline's name where absent.", || json!({ "type": "string" })),
    key("description", "A sentence below the heading.", || json!({ "type": "string" })),
    key(
        "rows",
        "Rows: label → the text that `${row}` stands for in the columns.",
        || json!({ "type": "object", "additionalProperties": { "type": "string" } }),
    ),
    key(
        "columns",
        "Columns, left to right.",
        || json!({ "type": "array", "items": { "$ref": "#/$defs/column" } }),
    ),
    key(
        "reference_name",
        "What the reference values are, such as `notebook`.",
        || json!({ "type": "string" }),
    ),
];

/// Keys of a column of the report.
pub(super) const COLUMN: &[KeySpec] = &[
    required("label", "Heading.", || json!({ "type": "string" })),
    required(
        "metric",
        "The metric of each row: `stage.metric`, with `${row}` for the row's text. Of several the first that is \
         there is taken.",
        || {
            json!({ "oneOf": [
                { "type": "string" },
                { "type": "array", "minItems": 1, "items": { "type": "string" } },
            ] })
        },
    ),
    key("digits", "Decimals; 2 where absent.", || json!({ "type": "integer", "minimum": 0, "maximum": 10 })),
    key("prefix", "Written before each number, such as `×`.", || json!({ "type": "string" })),
    key(
        "better",
        "Which numbers are better. Of all columns that say so the report draws the trade-off: every cached run, and \
         those on the Pareto front.",
        || json!({ "enum": ["higher", "lower"] }),
    ),
    key(
        "reference",
        "Values to compare with, by row label.",
        || json!({ "type": "object", "additionalProperties": { "type": "number" } }),
    ),
];
