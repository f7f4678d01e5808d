//! How long a bench goes on beside others at work: a budget in proportion to what it would take undisturbed, and an end where
//! waiting does not help. Knows how long measurements took and what went on beside them, not what they measure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::measurement::Case;
use super::watch::Surroundings;

/// Fewest measurements in a row, all of them disturbed, that show a steady load.
const FEWEST: usize = 6;

/// How far the CPUs that others keep busy beside one case may lie apart, and still be the same load: so many, or this share
/// of their mean.
const APART: f64 = 0.25;

/// Why a bench ended before its last round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum GaveUp {
    /// Others kept this many CPUs busy, measurement after measurement.
    Steady {
        /// On average.
        others: f64,
    },
    /// It would have taken longer than it may.
    OutOfTime {
        /// How long its measurements have taken.
        took: Duration,
        /// How long all of them would take undisturbed.
        undisturbed: Duration,
    },
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steady { others } => {
                write!(f, "others kept {others:.2} CPUs busy all along, so waiting did not help")
            }
            Self::OutOfTime { took, undisturbed } => write!(
                f,
                "after {} it had no time left: undisturbed it would take about {}",
                in_words(*took),
                in_words(*undisturbed)
            ),
        }
    }
}

/// Keeps account of the measurements of a bench.
pub(crate) struct Patience {
    /// How many times as long as undisturbed they may take.
    limit: f64,
    rounds: usize,
    /// How many cases a round has.
    cases: usize,
    /// Seconds that all measurements have taken.
    took: f64,
    /// Seconds that one measurement takes of each case, if nobody disturbs it.
    undisturbed: BTreeMap<Case, f64>,
    /// The slowest measurement of each case.
    slowest: BTreeMap<Case, f64>,
    any_disturbed: bool,
    /// The cases measured since the last measurement that was not disturbed, with the CPUs that others kept busy.
    streak: Vec<(Case, f64)>,
}

impl Patience {
    /// For a bench of so many rounds of so many cases that may take `limit` times as long as undisturbed.
    pub(crate) fn new(limit: f64, rounds: usize, cases: usize) -> Self {
        Self {
            limit,
            rounds,
            cases,
            took: 0.0,
            undisturbed: BTreeMap::new(),
            slowest: BTreeMap::new(),
            any_disturbed: false,
            streak: Vec::new(),
        }
    }

    /// Notes a measurement.
    pub(crate) fn note(&mut self, case: &Case, took: Duration, around: &Surroundings, disturbed: bool) {
        let took = took.as_secs_f64();
        self.took += took;
        let slowest = self.slowest.entry(case.clone()).or_insert(took);
        *slowest = slowest.max(took);
        // With half of its CPUs taken by others a measurement takes twice as long.
        let alone = took * around.left(case.threads);
        self.undisturbed.entry(case.clone()).and_modify(|known| *known = known.min(alone)).or_insert(alone);
        self.any_disturbed |= disturbed;
        if disturbed {
            self.streak.push((case.clone(), around.others()));
        } else {
            self.streak.clear();
        }
    }

    /// Whether the load of others is the same each time that a case is measured, so that measuring again is of no use. Takes
    /// two measurements of each case, and [`FEWEST`] in all.
    pub(crate) fn is_steady(&self) -> bool {
        let mut by_case: BTreeMap<&Case, Vec<f64>> = BTreeMap::new();
        for (case, others) in &self.streak {
            by_case.entry(case).or_default().push(*others);
        }
        let same = |others: &[f64]| {
            let (low, high) = others
                .iter()
                .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
            others.len() > 1 && high - low <= APART.max(APART * mean(others))
        };
        self.streak.len() >= FEWEST
            && by_case.len() == self.cases
            && by_case.values().all(|others| same(others))
    }

    /// What is to be said where that is so.
    pub(crate) fn steady(&self) -> GaveUp {
        let others: Vec<f64> = self.streak.iter().map(|(_, others)| *others).collect();
        GaveUp::Steady { others: mean(&others) }
    }

    /// Whether there is time to measure `case` and after it so many whole rounds, going by the slowest so far. There always is before each case was measured
    /// once, and where nobody has disturbed anything.
    pub(crate) fn has_time(&self, case: &Case, rounds: usize) -> bool {
        let next = self.slowest.get(case).copied().unwrap_or(0.0);
        let to_come = rounds as f64 * self.slowest.values().sum::<f64>();
        let knows = self.any_disturbed && self.undisturbed.len() == self.cases;
        !knows || self.took + next + to_come <= self.limit * self.alone()
    }

