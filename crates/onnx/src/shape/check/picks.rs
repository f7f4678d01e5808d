//! What picks elements by places, counts them or puts them elsewhere.

use super::{Site, dimensions, place};
use crate::graph::Attribute;
use crate::tensor::Dim;

/// The largest elements along an axis: how many is an attribute before opset 10.
pub(super) fn top(site: Site<'_>) -> Result<(), String> {
    let count = match site.node.attributes.get("k") {
        Some(Attribute::Int(count)) => Some(*count),
        _ => {
            site.single("k", 1)?;
            site.integers(1).and_then(|counts| counts.first().copied())
        }
    };
    let Some(rank) = site.rank(0) else { return Ok(()) };
    let axis = place("axis", site.node.int("axis", -1), rank)?;
    let size = site.size(0, axis);
    match count {
        Some(count)
            if count < 0 || size.is_some_and(|size| usize::try_from(count).is_ok_and(|k| k > size)) =>
        {
            let size = size.map_or("unknown many".into(), |size| size.to_string());
            Err(format!("`k` is {count}, of {size} elements in dimension {axis}"))
        }
        _ => Ok(()),
    }
}

/// A one among zeros at each place that is told, along a dimension of its own.
pub(super) fn one_hot(site: Site<'_>) -> Result<(), String> {
    if let Some(rank) = site.rank(0) {
        place("axis", site.node.int("axis", -1), rank.saturating_add(1))?;
    }
    site.single("depth", 1)?;
    if let Some(depth) = site.integers(1).and_then(|depth| depth.first().copied()).filter(|depth| *depth < 1)
    {
        return Err(format!("`depth` is {depth}, but must be at least 1"));
    }
    match site.dims(2) {
        Some([Dim::Known(2) | Dim::Named(_) | Dim::Unknown]) | None => Ok(()),
        Some(_) => Err("`values` are not two, those beside and at the places".into()),
    }
}

/// Places with as many dimensions as what is picked from, or put into.
pub(super) fn elements(site: Site<'_>) -> Result<(), String> {
    let Some(rank) = site.rank(0) else { return Ok(()) };
    place("axis", site.node.int("axis", 0), rank)?;
    match site.rank(1) {
        Some(places) if places != rank => Err(format!("its places have {}, of {rank}", dimensions(places))),
        _ => Ok(()),
    }
}

/// Places whose last dimension is a path into what is picked from.
pub(super) fn paths(site: Site<'_>) -> Result<(), String> {
    let (Some(rank), Some(places)) = (site.rank(0), site.dims(1)) else { return Ok(()) };
    let Some((path, others)) = places.split_last() else {
        return Err("its places have no dimension".into());
    };
    let batch = site.node.int("batch_dims", 0);
    let Some(batch) = usize::try_from(batch).ok().filter(|batch| *batch < rank && *batch <= others.len())
    else {
        return Err(format!(
            "`batch_dims` is {batch} for {} and {} of its places",
            dimensions(rank),
            places.len()
        ));
    };
    match path.known() {
        Some(path) if path < 1 || path > rank - batch => {
            Err(format!("its places lead into {}, of {}", dimensions(path), rank - batch))
        }
        _ => Ok(()),
    }
}

/// Regions of images, as boxes of which each says the image that it is in.
pub(super) fn regions(site: Site<'_>) -> Result<(), String> {
    for name in ["output_height", "output_width"] {
        if site.node.attributes.contains_key(name) {
            site.positive(name)?;
        }
    }
    for (index, rank) in [(0, 4), (1, 2), (2, 1)] {
        if let Some(own) = site.rank(index).filter(|own| *own != rank) {
            return Err(format!("operand {} has {}, but must have {rank}", index + 1, dimensions(own)));
        }
    }
    if let Some(sides) = site.size(1, 1).filter(|sides| *sides != 4) {
        return Err(format!("its boxes have {sides} sides"));
    }
    match (site.size(1, 0), site.size(2, 0)) {
        (Some(boxes), Some(images)) if boxes != images => {
            Err(format!("{boxes} boxes, but {images} numbers of images"))
        }
        _ => Ok(()),
    }
}

/// Places between pixels, given for each pixel of the outcome.
pub(super) fn grid(site: Site<'_>) -> Result<(), String> {
    let (Some(rank), Some(grid)) = (site.rank(0), site.dims(1)) else { return Ok(()) };
    if rank < 3 || grid.len() != rank {
        return Err(format!("operands of {rank} and {}", dimensions(grid.len())));
    }
    match grid.last().and_then(Dim::known) {
        Some(path) if path != rank - 2 => {
            Err(format!("its places have {path} coordinates in {}", dimensions(rank - 2)))
        }
        _ => Ok(()),
    }
}

/// A size to broadcast to.
pub(super) fn expand(site: Site<'_>) -> Result<(), String> {
    let (Some(dims), Some(sizes)) = (site.dims(0), site.integers(1)) else { return Ok(()) };
    let fits = |(dim, size): (&Dim, &i64)| match dim.known() {
        Some(own) => *size == 1 || own == 1 || i64::try_from(own) == Ok(*size),
        None => true,
    };
    if sizes.iter().any(|size| *size < 0) || !dims.iter().rev().zip(sizes.iter().rev()).all(fits) {
        let own: Vec<_> =
            dims.iter().map(|dim| dim.known().map_or("?".into(), |size| size.to_string())).collect();
        return Err(format!("`shape` is {sizes:?} for an operand of [{}]", own.join(", ")));
    }
    Ok(())
}

/// An axis that is an operand.
pub(super) fn axis_operand(site: Site<'_>) -> Result<(), String> {
    site.single("axis", 1)?;
    match (site.integers(1).as_deref(), site.rank(0)) {
        (Some([axis]), Some(rank)) => place("axis", *axis, rank).map(drop),
        _ => Ok(()),
    }
}

/// Sequences turned around, one a place of the batch.
pub(super) fn reverse(site: Site<'_>) -> Result<(), String> {
    let (batch, time) = (site.node.int("batch_axis", 1), site.node.int("time_axis", 0));
    if !(0..2).contains(&batch) || time != 1 - batch {
        return Err(format!(
            "`batch_axis` is {batch} and `time_axis` {time}, but must be 0 and 1, or 1 and 0"
        ));
    }
    let batch = usize::from(batch == 1);
    match (site.size(0, batch), site.size(1, 0)) {
        (Some(size), Some(lengths)) if size != lengths => {
            Err(format!("{lengths} lengths for {size} sequences"))
        }
        _ => Ok(()),
    }
}
