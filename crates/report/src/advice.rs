//! Which row of the result table to ship: of the rows that gates accept the one that is best, or as good as the best, in most
//! of the columns that say which numbers are better; none where gates accept none. Variants of a sweep are chosen by what was
//! measured on validation images, never on test images: the best of many on the test images looks better than it is. Pure;
//! knows no stage by name.

mod acceptance;
mod criteria;
mod missing;
mod words;

use std::collections::BTreeSet;

use history::within_intervals;
use pipeline::gate::GateResult;
use pipeline::spec::ReportSpec;
use protocol::Metric;
use text::format;

use self::acceptance::Acceptance;
use self::criteria::Criterion;
use self::words::{fails, labels, named, not_checked, not_chosen, not_chosen_again};
use super::Input;
use super::split::Split;

/// Rows that are named one by one.
const MOST_NAMED: usize = 8;

/// What is said where there is nothing to choose by.
const INCOMPARABLE: &str = "Not chosen: no column with `better` is known of every row that could be.";

/// The advice in words; `None` where there are not two rows to choose from, unless that is because something went wrong.
pub(super) fn advice(input: &Input) -> Option<String> {
    let spec = &input.definition.report;
    let labels: Vec<&str> = spec.rows.keys().map(String::as_str).collect();
    let criteria = criteria::of_columns(spec, input.records);
    let known: Vec<usize> =
        (0..labels.len()).filter(|row| criteria.iter().any(|it| it.value(*row).is_some())).collect();
    if known.len() < 2 {
        let is_choice = labels.len() > 1 && !criteria.is_empty();
        return is_choice.then(|| missing::too_few(input, &labels, &known)).flatten();
    }
    let checked: BTreeSet<&String> = input.run.gates.iter().map(|result| &result.expression).collect();
    let unchecked: Vec<String> =
        input.definition.gates.iter().filter(|gate| !checked.contains(gate)).cloned().collect();
    if !unchecked.is_empty() {
        return Some(not_checked(&unchecked));
    }
    let acceptance = Acceptance::new(spec, input.records, input.run);
    let is_any_seen = acceptance.is_any_seen();
    let may_be_shipped = |row: &&usize| {
        let looked = acceptance.rows.get(**row);
        acceptance.general.is_empty()
            && looked
                .is_some_and(|looked| if is_any_seen { looked.is_accepted() } else { looked.is_unseen() })
    };
    let contenders: Vec<usize> = known.iter().filter(may_be_shipped).copied().collect();
    let chose = |row: usize| criteria::chosen_by_test(spec, input.definition, input.records, row);
    let is_ruled_out = |row: usize| acceptance.rows.get(row).is_some_and(|looked| looked.fails_on_test);
    let variants_ruled_out = known.iter().any(|row| is_variant(spec, *row) && is_ruled_out(*row));
    let rows = Rows { labels, known: &known, acceptance: &acceptance, chose: &chose, variants_ruled_out };
    let is_any_accepted = acceptance.rows.iter().any(acceptance::Looked::is_accepted);
    let mut said = match contenders.as_slice() {
        [] if !acceptance.general.is_empty() || !is_any_accepted => vec![rows.none()],
        [] => vec![INCOMPARABLE.into()],
        [one] => rows.chosen(*one, &Choice::only(&criteria), ", the only one that gates accept"),
        several => match choose(input, &criteria, several) {
            Ok(choice) => rows.chosen(choice.row, &choice, ""),
            Err(NotChosen::Incomparable) => vec![INCOMPARABLE.into()],
            Err(NotChosen::Tested(tested)) => vec![not_chosen(&tested)],
            Err(NotChosen::ChosenByTest(said)) => vec![not_chosen_again(&said)],
        },
    };
    if is_any_accepted && acceptance.general.is_empty() {
        said.extend(rows.failures());
    }
    said.extend(rows.unseen(&contenders));
    let unmeasured: Vec<usize> = (0..rows.labels.len()).filter(|row| !known.contains(row)).collect();
    if !unmeasured.is_empty() {
        said.push(missing::unmeasured(input, &rows.labels, &unmeasured));
    }
    if !acceptance.first.is_empty() {
        said.push(format!("There was no earlier run to compare with in {}.", named(&acceptance.first)));
    }
    Some(said.join(" "))
}

