//! `pipe history`: the runs so far, newest first. Reads the cache alone, so that it works while the pipeline is broken.

use history::{Counts, History, RunDigest, key_record};
use pipeline::gate::Judgement;
use record::words::change;
use schemars::JsonSchema;
use serde::Serialize;
use store::LostRun;
use text::format;
use text::printable::clean_line;

use super::Context;
use super::output::{Version, print_json, print_painted, tell};
use crate::error::{Error, ExitStatus};
use crate::progress::{Grid, Paint, stdout_width};

/// Changes of a run that are listed; `pipe compare` lists all.
const MAX_CHANGES: usize = 4;

/// Runs that are not listed, of which it is said what is wrong with their records.
const MAX_LOST: usize = 8;

/// List the runs so far, newest first, with what was changed before each
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many runs to list
    #[arg(short = 'n', long, value_name = "N", default_value = "20")]
    number: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `pipe history --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "History", title = "pipe history --json")]
pub(super) struct Answer {
    version: Version,
    /// Runs, newest first.
    runs: Vec<RunDigest>,
    /// How many earlier runs are on record and not listed.
    earlier: usize,
    /// Runs that are not listed, because their records are damaged or cannot be read.
    lost: Vec<LostRun>,
}

/// Runs the command.
///
/// # Errors
/// When the records of runs cannot be read.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let store = context.store_here()?;
    let history = History::load(&store)?;
    let all = history.runs();
    let shown = all.iter().rev().take(args.number);
    let answer = Answer {
        version: Version,
        runs: shown.map(|run| history.digest(run, &|stage| key_record(&store, stage))).collect(),
        earlier: all.len().saturating_sub(args.number),
        lost: history.lost().to_vec(),
    };
    if args.json {
        print_json(&answer)?;
    } else {
        print_painted(&text(&answer, stdout_width(), Paint::new(context.color_stdout())))?;
    }
    Ok(ExitStatus::Done)
}

/// One run a line, what was changed before it on lines below.
fn text(answer: &Answer, width: usize, paint: Paint) -> String {
    let lost = lost(&answer.lost, paint);
    if answer.runs.is_empty() && answer.earlier == 0 {
        let none = if lost.is_empty() { " no runs yet: `pipe run` makes the first\n" } else { "" };
        return none.to_owned() + &lost;
    }
    let is_of_several = answer.runs.windows(2).any(|pair| matches!(pair, [a, b] if a.pipeline != b.pipeline));
    let mut grid = Grid::new("llrlll", 2);
    let headings = ["run", "started (UTC)", "took", "stages", "gates"].into_iter();
    grid.row(headings.chain(is_of_several.then_some("pipeline")).map(|heading| paint.faint(heading)));
    for run in &answer.runs {
        let cells = [
            paint.strong(run.run.as_str()),
            format::date_time(run.started_ms),
            format::millis(run.duration_ms),
            stages(run, paint),
            gates(run, paint),
        ];
        grid.row(cells.into_iter().chain(is_of_several.then(|| clean_line(&run.pipeline))));
    }
    let indent = answer.runs.iter().map(|run| run.run.as_str().len()).max().unwrap_or(0) + 3;
    let mut lines = grid.lines(width).into_iter();
    let mut text: Vec<String> = lines.next().into_iter().collect();
    for (line, run) in lines.zip(&answer.runs) {
        text.push(line);
        text.extend(details(run).into_iter().map(|detail| {
            let detail = console::truncate_str(&detail, width.saturating_sub(indent), "…").into_owned();
            format!("{:indent$}{}", "", paint.faint(&detail))
        }));
    }
    if answer.earlier > 0 {
        let all = answer.runs.len() + answer.earlier;
        text.push(format!(" and {}: pipe history -n {all}", format::count(answer.earlier, "earlier run")));
    }
    text.join("\n") + "\n" + &lost
}

/// Says that there are runs which are passed over, for commands that name runs by their order.
pub(super) fn tell_lost(history: &History) {
    let lost = history.lost().len();
    if lost > 0 {
        let is = if lost == 1 { "is" } else { "are" };
        tell(&format!("note: {} {is} passed over: `pipe history` tells why", format::count(lost, "run")));
    }
}

/// The runs that are not listed, with what is wrong with each.
fn lost(lost: &[LostRun], paint: Paint) -> String {
    if lost.is_empty() {
        return String::new();
    }
    let is = if lost.len() == 1 { "is" } else { "are" };
    let mut lines = vec![format!(
        " {} {} {is} not listed: `pipe verify` moves damaged records out of the way",
        paint.warn("!"),
        format::count(lost.len(), "run")
    )];
    let named = |run: &LostRun| {
        format!("     the record of run {} {}", clean_line(&run.id), clean_line(&run.problem))
    };
    lines.extend(lost.iter().take(MAX_LOST).map(|run| paint.faint(&named(run))));
    if lost.len() > MAX_LOST {
        lines.push(paint.faint(&format!("     and {} more", lost.len() - MAX_LOST)));
    }
    lines.join("\n") + "\n"
}

/// `6 ran, 1 restored, 2 fresh`, or what failed.
pub(super) fn stages(run: &RunDigest, paint: Paint) -> String {
    let Counts { ran, restored, fresh, failed: _, blocked, interrupted } = run.stages;
    let mut parts = vec![];
    match run.failed.as_slice() {
        [] => {}
        [stage] => parts.push(paint.bad(&format!("{stage} failed"))),
        several => parts.push(paint.bad(&format!("{} failed", format::count(several.len(), "stage")))),
    }
    match run.provisional.as_slice() {
        [] => {}
        [stage] => parts.push(paint.warn(&format!("{stage} provisional"))),
        several => parts.push(paint.warn(&format!("{} provisional", format::count(several.len(), "stage")))),
    }
    if interrupted > 0 {
        parts.push(paint.warn("interrupted"));
    }
    let counts = [(ran, "ran"), (restored, "restored"), (fresh, "fresh"), (blocked, "not reached")];
    parts.extend(counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")));
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}

/// `✔ 3`, or how many have which mark, `✖ 2 ? 1 ~ 1 of 5`.
fn gates(run: &RunDigest, paint: Paint) -> String {
    let all = run.gates.all();
    let mut marked: Vec<(Judgement, usize)> = vec![];
    for (judgement, count) in run.gates.judged().into_iter().filter(|(it, _)| *it != Judgement::Holds) {
        match marked.last_mut() {
            Some((last, sum)) if last.mark() == judgement.mark() => *sum += count,
            _ => marked.push((judgement, count)),
        }
    }
    let parts: Vec<String> = marked
        .into_iter()
        .map(|(judgement, count)| paint.judgement(judgement, &format!("{} {count}", judgement.mark())))
        .collect();
    match all {
        0 => String::new(),
        all if parts.is_empty() => {
            paint.judgement(Judgement::Holds, &format!("{} {all}", Judgement::Holds.mark()))
        }
        all => format!("{} of {all}", parts.join(" ")),
    }
}

fn details(run: &RunDigest) -> Vec<String> {
    let mut details: Vec<String> = run.changes.iter().take(MAX_CHANGES).map(change).collect();
    if run.changes.len() > MAX_CHANGES {
        let more = run.changes.len() - MAX_CHANGES;
        details.push(format!("and {more} more: pipe compare {run}~ {run}", run = run.run));
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::gate::Verdict;
    use record::sample;

    fn shown(change: fn(&mut record::RunRecord)) -> String {
        let mut sample = sample::gate_inconclusive();
        change(&mut sample.run);
        let history = History::new(vec![sample.run]);
        let digest = history.digest(&history.runs()[0], &|_| None);
        gates(&digest, Paint::new(false))
    }

    #[test]
    fn runs_whose_records_tell_nothing_are_counted_and_named() {
        let one = |id: &str| LostRun { id: id.into(), problem: "is damaged".into() };
        let answer = |lost| Answer { version: Version, runs: vec![], earlier: 0, lost };
        assert_eq!(
            text(&answer(vec![one("1-1")]), 80, Paint::new(false)),
            " ! 1 run is not listed: `pipe verify` moves damaged records out of the way\n     the record of run 1-1 is damaged\n"
        );
        let many = text(&answer((0..10).map(|n| one(&n.to_string())).collect()), 80, Paint::new(false));
        snapshots::assert_message!(many);
        snapshots::assert_message!(text(&answer(vec![]), 80, Paint::new(false)));
    }

    #[test]
    fn what_makes_a_run_fail_is_marked_first() {
        assert_eq!(shown(|_| ()), "✖ 1 ~ 1 of 3", "one is not satisfied as measured");
        assert_eq!(shown(|run| run.certain = true), "✖ 2 of 3");
        assert_eq!(shown(|run| run.gates.truncate(2)), "~ 1 of 2");
        assert_eq!(shown(|run| run.gates[0].verdict = Verdict::Unknown), "✖ 1 ? 1 ~ 1 of 3");
        assert_eq!(shown(|run| run.gates[0].verdict = Verdict::Fail), "✖ 2 ~ 1 of 3");
        assert_eq!(shown(|run| run.gates.truncate(1)), "✔ 1");
        assert_eq!(shown(|run| run.gates.clear()), "");
    }
}
