//! Which of the stages that could start should: those with the longest way to the end of the pipeline behind them, by
//! the durations of earlier executions. Knows no resources; asks for room.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use pipeline::graph::{Graph, StageId};
use record::event::{Expectation, PlannedStage};

use crate::prospect::Prospect;

/// A stage that does not fit is passed over so many times by less urgent ones that do. Then they wait for it, or it
/// would never find the whole machine free.
const PATIENCE: u32 = 8;

/// Whether there is room for a stage.
pub(super) enum Room<G> {
    /// There is, and it has been taken.
    Fits(G),
    /// Not for this one.
    TooLarge,
    /// Not for any.
    Full,
}

/// Stages that could start, the most urgent first.
pub(super) struct Ready {
    /// Milliseconds from the start of each stage to the end of the last one that depends on it, if there is always room.
    remaining_ms: BTreeMap<StageId, u64>,
    waiting: BTreeSet<(Reverse<u64>, StageId)>,
    passed_over: BTreeMap<StageId, u32>,
}

impl Ready {
    /// Nothing is ready yet. What never ran is taken to be as long as the average of what did.
    pub(super) fn new(graph: &Graph, prospects: &BTreeMap<StageId, Prospect>) -> Self {
        // What is not known is guessed from the last time: urgency is no promise.
        let guess = |planned: &PlannedStage| planned.usual_ms.or(planned.last_ms).or(planned.variants_ms);
        let known: Vec<u64> = prospects.values().filter_map(|prospect| guess(&prospect.planned)).collect();
        let average = known.iter().sum::<u64>().checked_div(known.len() as u64).unwrap_or(1);
        let mut remaining_ms: BTreeMap<StageId, u64> = BTreeMap::new();
        for id in graph.order().iter().rev() {
            let Some(Prospect { planned, .. }) = prospects.get(id) else { continue };
            let own = match planned.expectation {
                Expectation::Fresh | Expectation::Restorable { .. } => 0,
                Expectation::Run { .. } | Expectation::Maybe { .. } => guess(planned).unwrap_or(average),
            };
            let behind = graph.dependents(*id).filter_map(|dependent| remaining_ms.get(&dependent)).max();
            remaining_ms.insert(*id, own.saturating_add(behind.copied().unwrap_or(0)));
        }
        Self { remaining_ms, waiting: BTreeSet::new(), passed_over: BTreeMap::new() }
    }

    pub(super) fn insert(&mut self, id: StageId) {
        let remaining = self.remaining_ms.get(&id).copied().unwrap_or(0);
        self.waiting.insert((Reverse(remaining), id));
    }

    /// Takes out the stages for which there is room, with what `room` gave them; it is asked in the order of urgency.
    pub(super) fn choose<G>(&mut self, mut room: impl FnMut(StageId) -> Room<G>) -> Vec<(StageId, G)> {
        let mut chosen = Vec::new();
        let mut skipped = Vec::new();
        for place in &self.waiting {
            match room(place.1) {
                Room::Fits(grant) => chosen.push((*place, grant)),
                Room::Full => break,
                Room::TooLarge => {
                    skipped.push(place.1);
                    if self.passed_over.get(&place.1).is_some_and(|times| *times >= PATIENCE) {
                        break;
                    }
                }
            }
        }
        for (place, _) in &chosen {
            self.waiting.remove(place);
            self.passed_over.remove(&place.1);
        }
        if !chosen.is_empty() {
            for id in skipped {
                *self.passed_over.entry(id).or_default() += 1;
            }
        }
        chosen.into_iter().map(|((_, id), grant)| (id, grant)).collect()
    }

    /// Takes one out, where it is there.
    pub(super) fn remove(&mut self, id: StageId) {
        self.waiting.retain(|(_, waiting)| *waiting != id);
        self.passed_over.remove(&id);
    }

    /// Takes out all of them.
    pub(super) fn take_all(&mut self) -> Vec<StageId> {
        std::mem::take(&mut self.waiting).into_iter().map(|(_, id)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(remaining_ms: &[u64]) -> Ready {
        let all = remaining_ms.iter().enumerate().map(|(index, ms)| (StageId::at(index), *ms));
        let mut ready =
            Ready { remaining_ms: all.collect(), waiting: BTreeSet::new(), passed_over: BTreeMap::new() };
        (0..remaining_ms.len()).for_each(|index| ready.insert(StageId::at(index)));
        ready
    }

    fn numbers(chosen: &[(StageId, ())]) -> Vec<usize> {
        chosen.iter().map(|(id, ())| id.index()).collect()
    }

    #[test]
    fn the_longest_way_to_the_end_goes_first_and_then_the_file_decides() {
        let mut ready = ready(&[5, 9, 5, 7]);
        let mut left = 3;
        let chosen = ready.choose(|_| {
            left -= 1;
            if left >= 0 { Room::Fits(()) } else { Room::Full }
        });
        assert_eq!(numbers(&chosen), [1, 3, 0]);
        assert_eq!(ready.take_all(), [StageId::at(2)]);
        assert!(ready.take_all().is_empty());
    }

    #[test]
    fn a_large_stage_is_passed_over_but_not_for_ever() {
        let mut ready = ready(&[100]);
        for round in 1..20 {
            ready.remaining_ms.insert(StageId::at(round), 1);
            ready.insert(StageId::at(round));
            let chosen =
                ready.choose(|id| if id == StageId::at(0) { Room::TooLarge } else { Room::Fits(()) });
            assert_eq!(chosen.is_empty(), round > 8, "round {round}");
        }
        assert_eq!(numbers(&ready.choose(|_| Room::Fits(())))[0], 0);
    }
}