/// What was chosen among contenders.
struct Choice<'a> {
    row: usize,
    /// What chose.
    by: Vec<&'a Criterion<'a>>,
    /// A criterion that is no column.
    validated: Option<Criterion<'a>>,
    /// Columns of test images that were looked at and did not choose.
    reported: Vec<&'a Criterion<'a>>,
    /// Columns that are not known of every contender.
    left_out: Vec<&'a Criterion<'a>>,
    /// Columns of test images without which another row would have been chosen.
    biased: Vec<&'a Criterion<'a>>,
    contenders: Vec<usize>,
}

impl<'a> Choice<'a> {
    /// Of one there is nothing to choose.
    fn only(criteria: &'a [Criterion<'a>]) -> Self {
        Self {
            row: 0,
            by: criteria.iter().collect(),
            validated: None,
            reported: vec![],
            left_out: vec![],
            biased: vec![],
            contenders: vec![],
        }
    }
}

/// Why nothing was chosen among contenders.
enum NotChosen<'a> {
    /// There is nothing to choose by.
    Incomparable,
    /// The columns of test images that variants of a sweep are not chosen by, where there is nothing else to choose by.
    Tested(Vec<&'a Criterion<'a>>),
    /// What stages behind variants of a sweep say of test images that chose something in them.
    ChosenByTest(BTreeSet<String>),
}

fn is_variant(spec: &ReportSpec, row: usize) -> bool {
    let label = spec.rows.get_index(row).map(|(label, _)| label);
    label.and_then(|label| spec.variants.get(label)).is_some_and(|variants| !variants.is_empty())
}

/// Chooses among several rows.
fn choose<'a>(
    input: &Input<'a>,
    criteria: &'a [Criterion<'a>],
    contenders: &[usize],
) -> Result<Choice<'a>, NotChosen<'a>> {
    let spec = &input.definition.report;
    let is_known = |it: &&Criterion<'_>| contenders.iter().all(|row| it.value(*row).is_some());
    let (shared, left_out): (Vec<_>, Vec<_>) = criteria.iter().partition(is_known);
    let of_test = |it: &&&Criterion<'_>| it.split == Some(Split::Test);
    let without_test: Vec<_> = shared.iter().filter(|it| !of_test(it)).copied().collect();
    let tested: Vec<_> = shared.iter().filter(of_test).copied().collect();
    let mut choice = Choice {
        row: 0,
        by: shared.clone(),
        validated: None,
        reported: vec![],
        left_out,
        biased: vec![],
        contenders: contenders.to_vec(),
    };
    if contenders.iter().any(|row| is_variant(spec, *row)) && !tested.is_empty() {
        if !without_test.iter().any(|it| it.split == Some(Split::Validation)) {
            let chose = |row: &usize| criteria::chosen_by_test(spec, input.definition, input.records, *row);
            let chosen: BTreeSet<String> = contenders.iter().flat_map(chose).collect();
            if !chosen.is_empty() {
                return Err(NotChosen::ChosenByTest(chosen));
            }
            let stand_in = |it: &&Criterion<'a>| {
                criteria::validated(spec, input.definition, input.records, it, contenders)
            };
            choice.validated = tested.iter().find_map(stand_in);
            if choice.validated.is_none() {
                return Err(NotChosen::Tested(tested));
            }
        }
        (choice.by, choice.reported) = (without_test, tested);
    } else if !tested.is_empty() {
        let blind = best_of(&without_test, contenders);
        if blind != best_of(&shared, contenders) {
            choice.biased = tested;
        }
    }
    let by: Vec<&Criterion<'_>> = choice.validated.iter().chain(choice.by.iter().copied()).collect();
    choice.row = best_of(&by, contenders).ok_or(NotChosen::Incomparable)?;
    Ok(choice)
}

