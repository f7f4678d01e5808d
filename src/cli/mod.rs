//! The command line: one command a file, each an `Args` whose doc comments are the help, and one function.

mod browser;
pub mod clean;
pub mod compare;
pub mod completions;
pub mod doctor;
pub mod gc;
pub mod graph;
pub mod history;
pub mod init;
pub mod log;
pub mod man;
mod output;
mod profile;
pub mod quantize;
mod reference;
pub mod report;
pub mod run;
pub mod schema;
pub mod status;
pub mod ui;
pub mod verify;
mod watch;
pub mod why;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ::history::History;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use pipeline::graph::StageId;
use pipeline::spec::{self, Overrides, did_you_mean_or_list, list};
use pipeline::{Selector, StageName};
use store::{Store, StoreError};
use text::printable::clean;

use crate::env;
use crate::error::{Error, ExitStatus};
use crate::exec::take_over_signals;
use crate::logs::{self, Recording};
use crate::project::Project;
use crate::streams;

/// A build system for models: runs the stages of pipeline.yaml that are stale, restores the others from its cache,
/// and writes a report.
#[derive(Debug, Parser)]
#[command(name = "pipe", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done · 1 a stage failed · 2 the pipeline or the command line is wrong · \
    3 a gate failed · 130 interrupted"
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The pipeline
    #[arg(short, long, global = true, default_value = "pipeline.yaml", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// A folder for the cache that several pipelines share; `PIPE_CACHE` where not given, else `cache` beside the
    /// pipeline
    #[arg(long, global = true, value_name = "FOLDER")]
    pub cache: Option<PathBuf>,
    /// Whether to colour what is printed
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN")]
    pub color: Color,
    /// Log what is done, and how long it takes, to standard error: -v of each stage, -vv of each file and lookup, -vvv each
    /// message of plugins. `PIPE_LOG` where not given, as in `debug` or `info,store=trace`
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// How the log is written; `PIPE_LOG_FORMAT` where not given, else text
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<logs::Format>,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Options of every command that loads the pipeline.
#[derive(Debug, Clone, Default, Args)]
pub struct Selection {
    /// Sets a var of the pipeline, as in `--set epochs=5`; may be repeated
    #[arg(long, value_name = "VAR=VALUE", add = completions::vars())]
    pub set: Vec<String>,
    /// Overlays the vars of a profile
    #[arg(long, value_name = "NAME", add = completions::profiles())]
    pub profile: Option<String>,
    /// Thread budget; all cores where not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Status(status::Args),
    Why(why::Args),
    Log(log::Args),
    History(history::Args),
    Compare(compare::Args),
    Graph(graph::Args),
    Report(report::Args),
    Ui(ui::Args),
    Gc(gc::Args),
    Verify(verify::Args),
    Clean(clean::Args),
    Doctor(doctor::Args),
    Schema(schema::Args),
    Init(init::Args),
    Quantize(Box<quantize::Args>),
    Completions(completions::Args),
    Man(man::Args),
}

/// What every command is given: the options of all commands and the terminal.
#[derive(Debug, Clone)]
pub struct Context {
    /// The options of every command.
    pub global: Global,
    /// The folder of a cache shared with others, from the command line or the environment.
    cache: Option<PathBuf>,
    /// What is recorded of the command, where that is asked for.
    recording: Option<Recording>,
}

impl Context {
    fn new(global: Global) -> Self {
        let cache = global.cache.clone().or_else(|| env::CACHE.filled().map(PathBuf::from));
        Self { global, cache, recording: None }
    }

