//! Room for stages: threads, memory and GPUs shared so that stages together do not ask for more than there is, named
//! locks, a number of stages at a time, and measurements alone. Knows no stage.

use std::collections::{BTreeSet, VecDeque};

use pipeline::spec::Resources;

/// What there is, and what of it is free.
#[derive(Debug)]
pub(super) struct Budget {
    threads: usize,
    memory: u64,
    free_threads: usize,
    free_jobs: usize,
    free_memory: u64,
    free_gpus: VecDeque<String>,
    mutexes: BTreeSet<String>,
    running: usize,
    /// Whether what runs wants nothing beside it.
    alone: bool,
}

/// What a stage was given, until it gives it back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// How many threads it may use.
    pub(super) threads: usize,
    /// The GPUs that are its own.
    pub(super) gpus: Vec<String>,
    memory: u64,
    mutexes: BTreeSet<String>,
}

impl Budget {
    /// Room for `jobs` stages at a time with `threads` threads, these GPUs and `memory` bytes in all. At least one
    /// thread and one job.
    #[must_use]
    pub(super) fn new(threads: usize, jobs: usize, gpus: Vec<String>, memory: u64) -> Self {
        let (threads, jobs) = (threads.max(1), jobs.max(1));
        Self {
            threads,
            memory,
            free_threads: threads,
            free_jobs: jobs,
            free_memory: memory,
            free_gpus: gpus.into(),
            mutexes: BTreeSet::new(),
            running: 0,
            alone: false,
        }
    }

    /// Whether no stage at all can start.
    #[must_use]
    pub(super) fn is_full(&self) -> bool {
        self.alone || self.free_jobs == 0
    }

    /// Takes what a stage needs, if it is free. A stage that wants more threads or memory than there is gets all there
    /// is, and runs alone. One that wants more GPUs than there are never gets them: [`lacking_gpus`] says so.
    #[must_use]
    pub(super) fn take(&mut self, resources: &Resources) -> Option<Grant> {
        let threads = resources.threads(self.threads);
        let alone = resources.exclusive || resources.memory > self.memory;
        let memory = resources.memory.min(self.memory);
        let gpus = usize::try_from(resources.gpus).unwrap_or(usize::MAX);
        let fits = !self.alone
            && (self.running == 0 || !alone)
            && self.free_jobs > 0
            && threads <= self.free_threads
            && memory <= self.free_memory
            && gpus <= self.free_gpus.len()
            && self.mutexes.is_disjoint(&resources.mutexes);
        if !fits {
            return None;
        }
        self.running += 1;
        self.free_jobs -= 1;
        self.free_threads -= threads;
        self.free_memory -= memory;
        self.mutexes.extend(resources.mutexes.iter().cloned());
        self.alone = alone;
        let gpus = self.free_gpus.drain(..gpus).collect();
        Some(Grant { threads, gpus, memory, mutexes: resources.mutexes.clone() })
    }

    /// Gives back what [`Budget::take`] gave.
    pub(super) fn give_back(&mut self, grant: Grant) {
        self.running -= 1;
        self.free_jobs += 1;
        self.free_threads += grant.threads;
        self.free_memory += grant.memory;
        self.free_gpus.extend(grant.gpus);
        self.mutexes.retain(|mutex| !grant.mutexes.contains(mutex));
        self.alone = false;
    }
}

