//! Snapshots of a training in a file, so that an interrupted one continues. A file that is damaged, or of another
//! training, is told from a good one and never used. Knows files; knows nothing of how a training goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use protocol::Partial;
use serde::{Deserialize, Serialize};
use tensors::{Data, Tensor, TensorFile};

use crate::backend::TrainState;
use crate::net::parameters::Parameters;
use crate::params::TrainParams;
use crate::trainer::snapshot::{Best, EpochRecord, Snapshot};

/// Bumped when the file's layout or the meaning of its numbers changes.
const FORMAT: u32 = 3;

/// Where a training keeps its snapshot, and which training it is.
pub(crate) struct Checkpoint {
    path: PathBuf,
    identity: String,
}

/// What two trainings of the same params may differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    /// Training and held-out images.
    pub(crate) images: [usize; 2],
    /// Who computes, and where: each has fake_quants of its own.
    pub(crate) computed: [&'static str; 2],
}

#[derive(Serialize, Deserialize)]
struct Metadata {
    format: u32,
    identity: String,
    epochs_done: u32,
    best: Option<BestRecord>,
    history: Vec<EpochRecord>,
    continued: Option<u32>,
    checksum: String,
}

#[derive(Serialize, Deserialize)]
struct BestRecord {
    epoch: u32,
    correct: u64,
}

impl Checkpoint {
    /// The checkpoint in `folder` of a training with `params` in a setting.
    pub(crate) fn new(folder: &Path, params: &TrainParams, setting: Setting) -> anyhow::Result<Self> {
        let text = serde_json::to_string(&(params, setting))?;
        let identity = blake3::hash(text.as_bytes()).to_hex().to_string();
        Ok(Self { path: folder.join("checkpoint.safetensors"), identity })
    }

    /// Replaces the file by `snapshot`, whole or not at all.
    pub(crate) fn write(&self, snapshot: &Snapshot) -> anyhow::Result<()> {
        let mut tensors = BTreeMap::new();
        let mut add = |name: &str, values: &[f32]| {
            if let Some(tensor) = Tensor::new(vec![values.len()], Data::F32(values.to_vec())) {
                tensors.insert(name.to_owned(), tensor);
            }
        };
        let TrainState { parameters, velocity, average } = &snapshot.train_state;
        add("values", &parameters.values);
        add("stats", &parameters.stats);
        add("velocity", velocity);
        if let Some(average) = average {
            add("average.values", &average.values);
            add("average.stats", &average.stats);
        }
        if let Some(best) = &snapshot.best {
            add("best.values", &best.parameters.values);
            add("best.stats", &best.parameters.stats);
        }
        let mut metadata = Metadata {
            format: FORMAT,
            identity: self.identity.clone(),
            epochs_done: snapshot.epochs_done,
            best: (snapshot.best.as_ref())
                .map(|best| BestRecord { epoch: best.epoch, correct: best.correct }),
            history: snapshot.history.clone(),
            continued: snapshot.continued,
            checksum: String::new(),
        };
        metadata.checksum = checksum(&tensors, &metadata)?;
        tensors::write(&self.path, &tensors, &metadata)?;
        if let Some(folder) = self.path.parent() {
            // Without it the rest is said to take as long as all of it, nothing else.
            let _ = Partial { done: f64::from(snapshot.epochs_done), of: "with.epochs".into() }.write(folder);
        }
        Ok(())
    }

