//! Watches the machine while something is measured, and says whether the measurement was disturbed. Knows the machine,
//! not what is measured.

use super::machine::{self, Business, Ticks};

/// CPUs that others may always keep busy.
const ALWAYS: f64 = 0.25;

/// Share of the CPUs that a measurement uses which others may keep busy.
const OF_USED: f64 = 0.1;

/// Share of the CPUs that a measurement leaves free which others may keep busy. Not all: they share caches, memory and
/// power with those used.
const OF_FREE: f64 = 0.5;

/// Least share of its CPUs that a measurement is taken to have had: it did get on.
const LEAST_LEFT: f64 = 0.05;

/// Clock ticks of others that are never a disturbance: what is used is counted in whole ticks, of each CPU on its own.
const ROUNDING: u64 = 5;

/// A measurement under way.
pub(crate) struct Watch {
    ticks: Option<Ticks>,
    clock_mhz: Option<f64>,
}

/// What went on beside a measurement, as far as the system tells.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Surroundings {
    pub(crate) business: Option<Business>,
    /// The highest clock of any CPU just before and just after.
    pub(crate) clock_mhz: Option<[f64; 2]>,
}

impl Watch {
    pub(crate) fn start() -> Self {
        Self { clock_mhz: machine::clock_mhz(), ticks: Ticks::now() }
    }

    pub(crate) fn finish(self) -> Surroundings {
        let now = Ticks::now();
        Surroundings {
            business: now.zip(self.ticks).and_then(|(now, before)| now.business_since(&before)),
            clock_mhz: self.clock_mhz.zip(machine::clock_mhz()).map(|(before, after)| [before, after]),
        }
    }
}

impl Surroundings {
    /// CPUs that others kept busy; 0 where the system does not tell.
    pub(crate) fn others(&self) -> f64 {
        self.business.map_or(0.0, |business| business.others)
    }

    /// Share of the CPUs that a measurement with `threads` threads uses which others left to it.
    pub(crate) fn left(&self, threads: usize) -> f64 {
        self.business.map_or(1.0, |business| {
            let used = threads.min(business.cpus).max(1) as f64;
            let taken = (business.others - (business.cpus as f64 - used)).max(0.0);
            (1.0 - taken / used).clamp(LEAST_LEFT, 1.0)
        })
    }

    /// Whether others took so much that a measurement with `threads` threads is not to be trusted: more CPUs than
    /// `max_others`, or without one, than a quarter of a CPU or a tenth of the CPUs used, whichever is more, and half of
    /// those left free.
    pub(crate) fn disturbed(&self, threads: usize, max_others: Option<f64>) -> bool {
        self.business.is_some_and(|business| {
            let used = threads.min(business.cpus) as f64;
            let usual = (OF_USED * used).max(ALWAYS) + OF_FREE * (business.cpus as f64 - used);
            business.others > max_others.unwrap_or(usual) && business.others_ticks > ROUNDING
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(cpus: usize, others: f64, others_ticks: u64) -> Surroundings {
        let business = Business { others, others_ticks, stolen: 0.0, cpus };
        Surroundings { business: Some(business), clock_mhz: None }
    }

    #[test]
    fn a_quarter_of_a_cpu_is_allowed_and_more_where_there_are_more() {
        assert!(!around(2, 0.25, 100).disturbed(2, None));
        assert!(around(2, 0.26, 100).disturbed(2, None));
        // A tenth of 8 CPUs.
        assert!(!around(8, 0.79, 100).disturbed(8, None));
        assert!(around(8, 0.81, 100).disturbed(8, None));
        // Half of the three left free.
        assert!(!around(4, 1.74, 100).disturbed(1, None));
        assert!(around(4, 1.76, 100).disturbed(1, None));
        // More threads than there are CPUs.
        assert!(around(2, 0.26, 100).disturbed(64, None));
    }

    #[test]
    fn others_take_what_is_free_before_they_take_what_is_used() {
        assert_eq!(around(2, 1.0, 100).left(2), 0.5);
        assert_eq!(around(4, 1.0, 100).left(2), 1.0);
        assert_eq!(around(4, 3.0, 100).left(2), 0.5);
        assert_eq!(around(2, 2.0, 100).left(64), 0.05);
        assert_eq!(Surroundings::default().left(2), 1.0);
    }

    #[test]
    fn what_rounding_explains_is_no_disturbance() {
        assert!(!around(2, 0.9, 5).disturbed(2, None));
        assert!(around(2, 0.9, 6).disturbed(2, None));
    }

    #[test]
    fn a_limit_that_is_given_takes_the_place_of_the_usual_one() {
        assert!(!around(2, 1.5, 100).disturbed(2, Some(2.0)));
        assert!(around(2, 0.1, 100).disturbed(2, Some(0.0)));
    }

    #[test]
    fn where_nothing_is_known_nothing_is_disturbed() {
        let nothing = Surroundings::default();
        assert!(!nothing.disturbed(1, Some(0.0)) && nothing.others() == 0.0);
    }
}
