//! What could become of each node by itself. Knows nothing of the nodes around it.

use onnx::{ElementType, Graph, Node, Shapes};

use super::Role;
use crate::error::QuantError;
use crate::families::{Family, family};
use crate::rewrite::is_dilated;
use crate::stored;

/// Whether the operator is a product with constant weights as its second input, in a form that integer kernels take.
pub(crate) fn has_weight(graph: &Graph, node: &Node) -> bool {
    let rank = graph.constant(node, 1).map(|weight| weight.shape().len());
    match node.op.as_str() {
        "Conv" | "Gemm" => rank.is_some(),
        // Of more dimensions they are an operand as any other.
        "MatMul" => rank == Some(2),
        _ => false,
    }
}

/// Whether ONNX Runtime's integer kernel of the operator can give floats.
pub(super) fn may_give_floats(node: &Node) -> bool {
    matches!(node.op.as_str(), "Gemm" | "MatMul")
}

/// What could become of each node, by itself.
///
/// # Errors
/// [`QuantError::UnknownNode`], [`QuantError::NothingToQuantize`].
pub(crate) fn classify_all(graph: &Graph, exclude: &[String]) -> Result<Vec<Role>, QuantError> {
    if let Some(node) = exclude.iter().find(|name| !graph.nodes.iter().any(|node| node.label() == *name)) {
        return Err(QuantError::UnknownNode { node: node.clone() });
    }
    let shapes = Shapes::infer(graph)?;
    let roles: Vec<_> = graph.nodes.iter().map(|node| classify(graph, &shapes, node, exclude)).collect();
    let weighty = |(node, role): (&Node, &Role)| *role == Role::Integer && has_weight(graph, node);
    if graph.nodes.iter().zip(&roles).any(weighty) { Ok(roles) } else { Err(QuantError::NothingToQuantize) }
}

fn classify(graph: &Graph, shapes: &Shapes, node: &Node, exclude: &[String]) -> Role {
    if exclude.iter().any(|name| name == node.label()) {
        return Role::Float("excluded by option".into());
    }
    if matches!(node.op.as_str(), "Gelu" | "FastGelu") {
        return Role::Float("ONNX Runtime computes it in floats, as a whole".into());
    }
    if !node.is_onnx() {
        return Role::Float(format!("operator of the domain `{}`", node.domain));
    }
    if stored::is_worth_it(graph, node) {
        return Role::Stored;
    }
    let verdict = match family(node) {
        Some(Family::Product) if node.op != "MatMul" || has_weight(graph, node) => {
            weighty(graph, shapes, node).map(|()| Role::Integer)
        }
        Some(Family::Product | Family::Pair) => operands(graph, shapes, node, true).map(|()| Role::Integer),
        Some(Family::Function) if is_dilated(node) => {
            Err("ONNX Runtime's integer form knows no dilations".into())
        }
        Some(Family::Function | Family::Join) => operands(graph, shapes, node, false).map(|()| Role::Integer),
        Some(Family::Move) => {
            moves(graph, node).and_then(|()| activation(graph, shapes, node, 0)).map(|()| Role::Passes)
        }
        Some(Family::Cut) => Err("it follows no integer operator alone".into()),
        Some(Family::Reworded | Family::Stored) | None => {
            Err("no integer form of this operator is known".into())
        }
    };
    verdict.unwrap_or_else(Role::Float)
}

/// Whether all that an operator gives are elements of its operand, or zeros.
fn moves(graph: &Graph, node: &Node) -> Result<(), String> {
    let mode = node.text("mode");
    match node.op.as_str() {
        "MaxPool" if node.output(1).is_some() => Err("its second output is wanted".into()),
        "Resize" if mode.is_some_and(|mode| mode != "nearest") => Err("it computes values in between".into()),
        "Resize" if node.text("coordinate_transformation_mode") == Some("tf_crop_and_resize") => {
            Err("it puts other values around its operand".into())
        }
        "Pad" if node.input(3).is_some() => Err("which axes it pads is not known".into()),
        "Pad" if mode.is_none_or(|mode| mode == "constant") && !pads_zeros(graph, node) => {
            Err("what it pads with is not a constant zero".into())
        }
        _ => Ok(()),
    }
}

fn pads_zeros(graph: &Graph, node: &Node) -> bool {
    match node.input(2) {
        None => true,
        Some(_) => graph.constant(node, 2).and_then(|value| value.as_single_f32()) == Some(0.0),
    }
}

fn activation(graph: &Graph, shapes: &Shapes, node: &Node, index: usize) -> Result<(), String> {
    let name = node.input(index).ok_or("an operand is left out")?;
    if graph.initializers.contains_key(name) {
        return Err(format!("its operand `{name}` is a constant"));
    }
    match shapes.element(name) {
        Some(ElementType::F32) => Ok(()),
        Some(_) => Err(format!("its operand `{name}` does not hold 32-bit floats")),
        None => Err(format!("the type of its operand `{name}` is not known")),
    }
}

fn operands(graph: &Graph, shapes: &Shapes, node: &Node, constants: bool) -> Result<(), String> {
    let mut activations = 0;
    for (index, name) in node.inputs.iter().enumerate() {
        match graph.initializers.get(name) {
            Some(tensor) if constants => {
                let values = tensor.as_f32().ok_or("a constant operand does not hold 32-bit floats")?;
                if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
                    return Err("a constant operand is empty or not finite".into());
                }
            }
            _ => {
                activation(graph, shapes, node, index)?;
                activations += 1;
            }
        }
    }
    if activations == 0 { Err("all its operands are constants".into()) } else { Ok(()) }
}

fn weighty(graph: &Graph, shapes: &Shapes, node: &Node) -> Result<(), String> {
    activation(graph, shapes, node, 0)?;
    let weight = graph.constant(node, 1).ok_or("its weights are not constant")?;
    if weight.as_f32().is_none_or(<[f32]>::is_empty) {
        return Err("its weights are empty or do not hold 32-bit floats".into());
    }
    let rank = weight.shape().len();
    let channels = match node.op.as_str() {
        "Conv" if rank >= 3 => weight.shape().first(),
        "Gemm" if rank == 2 => weight.shape().get(usize::from(node.int("transB", 0) == 0)),
        "MatMul" if rank == 2 => weight.shape().get(1),
        _ => None,
    };
    let channels = *channels.ok_or_else(|| format!("its weights have {rank} dimensions"))?;
    if node.op == "Gemm" {
        let one = |name| node.float(name, 1.0).to_bits() == 1.0_f32.to_bits();
        if node.int("transA", 0) != 0 || !one("alpha") || (node.input(2).is_some() && !one("beta")) {
            return Err("it transposes or scales its operand".into());
        }
    }
    match node.input(2) {
        None => Ok(()),
        Some(name) => match graph.initializers.get(name) {
            Some(bias) if bias.as_f32().is_some_and(|values| values.len() == channels) => Ok(()),
            _ => Err(format!("its bias is not {channels} constant 32-bit floats")),
        },
    }
}
