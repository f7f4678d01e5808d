//! Functions that a model brings along (`ModelProto.functions`), as exporters write modules: each call is replaced by what the
//! function consists of, so that nothing behind this knows that there were any.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::names::Names;
use crate::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto};

/// Most nodes that calls may become: functions that call functions grow without bound.
const MOST_NODES: usize = 1 << 20;

/// How deep functions may call each other.
const DEEPEST: usize = 64;

/// Replaces all calls, and takes the functions out of `model`.
///
/// # Errors
/// [`Error::Unsupported`] for functions of other versions of operators than the model's, and for what calls itself.
pub(crate) fn inline(model: &mut ModelProto) -> Result<(), Error> {
    let functions = std::mem::take(&mut model.functions);
    if functions.is_empty() {
        return Ok(());
    }
    let Some(graph) = &mut model.graph else { return Ok(()) };
    for function in &functions {
        agree(&mut model.opset_import, function)?;
    }
    let functions = functions.iter().map(|function| (key_of(function), function)).collect();
    let mut names = Vec::new();
    collect_names(graph, &mut names);
    let mut inliner = Inliner { functions, names: Names::new(names), room: MOST_NODES };
    graph.node = inliner.nodes(std::mem::take(&mut graph.node), 0)?;
    Ok(())
}

/// Domain, name and overload.
type Key = (String, String, String);

fn key_of(function: &FunctionProto) -> Key {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    (text(&function.domain), text(&function.name), text(&function.overload))
}

/// Takes the versions of operators that a function is written for into those of the model.
fn agree(imports: &mut Vec<OperatorSetIdProto>, function: &FunctionProto) -> Result<(), Error> {
    let own = |import: &OperatorSetIdProto| match import.domain.as_deref() {
        None | Some("ai.onnx") => String::new(),
        Some(domain) => domain.to_owned(),
    };
    for import in &function.opset_import {
        match imports.iter().find(|other| own(other) == own(import)) {
            None => imports.push(import.clone()),
            Some(other) if other.version == import.version => {}
            Some(other) => {
                return Err(Error::Unsupported(format!(
                    "the function `{}` for version {} of operators that the model has in version {}",
                    function.name.as_deref().unwrap_or_default(),
                    import.version.unwrap_or(0),
                    other.version.unwrap_or(0)
                )));
            }
        }
    }
    Ok(())
}

struct Inliner<'f> {
    functions: BTreeMap<Key, &'f FunctionProto>,
    names: Names,
    /// How many nodes calls may still become.
    room: usize,
}

impl Inliner<'_> {
    /// `nodes` with every call replaced, also within bodies.
    fn nodes(&mut self, nodes: Vec<NodeProto>, depth: usize) -> Result<Vec<NodeProto>, Error> {
        let mut all = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            for attribute in &mut node.attribute {
                if let Some(body) = &mut attribute.g {
                    body.node = self.nodes(std::mem::take(&mut body.node), depth)?;
                }
            }
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let key = (text(&node.domain), text(&node.op_type), text(&node.overload));
            match self.functions.get(&key).copied() {
                None => all.push(node),
                Some(function) => {
                    let called = self.called(&node, function, depth)?;
                    all.extend(self.nodes(called, depth + 1)?);
                }
            }
        }
        Ok(all)
    }

    /// The nodes of a function where `call` calls it.
    fn called(
        &mut self,
        call: &NodeProto,
        function: &FunctionProto,
        depth: usize,
    ) -> Result<Vec<NodeProto>, Error> {
        let name = function.name.as_deref().unwrap_or_default();
        self.room = self.room.saturating_sub(function.node.len().max(1));
        if depth >= DEEPEST || self.room == 0 {
            return Err(Error::Unsupported(format!("the function `{name}`, which calls itself or grows,")));
        }
        let mut renamed: BTreeMap<String, String> = BTreeMap::new();
        for (index, input) in function.input.iter().enumerate() {
            renamed.insert(input.clone(), call.input.get(index).cloned().unwrap_or_default());
        }
        let mut forwarded = Vec::new();
        for (index, output) in function.output.iter().enumerate() {
            let Some(wanted) = call.output.get(index).filter(|wanted| !wanted.is_empty()) else { continue };
            // An input or an output that is given twice has a name already.
            if let Some(had) = renamed.get(output.as_str()) {
                forwarded.push(NodeProto {
                    input: vec![had.clone()],
                    output: vec![wanted.clone()],
                    op_type: Some("Identity".into()),
                    ..NodeProto::default()
                });
            } else {
                renamed.insert(output.clone(), wanted.clone());
            }
        }
        // Calls without a name are told apart by what they give: nodes are known by their names.
        let given = call.name.iter().chain(&call.output).find(|name| !name.is_empty());
        let prefix = given.map_or(name, String::as_str);
        // What is not given has its default, if there is one.
        let attributes = function.attribute_proto.iter().chain(&call.attribute);
        let attributes = attributes.map(|given| (given.name.as_deref().unwrap_or_default(), given)).collect();
        let mut scope = Scope { prefix, attributes, renamed, names: &mut self.names };
        let mut nodes = function.node.clone();
        nodes.iter_mut().for_each(|node| scope.node(node));
        nodes.extend(forwarded);
        Ok(nodes)
    }
}

/// What names and attributes mean where a function is called.
struct Scope<'a> {
    prefix: &'a str,
    attributes: BTreeMap<&'a str, &'a AttributeProto>,
    /// By name in the function.
    renamed: BTreeMap<String, String>,
    names: &'a mut Names,
}

