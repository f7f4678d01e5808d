//! From a [`Model`] to a file: the same model gives the same bytes.

use std::path::Path;

use prost::Message;

use crate::error::Error;
use crate::graph::{Attribute, Graph, Model, Node, Value};
use crate::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
    attribute_type,
};
use crate::tensor::{Dim, ElementType, Tensor, TensorType};

impl Model {
    /// Writes a file whole: beside its place first, then renamed, so that a reader never sees half of it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        regular::write_whole(path, &self.to_bytes()).map_err(|source| Error::Io {
            action: "write",
            path: path.into(),
            source,
        })
    }

    /// The bytes of a file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let model = ModelProto {
            ir_version: Some(self.ir_version),
            producer_name: non_empty(&self.producer),
            producer_version: non_empty(&self.producer_version),
            graph: Some(write_graph(&self.graph)),
            opset_import: self
                .opsets
                .iter()
                .map(|(domain, &version)| OperatorSetIdProto {
                    domain: non_empty(domain),
                    version: Some(version),
                })
                .collect(),
            metadata_props: self
                .metadata
                .iter()
                .map(|(key, value)| StringStringEntryProto {
                    key: Some(key.clone()),
                    value: Some(value.clone()),
                })
                .collect(),
            functions: Vec::new(),
        };
        model.encode_to_vec()
    }
}