    /// Begins to log and to record, as far as that is asked for.
    ///
    /// # Errors
    /// When the environment says something that is no filter or no format.
    fn listen(&mut self, is_recorded: bool) -> Result<(), Error> {
        let said = |variable: env::Variable| variable.text().filter(|text| !text.is_empty());
        let filter = match self.global.verbose {
            0 => said(env::LOG).map(|text| logs::Filter::parse(&text)).transpose(),
            times => Ok(Some(logs::Filter::verbose(times))),
        };
        let wrong = |variable: env::Variable, message: &str| {
            Error::usage(format!("environment variable {variable}: {message}"))
        };
        let filter = filter.map_err(|(message, hint)| wrong(env::LOG, &message).hint(hint))?;
        let format = match (self.global.log_format, said(env::LOG_FORMAT)) {
            (Some(format), _) => format,
            (None, None) => logs::Format::Text,
            (None, Some(text)) => logs::Format::from_str(&text, true).map_err(|_| {
                let hint = did_you_mean_or_list(&text, "formats are", ["text", "json"]);
                wrong(env::LOG_FORMAT, &format!("there is no format `{text}`")).hint(hint)
            })?,
        };
        self.recording = is_recorded.then(Recording::default);
        logs::start(filter.map(|filter| (filter, format)), self.recording.as_ref());
        Ok(())
    }

    /// What is recorded of the command, where that is asked for.
    fn recording(&self) -> Option<&Recording> {
        self.recording.as_ref()
    }

    /// Whether to colour standard output.
    #[must_use]
    pub fn color_stdout(&self) -> bool {
        self.color(std::io::stdout().is_terminal())
    }

    /// Whether to colour standard error.
    #[must_use]
    pub fn color_stderr(&self) -> bool {
        self.color(std::io::stderr().is_terminal())
    }

    fn color(&self, terminal: bool) -> bool {
        match self.global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && env::NO_COLOR.filled().is_none(),
        }
    }

    /// The store beside the pipeline, whatever the pipeline's state.
    ///
    /// # Errors
    /// When the cache is not a folder.
    pub fn store_here(&self) -> Result<Store, Error> {
        let root = self.global.file.parent().filter(|root| !root.as_os_str().is_empty());
        Ok(self.store(root.unwrap_or(Path::new(".")))?)
    }

    /// The runs that were recorded here. `latest` is the last one of the pipeline that is meant, where its file can be read.
    ///
    /// # Errors
    /// When the records of runs cannot be read.
    pub fn history(&self, store: &Store) -> Result<History, Error> {
        let name = spec::parse(&self.global.file).ok().map(|parsed| parsed.name().to_owned());
        Ok(History::load(store)?.of(name.as_deref().filter(|name| !name.is_empty())))
    }

    /// Loads the pipeline with a command's selection.
    ///
    /// # Errors
    /// As [`Project::load`]; a `--set` without `=`.
    pub fn load(&self, selection: &Selection) -> Result<Project, Error> {
        let mut set = Vec::with_capacity(selection.set.len());
        for text in &selection.set {
            let Some((name, value)) = text.split_once('=') else {
                return Err(Error::usage(format!("`--set {text}` has no `=`"))
                    .hint("write it as `--set VAR=VALUE`, for example `--set epochs=5`"));
            };
            set.push((name.to_owned(), value.to_owned()));
        }
        let overrides = Overrides { set, profile: selection.profile.clone() };
        let threads = selection.threads.map(usize::from);
        Project::load(&self.global.file, self.cache(), &overrides, threads, self.color_stderr())
    }

    /// The folder of a cache shared with others.
    #[must_use]
    pub fn cache(&self) -> Option<&Path> {
        self.cache.as_deref()
    }

    /// The store of the pipeline in `root`.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn store(&self, root: &Path) -> Result<Store, StoreError> {
        Ok(Store::open(root)?.sharing(self.cache()))
    }
}

/// Finds stages by their names on the command line. The name of a stage with a `matrix` stands for all its variants, and
/// one with values behind it for those that have them: `train[lr=0.1]`.
///
/// # Errors
/// When there is none of a name; with a suggestion where one is close.
pub fn find_stages<'n>(
    project: &Project,
    names: impl IntoIterator<Item = &'n String>,
) -> Result<BTreeSet<StageId>, Error> {
    let mut found = BTreeSet::new();
    for name in names {
        let named = project.pipeline.select(name);
        if named.is_empty() {
            return Err(no_stage(project, name));
        }
        found.extend(named.iter().filter_map(|name| project.pipeline.id(name)));
    }
    Ok(found)
}

