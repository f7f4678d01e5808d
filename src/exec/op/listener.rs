//! What a plugin says while an op runs, in its order: each message is acted on, logged and shown, without secrets.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use protocol::{Figure, FromPlugin, LogLevel, PROTOCOL_VERSION};
use text::secret::Masks;
use tracing::{Span, debug, info, info_span, trace, warn};

use super::super::course::Course;
use super::super::log::Log;
use super::super::secrets::{hide_figure, hide_metric};
use super::super::setting::{Timeout, next_within};
use super::super::{Failure, Notice, Yield};
use super::{Program, Stop};
use crate::env;
use crate::plugin::process::{Output, Process};

const HELLO_TIMEOUT: Duration = Duration::from_secs(60);

/// What plugins say is logged as.
const TARGET: &str = "plugin";

/// Puts a figure where a report finds it while the op goes on; is given all that count as well.
pub(super) type Show<'a> = &'a mut dyn FnMut(&Figure, &[Figure]);

pub(super) struct Listener<'a> {
    program: &'a Program<'a>,
    log: &'a mut Log,
    notify: &'a dyn Fn(Notice),
    show: Show<'a>,
    /// Places of figures by their ids.
    places: HashMap<String, usize>,
    /// How long it may take.
    timeout: Option<Timeout>,
    /// What is to be taken out of metrics and figures.
    masks: Masks,
    course: Course,
    /// What it counts at present.
    phase: Option<(String, Span)>,
    result: Yield,
}

impl<'a> Listener<'a> {
    pub(super) fn new(
        program: &'a Program<'a>,
        log: &'a mut Log,
        notify: &'a dyn Fn(Notice),
        show: Show<'a>,
        timeout: Option<Timeout>,
    ) -> Self {
        let (places, masks, result) = (HashMap::new(), Masks::default(), Yield::default());
        let course = Course::new(Instant::now());
        Self { program, log, notify, show, places, timeout, masks, course, phase: None, result }
    }

    /// The same, which takes secrets out of what it hears.
    pub(super) fn hiding(self, masks: Masks) -> Self {
        Self { masks, ..self }
    }

    pub(super) fn listen(mut self, process: &mut Process) -> Result<Yield, Stop> {
        self.hello(process)?;
        loop {
            let message = self.next(process, self.timeout, Stop::TimedOut)?;
            if self.take(message)?.is_break() {
                return Ok(self.result);
            }
        }
    }

