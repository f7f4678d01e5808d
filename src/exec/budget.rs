//! Room for stages: threads shared so that stages together do not oversubscribe the machine, a number of stages at
//! a time, and measurements alone. Knows no stage.

use protocol::{Resources, Threads};

/// What is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Budget {
    threads: usize,
    jobs: usize,
    used_threads: usize,
    used_jobs: usize,
    exclusive: bool,
}

impl Budget {
    /// Room for `jobs` stages at a time with `threads` threads in all. At least one of each.
    #[must_use]
    pub(super) fn new(threads: usize, jobs: usize) -> Self {
        Self { threads: threads.max(1), jobs: jobs.max(1), used_threads: 0, used_jobs: 0, exclusive: false }
    }

    /// How many threads a stage with these needs gets. The same whatever else runs.
    #[must_use]
    pub(super) fn threads_for(&self, resources: &Resources) -> usize {
        match resources.threads {
            Threads::One => 1,
            Threads::All => self.threads,
        }
    }

    /// Whether no stage at all can start.
    #[must_use]
    pub(super) fn is_full(&self) -> bool {
        self.exclusive || self.used_jobs >= self.jobs
    }

    /// Takes what a stage needs, if it is free.
    #[must_use]
    pub(super) fn take(&mut self, resources: &Resources) -> bool {
        let threads = self.threads_for(resources);
        let fits = !self.exclusive
            && (self.used_jobs == 0 || !resources.exclusive)
            && self.used_jobs < self.jobs
            && self.used_threads + threads <= self.threads;
        if fits {
            self.used_threads += threads;
            self.used_jobs += 1;
            self.exclusive = resources.exclusive;
        }
        fits
    }

    /// Gives back what [`Budget::take`] took.
    pub(super) fn give_back(&mut self, resources: &Resources) {
        self.used_threads = self.used_threads.saturating_sub(self.threads_for(resources));
        self.used_jobs = self.used_jobs.saturating_sub(1);
        self.exclusive = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Resources = Resources { threads: Threads::One, exclusive: false };
    const ALL: Resources = Resources { threads: Threads::All, exclusive: false };
    const ALONE: Resources = Resources { threads: Threads::One, exclusive: true };

    #[test]
    fn threads_are_shared() {
        let mut budget = Budget::new(2, 8);
        assert!(budget.take(&ONE));
        assert!(!budget.take(&ALL));
        assert!(budget.take(&ONE));
        assert!(!budget.take(&ONE));
        budget.give_back(&ONE);
        budget.give_back(&ONE);
        assert!(budget.take(&ALL));
        assert!(!budget.take(&ONE));
    }

    #[test]
    fn jobs_are_limited() {
        let mut budget = Budget::new(8, 1);
        assert!(budget.take(&ONE));
        assert!(!budget.take(&ONE));
    }

    #[test]
    fn a_measurement_is_alone() {
        let mut budget = Budget::new(4, 4);
        assert!(budget.take(&ONE));
        assert!(!budget.take(&ALONE));
        budget.give_back(&ONE);
        assert!(budget.take(&ALONE));
        assert!(!budget.take(&ONE));
        budget.give_back(&ALONE);
        assert!(budget.take(&ONE));
    }
}