/// The row with the most good numbers; of several the one that is strictly best in more, and of these the first.
fn best_of(by: &[&Criterion<'_>], contenders: &[usize]) -> Option<usize> {
    if by.is_empty() {
        return None;
    }
    let judged = contenders.iter().map(|row| {
        let places: Vec<Place> = by.iter().filter_map(|it| place(it, *row, contenders)).collect();
        let best = places.iter().filter(|place| matches!(place, Place::Best)).count();
        let level = places.iter().filter(|place| matches!(place, Place::Level(_))).count();
        (*row, (best + level, best))
    });
    judged.rev().max_by_key(|(_, good)| *good).map(|(row, _)| row)
}

/// How a row stands among others.
enum Place {
    /// Reads as the best.
    Best,
    /// It and the best one, which is named, lie in each other's 95 % intervals.
    Level(usize),
    /// Worse than the one named.
    Behind(usize),
}

fn place(criterion: &Criterion<'_>, row: usize, among: &[usize]) -> Option<Place> {
    let (own, (best_row, best)) = (criterion.value(row)?, criterion.best(among)?);
    Some(if criterion.text(own) == criterion.text(best) {
        Place::Best
    } else if within_intervals(own, best) == Some(true) {
        Place::Level(best_row)
    } else {
        Place::Behind(best_row)
    })
}

/// Rows with what is known of them, for sentences.
struct Rows<'a> {
    labels: Vec<&'a str>,
    /// Rows of which there are numbers.
    known: &'a [usize],
    acceptance: &'a Acceptance<'a>,
    /// What stages behind a row say of test images that chose something in them.
    chose: &'a dyn Fn(usize) -> Vec<String>,
    /// Whether gates ruled out variants of a sweep by what was measured on test images.
    variants_ruled_out: bool,
}

