//! Windows that slide: convolutions and poolings.

use super::{Site, dimensions};
use crate::tensor::Dim;

/// A convolution whose operand `weights` holds its filters, by output channel.
pub(super) fn convolution(site: Site<'_>, weights: usize) -> Result<(), String> {
    let group = group(site)?;
    let kernel = kernel_of_weights(site, weights)?;
    windows(site, kernel.as_deref(), false)?;
    if let Some(out) = site.size(weights, 0) {
        divides(out, group, "output channels")?;
        biases(site, weights, out)?;
    }
    if let (Some(channels), Some(each)) = (site.size(0, 1), site.size(weights, 1))
        && each.checked_mul(group) != Some(channels)
    {
        return Err(format!(
            "`group` is {group} and the weights have {each} channels each, for {channels} input channels"
        ));
    }
    Ok(())
}

/// A transposed convolution: its filters lie by input channel.
pub(super) fn transposed_convolution(site: Site<'_>) -> Result<(), String> {
    let group = group(site)?;
    let kernel = kernel_of_weights(site, 1)?;
    let rank = windows(site, kernel.as_deref(), false)?;
    if let Some(channels) = site.size(1, 0) {
        divides(channels, group, "input channels")?;
        if site.size(0, 1).is_some_and(|input| input != channels) {
            return Err(format!("the weights are for {channels} input channels"));
        }
    }
    if let Some(out) = site.size(1, 1).and_then(|each| each.checked_mul(group)) {
        biases(site, 1, out)?;
    }
    for (name, least) in [("output_padding", 0), ("output_shape", 1)] {
        if let Some(values) = site.node.ints(name) {
            // An output's shape may have batch and channels, too.
            let fits = |rank: usize| {
                values.len() == rank || name == "output_shape" && values.len() == rank.saturating_add(2)
            };
            if values.iter().any(|value| *value < least) || rank.is_some_and(|rank| !fits(rank)) {
                return Err(refused(name, values, rank));
            }
        }
    }
    Ok(())
}

/// A convolution that looks up its pixels where it is told, two coordinates for each weight of its window.
pub(super) fn deformed_convolution(site: Site<'_>) -> Result<(), String> {
    convolution(site, 1)?;
    let groups =
        if site.node.attributes.contains_key("offset_group") { site.positive("offset_group")? } else { 1 };
    let kernel =
        site.dims(1).and_then(|dims| dims.get(2..)?.iter().map(Dim::known).collect::<Option<Vec<_>>>());
    let Some(kernel) = kernel else { return Ok(()) };
    let weights = kernel.into_iter().fold(groups, usize::saturating_mul);
    for (what, index, wanted) in [("offsets", 2, weights.checked_mul(2)), ("masks", 4, Some(weights))] {
        if let Some(size) = site.size(index, 1).filter(|size| Some(*size) != wanted) {
            return Err(format!(
                "{size} {what}; `offset_group` is {groups}, and the window has {weights} weights with it"
            ));
        }
    }
    Ok(())
}

/// A pooling undone, with the places that its largest elements had.
pub(super) fn unpool(site: Site<'_>) -> Result<(), String> {
    pool(site)?;
    let (Some(dims), Some(places)) = (site.dims(0), site.dims(1)) else { return Ok(()) };
    let differs =
        |(own, place): (&Dim, &Dim)| own.known().zip(place.known()).is_some_and(|(own, place)| own != place);
    if dims.len() != places.len() || dims.iter().zip(places).any(differs) {
        return Err("its places have another shape than what they are for".into());
    }
    Ok(())
}

/// A pooling.
pub(super) fn pool(site: Site<'_>) -> Result<(), String> {
    if site.node.ints("kernel_shape").is_none() {
        return Err("it has no `kernel_shape`".into());
    }
    windows(site, None, true).map(drop)
}

fn group(site: Site<'_>) -> Result<usize, String> {
    if site.node.attributes.contains_key("group") { site.positive("group") } else { Ok(1) }
}

fn divides(channels: usize, group: usize, what: &str) -> Result<(), String> {
    if channels.is_multiple_of(group) {
        Ok(())
    } else {
        Err(format!("`group` is {group} for {channels} {what}"))
    }
}

