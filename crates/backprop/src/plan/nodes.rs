//! What each node of a graph is to the plan: in which level, how computed, whether stored.

use model::{Activation, Graph, NodeId, Op};

use super::{Kernel, Layer, Norm, Shape, Unsupported, Widening};
use crate::depthwise::Depthwise;
use crate::patches::Patches;
use crate::pointwise::Limits;

/// Most channels that a widening reads: what corrects its gradient takes the square of them for each output and step.
const WIDENING_INPUTS: usize = 96;

/// What a node is to the plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Role {
    Image,
    /// Computed once, in its level.
    Computed(Kernel),
    /// The output of a normalisation, with its activation.
    Restored {
        norm: usize,
    },
    /// A normalisation whose activation is computed with it.
    Hidden {
        norm: usize,
    },
}

/// The graph with everything decided but the order.
pub(super) struct Nodes<'a> {
    pub(super) graph: &'a Graph,
    pub(super) roles: Vec<Role>,
    pub(super) levels: Vec<usize>,
    /// By node: which stored value it is.
    pub(super) stored: Vec<Option<usize>>,
    /// By node: the normalisation that reads it.
    pub(super) read_by: Vec<Option<usize>>,
    pub(super) shapes: Vec<Shape>,
    pub(super) layers: Vec<Layer>,
    pub(super) norms: Vec<Norm>,
    pub(super) sizes: [usize; 2],
}

impl<'a> Nodes<'a> {
    pub(super) fn new(graph: &'a Graph) -> Result<Self, Unsupported> {
        let count = graph.nodes().len();
        let mut found = Self {
            graph,
            roles: Vec::with_capacity(count),
            levels: Vec::with_capacity(count),
            stored: vec![None; count],
            read_by: vec![None; count],
            shapes: Vec::with_capacity(count),
            layers: Vec::new(),
            norms: Vec::new(),
            sizes: [0; 2],
        };
        for id in graph.nodes().iter().map(|node| node.id) {
            found.add(id)?;
        }
        found.find_widenings();
        found.store();
        Ok(found)
    }

    pub(super) fn readers(&self, id: NodeId) -> Vec<usize> {
        let reading = self.graph.nodes().iter().filter(|node| node.inputs.contains(&id));
        reading.map(|node| node.id.index()).collect()
    }

    fn add(&mut self, id: NodeId) -> Result<(), Unsupported> {
        let node = self.graph.node(id);
        let unsupported = |reason| Err(Unsupported { node: node.name.clone(), reason });
        let shape = match *node.shape.as_slice() {
            [channels, height, width] => Shape { height, width, channels },
            [channels] => Shape { height: 1, width: 1, channels },
            _ => return unsupported("a value that is neither an image nor a vector"),
        };
        let places: Vec<usize> = (node.op.params().iter())
            .map(|param| {
                let size = &mut self.sizes[usize::from(!param.kind.trainable())];
                let place = *size;
                *size += param.count();
                place
            })
            .collect();
        let inputs: Vec<usize> = node.inputs.iter().map(|input| input.index()).collect();
        let mut level = inputs.iter().map(|&input| self.levels[input]).max().unwrap_or(0);
        let readers = self.readers(id);
        if readers.is_empty() && id.index() + 1 < self.graph.nodes().len() {
            return unsupported("nobody reads it");
        }
        let role = match &node.op {
            Op::Input => Role::Image,
            Op::Conv(conv) => {
                let depthwise = conv.groups > 1;
                if depthwise && (conv.groups != conv.in_channels || conv.groups != conv.out_channels) {
                    return unsupported("a convolution with groups of more than one channel");
                }
                if depthwise && !matches!(conv.kernel, 1 | 3 | 5 | 7) {
                    return unsupported("a depthwise convolution whose kernel is not 1, 3, 5 or 7");
                }
                let layer = self.layers.len();
                self.layers.push(Layer {
                    weight: places[0],
                    bias: places.get(1).copied(),
                    outputs: conv.out_channels,
                    inputs: conv.in_channels / conv.groups.max(1),
                    kernel: conv.kernel,
                    depthwise,
                });
                let from = self.shapes[inputs[0]];
                let (kernel, stride, padding) = (conv.kernel, conv.stride, conv.padding);
                let (input, output) = ([from.height, from.width], [shape.height, shape.width]);
                Role::Computed(if depthwise {
                    let channels = shape.padded();
                    Kernel::Depthwise {
                        layer,
                        size: Depthwise { input, output, kernel, stride, padding, channels },
                    }
                } else if (kernel, stride, padding) == (1, 1, 0) {
                    Kernel::Product { layer }
                } else {
                    let (channels, padded) = (from.channels, from.padded());
                    Kernel::Dense {
                        layer,
                        size: Patches { input, output, kernel, stride, padding, channels, padded },
                    }
                })
            }
            Op::Linear(linear) => {
                let layer = self.layers.len();
                self.layers.push(Layer {
                    weight: places[0],
                    bias: places.get(1).copied(),
                    outputs: linear.out_features,
                    inputs: linear.in_features,
                    kernel: 1,
                    depthwise: false,
                });
                Role::Computed(Kernel::Product { layer })
            }
            Op::BatchNorm(batch_norm) => {
                let input = inputs[0];
                if !matches!(self.roles[input], Role::Computed(_)) || self.readers(node.inputs[0]).len() > 1 {
                    return unsupported(
                        "a batch normalisation of what others read, too, or of what is no layer's output",
                    );
                }
                level += 1;
                let norm = self.norms.len();
                self.read_by[input] = Some(norm);
                self.norms.push(Norm {
                    stored: 0,
                    widening: None,
                    shape,
                    limits: Limits::NONE,
                    values: [places[0], places[1]],
                    stats: [places[2], places[3]],
                    eps: batch_norm.eps,
                });
                match readers.as_slice() {
                    &[reader] if self.limits(reader).is_some() => Role::Hidden { norm },
                    _ => Role::Restored { norm },
                }
            }
            Op::Activation(activation) => match self.roles[inputs[0]] {
                Role::Hidden { norm } => {
                    self.norms[norm].limits = self.limits(id.index()).unwrap_or(Limits::NONE);
                    Role::Restored { norm }
                }
                _ => Role::Computed(Kernel::Activation(*activation)),
            },
            Op::Add => Role::Computed(Kernel::Add),
            Op::Multiply => Role::Computed(Kernel::Multiply),
            Op::GlobalAveragePool => Role::Computed(Kernel::GlobalAverage),
            Op::MaxPool(pool) => Role::Computed(Kernel::MaxPool(*pool)),
            Op::AveragePool(pool) => Role::Computed(Kernel::AveragePool(*pool)),
            Op::Flatten => Role::Computed(Kernel::Flatten),
            Op::Dropout { p } => Role::Computed(Kernel::Dropout { p: *p }),
        };
        if readers.is_empty() && !matches!(role, Role::Computed(_)) {
            return unsupported("a network that ends with a normalisation");
        }
        self.roles.push(role);
        self.levels.push(level);
        self.shapes.push(shape);
        Ok(())
    }

