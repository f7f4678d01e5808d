//! `Einsum`: an equation against the operands that it speaks of.

use std::collections::BTreeMap;

use super::{Site, dimensions};
use crate::graph::Attribute;
use crate::tensor::Dim;

/// Stands for any number of dimensions.
const ELLIPSIS: &str = "...";

pub(super) fn einsum(site: Site<'_>) -> Result<(), String> {
    let Some(Attribute::Text(equation)) = site.node.attributes.get("equation") else {
        return Err("it has no `equation`".into());
    };
    let told = |reason: String| format!("`equation` is `{equation}`, {reason}");
    let refused = |reason: String| Err(told(reason));
    let written: String = equation.chars().filter(|letter| !letter.is_whitespace()).collect();
    let (operands, outcome) = match written.split_once("->") {
        Some((operands, outcome)) => (operands, Some(outcome)),
        None => (written.as_str(), None),
    };
    let operands: Vec<&str> = operands.split(',').collect();
    for term in operands.iter().copied().chain(outcome) {
        let letters = term.replacen(ELLIPSIS, "", 1);
        if let Some(other) = letters.chars().find(|letter| !letter.is_ascii_alphabetic()) {
            return refused(format!("in which `{other}` names no dimension"));
        }
    }
    if operands.len() != site.node.inputs.len() {
        return refused(format!(
            "which speaks of {} operands, of {}",
            operands.len(),
            site.node.inputs.len()
        ));
    }
    let mut sizes: BTreeMap<char, usize> = BTreeMap::new();
    for (index, term) in operands.iter().enumerate() {
        for (letter, dim) in named(site, index, term).map_err(told)? {
            let known = dim.and_then(Dim::known).unwrap_or(1);
            let earlier = sizes.entry(letter).or_insert(known);
            if *earlier != 1 && known != 1 && *earlier != known {
                return refused(format!("in which `{letter}` has {earlier} and {known} elements"));
            }
            *earlier = (*earlier).max(known);
        }
    }
    let mut seen = String::new();
    for letter in outcome.unwrap_or_default().replacen(ELLIPSIS, "", 1).chars() {
        if !sizes.contains_key(&letter) || seen.contains(letter) {
            return refused(format!(
                "whose outcome has a `{letter}` that no operand has, or that it has already"
            ));
        }
        seen.push(letter);
    }
    Ok(())
}

/// The dimensions that `term` names of an operand, as far as that is known.
fn named<'a>(site: Site<'a>, index: usize, term: &str) -> Result<Vec<(char, Option<&'a Dim>)>, String> {
    let (before, behind) = term.split_once(ELLIPSIS).unwrap_or((term, ""));
    let count = before.len() + behind.len();
    let Some(dims) = site.dims(index) else {
        return Ok(before.chars().chain(behind.chars()).map(|letter| (letter, None)).collect());
    };
    let fits = if term.contains(ELLIPSIS) { dims.len() >= count } else { dims.len() == count };
    if !fits {
        return Err(format!("which names {count} of {} of operand {}", dimensions(dims.len()), index + 1));
    }
    let last = dims.iter().skip(dims.len() - behind.len());
    let pairs = before.chars().zip(dims).chain(behind.chars().zip(last));
    Ok(pairs.map(|(letter, dim)| (letter, Some(dim))).collect())
}
