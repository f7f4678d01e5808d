//! From a file to a [`Model`]: everything unsupported or contradictory is refused here.
//!
//! Sizes that a file declares are never trusted: a tensor's elements must be in the file, so memory is bounded
//! by a multiple of the file's size, which is bounded itself.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use prost::Message;

use crate::error::Error;
use crate::external::{self, DataFiles, MAX_FILE_BYTES};
use crate::functions;
use crate::graph::{Attribute, Graph, Model, Node, Value};
use crate::proto::{
    AttributeProto, DimensionValue, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto,
    ValueInfoProto, attribute_type, data_type,
};
use crate::shape::Shapes;
use crate::tensor::{Data, Dim, ElementType, Tensor, TensorType, width_of_other};

/// The oldest opset in which attributes are compared with shapes.
const OLDEST_CHECKED: i64 = 7;

impl Model {
    /// Reads a file, and those beside it that hold elements of its tensors.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] around what [`Model::from_bytes`] says, or about a file beside it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::read_with(path, &[]).map(|(model, _)| model)
    }

    /// As [`Model::read`], with the files that hold elements of its tensors. Beside those in the model's folder, which for a model
    /// that is a link is also the one that it really lies in, only `declared` files are read, and files in `declared` folders.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn read_with(path: &Path, declared: &[PathBuf]) -> Result<(Self, DataFiles), Error> {
        let in_file = |source| Error::File { path: path.into(), source: Box::new(source) };
        let mut proto = read_proto(path)?;
        let mut files = DataFiles::new();
        if let Some(graph) = &mut proto.graph {
            files = external::find(graph, path, declared).map_err(in_file)?;
            external::embed(graph, &files).map_err(in_file)?;
        }
        Ok((read_model(proto).map_err(in_file)?, files))
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// [`Error::Decode`] for damage, [`Error::Unsupported`], [`Error::Invalid`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        read_model(decode(bytes)?)
    }
}

/// The files that hold elements of the tensors of the model at `path`, as [`Model::read_with`] finds them, of any model that is one.
///
/// # Errors
/// As [`Model::read_with`], but none for what is in the graph.
pub fn data_files(path: &Path, declared: &[PathBuf]) -> Result<DataFiles, Error> {
    let in_file = |source| Error::File { path: path.into(), source: Box::new(source) };
    match &mut read_proto(path)?.graph {
        Some(graph) => external::find(graph, path, declared).map_err(in_file),
        None => Ok(DataFiles::new()),
    }
}

