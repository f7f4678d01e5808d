//! Tensors whose elements lie in files beside the model's ("external data" of the ONNX specification).
//!
//! A location is believed only where it leads to a file in the model's folder, in the folder that the model really lies in where it
//! is a link, or to one that the caller names; sizes only as far as the files go.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use crate::error::Error;
use crate::proto::{GraphProto, TensorProto};

/// The largest file that is read, and the most bytes that lie beside it: 512 MiB, far above what fits on a device that wants
/// INT8.
pub const MAX_FILE_BYTES: u64 = 512 << 20;

/// `data_location` of a tensor that is elsewhere.
const EXTERNAL: i32 = 1;

/// The files that hold elements of a model's tensors, by the location that the model names: where they really are.
pub type DataFiles = BTreeMap<String, PathBuf>;

/// Finds the files that hold elements of tensors of `graph`, the graph of the model at `path`. `declared` are files and folders
/// that the caller wants read for it, wherever they are.
pub(crate) fn find(graph: &mut GraphProto, path: &Path, declared: &[PathBuf]) -> Result<DataFiles, Error> {
    let mut files = DataFiles::new();
    let mut tensors = Vec::new();
    external_tensors(graph, &mut tensors);
    for tensor in tensors {
        let name = tensor.name.as_deref().unwrap_or_default();
        let location = Place::of(tensor).map_err(|reason| elsewhere(name, reason))?.location;
        if let Entry::Vacant(entry) = files.entry(location) {
            let no_data = |reason| Error::NoData { tensor: name.into(), reason };
            let real = locate(path, declared, entry.key()).map_err(no_data)?;
            if fs::canonicalize(path).is_ok_and(|model| model == real) {
                return Err(elsewhere(name, format!("`{}` is the model itself", entry.key())));
            }
            entry.insert(real);
        }
    }
    Ok(files)
}

/// Takes the elements of all tensors of `graph` that lie in `files` into it.
pub(crate) fn embed(graph: &mut GraphProto, files: &DataFiles) -> Result<(), Error> {
    let mut room = MAX_FILE_BYTES;
    let mut tensors = Vec::new();
    external_tensors(graph, &mut tensors);
    for tensor in tensors {
        let name = tensor.name.clone().unwrap_or_default();
        let bytes = Place::of(tensor).and_then(|place| place.read(files, room));
        let bytes = bytes.map_err(|reason| elsewhere(&name, reason))?;
        room = room.saturating_sub(bytes.len() as u64);
        tensor.raw_data = Some(bytes);
        tensor.data_location = None;
        tensor.external_data.clear();
    }
    Ok(())
}

/// Those of the graph and of the bodies of its nodes.
fn external_tensors<'g>(graph: &'g mut GraphProto, found: &mut Vec<&'g mut TensorProto>) {
    let is_external = |tensor: &&mut TensorProto| tensor.data_location == Some(EXTERNAL);
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        found.extend(attribute.t.as_mut().filter(is_external));
        if let Some(body) = &mut attribute.g {
            external_tensors(body, found);
        }
    }
    found.extend(graph.initializer.iter_mut().filter(is_external));
}

fn elsewhere(tensor: &str, reason: String) -> Error {
    Error::Data { tensor: tensor.into(), reason }
}

