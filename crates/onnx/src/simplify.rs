//! Rewritings that keep what a model computes: constants become initializers, what scales and shifts channels goes into the
//! convolution before it, what has no effect at inference goes away. Names of remaining tensors stay.

mod affine;
mod constants;
mod evaluate;

use std::collections::BTreeSet;

use crate::error::Error;
use crate::graph::{Attribute, Graph, Model, Node};
use crate::shape::Shapes;
use crate::tensor::{Data, Dim, Tensor};

impl Model {
    /// The same function in fewer nodes.
    ///
    /// # Errors
    /// [`Error::Invalid`] where shapes contradict each other.
    pub fn simplified(&self) -> Result<Self, Error> {
        let mut model = self.clone();
        let graph = &mut model.graph;
        graph.inputs.retain(|value| !graph.initializers.contains_key(&value.name));
        constants::to_initializers(graph);
        evaluate::constants(graph);
        constants::reshape(graph)?;
        drop_no_ops(graph)?;
        affine::check_norms(graph)?;
        affine::fold(graph);
        constants::target_shapes(graph)?;
        reshapes_to_flatten(graph)?;
        graph.remove_unused();
        graph.check()?;
        // What was folded may contradict what was not known before.
        let shapes = Shapes::infer(graph)?;
        check_outputs(graph, &shapes)?;
        Ok(model)
    }
}

impl Graph {
    /// Removes nodes and initializers that no output depends on.
    pub fn remove_unused(&mut self) {
        let mut wanted: BTreeSet<String> = self.outputs.iter().map(|value| value.name.clone()).collect();
        let mut keep = vec![false; self.nodes.len()];
        for (node, keep) in self.nodes.iter().zip(&mut keep).rev() {
            if node.outputs.iter().any(|name| wanted.contains(name)) {
                *keep = true;
                wanted.extend(node.uses().map(str::to_owned));
            }
        }
        let nodes = std::mem::take(&mut self.nodes).into_iter().zip(keep);
        self.nodes = nodes.filter(|(_, keep)| *keep).map(|(node, _)| node).collect();
        self.initializers.retain(|name, _| wanted.contains(name));
        self.hints.retain(|name, _| wanted.contains(name));
    }

    /// Makes all consumers of `from`, which no body takes, consume `to`.
    fn redirect(&mut self, from: &str, to: &str) {
        for name in self.nodes.iter_mut().flat_map(|node| &mut node.inputs).filter(|name| *name == from) {
            to.clone_into(name);
        }
    }
}

/// Removes `Identity`, `Dropout` (which does nothing at inference) and `Cast` to the type that is there already, unless a graph
/// output or what a body takes would lose its name.
fn drop_no_ops(graph: &mut Graph) -> Result<(), Error> {
    let shapes = Shapes::infer(graph)?;
    let casts_nothing = |node: &Node| {
        let element = node.input(0).and_then(|input| shapes.element(input));
        node.is("Cast") && element.is_some_and(|element| i64::from(element.code()) == node.int("to", 0))
    };
    let consumed: BTreeSet<String> =
        graph.nodes.iter().flat_map(|node| node.uses().map(str::to_owned)).collect();
    let captured: BTreeSet<String> = graph.captured().into_iter().map(str::to_owned).collect();
    let mut index = 0;
    while let Some(node) = graph.nodes.get(index) {
        // A third input says that it is training, since opset 12.
        let is_false = |tensor: &Tensor| matches!(tensor.data(), Data::Bool(value) if *value == [0]);
        let training = node.input(2).is_some() && !graph.constant(node, 2).is_some_and(is_false);
        let mask_wanted = node.output(1).is_some_and(|mask| consumed.contains(mask) || graph.is_output(mask));
        let no_op =
            node.is("Identity") || (node.is("Dropout") && !training && !mask_wanted) || casts_nothing(node);
        let ends = node.input(0).zip(node.output(0)).map(|(from, to)| (from.to_owned(), to.to_owned()));
        match ends {
            Some((from, to)) if no_op && !graph.is_output(&to) && !captured.contains(&to) => {
                graph.redirect(&to, &from);
                graph.nodes.remove(index);
            }
            _ => index += 1,
        }
    }
    Ok(())
}

/// Refuses outputs that are declared to have another shape than what computes them gives.
fn check_outputs(graph: &Graph, shapes: &Shapes) -> Result<(), Error> {
    for output in &graph.outputs {
        let (Some(declared), Some(computed)) = (output.shape.as_deref(), shapes.dims(&output.name)) else {
            continue;
        };
        let differs =
            |(one, two): (&Dim, &Dim)| matches!((one, two), (Dim::Known(one), Dim::Known(two)) if one != two);
        if declared.len() != computed.len() || declared.iter().zip(computed).any(differs) {
            return Err(Error::Invalid(format!(
                "the output `{}` is declared as {}, but what computes it gives {}",
                output.name,
                in_words(declared),
                in_words(computed)
            )));
        }
    }
    Ok(())
}

/// `[N, 5]`.
fn in_words(shape: &[Dim]) -> String {
    let sizes: Vec<String> = shape
        .iter()
        .map(|dim| match dim {
            Dim::Known(size) => size.to_string(),
            Dim::Named(name) => name.clone(),
            Dim::Unknown => "?".into(),
        })
        .collect();
    format!("[{}]", sizes.join(", "))
}

/// Turns a `Reshape` that keeps the first dimension and joins the others into `Flatten`, which needs no shape.
fn reshapes_to_flatten(graph: &mut Graph) -> Result<(), Error> {
    let shapes = Shapes::infer(graph)?;
    for node in graph.nodes.iter_mut().filter(|node| node.is("Reshape")) {
        let (Some(input), Some(output)) = (node.input(0), node.output(0)) else { continue };
        let (Some([first, rest @ ..]), Some([kept, joined])) = (shapes.dims(input), shapes.dims(output))
        else {
            continue;
        };
        let size = rest.iter().map(Dim::known).try_fold(1_usize, |product, size| product.checked_mul(size?));
        if first == kept && *first != Dim::Unknown && size.is_some() && joined.known() == size {
            let flatten = Node::new("Flatten", [input], [output]).with("axis", Attribute::Int(1));
            *node = flatten.named(&node.name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