fn write_graph(graph: &Graph) -> GraphProto {
    let constant =
        |(name, tensor): (&String, &Tensor)| TensorProto { name: Some(name.clone()), ..write_tensor(tensor) };
    GraphProto {
        node: graph.nodes.iter().map(write_node).collect(),
        name: Some(graph.name.clone()),
        initializer: graph.initializers.iter().map(constant).collect(),
        input: graph.inputs.iter().map(write_value).collect(),
        output: graph.outputs.iter().map(write_value).collect(),
        value_info: graph.hints.iter().map(|(name, known)| write_type(name, known)).collect(),
        sparse_initializer: Vec::new(),
    }
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn write_node(node: &Node) -> NodeProto {
    NodeProto {
        input: node.inputs.clone(),
        output: node.outputs.clone(),
        name: non_empty(&node.name),
        op_type: Some(node.op.clone()),
        attribute: node.attributes.iter().map(|(name, value)| write_attribute(name, value)).collect(),
        domain: non_empty(&node.domain),
        overload: None,
    }
}

fn write_attribute(name: &str, value: &Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let kind = match value {
        Attribute::Int(value) => {
            proto.i = Some(*value);
            attribute_type::INT
        }
        Attribute::Float(value) => {
            proto.f = Some(*value);
            attribute_type::FLOAT
        }
        Attribute::Text(value) => {
            proto.s = Some(value.clone().into_bytes());
            attribute_type::STRING
        }
        Attribute::Tensor(value) => {
            proto.t = Some(write_tensor(value));
            attribute_type::TENSOR
        }
        Attribute::Ints(values) => {
            proto.ints.clone_from(values);
            attribute_type::INTS
        }
        Attribute::Floats(values) => {
            proto.floats.clone_from(values);
            attribute_type::FLOATS
        }
        Attribute::Texts(values) => {
            proto.strings = values.iter().map(|value| value.clone().into_bytes()).collect();
            attribute_type::STRINGS
        }
        Attribute::Graph(body) => {
            proto.g = Some(Box::new(write_graph(body)));
            attribute_type::GRAPH
        }
    };
    proto.kind = Some(kind);
    proto
}

fn write_tensor(tensor: &Tensor) -> TensorProto {
    TensorProto {
        // A dimension above i64::MAX would have more elements than memory holds, unless another is zero.
        dims: tensor.shape().iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect(),
        data_type: Some(tensor.element().code()),
        raw_data: Some(tensor.data().to_bytes()),
        ..TensorProto::default()
    }
}

fn write_value(value: &Value) -> ValueInfoProto {
    write_type(&value.name, &TensorType { element: value.element, shape: value.shape.clone() })
}

fn write_type(name: &str, known: &TensorType) -> ValueInfoProto {
    // Of a body's inputs and outputs nothing needs to be said.
    if known.element == ElementType::Other(0) {
        return ValueInfoProto { name: Some(name.to_owned()), kind: None };
    }
    let shape = known.shape.as_ref().map(|dims| TensorShapeProto {
        dim: dims
            .iter()
            .map(|dim| DimensionProto {
                value: match dim {
                    Dim::Known(size) => Some(DimensionValue::Value(i64::try_from(*size).unwrap_or(i64::MAX))),
                    Dim::Named(name) => Some(DimensionValue::Param(name.clone())),
                    Dim::Unknown => None,
                },
            })
            .collect(),
    });
    let tensor_type = TensorTypeProto { elem_type: Some(known.element.code()), shape };
    ValueInfoProto {
        name: Some(name.to_owned()),
        kind: Some(TypeProto { tensor_type: Some(tensor_type), ..TypeProto::default() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Data;

    /// A body that takes `y` from around it.
    fn body() -> Graph {
        let untyped = |name: &str| Value { name: name.into(), element: ElementType::Other(0), shape: None };
        Graph {
            name: "body".into(),
            nodes: vec![Node::new("Add", ["y", "c"], ["b"])],
            initializers: [("c".to_owned(), Tensor::scalar_f32(1.0))].into(),
            outputs: vec![untyped("b")],
            ..Graph::default()
        }
    }

    fn sample() -> Model {
        let mut model = Model::new(13);
        model.producer = "pipe".into();
        model.metadata.insert("classes".into(), "[\"a\"]".into());
        model.graph = Graph {
            name: "g".into(),
            nodes: vec![
                Node::new("Custom", ["x", "w", ""], ["y"])
                    .named("first")
                    .with("group", Attribute::Int(0))
                    .with("pads", Attribute::Ints(vec![1, 1, 1, -1]))
                    .with("auto_pad", Attribute::Text("NOTSET".into())),
                Node::new("Custom", ["y"], ["z"])
                    .with("f", Attribute::Float(0.0))
                    .with("fs", Attribute::Floats(vec![0.5]))
                    .with("ss", Attribute::Texts(vec!["é".into()]))
                    .with("t", Attribute::Tensor(Tensor::scalar_f32(3.0)))
                    .with("body", Attribute::Graph(Box::new(body()))),
            ],
            hints: [(
                "y".to_owned(),
                TensorType { element: ElementType::F32, shape: Some(vec![Dim::Known(4)]) },
            )]
            .into(),
            initializers: [
                Data::F32(vec![1.0, f32::MIN_POSITIVE]),
                Data::U8(vec![0, 255]),
                Data::I8(vec![-128, 127]),
                Data::I32(vec![i32::MIN, 1]),
                Data::I64(vec![i64::MIN, 1]),
                Data::Bool(vec![0, 1]),
                Data::Other {
                    code: crate::proto::data_type::DOUBLE,
                    width: std::num::NonZeroUsize::new(8).unwrap(),
                    bytes: (0..16).collect(),
                },
            ]
            .into_iter()
            .enumerate()
            .map(|(index, data)| (format!("w{index}"), Tensor::vector(data)))
            .chain([("w".to_owned(), Tensor::new(vec![0, 3], Data::F32(vec![])).unwrap())])
            .collect(),
            inputs: vec![Value {
                name: "x".into(),
                element: ElementType::F32,
                shape: Some(vec![Dim::Named("batch".into()), Dim::Known(3), Dim::Unknown]),
            }],
            outputs: vec![Value { name: "z".into(), element: ElementType::Other(11), shape: None }],
        };
        model
    }

    #[test]
    fn what_is_written_is_read() {
        let model = sample();
        let bytes = model.to_bytes();
        assert_eq!(Model::from_bytes(&bytes).unwrap(), model);
        assert_eq!(Model::from_bytes(&bytes).unwrap().to_bytes(), bytes);
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        std::fs::write(&path, "old").unwrap();
        sample().write(&path).unwrap();
        assert_eq!(Model::read(&path).unwrap(), sample());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn truncation_before_the_opset_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let mut model = sample();
        model.metadata.clear();
        let whole = model.to_bytes();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let message = Model::read(&path).unwrap_err().to_string();
            assert!(message.contains("m.onnx"), "{length}: {message}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = Model::read(Path::new("no/such.onnx")).unwrap_err().to_string();
        assert!(message.starts_with("cannot read `no/such.onnx`"), "{message}");
    }
}