impl Rows<'_> {
    fn label(&self, row: usize) -> &str {
        self.labels.get(row).copied().unwrap_or_default()
    }

    /// Why a row is to be shipped: compared with all rows of the table, whatever gates say of them.
    fn chosen(&self, row: usize, choice: &Choice<'_>, apart: &str) -> Vec<String> {
        let by = || choice.validated.iter().chain(choice.by.iter().copied());
        let (mut best, mut best_accepted, mut others) = (vec![], vec![], vec![]);
        for criterion in by() {
            match place(criterion, row, self.known) {
                Some(Place::Best) => best.push(criterion.label.clone()),
                Some(Place::Level(other)) => {
                    let compared = self.against("In", criterion, row, other);
                    others.extend(
                        compared.map(|text| format!("{text}, each within the other's 95 % interval.")),
                    );
                }
                Some(Place::Behind(other)) => {
                    if matches!(place(criterion, row, &choice.contenders), Some(Place::Best)) {
                        best_accepted.push(criterion.label.clone());
                    }
                    others.extend(
                        self.against("Behind in", criterion, row, other).map(|text| format!("{text}.")),
                    );
                }
                None => {}
            }
        }
        let mut why = vec![];
        if !best.is_empty() {
            why.push(format!("the best in {}", format::list(&best)));
        }
        if !best_accepted.is_empty() {
            why.push(format!("of those that gates accept the best in {}", format::list(&best_accepted)));
        }
        let colon = if why.is_empty() { "" } else { ": " };
        let mut said = vec![format!("{}{apart}{colon}{}.", self.label(row), why.join(", and "))];
        let reads_as = |other: &usize| {
            let same = |it: &Criterion<'_>| {
                let text = |row| it.value(row).map(|value| it.text(value));
                text(row) == text(*other)
            };
            *other != row && by().all(same)
        };
        let level: Vec<usize> = choice.contenders.iter().copied().filter(reads_as).collect();
        if !level.is_empty() {
            let are = if level.len() == 1 { "is" } else { "are" };
            said.push(format!("{} {are} as good, and further down in the table.", self.list(&level)));
        }
        said.append(&mut others);
        let chose = (self.chose)(row);
        let of_test = choice.by.iter().filter(|it| self.variants_ruled_out && it.split == Some(Split::Test));
        for criterion in choice.reported.iter().chain(of_test) {
            if let Some(own) = criterion.value(row) {
                let (label, text) = (&criterion.label, criterion.text(own));
                let had_a_say = match self.variants_ruled_out {
                    true => {
                        ", by which gates ruled out other variants, so that it may look a little better than it is"
                    }
                    false if chose.is_empty() => ", which chose nothing",
                    false => "",
                };
                said.push(format!("Its {label}, {text}, was measured on test images{had_a_say}."));
            }
        }
        if !chose.is_empty() {
            said.push(format!(
                "Test images chose in what it was made from ({}), which makes it look better than it is.",
                chose.join("; ")
            ));
        }
        if !choice.biased.is_empty() {
            said.push(format!(
                "The choice rests on {}, measured on test images, which so make it look a little better than it is.",
                labels(&choice.biased)
            ));
        }
        if !choice.left_out.is_empty() {
            said.push(format!("Not known of every row, and so left out: {}.", labels(&choice.left_out)));
        }
        said
    }

    /// Why none is to be shipped.
    fn none(&self) -> String {
        let general = self.acceptance.general.as_slice();
        let mut why = vec![];
        if !general.is_empty() {
            let gates: Vec<&GateResult> = general.to_vec();
            why.push(format!("the run {}, about no row alone", fails(&gates)));
        }
        why.extend(self.failing());
        format!("None of them: {}.", why.join("; "))
    }

    /// Rows that fail a gate, beside one that is to be shipped.
    fn failures(&self) -> Option<String> {
        let failing = self.failing();
        (!failing.is_empty()).then(|| format!("{}.", failing.join("; ")))
    }

    /// `INT8 static fails \`a.x > 1\``
    fn failing(&self) -> Vec<String> {
        let rows = self.acceptance.rows.iter().enumerate().filter(|(_, looked)| !looked.fails.is_empty());
        let mut said: Vec<String> =
            rows.map(|(row, looked)| format!("{} {}", self.label(row), fails(&looked.fails))).collect();
        let more = said.len().saturating_sub(MOST_NAMED);
        if more > 0 {
            said.truncate(MOST_NAMED);
            said.push(format::agreed(more, "more row", "fails a gate", "fail a gate"));
        }
        said
    }

    /// Rows that were passed over because no gate looks at them.
    fn unseen(&self, contenders: &[usize]) -> Option<String> {
        let rows = self.known.iter().filter(|row| !contenders.contains(row));
        let unseen =
            rows.filter(|row| self.acceptance.rows.get(**row).is_some_and(acceptance::Looked::is_unseen));
        let unseen: Vec<usize> = unseen.copied().collect();
        (!unseen.is_empty()).then(|| format!("No gate looks at {}.", self.list(&unseen)))
    }

    /// Labels of rows, not too many.
    fn list(&self, rows: &[usize]) -> String {
        let mut labels: Vec<String> = rows.iter().map(|row| self.label(*row).to_owned()).collect();
        let more = labels.len().saturating_sub(MOST_NAMED);
        if more > 0 {
            labels.truncate(MOST_NAMED);
            labels.push(format::count(more, "more row"));
        }
        format::list(&labels)
    }

    /// `Behind in size KB: 104.8 against 100.2 of INT8 dynamic`
    fn against(&self, word: &str, criterion: &Criterion<'_>, row: usize, best: usize) -> Option<String> {
        let text = |metric: &Metric| criterion.text(metric);
        let (own, other) = (criterion.value(row)?, criterion.value(best)?);
        Some(format!(
            "{word} {}: {} against {} of {}",
            criterion.label,
            text(own),
            text(other),
            self.label(best)
        ))
    }
}

#[cfg(test)]
mod tests;
