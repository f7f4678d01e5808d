//! What has a number for each channel.

use std::ops::Range;

use super::{Site, dimensions, place};
use crate::tensor::Dim;

/// `alpha · A · B + beta · C`: the rules of shapes compare A and B, here it is C.
pub(super) fn gemm(site: Site<'_>) -> Result<(), String> {
    for index in 0..2 {
        if let Some(rank) = site.rank(index).filter(|rank| *rank != 2) {
            return Err(format!("operand {} has {}", index + 1, dimensions(rank)));
        }
    }
    let Some(bias) = site.dims(2) else { return Ok(()) };
    let transposed = |name: &str| usize::from(site.node.int(name, 0) != 0);
    let rows = site.size(0, transposed("transA"));
    let columns = site.size(1, 1 - transposed("transB"));
    let fits = |dim: &Dim, size: Option<usize>| match (dim.known(), size) {
        (Some(own), Some(size)) => own == 1 || own == size,
        _ => true,
    };
    let sizes = [columns, rows];
    if bias.len() > 2 || !bias.iter().rev().zip(sizes).all(|(dim, size)| fits(dim, size)) {
        let shown = |size: Option<usize>| size.map_or("?".into(), |size| size.to_string());
        let own: Vec<_> = bias.iter().map(|dim| shown(dim.known())).collect();
        let [columns, rows] = sizes.map(shown);
        return Err(format!(
            "what it adds has the shape [{}] for a product of {rows} × {columns}; `transA` is {} and `transB` {}",
            own.join(", "),
            site.node.int("transA", 0),
            site.node.int("transB", 0)
        ));
    }
    Ok(())
}

/// Scales, shifts and the like, all but the first operand: a number for each channel of it.
pub(super) fn normalization(site: Site<'_>) -> Result<(), String> {
    let Some(channels) = site.size(0, 1) else { return Ok(()) };
    for index in 1..site.node.inputs.len() {
        match site.dims(index) {
            Some([Dim::Known(size)]) if *size != channels => {
                return Err(format!("operand {} has {size} elements for {channels} channels", index + 1));
            }
            Some([_]) | None => {}
            Some(dims) => return Err(format!("operand {} has {}", index + 1, dimensions(dims.len()))),
        }
    }
    Ok(())
}

/// As [`normalization`], over groups of channels; before opset 21 there is a number for each group.
pub(super) fn group_normalization(site: Site<'_>) -> Result<(), String> {
    let groups = site.positive("num_groups")?;
    let Some(channels) = site.size(0, 1) else { return Ok(()) };
    if !channels.is_multiple_of(groups) {
        return Err(format!("`num_groups` is {groups} for {channels} channels"));
    }
    for index in 1..3 {
        if let Some(size) = site.size(index, 0).filter(|size| *size != channels && *size != groups) {
            return Err(format!("operand {} has {size} elements for {channels} channels", index + 1));
        }
    }
    Ok(())
}

/// A scale for the tensor, or along an axis; with blocks there are more.
pub(super) fn quantization(site: Site<'_>) -> Result<(), String> {
    let (Some(dims), Some(scale)) = (site.dims(0), site.dims(1)) else { return Ok(()) };
    let is_single = |dims: &[Dim]| dims.iter().all(|dim| *dim == Dim::Known(1));
    if site.node.int("block_size", 0) != 0 {
        return Ok(());
    }
    if is_single(scale) {
        return match site.dims(2) {
            Some(points) if points.iter().any(|dim| dim.known().is_some_and(|size| size != 1)) => {
                Err("its zero points are not as many as its scales".into())
            }
            _ => Ok(()),
        };
    }
    let [scales] = scale else {
        return Err(format!("its scales have {}, and there is no `block_size`", dimensions(scale.len())));
    };
    let axis = site.node.int("axis", 1);
    let axis = place("axis", axis, dims.len())?;
    if let (Some(scales), Some(size)) = (scales.known(), dims.get(axis).and_then(Dim::known))
        && scales != size
    {
        return Err(format!("`axis` is {axis}, which has {size} elements, for {scales} scales"));
    }
    match site.dims(2) {
        Some([points])
            if points.known().zip(scales.known()).is_none_or(|(points, scales)| points == scales) =>
        {
            Ok(())
        }
        None => Ok(()),
        Some(_) => Err("its zero points are not as many as its scales".into()),
    }
}

