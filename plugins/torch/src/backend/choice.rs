//! Which backend computes a training, why, and how it is made. Knows what each can do; knows no epochs.

use tch::Device;

use super::libtorch::Libtorch;
use super::native::Native;
use super::{Backend, Task, TrainState};
use crate::data::device_images::DeviceImages;
use crate::error::{TorchError, TrainError};
use crate::optim::Rules;
use crate::params::{EngineName, Precision};

/// Who computes a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BackendKind {
    Native,
    Libtorch,
}

impl BackendKind {
    /// Who computes: kernels of our own where they may and can.
    ///
    /// # Errors
    /// Where they must, but cannot.
    pub(crate) fn of(task: &Task<'_>) -> Result<Self, TrainError> {
        match (task.engine, hindrance(task)) {
            (EngineName::Auto | EngineName::Native, None) => Ok(Self::Native),
            (EngineName::Native, Some(reason)) => Err(TrainError::Native(reason)),
            (EngineName::Auto | EngineName::Libtorch, _) => Ok(Self::Libtorch),
        }
    }

    /// What it is called, in checkpoints, too.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "kernels of our own",
            Self::Libtorch => "libtorch",
        }
    }

    /// Who computes, and how, in words; `crowded` is why the device does not hold the training images.
    pub(crate) fn described(self, task: &Task<'_>, crowded: Option<&TorchError>) -> String {
        let mut words = self.name().to_owned();
        if task.precision == Precision::Bfloat16 {
            words.push_str(", in bfloat16");
        } else if let (Self::Libtorch, EngineName::Auto, Device::Cpu, None, Some(reason)) =
            (self, task.engine, task.device, task.fake_quants, hindrance(task))
        {
            words.push_str(&format!(" ({reason})"));
        }
        if let Some(error) = crowded {
            words.push_str(&format!(", with images from the host ({error})"));
        }
        words
    }

    /// The backend itself, which goes on from `train_state`; images are made by `device_images`, where there are such.
    ///
    /// # Errors
    /// When it cannot be started, or the device has no room.
    pub(crate) fn build<'a>(
        self,
        task: Task<'a>,
        rules: &'a Rules,
        train_state: &TrainState,
        device_images: Option<DeviceImages>,
    ) -> Result<Box<dyn Backend + 'a>, TrainError> {
        match self {
            Self::Native => {
                let network = |graph| {
                    backprop::Network::new(graph, task.threads)
                        .map_err(|error| TrainError::Native(error.to_string()))
                };
                let teacher = match task.teacher {
                    Some(teacher) => Some((network(&teacher.graph)?, teacher)),
                    None => None,
                };
                let network = network(task.graph)?;
                let (images, classes) = (task.normalization, task.graph.classes());
                Ok(Box::new(Native::new(network, rules, images, classes, train_state.clone(), teacher)))
            }
            Self::Libtorch => Ok(Box::new(Libtorch::new(task, rules, train_state, device_images)?)),
        }
    }
}

/// Why kernels of our own cannot compute it, if they cannot.
fn hindrance(task: &Task<'_>) -> Option<String> {
    if task.precision == Precision::Bfloat16 {
        return Some("`precision: bfloat16` is computed by libtorch alone".into());
    }
    if task.device != Device::Cpu || task.fake_quants.is_some() {
        return Some("it computes on a CPU and without rounding".into());
    }
    let own = backprop::supports(task.graph).err().map(|error| error.to_string());
    let teachers = task.teacher.and_then(|teacher| backprop::supports(&teacher.graph).err());
    own.or_else(|| teachers.map(|error| format!("the teacher: {error}")))
}
