//! Choices of ranges for all of a network, of which the best is to be found.

use crate::clip::Method;
use crate::judge::{CLEARLY, Judge, Outcomes, Part, WIDEST_FIRST};

/// How many decibels below the best a choice is out of the question, and how many are in it at most.
const IN_QUESTION: f64 = 3.0;
pub(super) const MOST_IN_QUESTION: usize = 4;

/// How many methods for all are in it, however bad.
const SINGLES: usize = 2;

/// Which method each part of the network gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// One for all.
    Single(Method),
    /// By part.
    Mixed(Vec<Method>),
}

impl Choice {
    /// Of the part at `index`.
    pub(super) fn method(&self, index: usize) -> Method {
        match self {
            Self::Single(method) => *method,
            Self::Mixed(methods) => methods.get(index).copied().unwrap_or(self.fallback()),
        }
    }

    /// Of tensors that are in no part: they are not rounded by default.
    pub(super) fn fallback(&self) -> Method {
        match self {
            Self::Single(method) => *method,
            Self::Mixed(_) => Method::Minmax,
        }
    }

    /// As it is kept.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Single(method) => method.as_str().to_owned(),
            Self::Mixed(_) => "mixed".to_owned(),
        }
    }

    /// How little it cuts off, as a rule.
    fn rank(&self) -> usize {
        match self {
            Self::Single(method) => WIDEST_FIRST.iter().position(|one| one == method).unwrap_or(0),
            // What was put together for these outputs is better where that cannot be told.
            Self::Mixed(_) => 0,
        }
    }
}

/// Choices that come into question.
#[derive(Debug, Clone, PartialEq)]
pub struct Shortlist {
    /// Signal to noise of each of [`Method::ALL`] for all, in decibels.
    pub(super) single: [f64; Method::ALL.len()],
    /// The choices with theirs, the best first.
    pub(super) choices: Vec<(Choice, f64)>,
}

impl Shortlist {
    /// The choices, the best first.
    pub fn choices(&self) -> impl Iterator<Item = &Choice> {
        self.choices.iter().map(|(choice, _)| choice)
    }

    /// Of those that are about as good as the best, by these decibels, the one that cuts off the least.
    pub(super) fn best(&self, found: &[f64]) -> (&Choice, f64) {
        const NONE: &Choice = &Choice::Single(Method::Minmax);
        let most = found.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let good = self.choices().zip(found.iter().copied()).filter(|(_, db)| *db >= most - CLEARLY);
        good.min_by_key(|(choice, _)| choice.rank()).unwrap_or((NONE, most))
    }
}

impl Judge {
    /// The choices that come into question after what came of [`Judge::together`], the best first: all of these are one of
    /// [`Method::ALL`] for all or `mixed`.
    #[must_use]
    pub fn shortlist(&self, mixed: &[Method], together: &[Outcomes; 2]) -> Shortlist {
        let found = self.compared(together);
        let db = |place: usize| found.get(place).copied().unwrap_or(f64::NEG_INFINITY);
        let single: [f64; Method::ALL.len()] = std::array::from_fn(db);
        let mut choices: Vec<(Choice, f64)> = Vec::new();
        let all = WIDEST_FIRST.into_iter().map(|method| (Choice::Single(method), single[method as usize]));
        let mixed = (Choice::Mixed(mixed.to_vec()), db(Method::ALL.len()));
        for (choice, db) in all.chain([mixed]) {
            let is_known = |(known, _): &(Choice, f64)| self.by_part(known) == self.by_part(&choice);
            if !choices.iter().any(is_known) {
                choices.push((choice, db));
            }
        }
        choices.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let most = choices.first().map_or(f64::NEG_INFINITY, |(_, most)| *most);
        // What is chosen is to be no worse than any method for all, and trials may be wrong by more.
        let mut singles = 0;
        choices.retain(|(choice, db)| {
            singles += usize::from(matches!(choice, Choice::Single(_)));
            *db >= most - IN_QUESTION || (singles <= SINGLES && matches!(choice, Choice::Single(_)))
        });
        choices.truncate(MOST_IN_QUESTION);
        Shortlist { single, choices }
    }

    /// By part, the place of the method in [`Part::methods`] that a choice comes to.
    fn by_part(&self, choice: &Choice) -> Vec<usize> {
        let place = |(index, part): (usize, &Part)| part.places[choice.method(index) as usize];
        self.parts.iter().enumerate().map(place).collect()
    }
}
