//! Axes, and what is cut, put together or moved along them.

use std::collections::BTreeSet;

use super::{Site, dimensions, place};
use crate::graph::Attribute;
use crate::tensor::Dim;

/// Operators with one `axis` among the dimensions of their first operand.
pub(super) fn axis(site: Site<'_>) -> Result<(), String> {
    let past_the_end = match site.node.op.as_str() {
        "Softmax" | "LogSoftmax" | "Hardmax" | "Gather" | "ArgMax" | "ArgMin" | "LayerNormalization"
        | "LpNormalization" | "RMSNormalization" | "Unique" | "Compress" => 0,
        "Flatten" => 1,
        _ => return Ok(()),
    };
    let (Some(Attribute::Int(axis)), Some(rank)) = (site.node.attributes.get("axis"), site.rank(0)) else {
        return Ok(());
    };
    // Behind the last dimension all of them are before it, and counted from behind there is no such place.
    if past_the_end == 1 && usize::try_from(*axis).is_ok_and(|axis| axis == rank) {
        return Ok(());
    }
    let axis = place("axis", *axis, rank)?;
    if site.node.op == "Gather"
        && let (Some(size), Some(indices)) = (site.size(0, axis), site.integers(1))
        && let Some(index) =
            indices.iter().find(|index| super::super::values::resolve_axis(**index, size).is_none())
    {
        return Err(format!("it picks element {index} of {size}"));
    }
    Ok(())
}

pub(super) fn transpose(site: Site<'_>) -> Result<(), String> {
    let Some(order) = site.node.ints("perm") else { return Ok(()) };
    let rank = site.rank(0).unwrap_or(order.len());
    let distinct: BTreeSet<usize> = order.iter().filter_map(|axis| usize::try_from(*axis).ok()).collect();
    if order.len() == rank && distinct.len() == rank && distinct.iter().all(|axis| *axis < rank) {
        Ok(())
    } else {
        Err(format!("`perm` is {order:?}, which is no order of {}", dimensions(rank)))
    }
}

pub(super) fn concat(site: Site<'_>) -> Result<(), String> {
    let Some(Attribute::Int(axis)) = site.node.attributes.get("axis") else {
        return Err("it has no `axis`".into());
    };
    let Some(first) = site.dims(0) else { return Ok(()) };
    let axis = place("axis", *axis, first.len())?;
    for index in 1..site.node.inputs.len() {
        let Some(dims) = site.dims(index) else { continue };
        if dims.len() != first.len() {
            return Err(format!("operands of {} and {}", first.len(), dimensions(dims.len())));
        }
        for (at, pair) in first.iter().zip(dims).enumerate().filter(|(at, _)| *at != axis) {
            if let (Dim::Known(one), Dim::Known(other)) = pair
                && one != other
            {
                return Err(format!("`axis` is {axis}, but dimension {at} has {one} and {other} elements"));
            }
        }
    }
    Ok(())
}

pub(super) fn split(site: Site<'_>) -> Result<(), String> {
    let Some(rank) = site.rank(0) else { return Ok(()) };
    let axis = place("axis", site.node.int("axis", 0), rank)?;
    let outputs = site.node.outputs.len();
    if site.node.attributes.contains_key("num_outputs") && site.positive("num_outputs")? != outputs {
        return Err(format!("`num_outputs` is {}, but it has {outputs}", site.node.int("num_outputs", 0)));
    }
    let Some(parts) = site.integers_of("split", 1) else { return Ok(()) };
    let sizes: Option<Vec<usize>> = parts.iter().map(|part| usize::try_from(*part).ok()).collect();
    let sum = sizes.and_then(|sizes| sizes.into_iter().try_fold(0_usize, usize::checked_add));
    if parts.len() != outputs || sum.is_none() || site.size(0, axis).is_some_and(|size| Some(size) != sum) {
        let size = site.size(0, axis).map_or("unknown many".into(), |size| size.to_string());
        return Err(format!("`split` is {parts:?} for {size} elements and {outputs} outputs"));
    }
    Ok(())
}

