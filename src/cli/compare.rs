//! `pipe compare`: two runs side by side. Reads the cache alone, whatever the pipeline says now.

mod front;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ValueHint;
use history::{
    Comparison, GatePair, MetricPair, ParamPair, RunDigest, Side, StageEnd, StagePair, compare, key_record,
    known_records,
};
use pipeline::gate::{Better, GateResult, Verdict};
use record::Outcome;
use record::words::short_value;
use report::front::directions;
use schemars::JsonSchema;
use serde::Serialize;
use text::format;
use text::printable::clean_line;

use super::history::{stages, tell_lost};
use super::output::{PAGE, Version, may_replace, print, print_json, print_painted};
use super::{Context, completions};
use crate::error::{Error, ExitStatus};
use crate::progress::{Grid, Paint, stdout_width};

/// Compare two runs: params, metrics, durations and outcomes
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The earlier run; the last but one where none is named. A run is `latest` or the beginning of its name in
    /// `pipe history`; `~` behind it means the run before, `~2` the one before that
    #[arg(value_name = "RUN", default_value = "latest~", add = completions::runs())]
    old: String,
    /// The later run; the last one where none is named
    #[arg(value_name = "RUN", default_value = "latest", add = completions::runs())]
    new: String,
    /// Show what is the same, too
    #[arg(short, long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write it as a page, whole in one file, instead of printing it
    #[arg(long, value_name = "FILE", conflicts_with = "json", value_hint = ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// Overwrite a file that was not written by `pipe`
    #[arg(long, requires = "html")]
    force: bool,
}

/// What `pipe compare --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Compare", title = "pipe compare --json")]
pub(super) struct Answer {
    version: Version,
    /// The first run.
    old: RunDigest,
    /// The second run.
    new: RunDigest,
    /// What differs, and what does not.
    comparison: Comparison,
    /// All runs in what they trade; `null` where the pipeline named no trade-off, or it is not known what it said.
    front: Option<front::Answer>,
}

/// Runs the command.
///
/// # Errors
/// When the records of runs cannot be read, or a run is not found.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let store = context.store_here()?;
    let history = context.history(&store)?;
    tell_lost(&history);
    let (old, new) = (history.find(&args.old)?, history.find(&args.new)?);
    if let Some(file) = &args.html {
        may_replace(file, args.force, PAGE, &report::is_document)?;
        let page = report::of_two(&store, &history, old, new, &maud::Markup::default());
        report::write_whole(file, page.as_bytes())
            .map_err(|error| Error::failed(format!("cannot write `{}`: {error}", file.display())))?;
        print(&format!("{}\n", file.display()))?;
        return Ok(ExitStatus::Done);
    }
    // Says what is better; what the pipeline says now is no answer for runs that it is not known of.
    let spec = report::spec_of_two(&store, old, new);
    let (old_records, new_records) = (known_records(&store, &old.record), known_records(&store, &new.record));
    let old_side = Side { run: &old.record, records: &old_records };
    let new_side = Side { run: &new.record, records: &new_records };
    let digest = |run| history.digest(run, &|stage| key_record(&store, stage));
    let answer = Answer {
        version: Version,
        old: digest(old),
        new: digest(new),
        comparison: compare(old_side, new_side),
        front: front::Answer::new(&spec, &store, &history, new),
    };
    if args.json {
        print_json(&answer)?;
    } else {
        let paint = Paint::new(context.color_stdout());
        let directions = directions(&spec);
        print_painted(
            &View { answer: &answer, directions, all: args.all, width: stdout_width(), paint }.text(),
        )?;
    }
    Ok(ExitStatus::Done)
}

/// The comparison for people.
struct View<'a> {
    answer: &'a Answer,
    /// Which numbers are better, by `STAGE.METRIC`, as far as the runs' pipeline said so.
    directions: BTreeMap<String, Better>,
    /// Whether what is the same is shown.
    all: bool,
    width: usize,
    paint: Paint,
}