/// Finds the one stage that a name on the command line stands for.
///
/// # Errors
/// When there is none, or several.
pub fn find_stage(project: &Project, name: &str) -> Result<StageName, Error> {
    let mut named = project.pipeline.select(name);
    match (named.pop(), named.last()) {
        (None, _) => Err(no_stage(project, name)),
        (Some(one), None) => Ok(one),
        (Some(last), Some(_)) => {
            let all = named.iter().chain([&last]).map(StageName::as_str);
            Err(Error::usage(format!("`{name}` has {} variants: name one", named.len() + 1))
                .hint(list("they are", all)))
        }
    }
}

fn no_stage(project: &Project, name: &str) -> Error {
    let stages = &project.pipeline.stages;
    let selector = Selector::new(name);
    let variants = stages.keys().filter(|stage| stage.family() == selector.family()).map(StageName::as_str);
    if selector.is_partial() && variants.clone().next().is_some() {
        let hint = did_you_mean_or_list(name, "there are", variants);
        return Error::usage(format!("no variant of `{}` has these values: `{name}`", selector.family()))
            .hint(hint);
    }
    let families: BTreeSet<&str> = stages.keys().map(StageName::family).collect();
    let hint = did_you_mean_or_list(name, "stages are", families);
    Error::usage(format!("there is no stage `{name}`")).hint(hint)
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    take_over_signals();
    let args: Vec<OsString> = std::env::args_os().collect();
    match completions::answer(&args) {
        Ok(true) => ExitStatus::Done.into(),
        Ok(false) => and_said(run_args(args)).into(),
        Err(error) => {
            streams::tell(&clean(&error.to_string()));
            ExitStatus::Failed.into()
        }
    }
}

/// How the process ends: not well where something that it had to say is lost.
fn and_said(status: ExitStatus) -> ExitStatus {
    let Some(lost) = streams::lost() else { return status };
    streams::tell(&Error::failed(lost.message()).to_string());
    if status == ExitStatus::Done { ExitStatus::Failed } else { status }
}

fn run_args(args: impl IntoIterator<Item = OsString>) -> ExitStatus {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let color = if error.use_stderr() {
                std::io::stderr().is_terminal()
            } else {
                std::io::stdout().is_terminal()
            };
            let text = error.render();
            let text = if color { text.ansi().to_string() } else { text.to_string() };
            if error.use_stderr() {
                streams::tell(&text);
                return ExitStatus::Usage;
            }
            return match output::print_painted(&text) {
                Ok(()) => ExitStatus::Done,
                Err(error) => {
                    streams::tell(&error.to_string());
                    error.status()
                }
            };
        }
    };
    let mut context = Context::new(cli.global);
    let is_recorded = matches!(&cli.command, Command::Run(args) if args.profile_to.is_some());
    let result = context.listen(is_recorded).and_then(|()| dispatch(cli.command, &context));
    match result {
        Ok(status) => status,
        Err(error) => {
            streams::tell(&error.to_string());
            error.status()
        }
    }
}

fn dispatch(command: Command, context: &Context) -> Result<ExitStatus, Error> {
    match command {
        Command::Run(args) if args.watch => watch::watch(&args, context),
        Command::Run(args) => run::run(&args, context),
        Command::Status(args) => status::run(args, context),
        Command::Why(args) => why::run(args, context),
        Command::Log(args) => log::run(args, context),
        Command::History(args) => history::run(args, context),
        Command::Compare(args) => compare::run(args, context),
        Command::Graph(args) => graph::run(args, context),
        Command::Report(args) => report::run(args, context),
        Command::Ui(args) => ui::run(args, context),
        Command::Gc(args) => gc::run(args, context),
        Command::Verify(args) => verify::run(args, context),
        Command::Clean(args) => clean::run(args, context),
        Command::Doctor(args) => doctor::run(args, context),
        Command::Schema(args) => schema::run(args, context),
        Command::Init(args) => init::run(args, context),
        Command::Quantize(args) => quantize::run(&args, context),
        Command::Completions(args) => completions::run(args, context),
        Command::Man(args) => man::run(args, context),
    }
}
