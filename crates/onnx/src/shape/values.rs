//! Small tensors of integers by value, as far as they are shapes being computed.

use super::{Item, MAX_ITEMS, Shapes};
use crate::graph::{Attribute, Node};
use crate::tensor::{Dim, ElementType};

/// The value of `node`'s first output where it is a shape being computed.
pub(super) fn items(shapes: &Shapes, node: &Node) -> Option<Vec<Item>> {
    let operand = |index| shapes.items(node.input(index)?);
    let items = match node.op.as_str() {
        "Shape" => asked_for(node, shapes.dims(node.input(0)?)?)?.iter().map(from_dim).collect(),
        "Gather" if node.int("axis", 0) == 0 => {
            let from = operand(0)?;
            let pick = |item: &Item| match item {
                Item::Int(index) => from.get(resolve_axis(*index, from.len())?).cloned(),
                Item::Dim(_) => None,
            };
            operand(1)?.iter().map(pick).collect::<Option<_>>()?
        }
        "Slice" => sliced(shapes, node, operand(0)?)?,
        "Concat" => {
            let parts = (0..node.inputs.len()).map(operand).collect::<Option<Vec<_>>>()?;
            parts.concat()
        }
        "Unsqueeze" | "Squeeze" | "Identity" => operand(0)?.to_vec(),
        "Cast" if node.int("to", 0) == i64::from(ElementType::I64.code()) => operand(0)?.to_vec(),
        "Constant" => match node.attributes.get("value")? {
            Attribute::Tensor(tensor) => tensor.as_i64()?.iter().map(|&value| Item::Int(value)).collect(),
            _ => return None,
        },
        _ => return None,
    };
    (items.len() <= MAX_ITEMS).then_some(items)
}

/// The items that `Slice` takes of some in one dimension, one after the other.
fn sliced(shapes: &Shapes, node: &Node, items: &[Item]) -> Option<Vec<Item>> {
    let single = |attribute: &str, operand: usize, default: Option<i64>| {
        if let Some(values) = node.ints(attribute) {
            return values.first().copied();
        }
        match node.input(operand) {
            None => default,
            Some(name) => match shapes.items(name)? {
                [Item::Int(value)] => Some(*value),
                _ => None,
            },
        }
    };
    let (axis, step) = (single("axes", 3, Some(0))?, single("steps", 4, Some(1))?);
    let count = i64::try_from(items.len()).ok()?;
    let place = |at: i64| {
        let at = if at < 0 { at.saturating_add(count) } else { at };
        usize::try_from(at.clamp(0, count)).ok()
    };
    let (start, end) = (place(single("starts", 1, None)?)?, place(single("ends", 2, None)?)?);
    let is_plain = (axis == 0 || axis == -1) && step == 1;
    is_plain.then(|| items.get(start..end.max(start)).map(<[Item]>::to_vec))?
}

/// The dimensions that `Shape` is to give: from `start` to `end`, each counted from behind where it is negative and moved to the
/// nearest place that there is.
pub(super) fn asked_for<'a>(node: &Node, dims: &'a [Dim]) -> Option<&'a [Dim]> {
    let rank = i64::try_from(dims.len()).ok()?;
    let place = |at: i64| {
        let at = if at < 0 { at.saturating_add(rank) } else { at };
        usize::try_from(at.clamp(0, rank)).ok()
    };
    dims.get(place(node.int("start", 0))?..place(node.int("end", rank))?)
}

fn from_dim(dim: &Dim) -> Item {
    match dim.known().map(i64::try_from) {
        Some(Ok(size)) => Item::Int(size),
        _ => Item::Dim(dim.clone()),
    }
}

/// Where `axis`, which may be counted from behind, lies among `rank` dimensions.
pub(super) fn resolve_axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
    (0..rank).contains(&axis).then(|| usize::try_from(axis).ok()).flatten()
}
