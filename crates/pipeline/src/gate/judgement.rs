//! What a gate comes to for a run: its verdict, together with whether it lets the run end well. The one place that says in
//! which order gates are shown, how they are marked, and what that is called.

use super::{GateResult, Verdict};

/// What a gate comes to for a run; what to look at first is least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judgement {
    /// It is not satisfied.
    Fails,
    /// It is inconclusive, and not satisfied as measured, or certainty was asked for.
    Missed,
    /// A metric that it names is not there.
    Unknown,
    /// It is inconclusive, though satisfied as measured.
    Inconclusive,
    /// It is satisfied.
    Holds,
}

impl GateResult {
    /// What it comes to for a run; `certain` where the run asked for certainty.
    #[must_use]
    pub fn judgement(&self, certain: bool) -> Judgement {
        match self.verdict {
            Verdict::Pass => Judgement::Holds,
            Verdict::Fail => Judgement::Fails,
            Verdict::Unknown => Judgement::Unknown,
            Verdict::Inconclusive if self.satisfied == Some(true) && !certain => Judgement::Inconclusive,
            Verdict::Inconclusive => Judgement::Missed,
        }
    }
}

impl Judgement {
    /// Whether the run may end well.
    #[must_use]
    pub fn lets_pass(self) -> bool {
        matches!(self, Self::Inconclusive | Self::Holds)
    }

    /// A sign for it in text.
    #[must_use]
    pub fn mark(self) -> &'static str {
        match self {
            Self::Fails | Self::Missed => "✖",
            Self::Unknown => "?",
            Self::Inconclusive => "~",
            Self::Holds => "✔",
        }
    }

    /// A sign for it on a page: phones draw the heavy ones of [`mark`](Self::mark) as coloured pictures.
    #[must_use]
    pub fn light_mark(self) -> &'static str {
        match self {
            Self::Fails | Self::Missed => "✕",
            Self::Unknown | Self::Inconclusive => self.mark(),
            Self::Holds => "✓",
        }
    }

    /// What is said of one gate.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Fails => "fails",
            Self::Missed | Self::Inconclusive => "inconclusive",
            Self::Unknown => "not known",
            Self::Holds => "holds",
        }
    }

    /// What is said of a number of gates.
    #[must_use]
    pub fn counted(self) -> &'static str {
        match self {
            Self::Fails => "fail",
            Self::Missed => "missed",
            Self::Holds => "hold",
            Self::Unknown | Self::Inconclusive => self.word(),
        }
    }
}

/// Gates, those to look at first.
#[must_use]
pub fn sorted(gates: &[GateResult], certain: bool) -> Vec<&GateResult> {
    let mut gates: Vec<&GateResult> = gates.iter().collect();
    gates.sort_by_key(|gate| gate.judgement(certain));
    gates
}
