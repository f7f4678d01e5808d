//! How long variants of a stage took, for those that were never executed: no forecast, for what a variant differs in may be what
//! its time depends on, but better than nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use pipeline::StageName;
use pipeline::graph::StageId;
use text::clock::millis;

use super::model::median;
use super::{Here, does};
use crate::prospect::Prospect;

/// Variants that the median is taken of, the first ones: a plan must not take longer than what it is good for.
const MOST: usize = 20;

/// Fills in the median of what variants took that were executed here. `prospects` holds those that count.
pub(super) fn fill(here: &Here<'_>, prospects: &mut BTreeMap<StageId, Prospect>) {
    let is_wanted =
        |prospect: &Prospect| prospect.last.is_none() && prospect.planned.expectation.may_execute();
    let family = |id: StageId| {
        let stage = &here.project.pipeline[id];
        (stage.family != stage.name).then(|| stage.family.clone())
    };
    let mut took: BTreeMap<StageName, Vec<f64>> = BTreeMap::new();
    for (id, _) in prospects.iter().filter(|(_, prospect)| is_wanted(prospect)) {
        if let Some(family) = family(*id) {
            took.entry(family).or_default();
        }
    }
    if took.is_empty() {
        return;
    }
    for (id, prospect) in prospects.iter() {
        let Some(times) = family(*id).and_then(|family| took.get_mut(&family)) else { continue };
        if times.len() >= MOST {
            continue;
        }
        let stage = &here.project.pipeline[*id];
        let last = prospect.last.as_deref().or(prospect.record());
        let made = last.filter(|last| does(stage, &last.ingredients) && here.has_made(last));
        times.extend(made.map(|last| last.duration_ms as f64));
    }
    for (id, prospect) in prospects.iter_mut().filter(|(_, prospect)| is_wanted(prospect)) {
        let middle = family(*id).and_then(|family| median(took.get(&family)?));
        let middle = middle.and_then(|middle| Duration::try_from_secs_f64(middle / 1e3).ok());
        prospect.planned.variants_ms = middle.map(millis);
    }
}