/// Where `location` of the model at `path` leads.
fn locate(path: &Path, declared: &[PathBuf], location: &str) -> Result<PathBuf, String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let own = folder.join(location);
    let cannot = |error: io::Error| format!("cannot read `{}`: {error}", own.display());
    let mut homes = vec![fs::canonicalize(folder).map_err(cannot)?];
    let mut places = vec![own.clone()];
    // A model that is a link, as a download's cache lays them out: its data may lie beside the real one.
    if let Some(home) = fs::canonicalize(path).map_err(cannot)?.parent()
        && !homes.iter().any(|known| known == home)
    {
        homes.push(home.to_owned());
        places.push(home.join(location));
    }
    for real in places.iter().filter_map(|place| fs::canonicalize(place).ok()) {
        let is_declared = || {
            let mut declared = declared.iter().filter_map(|given| fs::canonicalize(given).ok());
            declared.any(|given| real.starts_with(given))
        };
        if homes.iter().any(|home| real.starts_with(home)) || is_declared() {
            return Ok(real);
        }
    }
    // Links in a folder that is declared stand for their content.
    let name = Path::new(location).file_name();
    let named = declared.iter().flat_map(|given| match (given.is_dir(), name) {
        (true, Some(name)) => vec![given.join(location), given.join(name)],
        (false, _) if given.file_name() == name => vec![given.clone()],
        _ => vec![],
    });
    if let Some(real) = named.filter_map(|place| fs::canonicalize(place).ok()).next() {
        return Ok(real);
    }
    match fs::canonicalize(&own) {
        Ok(_) => Err(format!("`{location}` leads out of the model's folder")),
        Err(error) => Err(cannot(error)),
    }
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
    fn read(&self, files: &DataFiles, room: u64) -> Result<Vec<u8>, String> {
        let real =
            files.get(&self.location).ok_or_else(|| format!("`{}` was not looked for", self.location))?;
        let cannot = |error: io::Error| format!("cannot read `{}`: {error}", real.display());
        let mut file = regular::open(real).map_err(cannot)?;
        let size = file.metadata().map_err(cannot)?.len();
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
    use crate::{Data, Model, Node, Tensor, data_files};

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
            let (read, files) = Model::read_with(&path, &[]).unwrap();
            assert_eq!(read.graph.initializers["w"].as_f32(), Some(&[1.0, 2.0, 3.0, 4.0][..]));
            assert_eq!(files.keys().collect::<Vec<_>>(), ["w.bin"]);
            assert_eq!(Model::from_bytes(&read.to_bytes()).unwrap(), read, "written whole");
        }
    }

    const HERE: [(&str, &str); 2] = [("location", "w.bin"), ("offset", "4")];

    fn weight(path: &Path, declared: &[PathBuf]) -> Result<Vec<f32>, String> {
        let (model, _) = Model::read_with(path, declared).map_err(|error| error.to_string())?;
        Ok(model.graph.initializers["w"].as_f32().unwrap().to_vec())
    }

    #[test]
    fn links_are_followed_within_one_root() {
        use std::os::unix::fs::symlink;
        let root = folder();
        let at = |path: &str| root.path().join(path);
        // As Hugging Face lays a download out: files by their digests, and links to them by their names.
        fs::create_dir_all(at("blobs")).unwrap();
        fs::create_dir_all(at("snapshots/rev/onnx")).unwrap();
        fs::rename(at("w.bin"), at("blobs/0f")).unwrap();
        fs::write(at("blobs/1e"), model(&HERE)).unwrap();
        symlink("../../../blobs/1e", at("snapshots/rev/onnx/m.onnx")).unwrap();
        symlink("../../../blobs/0f", at("snapshots/rev/onnx/w.bin")).unwrap();
        assert_eq!(weight(&at("snapshots/rev/onnx/m.onnx"), &[]), Ok(vec![1.0, 2.0, 3.0, 4.0]));
        // As DVC does: each in a folder of its own.
        for name in ["cache/aa", "cache/bb", "work"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::rename(at("blobs/0f"), at("cache/aa/0f")).unwrap();
        fs::rename(at("blobs/1e"), at("cache/bb/1e")).unwrap();
        symlink(at("cache/bb/1e"), at("work/m.onnx")).unwrap();
        symlink(at("cache/aa/0f"), at("work/w.bin")).unwrap();
        let refused = weight(&at("work/m.onnx"), &[]).unwrap_err();
        assert!(refused.contains("`w.bin` leads out of the model's folder"), "{refused}");
        for declared in [at("work/w.bin"), at("cache/aa/0f"), at("work"), at("cache/aa")] {
            assert_eq!(
                weight(&at("work/m.onnx"), std::slice::from_ref(&declared)),
                Ok(vec![1.0, 2.0, 3.0, 4.0])
            );
        }
        assert!(weight(&at("work/m.onnx"), &[at("cache/bb"), at("elsewhere")]).is_err());
        // A model that alone is a link, and one whose data lies elsewhere under its name.
        fs::rename(at("cache/aa/0f"), at("cache/bb/w.bin")).unwrap();
        fs::remove_file(at("work/w.bin")).unwrap();
        assert!(weight(&at("work/m.onnx"), &[]).is_ok());
        fs::create_dir(at("far")).unwrap();
        fs::rename(at("cache/bb/w.bin"), at("far/w.bin")).unwrap();
        assert!(weight(&at("work/m.onnx"), &[]).unwrap_err().contains("cannot read"));
        for declared in [at("far/w.bin"), at("far")] {
            assert!(weight(&at("work/m.onnx"), &[declared]).is_ok());
        }
    }

    #[test]
    fn elements_may_lie_in_several_files() {
        let folder = folder();
        let floats = |values: [f32; 2]| values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
        fs::write(folder.path().join("b.bin"), floats([5.0, 6.0])).unwrap();
        let mut proto = ModelProto::decode(model(&HERE).as_slice()).unwrap();
        let graph = proto.graph.as_mut().unwrap();
        let mut other = graph.initializer[0].clone();
        (other.name, other.dims) = (Some("b".into()), vec![2]);
        other.external_data.truncate(1);
        other.external_data[0].value = Some("b.bin".into());
        graph.initializer.push(other);
        let path = folder.path().join("m.onnx");
        fs::write(&path, proto.encode_to_vec()).unwrap();
        let (read, files) = Model::read_with(&path, &[]).unwrap();
        assert_eq!(read.graph.initializers["b"].as_f32(), Some(&[5.0, 6.0][..]));
        assert_eq!(files, data_files(&path, &[]).unwrap());
        assert_eq!(files.keys().collect::<Vec<_>>(), ["b.bin", "w.bin"]);
    }

    #[test]
    fn nobody_waits_for_what_is_no_file() {
        let folder = folder();
        let path = folder.path().join("m.onnx");
        let fifo = |name: &str| {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            let path = folder.path().join(name);
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        };
        fifo("fifo");
        fs::write(&path, model(&[("location", "fifo")])).unwrap();
        let message = Model::read(&path).unwrap_err().to_string();
        assert!(message.contains("it is a FIFO, and not a file"), "{message}");
        fs::remove_file(&path).unwrap();
        fifo("m.onnx");
        for other in [path.as_path(), Path::new("/dev/zero")] {
            let message = Model::read(other).unwrap_err().to_string();
            assert!(message.contains("and not a file"), "{message}");
            assert!(data_files(other, &[]).is_err());
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
            (&[("location", ".")], "is a directory"),
            (&[("location", "m.onnx")], "`m.onnx` is the model itself"),
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