fn read_proto(path: &Path) -> Result<ModelProto, Error> {
    let io = |source| Error::Io { action: "read", path: path.into(), source };
    let in_file = |source| Error::File { path: path.into(), source: Box::new(source) };
    let file = regular::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() > MAX_FILE_BYTES {
        return Err(in_file(too_large()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    decode(&bytes).map_err(in_file)
}

fn decode(bytes: &[u8]) -> Result<ModelProto, Error> {
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(too_large());
    }
    let mut proto = ModelProto::decode(bytes).map_err(|error| Error::Decode(error.to_string()))?;
    functions::inline(&mut proto)?;
    Ok(proto)
}

fn read_model(proto: ModelProto) -> Result<Model, Error> {
    let graph = proto.graph.ok_or_else(|| Error::Decode("it has no graph".into()))?;
    let mut opsets = BTreeMap::new();
    for import in proto.opset_import {
        let domain = import.domain.unwrap_or_default();
        let domain = if domain == "ai.onnx" { String::new() } else { domain };
        opsets.insert(domain, import.version.unwrap_or(0));
    }
    match opsets.get("") {
        Some(1..) => {}
        None if !opsets.is_empty() => {
            return Err(Error::Unsupported("a model without operators of ONNX's own".into()));
        }
        _ => return Err(Error::Decode("it imports no version of ONNX's operators".into())),
    }
    let entries = proto.metadata_props.into_iter();
    let model = Model {
        ir_version: proto.ir_version.unwrap_or(0),
        opsets,
        producer: proto.producer_name.unwrap_or_default(),
        producer_version: proto.producer_version.unwrap_or_default(),
        metadata: entries
            .map(|entry| (entry.key.unwrap_or_default(), entry.value.unwrap_or_default()))
            .collect(),
        graph: read_graph(graph, false)?,
    };
    model.graph.check()?;
    // What older operators broadcast, they say in attributes that are not followed.
    if model.opset() >= OLDEST_CHECKED {
        Shapes::infer(&model.graph)?;
    }
    Ok(model)
}

fn too_large() -> Error {
    Error::Unsupported(format!("a model of more than {} MiB", MAX_FILE_BYTES >> 20))
}

/// `is_body`: types of inputs and outputs may be left out.
fn read_graph(proto: GraphProto, is_body: bool) -> Result<Graph, Error> {
    if !proto.sparse_initializer.is_empty() {
        return Err(Error::Unsupported("a sparse initializer".into()));
    }
    let mut initializers = BTreeMap::new();
    for tensor in proto.initializer {
        let name = tensor.name.clone().unwrap_or_default();
        let tensor = read_tensor(tensor, &format!("initializer `{name}`"))?;
        if name.is_empty() || initializers.contains_key(&name) {
            return Err(Error::Invalid(format!("the initializer name `{name}` is empty or there twice")));
        }
        initializers.insert(name, tensor);
    }
    // What is no tensor, or of no known type, says nothing.
    let hints = proto.value_info.into_iter().filter_map(|proto| read_value(proto, false).ok());
    Ok(Graph {
        name: proto.name.unwrap_or_default(),
        nodes: proto.node.into_iter().map(read_node).collect::<Result<_, _>>()?,
        initializers,
        inputs: proto.input.into_iter().map(|proto| read_value(proto, is_body)).collect::<Result<_, _>>()?,
        outputs: proto
            .output
            .into_iter()
            .map(|proto| read_value(proto, is_body))
            .collect::<Result<_, _>>()?,
        hints: hints
            .map(|value| (value.name, TensorType { element: value.element, shape: value.shape }))
            .collect(),
    })
}

fn read_node(proto: NodeProto) -> Result<Node, Error> {
    let mut node = Node {
        name: proto.name.unwrap_or_default(),
        op: proto.op_type.unwrap_or_default(),
        domain: proto.domain.unwrap_or_default(),
        inputs: proto.input,
        outputs: proto.output,
        attributes: BTreeMap::new(),
    };
    if node.op.is_empty() {
        return Err(Error::Invalid(format!("node `{}` has no operator", node.label())));
    }
    for attribute in proto.attribute {
        let name = attribute.name.clone().unwrap_or_default();
        let what = format!("attribute `{name}` of node `{}` ({})", node.label(), node.op);
        if node.attributes.contains_key(&name) {
            return Err(Error::Invalid(format!("{what} is there twice")));
        }
        node.attributes.insert(name, read_attribute(attribute, &what)?);
    }
    Ok(node)
}

fn read_attribute(proto: AttributeProto, what: &str) -> Result<Attribute, Error> {
    let text =
        |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| Error::Invalid(format!("{what} is not UTF-8")));
    Ok(match proto.kind.unwrap_or(0) {
        attribute_type::FLOAT => Attribute::Float(proto.f.unwrap_or(0.0)),
        attribute_type::INT => Attribute::Int(proto.i.unwrap_or(0)),
        attribute_type::STRING => Attribute::Text(text(proto.s.unwrap_or_default())?),
        attribute_type::TENSOR => {
            let tensor = proto.t.ok_or_else(|| Error::Invalid(format!("{what} has no tensor")))?;
            Attribute::Tensor(read_tensor(tensor, what)?)
        }
        attribute_type::FLOATS => Attribute::Floats(proto.floats),
        attribute_type::INTS => Attribute::Ints(proto.ints),
        attribute_type::STRINGS => {
            Attribute::Texts(proto.strings.into_iter().map(text).collect::<Result<_, _>>()?)
        }
        attribute_type::GRAPH => {
            let body = proto.g.ok_or_else(|| Error::Invalid(format!("{what} has no graph")))?;
            Attribute::Graph(Box::new(read_graph(*body, true)?))
        }
        attribute_type::GRAPHS => {
            return Err(Error::Unsupported(format!("a list of graphs ({what})")));
        }
        other => return Err(Error::Unsupported(format!("type {other} of {what}"))),
    })
}

fn read_tensor(proto: TensorProto, what: &str) -> Result<Tensor, Error> {
    if proto.data_location.unwrap_or(0) != 0 {
        return Err(Error::Unsupported(format!("data in another file ({what})")));
    }
    if proto.segment.is_some() {
        return Err(Error::Unsupported(format!("a tensor in segments ({what})")));
    }
    let shape = proto
        .dims
        .iter()
        .map(|&dim| usize::try_from(dim))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Error::Invalid(format!("{what} has a negative dimension")))?;
    let element = ElementType::from_code(proto.data_type.unwrap_or(0));
    let data = match proto.raw_data {
        Some(raw) if !raw.is_empty() => read_raw(raw, element, what)?,
        _ => match element {
            ElementType::F16 | ElementType::Other(_) => {
                let code = element.code();
                read_other(&proto.double_data, &proto.uint64_data, &proto.int32_data, code, what)?
            }
            _ => read_typed(proto.float_data, &proto.int32_data, proto.int64_data, element, what)?,
        },
    };
    let count = data.len();
    Tensor::new(shape, data).ok_or_else(|| {
        Error::Invalid(format!("{what} has {count} elements, not as many as its shape {:?}", proto.dims))
    })
}