    /// What is to be said where there is no time left.
    pub(crate) fn out_of_time(&self) -> GaveUp {
        GaveUp::OutOfTime { took: seconds(self.took), undisturbed: seconds(self.alone()) }
    }

    /// Seconds that all rounds would take undisturbed.
    fn alone(&self) -> f64 {
        self.rounds as f64 * self.undisturbed.values().sum::<f64>()
    }
}

/// `35 s`, `1.4 s`, `40 ms`: two digits where there are no more.
fn in_words(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 9.95 => format!("{seconds:.0} s"),
        seconds if seconds >= 0.9995 => format!("{seconds:.1} s"),
        seconds => format!("{:.0} ms", (1e3 * seconds).max(1.0)),
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::bench::machine::Business;

    fn case(variant: &str) -> Case {
        Case { threads: 2, batch: 1, variant: variant.into() }
    }

    /// Two CPUs, of which others keep so many busy.
    fn around(others: f64) -> Surroundings {
        let business = Business { others, others_ticks: 100, stolen: 0.0, cpus: 2 };
        Surroundings { business: Some(business), clock_mhz: None }
    }

    fn patience(limit: f64, rounds: usize, cases: usize, others: &[(&str, f64)]) -> Patience {
        let mut patience = Patience::new(limit, rounds, cases);
        for (variant, others) in others {
            patience.note(&case(variant), Duration::from_secs(10), &around(*others), *others > 0.25);
        }
        patience
    }

    #[test]
    fn a_load_is_steady_once_every_case_saw_it_twice() {
        let five = [("a", 1.0), ("b", 0.6), ("a", 1.1), ("b", 0.7), ("a", 0.9)];
        assert!(!patience(3.0, 7, 2, &five).is_steady(), "too few");
        let six = [five.as_slice(), &[("b", 0.5)]].concat();
        let steady = patience(3.0, 7, 2, &six);
        assert!(steady.is_steady());
        assert_eq!(
            steady.steady().to_string(),
            "others kept 0.80 CPUs busy all along, so waiting did not help"
        );
        assert!(!patience(3.0, 7, 3, &six).is_steady(), "a third case was not measured yet");
        let changing = [five.as_slice(), &[("b", 0.9)]].concat();
        assert!(!patience(3.0, 7, 2, &changing).is_steady());
        let over = [six.as_slice(), &[("a", 0.0)]].concat();
        assert!(!patience(3.0, 7, 2, &over).is_steady(), "it has stopped");
    }

    #[test]
    fn the_time_is_in_proportion_to_what_it_would_take_undisturbed() {
        // Others take half of two CPUs: 5 s alone, 7 rounds of them, twice as long.
        let two = patience(2.0, 7, 1, &[("a", 1.0); 6]);
        assert!(two.has_time(&case("a"), 0) && !two.has_time(&case("a"), 1));
        let three = patience(2.0, 7, 1, &[("a", 1.0); 7]);
        assert!(!three.has_time(&case("a"), 0));
        let said = three.out_of_time().to_string();
        assert_eq!(said, "after 70 s it had no time left: undisturbed it would take about 35 s");
        assert!(patience(2.1, 7, 1, &[("a", 1.0); 6]).has_time(&case("a"), 0));
    }

    #[test]
    fn a_short_time_is_told_in_smaller_units() {
        let said = |ms: f64| in_words(Duration::from_secs_f64(ms / 1e3));
        assert_eq!([0.0, 0.4, 42.4, 999.4].map(said), ["1 ms", "1 ms", "42 ms", "999 ms"]);
        assert_eq!(
            [999.6, 1440.0, 9940.0, 9960.0, 95_000.0].map(said),
            ["1.0 s", "1.4 s", "9.9 s", "10 s", "95 s"]
        );
    }

    #[test]
    fn undisturbed_there_is_always_time_and_before_everything_was_measured_once() {
        assert!(patience(1.0, 1, 1, &[("a", 0.1); 20]).has_time(&case("a"), 0));
        assert!(patience(1.0, 1, 2, &[("a", 1.9); 20]).has_time(&case("b"), 0));
    }
}