    /// What an activation cuts off, if that is all it does.
    fn limits(&self, node: usize) -> Option<Limits> {
        match self.graph.nodes().get(node)?.op {
            Op::Activation(Activation::Relu) => Some(Limits::RELU),
            Op::Activation(Activation::Relu6) => Some(Limits::RELU6),
            _ => None,
        }
    }

    /// Decides which normalisations read what is not stored.
    fn find_widenings(&mut self) {
        for node in self.graph.nodes() {
            let index = node.id.index();
            let (Role::Computed(Kernel::Product { layer }), Some(norm)) =
                (self.roles[index], self.read_by[index])
            else {
                continue;
            };
            let (input, level) = (node.inputs[0].index(), self.levels[index]);
            let kept = match self.roles[input] {
                Role::Computed(_) => true,
                Role::Restored { norm } => self.norms[norm].widening.is_none(),
                Role::Image | Role::Hidden { .. } => false,
            };
            let output = self.roles.iter().position(|role| *role == Role::Restored { norm });
            let readers =
                output.map(|output| self.readers(self.graph.nodes()[output].id)).unwrap_or_default();
            let next = readers.iter().all(|&reader| self.levels[reader] == level + 1);
            let from = self.shapes[input];
            let wider = self.shapes[index].padded() > from.padded() && from.pixels() > 1;
            let small = from.channels <= WIDENING_INPUTS;
            if kept && next && wider && small && self.layers[layer].bias.is_none() {
                self.norms[norm].widening = Some(Widening { layer, deferred: 0, from });
            }
        }
    }

    /// The widening whose convolution `node` is.
    pub(super) fn widening(&self, node: usize) -> Option<Widening> {
        self.norms[self.read_by[node]?].widening
    }

    /// Decides what is stored: what a normalisation reads, what a later level reads, and the logits.
    fn store(&mut self) {
        let mut count = 0;
        for node in self.graph.nodes() {
            let index = node.id.index();
            if !matches!(self.roles[index], Role::Computed(_)) {
                continue;
            }
            let readers = self.readers(node.id);
            let later = |reader: &usize| {
                self.levels[*reader] > self.levels[index] || self.widening(*reader).is_some()
            };
            if self.widening(index).is_none() && (readers.iter().any(later) || readers.is_empty()) {
                self.stored[index] = Some(count);
                if let Some(norm) = self.read_by[index] {
                    self.norms[norm].stored = count;
                }
                count += 1;
            }
        }
        for widening in self.norms.iter_mut().filter_map(|norm| norm.widening.as_mut()) {
            widening.deferred = count;
            count += 1;
        }
    }
}