pub(super) fn squeeze(site: Site<'_>) -> Result<(), String> {
    let (Some(axes), Some(rank)) = (site.integers_of("axes", 1), site.rank(0)) else { return Ok(()) };
    let inserts = site.node.op == "Unsqueeze";
    let rank = if inserts { rank.saturating_add(axes.len()) } else { rank };
    let mut seen = BTreeSet::new();
    for axis in &axes {
        let at = place("axes", *axis, rank)?;
        if inserts && !seen.insert(at) {
            return Err(format!("`axes` is {axes:?}, which names a dimension twice"));
        }
        if let Some(size) = site.size(0, at).filter(|size| !inserts && *size != 1) {
            return Err(format!("`axes` is {axes:?}, but dimension {at} has {size} elements"));
        }
    }
    Ok(())
}

pub(super) fn reduce(site: Site<'_>) -> Result<(), String> {
    let (Some(axes), Some(rank)) = (site.integers_of("axes", 1), site.rank(0)) else { return Ok(()) };
    axes.iter().try_for_each(|axis| place("axes", *axis, rank).map(drop))
}

/// Checks that `axes` names some of `rank` dimensions, none of them twice.
fn distinct(axes: &[i64], rank: usize) -> Result<(), String> {
    let places = axes.iter().map(|axis| place("axes", *axis, rank)).collect::<Result<BTreeSet<_>, _>>()?;
    if places.len() == axes.len() {
        Ok(())
    } else {
        Err(format!("`axes` is {axes:?}, which names a dimension twice"))
    }
}

/// The number of dimensions that are spoken of: those named by the operand `axes`, else all. `None` where that is not known.
fn spoken_of(site: Site<'_>, axes: usize) -> Result<Option<usize>, String> {
    let rank = site.rank(0);
    if let (Some(axes), Some(rank)) = (site.integers_of("axes", axes), rank) {
        distinct(&axes, rank)?;
    }
    match (site.node.ints("axes"), site.node.input(axes)) {
        (Some(axes), _) => Ok(Some(axes.len())),
        (None, Some(_)) => Ok(site.size(axes, 0)),
        (None, None) => Ok(rank),
    }
}

pub(super) fn pad(site: Site<'_>) -> Result<(), String> {
    let mode = site.node.text("mode").unwrap_or("constant");
    if !["constant", "reflect", "edge", "wrap"].contains(&mode) {
        return Err(format!("`mode` is `{mode}`"));
    }
    let (Some(pads), Some(rank)) = (site.integers_of("pads", 1), spoken_of(site, 3)?) else { return Ok(()) };
    if rank.checked_mul(2) != Some(pads.len()) {
        return Err(format!("`pads` is {pads:?} for {}", dimensions(rank)));
    }
    if site.rank(0) != Some(rank) || site.node.input(3).is_some() {
        return Ok(());
    }
    let (before, behind) = pads.split_at(rank);
    for (axis, (before, behind)) in before.iter().zip(behind).enumerate() {
        let Some(size) = site.size(0, axis).and_then(|size| i64::try_from(size).ok()) else { continue };
        let left = size.checked_add(*before).and_then(|sum| sum.checked_add(*behind));
        if left.is_none_or(|left| left < 0) {
            return Err(format!("`pads` is {pads:?}, but dimension {axis} has {size} elements"));
        }
    }
    Ok(())
}