impl View<'_> {
    fn text(&self) -> String {
        let parts = [
            self.runs(),
            self.params(),
            self.metrics(),
            self.stages(),
            self.gates(),
            self.front(),
            self.evicted(),
        ];
        let parts: Vec<String> =
            parts.into_iter().filter(|part| !part.is_empty()).map(|part| part.join("\n")).collect();
        parts.join("\n\n") + "\n"
    }

    /// Which runs they are.
    fn runs(&self) -> Vec<String> {
        let mut grid = Grid::new("lllrll", 2);
        let is_of_two = self.answer.old.pipeline != self.answer.new.pipeline;
        for (label, run) in [("old", &self.answer.old), ("new", &self.answer.new)] {
            grid.row([
                self.paint.faint(label),
                self.paint.strong(run.run.as_str()),
                format!("{} UTC", format::date_time(run.started_ms)),
                format::millis(run.duration_ms),
                stages(run, self.paint),
                if is_of_two { clean_line(&run.pipeline) } else { String::new() },
            ]);
        }
        grid.lines(self.width)
    }

    fn section(&self, heading: &str, grid: &Grid, rest: Option<String>) -> Vec<String> {
        let heading = format!(" {}", self.paint.strong(heading));
        let mut lines = vec![];
        if !grid.is_empty() || rest.is_some() {
            lines.push(heading);
        }
        lines.extend(grid.lines(self.width.saturating_sub(2)).into_iter().map(|line| format!("  {line}")));
        lines.extend(rest.map(|rest| {
            let rest = console::truncate_str(&rest, self.width.saturating_sub(3), "…").into_owned();
            format!("   {}", self.paint.faint(&rest))
        }));
        lines
    }

    /// Vars and ingredients that differ. Inputs that other stages made only follow from these, and are counted.
    fn params(&self) -> Vec<String> {
        let all = &self.answer.comparison.params;
        let (shown, follow): (Vec<&ParamPair>, Vec<&ParamPair>) =
            all.iter().partition(|pair| self.all || pair.from.is_none());
        let mut grid = Grid::new("lrlll", 2);
        let widest = shown.iter().map(|pair| pair.path().chars().count()).max();
        let room = (self.width.saturating_sub(widest.unwrap_or(0) + 10) / 2).max(12);
        let value = |value: &Option<String>| {
            let value = value.as_deref().map_or_else(|| "(none)".into(), short_value);
            console::truncate_str(&value, room, "…").into_owned()
        };
        for pair in &shown {
            let from = pair.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
            grid.row([
                clean_line(&pair.path()),
                self.paint.faint(&value(&pair.old)),
                "→".into(),
                self.paint.live(&value(&pair.new)),
                self.paint.faint(&from),
            ]);
        }
        let rest = if !follow.is_empty() {
            Some(format!("and, in consequence, {} of other stages", format::count(follow.len(), "input")))
        } else if shown.is_empty() {
            Some("no difference".into())
        } else {
            None
        };
        self.section("params", &grid, rest)
    }

    fn metrics(&self) -> Vec<String> {
        let all = &self.answer.comparison.metrics;
        let (shown, same): (Vec<&MetricPair>, Vec<&MetricPair>) =
            all.iter().partition(|pair| self.all || !pair.is_same());
        let mut grid = Grid::new("lrlrlrl", 2);
        for pair in shown {
            let value = |value: Option<f64>| value.map_or_else(|| "–".into(), format::number_auto);
            grid.row([
                clean_line(&pair.path()),
                self.paint.faint(&value(pair.old)),
                "→".into(),
                value(pair.new),
                self.paint.faint(&clean_line(&pair.unit)),
                self.difference(pair).unwrap_or_default(),
                self.paint.faint(if pair.within_intervals == Some(true) && !pair.is_same() {
                    "in both intervals"
                } else {
                    ""
                }),
            ]);
        }
        let rest = (!same.is_empty()).then(|| format!("{} the same", format::count(same.len(), "metric")));
        self.section("metrics", &grid, rest)
    }

    /// Outcomes and durations. Stages that stayed as they were in both runs are counted.
    fn stages(&self) -> Vec<String> {
        let quiet = |end: &Option<StageEnd>| end.as_ref().is_some_and(|end| end.outcome == Outcome::Fresh);
        let (same, shown): (Vec<&StagePair>, Vec<&StagePair>) = self
            .answer
            .comparison
            .stages
            .iter()
            .partition(|pair| !self.all && quiet(&pair.old) && quiet(&pair.new));
        let mut grid = Grid::new("llll", 2);
        for pair in shown {
            let cell = |end: &Option<StageEnd>| end.as_ref().map_or_else(|| "–".into(), StageEnd::words);
            let failed = |end: &Option<StageEnd>| end.as_ref().is_some_and(|end| !end.outcome.is_done());
            let now = cell(&pair.new);
            grid.row([
                pair.stage.to_string(),
                self.paint.faint(&cell(&pair.old)),
                format!("→  {}", if failed(&pair.new) { self.paint.bad(&now) } else { now }),
                longer(pair).unwrap_or_default(),
            ]);
        }
        let rest =
            (!same.is_empty()).then(|| format!("{} fresh in both", format::count(same.len(), "stage")));
        self.section("stages", &grid, rest)
    }

    fn gates(&self) -> Vec<String> {
        let all = &self.answer.comparison.gates;
        let (same, shown): (Vec<&GatePair>, Vec<&GatePair>) =
            all.iter().partition(|pair| !self.all && pair.old == pair.new && pair.new == Some(Verdict::Pass));
        let mut grid = Grid::new("llll", 2);
        for pair in shown {
            let says = |gate: &&GateResult| gate.verdict != Verdict::Pass || gate.interval.is_some();
            let message = pair.new_result.as_ref().filter(says).map(|gate| clean_line(&gate.message));
            grid.row([
                clean_line(&pair.expression),
                self.verdict(pair.old_result.as_ref(), self.answer.old.certain),
                format!("→  {}", self.verdict(pair.new_result.as_ref(), self.answer.new.certain)),
                self.paint.faint(&message.unwrap_or_default()),
            ]);
        }
        let hold = if same.len() == 1 { "holds" } else { "hold" };
        let rest =
            (!same.is_empty()).then(|| format!("{} {hold} in both", format::count(same.len(), "gate")));
        self.section("gates", &grid, rest)
    }

    fn front(&self) -> Vec<String> {
        let Some(front) = &self.answer.front else { return vec![] };
        let (grid, rest) = front.grid(&self.answer.old.run, &self.answer.new.run, self.paint);
        self.section("trade-off", &grid, rest)
    }

    /// The difference, green or red where the pipeline says what is better.
    fn difference(&self, pair: &MetricPair) -> Option<String> {
        let difference = pair.difference?;
        let sign = if difference > 0.0 { "+" } else { "" };
        let text = format!("{sign}{}", format::number_auto(difference));
        let better = self.directions.get(&pair.path());
        Some(match better.filter(|_| difference != 0.0) {
            Some(better) if (*better == Better::Higher) == (difference > 0.0) => self.paint.good(&text),
            Some(_) => self.paint.bad(&text),
            None => text,
        })
    }

    fn verdict(&self, gate: Option<&GateResult>, certain: bool) -> String {
        let Some(gate) = gate else { return self.paint.faint("–") };
        let judgement = gate.judgement(certain);
        self.paint.judgement(judgement, &format!("{} {}", judgement.mark(), judgement.word()))
    }

    /// What cannot be compared, because the cache no longer has it.
    fn evicted(&self) -> Vec<String> {
        let gone = |end: &Option<StageEnd>| end.as_ref().is_some_and(|end| end.evicted);
        let stages = &self.answer.comparison.stages;
        let sides = [
            (&self.answer.old, stages.iter().filter(|pair| gone(&pair.old)).collect::<Vec<_>>()),
            (&self.answer.new, stages.iter().filter(|pair| gone(&pair.new)).collect::<Vec<_>>()),
        ];
        let lines = sides.into_iter().filter(|(_, gone)| !gone.is_empty()).map(|(run, gone)| {
            let names: Vec<String> = gone.iter().map(|pair| pair.stage.to_string()).collect();
            let mark = self.paint.warn("!");
            format!(
                " {mark} results of {} in {} are no longer cached: params and metrics are not compared",
                format::list(&names),
                run.run
            )
        });
        lines.collect()
    }
}

/// By how much longer the execution took, where the two runs have their outputs from different ones.
fn longer(pair: &StagePair) -> Option<String> {
    let took = |end: &Option<StageEnd>| end.as_ref()?.execution_ms;
    let (old, new) = (took(&pair.old)?, took(&pair.new)?);
    if old == new {
        return None;
    }
    let sign = if new < old { "−" } else { "+" };
    Some(format!("{sign}{}", format::millis(new.abs_diff(old))))
}

#[cfg(test)]
mod tests;
