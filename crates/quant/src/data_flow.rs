//! Which nodes compute on what images hold, and which on sizes alone. Knows how tensors hang together, not what they hold.

use std::collections::BTreeSet;

use onnx::Graph;

/// By node, whether what it gives depends on no value of an input: on shapes and constants alone, as what goes before a
/// `Reshape` or `Resize` does.
pub(crate) fn computes_sizes(graph: &Graph) -> Vec<bool> {
    let mut of_images: BTreeSet<&str> = graph.inputs.iter().map(|input| input.name.as_str()).collect();
    let computes_sizes = |node: &onnx::Node, of_images: &BTreeSet<&str>| {
        node.is("Shape") || node.is("Size") || !node.uses().any(|name| of_images.contains(name))
    };
    let mut all = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let sizes = computes_sizes(node, &of_images);
        if !sizes {
            of_images.extend(node.outputs.iter().map(String::as_str));
        }
        all.push(sizes);
    }
    all
}