    /// The snapshot last written, if there is one; an error says why the file is of no use.
    pub(crate) fn read(&self) -> anyhow::Result<Option<Snapshot>> {
        if !self.path.exists() {
            return Ok(None);
        }
        let mut file: TensorFile<Metadata> = tensors::read_with_metadata(&self.path)?;
        let claimed = std::mem::take(&mut file.metadata.checksum);
        anyhow::ensure!(
            checksum(&file.tensors, &file.metadata)? == claimed,
            "`{}` is damaged",
            self.path.display()
        );
        anyhow::ensure!(
            file.metadata.format == FORMAT && file.metadata.identity == self.identity,
            "`{}` is of another training",
            self.path.display()
        );
        let averaged = file.tensors.contains_key("average.values");
        let mut take = |name: &str| file.take_f32(&self.path, name).map(|(_, values)| values);
        let parameters = Parameters { values: take("values")?, stats: take("stats")? };
        let velocity = take("velocity")?;
        let average = match averaged {
            false => None,
            true => Some(Parameters { values: take("average.values")?, stats: take("average.stats")? }),
        };
        let train_state = TrainState { parameters, velocity, average };
        let best = match &file.metadata.best {
            None => None,
            &Some(BestRecord { epoch, correct }) => {
                let mut take = |name: &str| file.take_f32(&self.path, name).map(|(_, values)| values);
                let parameters = Parameters { values: take("best.values")?, stats: take("best.stats")? };
                Some(Best { epoch, correct, parameters })
            }
        };
        let Metadata { epochs_done, history, continued, .. } = file.metadata;
        Ok(Some(Snapshot { epochs_done, train_state, best, history, continued }))
    }
}

fn checksum(tensors: &BTreeMap<String, Tensor>, metadata: &Metadata) -> serde_json::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let text = serde_json::to_string(metadata)?;
    hasher.update(text.as_bytes());
    for (name, tensor) in tensors {
        hasher.update(name.as_bytes());
        if let Data::F32(values) = tensor.data() {
            let bytes: Vec<_> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            hasher.update(&bytes);
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::score::{Score, rounded};

    const SETTING: Setting = Setting { images: [10, 2], computed: ["kernels of our own", "CPU"] };

    fn snapshot() -> Snapshot {
        let parameters = |value: f32| Parameters { values: vec![value, -0.1], stats: vec![0.3] };
        let score = Score { loss: rounded(1.234_567_890_123), correct: 7, total: 9 };
        Snapshot {
            epochs_done: 3,
            train_state: TrainState {
                parameters: parameters(0.7),
                velocity: vec![1e-30, 5.0],
                average: Some(parameters(0.5)),
            },
            best: Some(Best { epoch: 2, correct: 7, parameters: parameters(0.6) }),
            history: vec![EpochRecord {
                epoch: 1,
                lr: 0.1 + 0.2,
                train: score,
                validation: Some(score),
                test: None,
            }],
            continued: Some(1),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::new(folder.path(), &TrainParams::default(), SETTING).unwrap();
        assert_eq!(checkpoint.read().unwrap(), None);
        let plain = TrainState { average: None, ..snapshot().train_state };
        for snapshot in [snapshot(), Snapshot { best: None, train_state: plain, ..snapshot() }] {
            checkpoint.write(&snapshot).unwrap();
            assert_eq!(checkpoint.read().unwrap(), Some(snapshot));
        }
        let partial = std::fs::read_to_string(folder.path().join(Partial::FILE)).unwrap();
        assert_eq!(partial, r#"{"done":3.0,"of":"with.epochs"}"#);
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::new(folder.path(), &TrainParams::default(), SETTING).unwrap();
        checkpoint.write(&snapshot()).unwrap();
        let good = std::fs::read(&checkpoint.path).unwrap();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            std::fs::write(&checkpoint.path, &bad).unwrap();
            // A changed byte of white space between header and data changes nothing.
            let outcome = checkpoint.read();
            assert!(outcome.is_err() || outcome.unwrap() == Some(snapshot()), "byte {place}");
        }
        std::fs::write(&checkpoint.path, &good[..good.len() / 2]).unwrap();
        assert!(checkpoint.read().is_err());
    }

    #[test]
    fn another_trainings_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let params = TrainParams::default();
        Checkpoint::new(folder.path(), &params, SETTING).unwrap().write(&snapshot()).unwrap();
        let others =
            [Setting { images: [9, 2], ..SETTING }, Setting { computed: ["libtorch", "CPU"], ..SETTING }];
        let others = others.map(|setting| (params.clone(), setting));
        for (params, setting) in others.into_iter().chain([(TrainParams { lr: 0.1, ..params }, SETTING)]) {
            let error = Checkpoint::new(folder.path(), &params, setting).unwrap().read().unwrap_err();
            assert!(error.to_string().contains("another training"), "{error}");
        }
    }
}