/// Why a stage can never have its GPUs on a machine with `there` of them.
#[must_use]
pub fn lacking_gpus(resources: &Resources, there: usize) -> Option<String> {
    let wanted = usize::try_from(resources.gpus).unwrap_or(usize::MAX);
    (wanted > there).then(|| {
        let wanted = text::format::count(wanted, "GPU");
        match there {
            0 => format!("it requests {wanted}, but none is available"),
            1 => format!("it requests {wanted}, but one is available"),
            there => format!("it requests {wanted}, but {there} are available"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::spec::Cpus;
    use proptest::prelude::*;

    const GB: u64 = 1 << 30;

    fn cpus(count: u32) -> Resources {
        Resources { cpus: Cpus::Count(count), ..Resources::default() }
    }

    fn gpus(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn threads_are_shared() {
        let all = Resources { cpus: Cpus::All, ..Resources::default() };
        let mut budget = Budget::new(3, 8, vec![], GB);
        let one = budget.take(&cpus(1)).unwrap();
        assert_eq!(budget.take(&all), None);
        let two = budget.take(&cpus(2)).unwrap();
        assert_eq!((one.threads, two.threads), (1, 2));
        assert_eq!(budget.take(&cpus(1)), None);
        budget.give_back(one);
        budget.give_back(two);
        assert_eq!(budget.take(&all).unwrap().threads, 3);
        assert_eq!(budget.take(&cpus(1)), None);
    }

    #[test]
    fn more_threads_than_there_are_is_all_there_are() {
        let mut budget = Budget::new(2, 8, vec![], GB);
        let grant = budget.take(&cpus(16)).unwrap();
        assert_eq!(grant.threads, 2);
        assert_eq!(budget.take(&cpus(1)), None);
    }

    #[test]
    fn jobs_are_limited() {
        let mut budget = Budget::new(8, 1, vec![], GB);
        let grant = budget.take(&cpus(1)).unwrap();
        assert_eq!(budget.take(&cpus(1)), None);
        budget.give_back(grant);
        assert!(budget.take(&cpus(1)).is_some());
    }

    #[test]
    fn memory_is_shared_and_more_than_there_is_runs_alone() {
        let memory = |memory| Resources { memory, ..Resources::default() };
        let mut budget = Budget::new(8, 8, vec![], 4 * GB);
        let three = budget.take(&memory(3 * GB)).unwrap();
        assert_eq!(budget.take(&memory(2 * GB)), None);
        let one = budget.take(&memory(GB)).unwrap();
        let nothing = budget.take(&memory(0)).unwrap();
        for grant in [three, one] {
            budget.give_back(grant);
        }
        assert_eq!(budget.take(&memory(5 * GB)), None, "something else runs");
        budget.give_back(nothing);
        let grant = budget.take(&memory(5 * GB)).unwrap();
        assert_eq!(budget.take(&memory(0)), None);
        budget.give_back(grant);
        assert!(budget.take(&memory(4 * GB)).is_some());
    }

    #[test]
    fn a_gpu_belongs_to_one_stage_at_a_time() {
        let wants = |gpus| Resources { gpus, ..Resources::default() };
        let mut budget = Budget::new(8, 8, gpus(&["0", "GPU-5f"]), GB);
        let one = budget.take(&wants(1)).unwrap();
        assert_eq!(one.gpus, ["0"]);
        assert_eq!(budget.take(&wants(2)), None);
        let other = budget.take(&wants(1)).unwrap();
        assert_eq!(other.gpus, ["GPU-5f"]);
        assert!(budget.take(&wants(0)).unwrap().gpus.is_empty());
        budget.give_back(other);
        assert_eq!(budget.take(&wants(1)).unwrap().gpus, ["GPU-5f"]);
        assert_eq!(lacking_gpus(&wants(3), 2).unwrap(), "it requests 3 GPUs, but 2 are available");
        assert_eq!(lacking_gpus(&wants(1), 0).unwrap(), "it requests 1 GPU, but none is available");
        assert_eq!(lacking_gpus(&wants(2), 2), None);
    }

    #[test]
    fn stages_that_name_one_lock_take_turns() {
        let wants = |names: &[&str]| Resources {
            mutexes: names.iter().map(ToString::to_string).collect(),
            ..Resources::default()
        };
        let mut budget = Budget::new(8, 8, vec![], GB);
        let grant = budget.take(&wants(&["db", "port"])).unwrap();
        assert_eq!(budget.take(&wants(&["db"])), None);
        assert!(budget.take(&wants(&["disk"])).is_some());
        budget.give_back(grant);
        assert!(budget.take(&wants(&["db"])).is_some());
        assert_eq!(budget.take(&wants(&["disk"])), None);
    }

    #[test]
    fn a_measurement_is_alone() {
        let alone = Resources { exclusive: true, ..Resources::default() };
        let mut budget = Budget::new(4, 4, vec![], GB);
        let grant = budget.take(&cpus(1)).unwrap();
        assert_eq!(budget.take(&alone), None);
        budget.give_back(grant);
        let grant = budget.take(&alone).unwrap();
        assert_eq!(budget.take(&cpus(1)), None);
        budget.give_back(grant);
        assert!(budget.take(&cpus(1)).is_some());
    }

    fn any_resources() -> impl Strategy<Value = Resources> {
        let cpus = prop_oneof![Just(Cpus::All), (1_u32..6).prop_map(Cpus::Count)];
        let mutexes = proptest::collection::btree_set("[ab]", 0..2);
        (cpus, 0_u32..3, 0_u64..6, mutexes, any::<bool>()).prop_map(
            |(cpus, gpus, memory, mutexes, exclusive)| Resources { cpus, gpus, memory, mutexes, exclusive },
        )
    }

    proptest! {
        #[test]
        fn grants_never_exceed_what_there_is_and_all_comes_back(
            steps in proptest::collection::vec((any_resources(), any::<bool>()), 1..40),
        ) {
            let mut budget = Budget::new(4, 3, gpus(&["0", "1"]), 4);
            let mut granted: Vec<(Resources, Grant)> = Vec::new();
            for (resources, end_one) in steps {
                if end_one && !granted.is_empty() {
                    budget.give_back(granted.remove(0).1);
                }
                if let Some(grant) = budget.take(&resources) {
                    prop_assert_eq!(grant.threads, resources.threads(4));
                    granted.push((resources, grant));
                }
                prop_assert!(granted.len() <= 3);
                prop_assert!(granted.iter().map(|(_, grant)| grant.threads).sum::<usize>() <= 4);
                prop_assert!(granted.iter().map(|(_, grant)| grant.memory).sum::<u64>() <= 4);
                let gpus: Vec<&String> = granted.iter().flat_map(|(_, grant)| &grant.gpus).collect();
                prop_assert_eq!(gpus.iter().collect::<BTreeSet<_>>().len(), gpus.len());
                let locks: Vec<&String> = granted.iter().flat_map(|(_, grant)| &grant.mutexes).collect();
                prop_assert_eq!(locks.iter().collect::<BTreeSet<_>>().len(), locks.len());
                prop_assert!(granted.len() <= 1 || !granted.iter().any(|(wants, _)| wants.exclusive));
            }
            for (_, grant) in granted {
                budget.give_back(grant);
            }
            let everything = Resources { cpus: Cpus::All, gpus: 2, memory: 4, ..Resources::default() };
            prop_assert!(budget.take(&everything).is_some());
        }
    }
}
