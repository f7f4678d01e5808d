//! Who computes a training: kernels of our own, or libtorch.

use tch::Device;

use crate::net::TorchError;
use crate::params::{EngineName, Precision};
use crate::training::{TrainError, Training};

/// Who computes a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Computes {
    Native,
    Libtorch,
}

impl Computes {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "kernels of our own",
            Self::Libtorch => "libtorch",
        }
    }
}

impl Training<'_> {
    /// Who computes: kernels of our own where they may and can. An error where they must, but cannot.
    pub(crate) fn computes(&self) -> Result<Computes, TrainError> {
        match (self.params.engine, self.hindrance()) {
            (EngineName::Auto | EngineName::Native, None) => Ok(Computes::Native),
            (EngineName::Native, Some(reason)) => Err(TrainError::Native(reason)),
            (EngineName::Auto | EngineName::Libtorch, _) => Ok(Computes::Libtorch),
        }
    }

    /// Why kernels of our own cannot compute it, if they cannot.
    fn hindrance(&self) -> Option<String> {
        if self.params.precision == Precision::Bfloat16 {
            return Some("`precision: bfloat16` is computed by libtorch alone".into());
        }
        if self.device != Device::Cpu || self.tuning.is_some() {
            return Some("it computes on a CPU and without rounding".into());
        }
        let own = backprop::supports(self.graph).err().map(|error| error.to_string());
        let teachers = self.teacher.and_then(|teacher| backprop::supports(&teacher.graph).err());
        own.or_else(|| teachers.map(|error| format!("the teacher: {error}")))
    }

    /// Who computes, and how, in words; `crowded` is why the device does not hold the training images.
    pub(crate) fn described(&self, computes: Computes, crowded: Option<&TorchError>) -> String {
        let mut words = computes.name().to_owned();
        if self.params.precision == Precision::Bfloat16 {
            words.push_str(", in bfloat16");
        } else if let (Computes::Libtorch, EngineName::Auto, Device::Cpu, None, Some(reason)) =
            (computes, self.params.engine, self.device, &self.tuning, self.hindrance())
        {
            words.push_str(&format!(" ({reason})"));
        }
        if let Some(error) = crowded {
            words.push_str(&format!(", with images from the host ({error})"));
        }
        words
    }
}
