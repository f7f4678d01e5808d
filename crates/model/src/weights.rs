//! The weights file: a state dict under PyTorch's names as safetensors, with the network, the classes and the
//! normalisation in its metadata, so that the file alone is enough to compute logits from pixels.
//!
//! Checked when read: afterwards every parameter of the graph is there as f32 in its shape.

use std::collections::BTreeMap;
use std::path::Path;

use dataset::Normalization;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tensors::{Data, Tensor};

use crate::{Graph, ModelError, Network};

/// PyTorch's counter of training steps in each batch normalisation. Allowed in a file, needed by nobody here.
const COUNTER_SUFFIX: &str = ".num_batches_tracked";

/// Weights that fit their network.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// Parameters and running statistics by name, as in [`Graph::params`], and possibly PyTorch's counters
    /// (`….num_batches_tracked`, i64).
    pub tensors: BTreeMap<String, Tensor>,
    /// What the tensors belong to.
    pub metadata: WeightsMetadata,
}

/// What weights belong to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsMetadata {
    /// The network.
    pub network: Network,
    /// Class names in the order of the logits.
    pub classes: Vec<String>,
    /// How pixels become the network's input.
    pub normalization: Normalization,
    /// Which training images were held out when it was trained. `None` where that is not known, as of weights from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<HeldOut>,
}

/// Which training images a network was not trained on: what `dataset::validation_split` makes of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOut {
    /// Seed of the split.
    pub seed: u64,
    /// How many images were held out.
    pub images: usize,
    /// How many training images there were with them.
    pub of: usize,
}

impl Weights {
    /// Puts weights together.
    ///
    /// # Errors
    /// Where the network cannot be built, the normalisation has other channels, or a tensor is missing, has another
    /// type or shape, or belongs to no layer.
    pub fn new(tensors: BTreeMap<String, Tensor>, metadata: WeightsMetadata) -> Result<Self, ModelError> {
        let weights = Self { tensors, metadata };
        weights.check()?;
        Ok(weights)
    }

    /// Reads a weights file.
    ///
    /// # Errors
    /// As [`Weights::new`], naming the file, and where the file is unreadable, damaged or without metadata.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let file = tensors::read_with_metadata(path)?;
        Self::new(file.tensors, file.metadata).map_err(|source| in_file(path, source))
    }

    /// Reads a plain state dict saved as safetensors, such as one from PyTorch, which says nothing of its network.
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub fn read_state_dict(path: &Path, metadata: WeightsMetadata) -> Result<Self, ModelError> {
        let file = tensors::read::<IgnoredAny>(path)?;
        Self::new(file.tensors, metadata).map_err(|source| in_file(path, source))
    }

    /// Writes the file whole. The same weights give the same bytes.
    ///
    /// # Errors
    /// As [`Weights::new`], and where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ModelError> {
        self.check()?;
        Ok(tensors::write(path, &self.tensors, &self.metadata)?)
    }

    /// The network as a graph.
    ///
    /// # Errors
    /// Where fields were changed to what makes no network.
    pub fn graph(&self) -> Result<Graph, ModelError> {
        self.metadata.network.lower(self.metadata.classes.len())
    }

    /// Values of a parameter, row-major.
    ///
    /// # Errors
    /// [`ModelError::Weights`] where there is no f32 tensor of that name.
    pub fn values(&self, name: &str) -> Result<&[f32], ModelError> {
        match self.tensors.get(name).map(Tensor::data) {
            Some(Data::F32(values)) => Ok(values),
            Some(_) => Err(refuse(format!("tensor `{name}` is not f32"))),
            None => Err(refuse(format!("there is no tensor `{name}`"))),
        }
    }

    fn check(&self) -> Result<(), ModelError> {
        let graph = self.graph()?;
        let [channels, ..] = graph.input_shape();
        self.metadata.normalization.check(channels).map_err(|error| refuse(error.to_string()))?;
        let params = graph.params();
        for param in &params {
            let shape = self.tensors.get(&param.name).map_or(&[][..], Tensor::shape);
            self.values(&param.name)?;
            if shape != param.shape {
                return Err(refuse(format!(
                    "tensor `{}` has shape {shape:?}, but the network needs {:?}",
                    param.name, param.shape
                )));
            }
        }
        let known: std::collections::BTreeSet<_> = params.iter().map(|param| param.name.as_str()).collect();
        let stray = self
            .tensors
            .keys()
            .find(|name| !known.contains(name.as_str()) && !name.ends_with(COUNTER_SUFFIX));
        match stray {
            Some(name) => Err(refuse(format!("tensor `{name}` belongs to no layer"))),
            None => Ok(()),
        }
    }
}