fn read_raw(raw: Vec<u8>, element: ElementType, what: &str) -> Result<Data, Error> {
    fn words<const N: usize, T>(
        raw: &[u8],
        what: &str,
        read: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Error> {
        match raw.as_chunks::<N>() {
            (chunks, []) => Ok(chunks.iter().map(|chunk| read(*chunk)).collect()),
            _ => Err(Error::Invalid(format!("the bytes of {what} are not whole elements"))),
        }
    }
    Ok(match element {
        ElementType::F32 => Data::F32(words(&raw, what, f32::from_le_bytes)?),
        ElementType::I32 => Data::I32(words(&raw, what, i32::from_le_bytes)?),
        ElementType::I64 => Data::I64(words(&raw, what, i64::from_le_bytes)?),
        ElementType::I8 => Data::I8(words(&raw, what, i8::from_le_bytes)?),
        ElementType::U8 => Data::U8(raw),
        ElementType::Bool => Data::Bool(raw),
        ElementType::F16 | ElementType::Other(_) => other(element.code(), raw, what)?,
    })
}

fn read_typed(
    floats: Vec<f32>,
    int32s: &[i32],
    int64s: Vec<i64>,
    element: ElementType,
    what: &str,
) -> Result<Data, Error> {
    fn narrow<T: TryFrom<i32>>(values: &[i32], what: &str) -> Result<Vec<T>, Error> {
        values.iter().map(|&value| T::try_from(value)).collect::<Result<_, _>>().map_err(|_| beyond(what))
    }
    Ok(match element {
        ElementType::F32 => Data::F32(floats),
        ElementType::I64 => Data::I64(int64s),
        ElementType::I32 => Data::I32(int32s.to_vec()),
        ElementType::I8 => Data::I8(narrow(int32s, what)?),
        ElementType::U8 => Data::U8(narrow(int32s, what)?),
        ElementType::Bool => Data::Bool(narrow(int32s, what)?),
        ElementType::F16 | ElementType::Other(_) => return Err(unsupported_element(element.code(), what)),
    })
}

/// Elements of another type, by the fields that hold them (`onnx.proto`, `TensorProto`).
fn read_other(
    doubles: &[f64],
    uint64s: &[u64],
    int32s: &[i32],
    code: i32,
    what: &str,
) -> Result<Data, Error> {
    let bytes = match code {
        data_type::DOUBLE => doubles.iter().flat_map(|value| value.to_le_bytes()).collect(),
        data_type::UINT64 => uint64s.iter().flat_map(|value| value.to_le_bytes()).collect(),
        data_type::UINT32 => {
            let words: Result<Vec<u32>, _> = uint64s.iter().map(|value| u32::try_from(*value)).collect();
            let words = words.map_err(|_| beyond(what))?;
            words.into_iter().flat_map(u32::to_le_bytes).collect()
        }
        _ => {
            let width = width_of_other(code).ok_or_else(|| unsupported_element(code, what))?.get();
            // The bits of a float, or a number, in the low bytes.
            let bytes: Option<Vec<u8>> = int32s
                .iter()
                .map(|value| {
                    let all = value.to_le_bytes();
                    let (kept, rest) = all.split_at_checked(width)?;
                    rest.iter().all(|byte| *byte == 0 || *byte == 0xff).then(|| kept.to_vec())
                })
                .collect::<Option<Vec<_>>>()
                .map(|all| all.concat());
            bytes.ok_or_else(|| beyond(what))?
        }
    };
    other(code, bytes, what)
}

fn other(code: i32, bytes: Vec<u8>, what: &str) -> Result<Data, Error> {
    let width = width_of_other(code).ok_or_else(|| unsupported_element(code, what))?;
    if !bytes.len().is_multiple_of(width.get()) {
        return Err(Error::Invalid(format!("the bytes of {what} are not whole elements")));
    }
    Ok(Data::Other { code, width, bytes })
}

fn beyond(what: &str) -> Error {
    Error::Invalid(format!("{what} has an element that its type cannot hold"))
}

fn unsupported_element(code: i32, what: &str) -> Error {
    Error::Unsupported(format!("element type {code} of {what}"))
}

fn read_value(proto: ValueInfoProto, may_be_untyped: bool) -> Result<Value, Error> {
    let name = proto.name.unwrap_or_default();
    // A type that is none, too, is one left out.
    if may_be_untyped && proto.kind.as_ref().is_none_or(|kind| *kind == TypeProto::default()) {
        return Ok(Value { name, element: ElementType::Other(0), shape: None });
    }
    let tensor = proto
        .kind
        .and_then(|kind| kind.tensor_type)
        .ok_or_else(|| Error::Unsupported(format!("input or output `{name}`, which is not a tensor,")))?;
    let shape = match tensor.shape {
        None => None,
        Some(shape) => {
            let mut dims = Vec::with_capacity(shape.dim.len());
            for dim in shape.dim {
                dims.push(match dim.value {
                    None => Dim::Unknown,
                    Some(DimensionValue::Param(name)) if name.is_empty() => Dim::Unknown,
                    Some(DimensionValue::Param(name)) => Dim::Named(name),
                    // Some exporters write −1 where the caller chooses.
                    Some(DimensionValue::Value(size)) => {
                        usize::try_from(size).map_or(Dim::Unknown, Dim::Known)
                    }
                });
            }
            Some(dims)
        }
    };
    let code = tensor.elem_type.unwrap_or(0);
    if !(1..=data_type::LAST).contains(&code) {
        return Err(Error::Invalid(format!("input or output `{name}` has the element type {code}")));
    }
    Ok(Value { name, element: ElementType::from_code(code), shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_other_types_are_kept_as_their_bytes() {
        let bytes = |doubles: &[f64], uint64s: &[u64], int32s: &[i32], code| match read_other(
            doubles, uint64s, int32s, code, "`t`",
        ) {
            Ok(data) => Ok((data.len(), data.to_bytes())),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(
            bytes(&[1.0, 2.0], &[], &[], data_type::DOUBLE),
            Ok((2, [1.0_f64.to_le_bytes(), 2.0_f64.to_le_bytes()].concat()))
        );
        assert_eq!(bytes(&[], &[7], &[], data_type::UINT32), Ok((1, vec![7, 0, 0, 0])));
        assert!(bytes(&[], &[1 << 40], &[], data_type::UINT32).unwrap_err().contains("cannot hold"));
        // A half of 1.0, and −2 in 16 bits.
        assert_eq!(bytes(&[], &[], &[0x3c00], data_type::FLOAT16), Ok((1, vec![0x00, 0x3c])));
        assert_eq!(bytes(&[], &[], &[-2], data_type::INT16), Ok((1, vec![0xfe, 0xff])));
        assert!(bytes(&[], &[], &[1 << 20], data_type::UINT16).unwrap_err().contains("cannot hold"));
        assert!(bytes(&[], &[], &[1], 8).unwrap_err().contains("element type 8"));
        let odd = read_raw(vec![0; 3], ElementType::Other(data_type::UINT16), "`t`").unwrap_err();
        assert!(odd.to_string().contains("not whole elements"));
    }
}