impl Scope<'_> {
    fn node(&mut self, node: &mut NodeProto) {
        let own = node.name.take().filter(|name| !name.is_empty());
        node.name = own.map(|name| format!("{}/{name}", self.prefix));
        for name in node.input.iter_mut().chain(&mut node.output) {
            *name = self.name(name);
        }
        node.attribute = std::mem::take(&mut node.attribute)
            .into_iter()
            .filter_map(|attribute| self.attribute(attribute))
            .collect();
    }

    /// The name here of what the function calls `name`.
    fn name(&mut self, name: &str) -> String {
        if name.is_empty() {
            return String::new();
        }
        if let Some(renamed) = self.renamed.get(name) {
            return renamed.clone();
        }
        let fresh = self.names.fresh(&format!("{}/{name}", self.prefix));
        self.renamed.insert(name.to_owned(), fresh.clone());
        fresh
    }

    /// The attribute that is meant; `None` where the call gives none and there is no default.
    fn attribute(&mut self, mut attribute: AttributeProto) -> Option<AttributeProto> {
        if let Some(wanted) = attribute.ref_attr_name.take().filter(|name| !name.is_empty()) {
            let found = self.attributes.get(wanted.as_str())?;
            return Some(AttributeProto { name: attribute.name, ..(*found).clone() });
        }
        if let Some(body) = &mut attribute.g {
            self.body(body);
        }
        Some(attribute)
    }

    fn body(&mut self, body: &mut GraphProto) {
        for value in body.input.iter_mut().chain(&mut body.output).chain(&mut body.value_info) {
            value.name = value.name.as_deref().map(|name| self.name(name));
        }
        for tensor in &mut body.initializer {
            tensor.name = tensor.name.as_deref().map(|name| self.name(name));
        }
        body.node.iter_mut().for_each(|node| self.node(node));
    }
}

fn collect_names(graph: &GraphProto, names: &mut Vec<String>) {
    let values = graph.input.iter().chain(&graph.output).filter_map(|value| value.name.clone());
    names.extend(values.chain(graph.initializer.iter().filter_map(|tensor| tensor.name.clone())));
    for node in &graph.node {
        names.extend(node.input.iter().chain(&node.output).cloned());
        let bodies = node.attribute.iter().filter_map(|attribute| attribute.g.as_deref());
        bodies.for_each(|body| collect_names(body, names));
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::proto::attribute_type;
    use crate::{Attribute, ElementType, Model, Node, Value};

    fn node(op: &str, domain: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        NodeProto {
            op_type: Some(op.into()),
            domain: Some(domain.into()),
            input: texts(inputs),
            output: texts(outputs),
            ..NodeProto::default()
        }
    }

    fn function(name: &str, nodes: Vec<NodeProto>) -> FunctionProto {
        FunctionProto {
            name: Some(name.into()),
            domain: Some("here".into()),
            input: vec!["a".into()],
            output: vec!["b".into()],
            node: nodes,
            opset_import: vec![OperatorSetIdProto { domain: None, version: Some(18) }],
            ..FunctionProto::default()
        }
    }

    /// A model that calls `outer`, twice.
    fn model(functions: Vec<FunctionProto>) -> Vec<u8> {
        let mut model = Model::new(18);
        let value = |name: &str| Value { name: name.into(), element: ElementType::F32, shape: None };
        (model.graph.inputs, model.graph.outputs) = (vec![value("x")], vec![value("y")]);
        let call = |from: &str, to: &str, name: &str| {
            let mut call = Node::new("outer", [from], [to]).named(name);
            call.domain = "here".into();
            call
        };
        model.graph.nodes =
            vec![call("x", "t", "one").with("slope", Attribute::Float(0.5)), call("t", "y", "two")];
        let mut proto = ModelProto::decode(model.to_bytes().as_slice()).unwrap();
        proto.functions = functions;
        proto.encode_to_vec()
    }

    /// `LeakyRelu` with the caller's slope, then what `inner` is.
    fn outer() -> FunctionProto {
        let slope = AttributeProto {
            name: Some("alpha".into()),
            ref_attr_name: Some("slope".into()),
            kind: Some(attribute_type::FLOAT),
            ..AttributeProto::default()
        };
        let mut leaky = node("LeakyRelu", "", &["a"], &["t"]);
        leaky.attribute = vec![slope];
        function("outer", vec![leaky, node("inner", "here", &["t"], &["b"])])
    }

    #[test]
    fn calls_become_what_they_call() {
        let inner = function("inner", vec![node("Neg", "", &["a"], &["t"]), node("Abs", "", &["t"], &["b"])]);
        let graph = Model::from_bytes(&model(vec![outer(), inner])).unwrap().graph;
        let ops: Vec<_> = graph.nodes.iter().map(|node| node.op.as_str()).collect();
        assert_eq!(ops, ["LeakyRelu", "Neg", "Abs", "LeakyRelu", "Neg", "Abs"]);
        let slopes: Vec<_> = graph.nodes.iter().step_by(3).map(|node| node.attributes.get("alpha")).collect();
        assert_eq!(slopes, [Some(&Attribute::Float(0.5)), None], "the second call gives none");
        assert!(graph.nodes[2].outputs == ["t"] && graph.nodes[5].outputs == ["y"]);
        graph.check().unwrap();
    }

    #[test]
    fn what_calls_itself_or_has_other_operators_is_refused() {
        let itself = function("outer", vec![node("outer", "here", &["a"], &["b"])]);
        let error = Model::from_bytes(&model(vec![itself])).unwrap_err().to_string();
        assert!(error.contains("calls itself"), "{error}");
        let mut old = outer();
        old.opset_import[0].version = Some(7);
        let error = Model::from_bytes(&model(vec![old])).unwrap_err().to_string();
        assert!(error.contains("`outer` for version 7"), "{error}");
    }
}