    /// Acts on a message after `hello`; breaks at `done`.
    fn take(&mut self, message: FromPlugin) -> Result<ControlFlow<()>, Stop> {
        match message {
            FromPlugin::Hello { .. } => return Err(self.out_of_turn("`hello` twice")),
            FromPlugin::Progress(progress) => {
                self.course.observe(Instant::now(), &progress);
                self.enter_phase(&progress.unit);
                if progress.milestone {
                    self.log.line(&format!(
                        "{} {}/{}  {}",
                        progress.unit, progress.done, progress.total, progress.text
                    ));
                }
                (self.notify)(Notice::Progress(progress));
            }
            FromPlugin::Metric { name, metric } => {
                let (name, metric) = (self.masks.hide(&name).into_owned(), hide_metric(metric, &self.masks));
                self.log.line(&format!("{name} = {} {}", metric.value, metric.unit));
                let is_declared = self.program.declared.is_none_or(|names| names.contain(&name));
                if !is_declared && !self.result.metrics.contains_key(&name) {
                    let message = format!(
                        "plugin `{}` reports metric `{name}`, which its op does not declare: gates and columns cannot use it; \
                         please report this to the plugin's authors",
                        self.program.plugin
                    );
                    self.log.line(&format!("warning: {message}"));
                    (self.notify)(Notice::Log(LogLevel::Warn, message));
                }
                self.result.metrics.insert(name, metric);
            }
            FromPlugin::Figure(figure) => {
                let Some(figure) = hide_figure(figure, &self.masks) else {
                    self.log.line("warning: a figure is left out: it cannot be drawn without a secret");
                    return Ok(ControlFlow::Continue(()));
                };
                let figures = &mut self.result.figures;
                let place = *self.places.entry(figure.id.clone()).or_insert(figures.len());
                match figures.get_mut(place) {
                    Some(known) => *known = figure,
                    None => figures.push(figure),
                }
                if let Some(figure) = figures.get(place) {
                    (self.show)(figure, figures);
                }
            }
            FromPlugin::Log { level, message } => {
                self.log.line(&match level {
                    LogLevel::Warn => format!("warning: {message}"),
                    LogLevel::Info | LogLevel::Debug => message.clone(),
                });
                match level {
                    LogLevel::Warn => warn!(target: TARGET, "{}", self.masks.hide(&message)),
                    LogLevel::Info => info!(target: TARGET, "{}", self.masks.hide(&message)),
                    LogLevel::Debug => debug!(target: TARGET, "{}", self.masks.hide(&message)),
                }
                (self.notify)(Notice::Log(level, message));
            }
            FromPlugin::Checked { .. } => return Err(self.out_of_turn("`checked` without being asked")),
            FromPlugin::Done { provisional } => {
                if let Some(why) = &provisional {
                    let message = format!(
                        "{why}; the result is provisional: the next run will execute the stage again"
                    );
                    self.log.line(&format!("warning: {message}"));
                    (self.notify)(Notice::Log(LogLevel::Warn, message));
                }
                self.result.provisional = provisional.map(|why| self.masks.hide(&why).into_owned());
                self.result.pace = self.course.pace();
                return Ok(ControlFlow::Break(()));
            }
            FromPlugin::Failed { message, hint } => {
                let message = if message.trim().is_empty() {
                    format!("plugin `{}` failed without giving a reason", self.program.plugin)
                } else {
                    message
                };
                return Err(Stop::Told(Failure { message, hint }));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// A plugin that counts something else is in another phase of its work.
    fn enter_phase(&mut self, unit: &str) {
        if self.phase.as_ref().is_none_or(|(current, _)| current != unit) {
            // The one before ends first: they lie beside each other.
            self.phase = None;
            let span = info_span!("phase", unit = &*self.masks.hide(unit));
            self.phase = Some((unit.to_owned(), span));
        }
    }

    fn hello(&mut self, process: &mut Process) -> Result<(), Stop> {
        let patience = env::HELLO_TIMEOUT.seconds().unwrap_or(HELLO_TIMEOUT);
        let silent = Stop::Told(
            Failure::new(format!(
                "plugin `{}` was started but did not say `hello` in time",
                self.program.plugin
            ))
            .hint(format!(
                "is `{}` a plugin of `pipe`? a slow one gets more time by setting {} (seconds)",
                self.program.executable.display(),
                env::HELLO_TIMEOUT.name
            )),
        );
        let first = self.next(process, Some(Timeout::starting_now(patience)), silent)?;
        self.greet(&first)
    }

    /// Checks the first message.
    fn greet(&self, first: &FromPlugin) -> Result<(), Stop> {
        match *first {
            FromPlugin::Hello { version: PROTOCOL_VERSION } => Ok(()),
            FromPlugin::Hello { version } => {
                let plugin = self.program.plugin;
                Err(Stop::Told(
                    Failure::new(format!(
                        "plugin `{plugin}` speaks protocol version {version}, this `pipe` {PROTOCOL_VERSION}"
                    ))
                    .hint("build runner and plugin from the same release"),
                ))
            }
            _ => Err(self.out_of_turn("something before `hello`")),
        }
    }

    /// The next message, or `late` where there is none in time.
    fn next(
        &mut self,
        process: &mut Process,
        timeout: Option<Timeout>,
        late: Stop,
    ) -> Result<FromPlugin, Stop> {
        loop {
            match next_within(process, timeout) {
                Ok(Some(Output::Out(line))) => {
                    return self.read(&line);
                }
                Ok(Some(Output::Err(line))) => self.log.line(&line),
                Ok(Some(Output::OutClosed(None))) => return Err(Stop::Broke("stopped talking".into())),
                Ok(Some(Output::OutClosed(Some(why)))) => {
                    return Err(Stop::Broke(format!("cannot be understood: {why}")));
                }
                // What it left running says nothing for it.
                Ok(Some(Output::Ended(_) | Output::Left(_) | Output::Escaped(_) | Output::Detached(_))) => {
                    return Err(Stop::Broke("ended".into()));
                }
                Ok(None) => return Err(late),
                Err(error) => return Err(Stop::Broke(format!("can no longer be reached: {error}"))),
            }
        }
    }

    fn read(&self, line: &str) -> Result<FromPlugin, Stop> {
        trace!(target: TARGET, "{}", self.masks.hide(line));
        serde_json::from_str(line).map_err(|error| self.rubbish(line, &error))
    }

    fn rubbish(&self, line: &str, error: &serde_json::Error) -> Stop {
        let shown: String = self.masks.hide(line).chars().take(200).collect();
        Stop::Told(
            Failure::new(format!(
                "plugin `{}` sent an invalid protocol message ({error}): {shown}",
                self.program.plugin
            ))
            .hint("a plugin must keep standard output for the protocol and print everything else to standard error"),
        )
    }

    fn out_of_turn(&self, what: &str) -> Stop {
        Stop::Told(Failure::new(format!("plugin `{}` said {what}", self.program.plugin)))
    }
}

/// What is made of `lines` as if a plugin had printed them.
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::exec) fn overhear(
    program: &Program<'_>,
    lines: &str,
    log: &mut Log,
    notify: &dyn Fn(Notice),
) -> Result<Yield, Failure> {
    let show = &mut |_: &Figure, _: &[Figure]| ();
    let mut listener = Listener::new(program, log, notify, show, None);
    let mut greeted = false;
    for line in lines.lines() {
        let heard = listener.read(line).and_then(|message| match greeted {
            false => listener.greet(&message).map(|()| ControlFlow::Continue(())),
            true => listener.take(message),
        });
        greeted = true;
        match heard {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(listener.result),
            Err(Stop::Told(failure)) => return Err(failure),
            Err(Stop::Broke(what)) => return Err(Failure::new(what)),
            Err(Stop::TimedOut) => return Err(Failure::new("took too long")),
        }
    }
    Err(Failure::new("ended"))
}
