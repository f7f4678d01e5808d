//! Tensors whose elements lie in files beside the model's ("external data" of the ONNX specification).
//!
//! A location is believed only inside of the model's folder, and sizes only as far as the files go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};

use crate::error::Error;
use crate::proto::{GraphProto, TensorProto};
use crate::read::MAX_FILE_BYTES;

/// `data_location` of a tensor that is elsewhere.
const EXTERNAL: i32 = 1;

/// Takes the elements of all tensors of `graph` that lie in files of `folder` into it. Returns the names of the files.
pub(crate) fn embed(graph: &mut GraphProto, folder: &Path) -> Result<BTreeSet<String>, Error> {
    let mut files = BTreeSet::new();
    let mut room = MAX_FILE_BYTES;
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    let tensors = attributes.filter_map(|attribute| attribute.t.as_mut()).chain(&mut graph.initializer);
    for tensor in tensors.filter(|tensor| tensor.data_location == Some(EXTERNAL)) {
        let name = tensor.name.clone().unwrap_or_default();
        let place = Place::of(tensor).map_err(|reason| invalid(&name, &reason))?;
        let bytes = place.read(folder, room).map_err(|reason| invalid(&name, &reason))?;
        room = room.saturating_sub(bytes.len() as u64);
        files.insert(place.location);
        tensor.raw_data = Some(bytes);
        tensor.data_location = None;
        tensor.external_data.clear();
    }
    Ok(files)
}

fn invalid(tensor: &str, reason: &str) -> Error {
    Error::Invalid(format!("the data of `{tensor}`, which lies in another file: {reason}"))
}

/// Where a tensor's bytes are.
struct Place {
    location: String,
    offset: u64,
    /// To the end of the file where it is not said.
    length: Option<u64>,
}

impl Place {
    fn of(tensor: &TensorProto) -> Result<Self, String> {
        let entries = tensor.external_data.iter();
        let entries: BTreeMap<&str, &str> = entries
            .map(|entry| {
                (entry.key.as_deref().unwrap_or_default(), entry.value.as_deref().unwrap_or_default())
            })
            .collect();
        let number = |key: &str| match entries.get(key) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("`{key}` is `{text}`")),
        };
        let location = entries.get("location").copied().unwrap_or_default();
        let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        let inside = Path::new(location).components().all(inside);
        if location.is_empty() || !inside {
            return Err(format!("`{location}` is not a file in the model's folder"));
        }
        let offset = number("offset")?.unwrap_or(0);
        Ok(Self { location: location.to_owned(), offset, length: number("length")? })
    }

    /// Its bytes, of which there may be no more than `room`.
    fn read(&self, folder: &Path, room: u64) -> Result<Vec<u8>, String> {
        let path = folder.join(&self.location);
        let cannot = |error: std::io::Error| format!("cannot read `{}`: {error}", path.display());
        let outside = || format!("`{}` leads out of the model's folder", self.location);
        let (home, real) =
            (fs::canonicalize(folder).map_err(cannot)?, fs::canonicalize(&path).map_err(cannot)?);
        if !real.starts_with(home) {
            return Err(outside());
        }
        let metadata = fs::metadata(&real).map_err(cannot)?;
        if !metadata.is_file() {
            return Err(format!("`{}` is not a file", self.location));
        }
        let mut file = File::open(&real).map_err(cannot)?;
        let size = metadata.len();
        let rest = size.saturating_sub(self.offset);
        let length = self.length.unwrap_or(rest);
        if self.offset > size || length > rest {
            return Err(format!(
                "bytes {} to {} of `{}`, which has {size}",
                self.offset,
                self.offset.saturating_add(length),
                self.location
            ));
        }
        if length > room {
            return Err(format!("all of it is more than {} MiB", MAX_FILE_BYTES >> 20));
        }
        file.seek(SeekFrom::Start(self.offset)).map_err(cannot)?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes).map_err(cannot)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use prost::Message;

    use crate::proto::{ModelProto, StringStringEntryProto};
    use crate::{Data, Model, Node, Tensor};

    /// A model whose weight, 1 to 4, lies in a file; `place` says where.
    fn model(place: &[(&str, &str)]) -> Vec<u8> {
        let mut model = Model::new(13);
        model.graph.nodes = vec![Node::new("MatMul", ["x", "w"], ["y"])];
        let value =
            |name: &str| crate::Value { name: name.into(), element: crate::ElementType::F32, shape: None };
        (model.graph.inputs, model.graph.outputs) = (vec![value("x")], vec![value("y")]);
        let weight = Tensor::new(vec![2, 2], Data::F32(vec![0.0; 4])).unwrap();
        model.graph.initializers.insert("w".into(), weight);
        let mut proto = ModelProto::decode(model.to_bytes().as_slice()).unwrap();
        let tensor = &mut proto.graph.as_mut().unwrap().initializer[0];
        tensor.raw_data = None;
        tensor.data_location = Some(EXTERNAL);
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some((*key).into()),
            value: Some((*value).into()),
        };
        tensor.external_data = place.iter().map(entry).collect();
        proto.encode_to_vec()
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let floats: Vec<u8> = [9.0_f32, 1.0, 2.0, 3.0, 4.0].into_iter().flat_map(f32::to_le_bytes).collect();
        fs::write(folder.path().join("w.bin"), floats).unwrap();
        folder
    }

    #[test]
    fn elements_are_read_from_their_place() {
        let folder = folder();
        let path = folder.path().join("m.onnx");
        for place in [
            &[("location", "w.bin"), ("offset", "4"), ("length", "16")][..],
            &[("location", "w.bin"), ("offset", "4")],
        ] {
            fs::write(&path, model(place)).unwrap();
            let (read, files) = Model::read_with_files(&path).unwrap();
            assert_eq!(read.graph.initializers["w"].as_f32(), Some(&[1.0, 2.0, 3.0, 4.0][..]));
            assert_eq!(files.into_iter().collect::<Vec<_>>(), ["w.bin"]);
            assert_eq!(Model::from_bytes(&read.to_bytes()).unwrap(), read, "written whole");
        }
    }

    #[test]
    fn places_that_cannot_be_are_refused() {
        let folder = folder();
        let path = folder.path().join("m.onnx");
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).unwrap();
        for (place, says) in [
            (&[("location", "w.bin"), ("offset", "8")][..], "3 elements"),
            (
                &[("location", "w.bin"), ("offset", "4"), ("length", "17")],
                "bytes 4 to 21 of `w.bin`, which has 20",
            ),
            (&[("location", "w.bin"), ("offset", "99")], "bytes 99 to 99"),
            (&[("location", "w.bin"), ("offset", "-1")], "`offset` is `-1`"),
            (&[("location", "../w.bin")], "not a file in the model's folder"),
            (&[("location", "/etc/passwd")], "not a file in the model's folder"),
            (&[("location", "link")], "leads out of the model's folder"),
            (&[("location", "missing")], "cannot read"),
            (&[("location", ".")], "is not a file"),
            (&[], "`` is not a file"),
        ] {
            fs::write(&path, model(place)).unwrap();
            let message = Model::read(&path).unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
        }
        let message = Model::from_bytes(&model(&[("location", "w.bin")])).unwrap_err().to_string();
        assert!(message.contains("data in another file"), "{message}");
    }
}
