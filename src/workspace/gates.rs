//! What the gates of a run come to: with what the stages gave, and with earlier runs where gates compare with them.

use std::collections::{BTreeMap, BTreeSet};

use history::{History, Now, Outcomes, Past, RunName};
use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::gate::{Gate, GateResult};
use protocol::Metric;
use record::{ActionRecord, StageRun};
use text::secret::hidden;

use crate::error::Error;
use crate::project::Project;

/// The earlier runs that gates may be compared with.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// Whether any gate asks for one; else none is known.
    is_asked_for: bool,
    history: History,
    /// The run that was named.
    named: Option<RunName>,
}

impl Earlier {
    /// Reads them, unless nobody asks for one.
    ///
    /// # Errors
    /// When they cannot be read, or there is none of the name.
    pub(super) fn load(project: &Project, named: Option<&str>) -> Result<Self, Error> {
        let is_asked_for = project.pipeline.gates.iter().any(|gate| !gate.baseline_metrics().is_empty());
        if !is_asked_for && named.is_none() {
            return Ok(Self::default());
        }
        let history = History::load(&project.store)?.of(Some(&project.pipeline.name));
        let named = named.map(|text| history.find(text).map(|run| run.name.clone())).transpose()?;
        Ok(Self { is_asked_for, history, named })
    }

    pub(super) fn is_asked_for(&self) -> bool {
        self.is_asked_for
    }

    /// What the gates come to whose stages were all selected.
    pub(super) fn judge(
        &self,
        project: &Project,
        certain: bool,
        stages: &[StageRun],
        records: &BTreeMap<StageName, ActionRecord>,
    ) -> Vec<GateResult> {
        let selected: BTreeSet<&str> = stages.iter().map(|run| run.stage.as_str()).collect();
        let lookup = |stage: &str, metric: &str| {
            let record = records.iter().find(|(name, _)| name.as_str() == stage)?.1;
            record.metrics.get(metric).cloned()
        };
        let pipeline = hidden(&project.pipeline.name);
        let now = Now { pipeline: &pipeline, stages, cpu: &project.machine.cpu };
        let is_provisional = |stage: &str| {
            records.iter().any(|(name, record)| name.as_str() == stage && record.provisional.is_some())
        };
        let records_of = |key: &Digest| project.store.outcomes(key);
        let outcomes = Outcomes::new(&records_of);
        let gates = project.pipeline.gates.iter();
        gates
            .filter(|gate| gate.stages().iter().all(|stage| selected.contains(&**stage)))
            .map(|gate| {
                let (mut result, is_from_provisional) = self.decide(gate, &lookup, now, &outcomes);
                let own =
                    gate.metrics().into_iter().map(|(stage, _)| stage).filter(|stage| is_provisional(stage));
                result.rest_on_provisional(&own.collect(), is_from_provisional, certain);
                result
            })
            .collect()
    }

    /// What the gate comes to, and whether that rests on provisional numbers of the run that it is compared with.
    fn decide(
        &self,
        gate: &Gate,
        lookup: &dyn Fn(&str, &str) -> Option<Metric>,
        now: Now<'_>,
        outcomes: &Outcomes<'_>,
    ) -> (GateResult, bool) {
        let is_named = |run: &&Past| Some(&run.name) == self.named.as_ref();
        let baseline = if gate.baseline_metrics().is_empty() {
            None
        } else {
            match self.history.runs().iter().find(is_named) {
                Some(run) => {
                    let mut baseline = run.baseline(gate, now, outcomes);
                    baseline.run.named = true;
                    Some(baseline)
                }
                None => self.history.baseline(gate, now, outcomes),
            }
        };
        let is_from_provisional = baseline.as_ref().is_some_and(|baseline| !baseline.provisional.is_empty());
        (gate.evaluate(lookup, baseline.as_ref()), is_from_provisional)
    }
}
