//! A cache that is not too large once a run is over. What the pipeline needs stays.

use std::collections::{BTreeSet, HashSet};

use pipeline::digest::Digest;
use record::event::Event;
use store::{Collection, Lock, Store};
use text::format;

use crate::plan;
use crate::progress::Sink;
use crate::project::Project;
use crate::prospect::Decision;

/// Collects at the end of a run that has made the cache larger than `limit`, unless others are using it.
pub(super) fn after_run(project: &Project, lock: &mut Lock, limit: u64, sink: &mut dyn Sink) {
    let store = &project.store;
    let collected = store.account().and_then(|size| {
        if size.is_none_or(|size| size <= limit) {
            return Ok(None);
        }
        let Some(alone) = lock.try_alone() else { return Ok(None) };
        store.collect(&alone, &needed(Some(project), store), limit, false).map(Some)
    });
    match collected {
        Ok(Some(Collection { kept_in_doubt: true, unreadable, .. })) => {
            let first =
                unreadable.first().map(|one| format!(", such as `{}`: {}", one.path.display(), one.why));
            let message = format!(
                "the cache is larger than {} and was not collected, because {} of it cannot be read{}; `pipe gc` tells all",
                format::bytes(limit),
                format::count(unreadable.len(), "place"),
                first.unwrap_or_default()
            );
            sink.event(&Event::Warning { message });
        }
        Ok(Some(collection)) if !collection.is_empty() => {
            let message = format!(
                "the cache was larger than {}: removed {}, {} left",
                format::bytes(limit),
                format::bytes(collection.removed_bytes()),
                format::bytes(collection.bytes)
            );
            sink.event(&Event::Notice { message });
        }
        Ok(_) => {}
        Err(error) => {
            sink.event(&Event::Warning { message: format!("the cache was not collected: {error}") })
        }
    }
}

/// The keys whose outcomes and partial work the pipeline needs: those that its artifacts came from, and those that a run
/// now would use. Where it is not valid, those that any artifacts came from.
pub(crate) fn needed(project: Option<&Project>, store: &Store) -> HashSet<Digest> {
    let last = store.all_last();
    let Some(project) = project else { return last.into_values().collect() };
    let all: BTreeSet<_> = project.pipeline.ids().collect();
    let Ok(prospects) = plan::prospects(project, &all, &BTreeSet::new()) else {
        return last.into_values().collect();
    };
    let foreseen = prospects.values().filter_map(|prospect| match prospect.decision.as_ref()? {
        Decision::Fresh(record) | Decision::Restorable { record, .. } => Some(record.key),
        Decision::Run { miss, .. } => Some(miss.key().digest()),
    });
    let stages = &project.pipeline.stages;
    let made = last.into_iter().filter(|(stage, _)| stages.contains_key(stage)).map(|(_, key)| key);
    foreseen.chain(made).collect()
}