/// The bias, the operand behind the weights.
fn biases(site: Site<'_>, weights: usize, out: usize) -> Result<(), String> {
    // Integer convolutions have none, or another order.
    if !site.node.op.starts_with("Conv") || site.node.op == "ConvInteger" {
        return Ok(());
    }
    match site.dims(weights + 1) {
        Some([Dim::Known(size)]) if *size == out => Ok(()),
        Some([Dim::Known(size)]) => Err(format!("{size} biases for {out} output channels")),
        Some([_]) | None => Ok(()),
        Some(dims) => Err(format!("a bias of {}", dimensions(dims.len()))),
    }
}

/// The window that the weights have, as far as it is known.
fn kernel_of_weights(site: Site<'_>, weights: usize) -> Result<Option<Vec<Dim>>, String> {
    match (site.rank(0), site.dims(weights)) {
        (Some(rank), _) if rank < 3 => Err(format!("an operand of {}", dimensions(rank))),
        (Some(rank), Some(dims)) if rank != dims.len() => {
            Err(format!("operands of {rank} and {}", dimensions(dims.len())))
        }
        (_, Some([_, _, kernel @ ..])) if kernel.contains(&Dim::Known(0)) => {
            Err("weights of a window without elements".into())
        }
        (_, Some([_, _, kernel @ ..])) if !kernel.is_empty() => Ok(Some(kernel.to_vec())),
        (_, Some(dims)) => Err(format!("weights of {}", dimensions(dims.len()))),
        (_, None) => Ok(None),
    }
}

/// Checks what says how a window slides. `kernel` is that of the weights. In how many dimensions it does, where that is known.
fn windows(site: Site<'_>, kernel: Option<&[Dim]>, is_pool: bool) -> Result<Option<usize>, String> {
    let node = site.node;
    let own = node.ints("kernel_shape");
    let rank = kernel.map(<[Dim]>::len).or_else(|| site.rank(0)?.checked_sub(2)).or(own.map(<[i64]>::len));
    let is_size = |value: &i64| *value > 0;
    for name in ["kernel_shape", "strides", "dilations"] {
        if let Some(values) = node.ints(name)
            && (!values.iter().all(is_size) || rank.is_some_and(|rank| values.len() != rank))
        {
            return Err(refused(name, values, rank));
        }
    }
    if let (Some(own), Some(kernel)) = (own, kernel) {
        let differs = |(own, kernel): (&i64, &Dim)| {
            kernel.known().is_some_and(|size| usize::try_from(*own).ok() != Some(size))
        };
        if own.iter().zip(kernel).any(differs) {
            let kernel: Vec<_> =
                kernel.iter().map(|dim| dim.known().map_or("?".into(), |size| size.to_string())).collect();
            return Err(format!("`kernel_shape` is {own:?}, but the weights have [{}]", kernel.join(", ")));
        }
    }
    let auto = node.text("auto_pad").unwrap_or("NOTSET");
    if !["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"].contains(&auto) {
        return Err(format!("`auto_pad` is `{auto}`"));
    }
    let Some(pads) = node.ints("pads") else { return Ok(rank) };
    if pads.iter().any(|pad| *pad < 0) || rank.is_some_and(|rank| pads.len() != 2 * rank) {
        return Err(refused("pads", pads, rank));
    }
    if auto != "NOTSET" && pads.iter().any(|pad| *pad != 0) {
        return Err(format!("`pads` is {pads:?}, but `auto_pad` is `{auto}`: one of them decides"));
    }
    if let (Some(own), true) = (own, is_pool) {
        let dilations = node.ints("dilations").map_or_else(|| vec![1; own.len()], <[i64]>::to_vec);
        let reach: Vec<i64> =
            own.iter().zip(&dilations).map(|(size, dilation)| size.saturating_mul(*dilation)).collect();
        if pads.iter().zip(reach.iter().chain(&reach)).any(|(pad, reach)| pad >= reach) {
            return Err(format!("`pads` is {pads:?}, as wide as the window: `kernel_shape` is {own:?}"));
        }
    }
    Ok(rank)
}

fn refused(name: &str, values: &[i64], rank: Option<usize>) -> String {
    match rank {
        Some(rank) => format!("`{name}` is {values:?} for {} that the window slides in", dimensions(rank)),
        None => format!("`{name}` is {values:?}"),
    }
}
