//! Rewritings that keep what a model computes: constants become initializers, batch normalisation goes into the
//! convolution before it, what has no effect at inference goes away. Names of remaining tensors stay.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::fold::Affine;
use crate::graph::{Attribute, Dim, Graph, Model, Node};
use crate::shape::Shapes;
use crate::tensor::{Data, Tensor};

impl Model {
    /// The same function in fewer nodes.
    ///
    /// # Errors
    /// [`Error::Invalid`] where shapes contradict each other.
    pub fn simplified(&self) -> Result<Self, Error> {
        let mut model = self.clone();
        let graph = &mut model.graph;
        graph.inputs.retain(|value| !graph.initializers.contains_key(&value.name));
        constants_to_initializers(graph);
        drop_no_ops(graph);
        fold_batch_norms(graph);
        reshapes_to_flatten(graph)?;
        graph.remove_unused();
        graph.check()?;
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
                wanted.extend(node.inputs.iter().cloned());
            }
        }
        let mut keep = keep.into_iter();
        self.nodes.retain(|_| keep.next().unwrap_or(true));
        self.initializers.retain(|name, _| wanted.contains(name));
    }

    /// Makes all consumers of `from` consume `to`.
    fn redirect(&mut self, from: &str, to: &str) {
        for name in self.nodes.iter_mut().flat_map(|node| &mut node.inputs).filter(|name| *name == from) {
            to.clone_into(name);
        }
    }
}

fn constants_to_initializers(graph: &mut Graph) {
    let mut constants = BTreeMap::new();
    graph.nodes.retain(|node| {
        let value = node.is("Constant").then(|| constant_value(node)).flatten();
        match (value, node.output(0)) {
            (Some(value), Some(name)) => {
                constants.insert(name.to_owned(), value);
                false
            }
            _ => true,
        }
    });
    graph.initializers.append(&mut constants);
}

fn constant_value(node: &Node) -> Option<Tensor> {
    let (name, value) = node.attributes.first_key_value()?;
    Some(match (name.as_str(), value) {
        ("value", Attribute::Tensor(tensor)) => tensor.clone(),
        ("value_float", Attribute::Float(value)) => Tensor::scalar_f32(*value),
        ("value_floats", Attribute::Floats(values)) => Tensor::vector(Data::F32(values.clone())),
        ("value_int", Attribute::Int(value)) => Tensor::new(Vec::new(), Data::I64(vec![*value]))?,
        ("value_ints", Attribute::Ints(values)) => Tensor::vector(Data::I64(values.clone())),
        _ => return None,
    })
}

/// Removes `Identity` and `Dropout` (which does nothing at inference), unless a graph output would lose its name.
fn drop_no_ops(graph: &mut Graph) {
    let consumed: BTreeSet<String> = graph.nodes.iter().flat_map(|node| node.inputs.clone()).collect();
    let mut index = 0;
    while let Some(node) = graph.nodes.get(index) {
        let training = node.input(2).is_some();
        let mask_wanted = node.output(1).is_some_and(|mask| consumed.contains(mask) || graph.is_output(mask));
        let no_op = node.is("Identity") || (node.is("Dropout") && !training && !mask_wanted);
        let ends = node.input(0).zip(node.output(0)).map(|(from, to)| (from.to_owned(), to.to_owned()));
        match ends {
            Some((from, to)) if no_op && !graph.is_output(&to) => {
                graph.redirect(&to, &from);
                graph.nodes.remove(index);
            }
            _ => index += 1,
        }
    }
}

fn fold_batch_norms(graph: &mut Graph) {
    let mut index = 0;
    while index < graph.nodes.len() {
        match foldable(graph, index) {
            Some((conv, weight, bias, output)) => {
                let mut names = graph.names();
                let (weight_name, bias_name) = (names.fresh("folded.weight"), names.fresh("folded.bias"));
                graph.initializers.insert(weight_name.clone(), weight);
                graph.initializers.insert(bias_name.clone(), bias);
                if let Some(node) = graph.nodes.get_mut(conv) {
                    let input = node.input(0).unwrap_or_default().to_owned();
                    node.inputs = vec![input, weight_name, bias_name];
                    node.outputs = vec![output];
                }
                graph.nodes.remove(index);
            }
            None => index += 1,
        }
    }
}

/// Where node `index` is a batch normalisation over a convolution that nothing else consumes: the convolution's
/// index, its new weight and bias, and its new output.
fn foldable(graph: &Graph, index: usize) -> Option<(usize, Tensor, Tensor, String)> {
    let norm = graph.nodes.get(index).filter(|node| node.is("BatchNormalization"))?;
    let input = norm.input(0)?;
    let conv_index = *graph.producers().get(input)?;
    let conv = graph.nodes.get(conv_index).filter(|node| node.is("Conv"))?;
    let single = graph.consumers().get(input).is_some_and(|consumers| consumers.len() == 1);
    if !single || graph.is_output(input) || norm.int("training_mode", 0) != 0 {
        return None;
    }
    let statistics: Vec<_> =
        (1..5).map(|place| graph.constant(norm, place)?.as_f32()).collect::<Option<_>>()?;
    let [scale, shift, mean, variance] = statistics.as_slice() else { return None };
    let weight = graph.constant(conv, 1)?;
    let channels = *weight.shape().first()?;
    let bias = match conv.input(2) {
        None => None,
        Some(_) => Some(graph.constant(conv, 2)?.as_f32()?),
    };
    let lengths_fit = [*scale, *shift, *mean, *variance].iter().all(|values| values.len() == channels);
    if !lengths_fit || bias.is_some_and(|bias| bias.len() != channels) {
        return None;
    }
    let affine = Affine::of_batch_norm(scale, shift, mean, variance, f64::from(norm.float("epsilon", 1e-5)));
    let mut values = weight.as_f32()?.to_vec();
    let bias = affine.fold(&mut values, bias);
    let weight = Tensor::new(weight.shape().to_vec(), Data::F32(values))?;
    Some((conv_index, weight, Tensor::vector(Data::F32(bias)), norm.output(0)?.to_owned()))
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