fn refuse(reason: String) -> ModelError {
    ModelError::Weights { reason }
}

fn in_file(path: &Path, source: ModelError) -> ModelError {
    ModelError::File { path: path.into(), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParamKind;

    fn tiny() -> Weights {
        let network: Network = serde_json::from_str(
            r#"{"input": [1, 4, 4], "layers": [{"conv": {"out": 2, "kernel": 3}}, {"global_average_pool": {}}, {"linear": {}}]}"#,
        )
        .unwrap();
        let graph = network.lower(2).unwrap();
        let tensors = graph
            .params()
            .into_iter()
            .map(|param| {
                let values = (0..param.count()).map(|index| index as f32).collect();
                (param.name.clone(), Tensor::new(param.shape, Data::F32(values)).unwrap())
            })
            .collect();
        let normalization = Normalization { mean: vec![0.5], std: vec![0.25] };
        let classes = vec!["a".into(), "b".into()];
        Weights::new(tensors, WeightsMetadata { network, classes, normalization, held_out: None }).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let weights = tiny();
        weights.write(&path).unwrap();
        assert_eq!(Weights::read(&path).unwrap(), weights);
        assert_eq!(weights.values("fc.weight").unwrap(), [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn weights_that_do_not_fit_are_refused_by_name() {
        let message = |edit: &dyn Fn(&mut Weights)| {
            let mut weights = tiny();
            edit(&mut weights);
            Weights::new(weights.tensors, weights.metadata).unwrap_err().to_string()
        };
        let other = Tensor::new(vec![1], Data::F32(vec![0.0])).unwrap();
        let integer = Tensor::new(vec![2], Data::I64(vec![0, 0])).unwrap();
        let missing = message(&|weights| drop(weights.tensors.remove("stem.1.running_var")));
        assert!(missing.contains("no tensor `stem.1.running_var`"), "{missing}");
        let shape = message(&|weights| drop(weights.tensors.insert("fc.bias".into(), other.clone())));
        assert!(shape.contains("`fc.bias` has shape [1], but the network needs [2]"), "{shape}");
        let kind = message(&|weights| drop(weights.tensors.insert("fc.bias".into(), integer.clone())));
        assert!(kind.contains("`fc.bias` is not f32"), "{kind}");
        let stray = message(&|weights| drop(weights.tensors.insert("head.bias".into(), other.clone())));
        assert!(stray.contains("`head.bias` belongs to no layer"), "{stray}");
        let channels = message(&|weights| weights.metadata.normalization = Normalization::cifar10());
        assert!(channels.contains("3 values of `mean`, but images have 1 channel"), "{channels}");
    }

    #[test]
    fn reference_state_dicts_fit_tinynet() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference");
        if !folder.exists() {
            eprintln!("skipped: no reference models");
            return;
        }
        let metadata = WeightsMetadata {
            network: Network::tinynet(),
            classes: (0..10).map(|class| class.to_string()).collect(),
            normalization: Normalization::cifar10(),
            held_out: None,
        };
        for file in ["model/tinynet.safetensors", "notebook-model/best_model.safetensors"] {
            let weights = Weights::read_state_dict(&folder.join(file), metadata.clone()).unwrap();
            let graph = weights.graph().unwrap();
            let norms = graph.params().iter().filter(|param| param.kind == ParamKind::NormScale).count();
            assert_eq!(weights.tensors.len(), graph.params().len() + norms, "params and counters of {file}");
        }
    }
}
