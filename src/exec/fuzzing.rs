//! What fuzz targets may do here: say lines to the runner as a plugin would.

use std::collections::BTreeMap;
use std::path::Path;

use pipeline::StageName;
use protocol::{Figure, Metric};
use record::event::Event;
use text::secret::Masks;

use super::log::Log;
use super::op::{Program, overhear};
use super::{Failure, Notice, Yield};

/// What the runner keeps of a conversation in which the plugin of `stage` says `lines`. What it tells meanwhile goes
/// to `emit`; the log goes nowhere.
pub(crate) fn hear(
    stage: &StageName,
    lines: &str,
    emit: &dyn Fn(Event),
) -> Result<(BTreeMap<String, Metric>, Vec<Figure>), Failure> {
    let nowhere = Path::new("/dev/null");
    let program = Program { plugin: "fuzz", executable: nowhere, env: &[], declared: None };
    let mut log = Log::create(nowhere, Masks::default()).map_err(|error| Failure::new(error.to_string()))?;
    let notify = |notice| match notice {
        Notice::Progress(progress) => emit(Event::StageProgress { stage: stage.clone(), progress }),
        Notice::Log(level, message) => emit(Event::StageLog { stage: stage.clone(), level, message }),
    };
    let Yield { metrics, figures, .. } = overhear(&program, lines, &mut log, &notify)?;
    Ok((metrics, figures))
}