pub(super) fn slice(site: Site<'_>) -> Result<(), String> {
    let count = |attribute: &str, operand: usize| match site.node.ints(attribute) {
        Some(values) => Some(values.len()),
        None => site.size(operand, 0),
    };
    let starts = count("starts", 1);
    for (name, operand) in [("ends", 2), ("axes", 3), ("steps", 4)] {
        if let (Some(starts), Some(others)) = (starts, count(name, operand))
            && starts != others
        {
            return Err(format!("`starts` has {starts} elements and `{name}` {others}"));
        }
    }
    if let (Some(axes), Some(rank)) = (site.integers_of("axes", 3), site.rank(0)) {
        distinct(&axes, rank)?;
    } else if let (Some(starts), Some(rank)) = (starts, site.rank(0))
        && starts > rank
    {
        return Err(format!("`starts` has {starts} elements for {}", dimensions(rank)));
    }
    match site.integers_of("steps", 4).filter(|steps| steps.contains(&0)) {
        Some(steps) => Err(format!("`steps` is {steps:?}, and a step of 0 leads nowhere")),
        None => Ok(()),
    }
}

pub(super) fn resize(site: Site<'_>) -> Result<(), String> {
    let mode = site.node.text("mode").unwrap_or("nearest");
    if !["nearest", "linear", "bilinear", "cubic"].contains(&mode) {
        return Err(format!("`mode` is `{mode}`"));
    }
    // Opset 10 and `Upsample` have the scales second, before that they are an attribute.
    let at = if site.node.inputs.len() <= 2 { 1 } else { 2 };
    let own = match site.node.attributes.get("scales") {
        Some(Attribute::Floats(scales)) => Some(scales.as_slice()),
        _ => None,
    };
    let constant = site.graph.constant(site.node, at).and_then(|tensor| tensor.as_f32());
    let scales = own.or(constant);
    if let Some(scale) = scales.into_iter().flatten().find(|scale| !(**scale > 0.0 && scale.is_finite())) {
        return Err(format!("one of its `scales` is {scale}"));
    }
    let rank = spoken_of(site, usize::MAX)?;
    let counted = |index: usize| site.node.input(index).map_or(Some(0), |_| site.size(index, 0));
    let counts = [scales.map(<[f32]>::len).or_else(|| counted(at)), counted(3)];
    if counts == [Some(0); 2] && site.node.op == "Resize" {
        return Err("it has neither `scales` nor `sizes`".into());
    }
    let mut given = 0;
    for (name, count) in ["scales", "sizes"].into_iter().zip(counts) {
        let Some(count) = count.filter(|count| *count > 0) else { continue };
        given += 1;
        if rank.is_some_and(|rank| rank != count) {
            return Err(format!("{count} `{name}` for {}", dimensions(rank.unwrap_or(0))));
        }
    }
    if let Some(sizes) = site.integers(3).filter(|sizes| sizes.iter().any(|size| *size < 0)) {
        return Err(format!("`sizes` is {sizes:?}"));
    }
    if given == 2 { Err("it has both `scales` and `sizes`".into()) } else { Ok(()) }
}

pub(super) fn tile(site: Site<'_>) -> Result<(), String> {
    let (Some(rank), Some(repeats)) = (site.rank(0), site.integers(1)) else { return Ok(()) };
    if repeats.len() != rank || repeats.iter().any(|times| *times < 0) {
        return Err(format!("`repeats` is {repeats:?} for {}", dimensions(rank)));
    }
    Ok(())
}

pub(super) fn reshape(site: Site<'_>) -> Result<(), String> {
    let Some(sizes) = site.integers_of("shape", 1) else { return Ok(()) };
    let keeps_zero = site.node.int("allowzero", 0) != 0;
    let open = sizes.iter().filter(|size| **size == -1).count();
    let negative = sizes.iter().any(|size| *size < -1);
    if negative || open > 1 || (open == 1 && keeps_zero && sizes.contains(&0)) {
        return Err(format!("`shape` is {sizes:?}"));
    }
    let taken = sizes.iter().rposition(|size| *size == 0).filter(|_| !keeps_zero);
    match (taken, site.rank(0)) {
        (Some(place), Some(rank)) if place >= rank => {
            Err(format!("`shape` is {sizes:?}, which keeps dimension {place} of {rank}"))
        }
        _ => Ok(()),
    }
}