/// Scales and zero points of a convolution in integers: one, or for the weights one for each output channel.
pub(super) fn quantized_convolution(site: Site<'_>) -> Result<(), String> {
    for (name, index) in [("x_scale", 1), ("x_zero_point", 2), ("y_scale", 6), ("y_zero_point", 7)] {
        site.single(name, index)?;
    }
    let Some(out) = site.size(3, 0) else { return Ok(()) };
    for (name, index, may_be_one) in [("w_scale", 4, true), ("w_zero_point", 5, true), ("B", 8, false)] {
        match site.dims(index) {
            Some([Dim::Known(size)]) if *size != out && !(may_be_one && *size == 1) => {
                return Err(format!("`{name}` has {size} elements for {out} output channels"));
            }
            Some([_]) | None => {}
            Some([]) if may_be_one => {}
            Some(dims) => return Err(format!("`{name}` has {}", dimensions(dims.len()))),
        }
    }
    Ok(())
}

/// Channels to pixels and back.
pub(super) fn blocks(site: Site<'_>) -> Result<(), String> {
    let side = site.positive("blocksize")?;
    let Some(dims) = site.dims(0) else { return Ok(()) };
    if dims.len() != 4 {
        return Err(format!("an operand of {}", dimensions(dims.len())));
    }
    let (places, by) = match site.node.op.as_str() {
        "DepthToSpace" => (1..2, side.checked_mul(side)),
        _ => (2..4, Some(side)),
    };
    for axis in places {
        if let Some(size) = site.size(0, axis)
            && by.is_none_or(|by| !size.is_multiple_of(by))
        {
            return Err(format!("`blocksize` is {side} for {size} elements in dimension {axis}"));
        }
    }
    Ok(())
}

/// Operands that broadcast to the first one.
pub(super) fn broadcasts(site: Site<'_>, operands: Range<usize>) -> Result<(), String> {
    let Some(dims) = site.dims(0) else { return Ok(()) };
    for index in operands {
        let Some(own) = site.dims(index) else { continue };
        if own.len() > dims.len() {
            return Err(format!(
                "operand {} has {}, the first one {}",
                index + 1,
                dimensions(own.len()),
                dims.len()
            ));
        }
        for pair in dims.iter().rev().zip(own.iter().rev()) {
            if let (Dim::Known(size), Dim::Known(own)) = pair
                && *own != 1
                && own != size
            {
                return Err(format!("operand {} has {own} elements in a dimension of {size}", index + 1));
            }
        }
    }
    Ok(())
}

/// Weights of a recurrent network: by direction, gate and unit.
pub(super) fn recurrent(site: Site<'_>) -> Result<(), String> {
    let directions = match site.node.text("direction").unwrap_or("forward") {
        "forward" | "reverse" => 1,
        "bidirectional" => 2,
        other => return Err(format!("`direction` is `{other}`")),
    };
    let gates = match site.node.op.as_str() {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1,
    };
    for (name, index) in [("X", 0), ("W", 1), ("R", 2)] {
        if let Some(rank) = site.rank(index).filter(|rank| *rank != 3) {
            return Err(format!("`{name}` has {}, but must have 3", dimensions(rank)));
        }
    }
    if let (Some(size), Some(wanted)) = (site.size(0, 2), site.size(1, 2))
        && size != wanted
    {
        return Err(format!("`W` is for {wanted} inputs, of {size}"));
    }
    if !site.node.attributes.contains_key("hidden_size") {
        return Ok(());
    }
    let units = site.positive("hidden_size")?;
    let wanted = [Some(directions), units.checked_mul(gates), Some(units)];
    for (index, known) in [(1, 2), (2, 3)] {
        let axes = wanted.iter().take(known).enumerate();
        for (axis, wanted) in axes {
            if let Some(size) = site.size(index, axis).filter(|size| Some(*size) != *wanted) {
                return Err(format!(
                    "`hidden_size` is {units} (gates: {gates}, directions: {directions}), but operand {} has {size} elements in \
                     dimension {axis}",
                    index + 1
                ));
            }
        }
    }
    Ok(())
}
