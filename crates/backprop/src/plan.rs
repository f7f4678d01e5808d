//! In which order a network is computed so that what an image needs stays in the cache.
//!
//! Only batch normalisation looks at more than one image. Between two of them everything is computed image by image: the
//! nodes are divided into *levels*, a node's level being the largest number of normalisations on a way to it, and a level is
//! computed for all images before the next one. What a normalisation reads is stored for all images; its outcome, and an
//! activation behind it, are computed anew wherever they are read, which is cheaper than reading them from memory.
//!
//! Where a convolution of single pixels makes many channels of few, even its outcome is not stored ([`Widening`]): it is
//! computed once for its mean and variance, and again where it is read. Memory, not arithmetic, is what training waits for.

use std::collections::{BTreeMap, BTreeSet};

use model::{Activation, Graph, NodeId, Op, Pool};

use crate::depthwise::Depthwise;
use crate::patches::Patches;
use crate::pointwise::Limits;
use crate::simd::LANES;

/// Why a network cannot be computed here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{node}`: {reason}")]
pub struct Unsupported {
    /// The node's name.
    pub node: String,
    /// What of it.
    pub reason: &'static str,
}

/// Shape of a value: `[height · width, padded channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Those that are not padding.
    pub(crate) channels: usize,
}

impl Shape {
    pub(crate) fn pixels(self) -> usize {
        self.height * self.width
    }

    pub(crate) fn padded(self) -> usize {
        self.channels.next_multiple_of(LANES)
    }

    pub(crate) fn len(self) -> usize {
        self.pixels() * self.padded()
    }
}

/// Where a value or a gradient lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// With the thread, until the next image.
    Scratch(usize),
    /// With the batch.
    Stored(usize),
}

/// How a node is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kernel {
    Image,
    /// The outcome of a normalisation and its activation, from what it reads.
    Affine {
        norm: usize,
    },
    /// A convolution of single pixels, or a fully connected layer.
    Product {
        layer: usize,
    },
    Depthwise {
        layer: usize,
        size: Depthwise,
    },
    /// Any other convolution without groups.
    Dense {
        layer: usize,
        size: Patches,
    },
    Activation(Activation),
    Add,
    Multiply,
    GlobalAverage,
    MaxPool(Pool),
    AveragePool(Pool),
    Flatten,
    Dropout {
        p: f64,
    },
}

/// One computation forwards.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) node: usize,
    pub(crate) kernel: Kernel,
    pub(crate) inputs: Vec<(usize, Place)>,
    pub(crate) outcome: Place,
    /// The normalisation that wants to know mean and variance of the outcome.
    pub(crate) norm: Option<usize>,
}

/// One computation backwards.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Gradient {
    /// By what went into a normalisation, from that by its outcome.
    NormIn { norm: usize, into: usize },
    /// By the operands of a node.
    Node {
        node: usize,
        kernel: Kernel,
        /// The operands' values, where they are needed.
        inputs: Vec<(usize, Option<Place>)>,
        outcome: Option<Place>,
        gradient: Place,
        /// Where each operand's gradient goes, if anybody wants it, and whether it is added to what is there.
        into: Vec<Option<(Place, bool)>>,
    },
    /// By the outcome of a normalisation, from that by the outcome of the activation behind it. The last one of a
    /// normalisation knows its sums.
    NormOut { norm: usize, from: Place, accumulate: bool, last: bool },
    /// As [`Gradient::NormOut`] where `outcome`, which the normalisation reads, is not stored: by the operand of its
    /// convolution as far as one image tells, into the widening's place for it.
    Widened { norm: usize, from: Place, outcome: Place, input: (usize, Place), scratch: usize },
    /// The rest of it, which all images tell.
    Corrected { norm: usize, input: (usize, Place), into: Place, accumulate: bool },
}

/// What is computed image by image.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Level {
    pub(crate) forward: Vec<Step>,
    /// Values stored by this level: needed until it was computed backwards.
    pub(crate) stores: Vec<usize>,
    /// What of the forward computation is done again before the backward one.
    pub(crate) again: Vec<Step>,
    pub(crate) backward: Vec<Gradient>,
    /// Stored gradients of which this level is the first to write.
    pub(crate) first_written: Vec<usize>,
    /// Layers whose weights' gradients this level computes.
    pub(crate) layers: Vec<usize>,
    /// Normalisations whose mean and variance it computes forwards.
    pub(crate) norms: Vec<usize>,
    /// Normalisations whose sums it completes backwards.
    pub(crate) completes: Vec<usize>,
    /// Gradients of widenings that nobody needs once this level was computed backwards.
    pub(crate) spent: Vec<usize>,
}

/// Weights of a convolution or a fully connected layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Where its weights begin among the trained values: `[outputs, inputs, kernel, kernel]`, or depthwise
    /// `[channels, 1, kernel, kernel]`.
    pub(crate) weight: usize,
    pub(crate) bias: Option<usize>,
    pub(crate) outputs: usize,
    /// 1 where depthwise.
    pub(crate) inputs: usize,
    pub(crate) kernel: usize,
    pub(crate) depthwise: bool,
}

/// A convolution of single pixels with a normalisation behind it, whose outcome is not stored.
///
/// Normalisation makes the gradient of an image depend on sums over all of them. With x the operand, W the weights,
/// y = W·x, dz the gradient by the normalisation's outcome, and per output n the sums S = Σdz and Q = Σdz·ŷ over N pixels,
/// dy = γ/σ·(dz - S/N - ŷ·Q/N). As ŷ is linear in x, so is what the sums contribute to dx = Wᵀ·dy, and their contribution to
/// the gradient by W needs of x only its sums and those of its products: dz is read once, before the sums are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Widening {
    pub(crate) layer: usize,
    /// Where the part of the operand's gradient that one image tells is stored.
    pub(crate) deferred: usize,
    /// Shape of the operand.
    pub(crate) from: Shape,
}

/// A batch normalisation and the activation behind it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Norm {
    /// The stored value that it normalises, unless its outcome is not stored.
    pub(crate) stored: usize,
    pub(crate) widening: Option<Widening>,
    pub(crate) shape: Shape,
    pub(crate) limits: Limits,
    /// Where factor and summand begin among the trained values.
    pub(crate) values: [usize; 2],
    /// Where running mean and variance begin among the statistics.
    pub(crate) stats: [usize; 2],
    pub(crate) eps: f64,
}

/// A network in the order of its computation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// By node.
    pub(crate) shapes: Vec<Shape>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norms: Vec<Norm>,
    /// Floats of each stored value, for one image.
    pub(crate) stored: Vec<usize>,
    pub(crate) levels: Vec<Level>,
    /// Where the logits are stored.
    pub(crate) logits: usize,
    pub(crate) values: usize,
    pub(crate) stats: usize,
}

impl Plan {
    pub(crate) fn new(graph: &Graph) -> Result<Self, Unsupported> {
        Nodes::new(graph)?.plan()
    }
}

/// What a node is to the plan.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    Image,
    /// Computed once, in its level.
    Computed(Kernel),
    /// The outcome of a normalisation, with its activation.
    Restored {
        norm: usize,
    },
    /// A normalisation whose activation is computed with it.
    Hidden {
        norm: usize,
    },
}

/// The graph with everything decided but the order.
struct Nodes<'a> {
    graph: &'a Graph,
    roles: Vec<Role>,
    levels: Vec<usize>,
    /// By node: which stored value it is.
    stored: Vec<Option<usize>>,
    /// By node: the normalisation that reads it.
    read_by: Vec<Option<usize>>,
    shapes: Vec<Shape>,
    layers: Vec<Layer>,
    norms: Vec<Norm>,
    sizes: [usize; 2],
}

impl<'a> Nodes<'a> {
    fn new(graph: &'a Graph) -> Result<Self, Unsupported> {
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

    fn readers(&self, id: NodeId) -> Vec<usize> {
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
                        "a batch normalisation of what others read, too, or of what is no layer's outcome",
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
            let outcome = self.roles.iter().position(|role| *role == Role::Restored { norm });
            let readers =
                outcome.map(|outcome| self.readers(self.graph.nodes()[outcome].id)).unwrap_or_default();
            let next = readers.iter().all(|&reader| self.levels[reader] == level + 1);
            let from = self.shapes[input];
            let wider = self.shapes[index].padded() > from.padded() && from.pixels() > 1;
            if kept && next && wider && self.layers[layer].bias.is_none() {
                self.norms[norm].widening = Some(Widening { layer, deferred: 0, from });
            }
        }
    }

    /// The widening whose convolution `node` is.
    fn widening(&self, node: usize) -> Option<Widening> {
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

    fn plan(self) -> Result<Plan, Unsupported> {
        let last = self.graph.nodes().len() - 1;
        let levels = self.levels.iter().max().map_or(0, |level| level + 1);
        // The loss writes that of the logits.
        let mut written: BTreeSet<usize> = self.stored[last].into_iter().collect();
        let mut planned: Vec<Level> = (0..levels).map(|level| self.forward(level)).collect();
        for level in (0..levels).rev() {
            self.backward(level, &mut planned[level], &mut written);
        }
        let widenings = || self.norms.iter().filter_map(|norm| norm.widening);
        let mut stored = vec![0; self.stored.iter().flatten().count() + widenings().count()];
        for widening in widenings() {
            stored[widening.deferred] = widening.from.len();
        }
        for (shape, place) in self.shapes.iter().zip(&self.stored) {
            if let Some(place) = place {
                stored[*place] = shape.len();
            }
        }
        Ok(Plan {
            logits: self.stored[last].unwrap_or(0),
            shapes: self.shapes,
            layers: self.layers,
            norms: self.norms,
            stored,
            levels: planned,
            values: self.sizes[0],
            stats: self.sizes[1],
        })
    }

    fn computed(&self, level: usize) -> impl DoubleEndedIterator<Item = (usize, Kernel)> {
        self.roles.iter().enumerate().filter_map(move |(node, role)| match role {
            Role::Computed(kernel) if self.levels[node] == level => Some((node, *kernel)),
            _ => None,
        })
    }

    fn forward(&self, level: usize) -> Level {
        let mut steps = Steps { nodes: self, level, steps: Vec::new(), places: BTreeMap::new() };
        let mut stores = Vec::new();
        let mut norms = Vec::new();
        for (node, _) in self.computed(level) {
            steps.place(node);
            stores.extend(self.stored[node]);
            norms.extend(self.read_by[node]);
        }
        Level { forward: steps.steps, stores, norms, ..Level::default() }
    }

    /// Plans `level` backwards. `written` holds which stored gradients later levels wrote.
    fn backward(&self, level: usize, plan: &mut Level, written: &mut BTreeSet<usize>) {
        let mut values = Steps { nodes: self, level, steps: Vec::new(), places: BTreeMap::new() };
        // What is stored is there already.
        for (node, _) in self.computed(level) {
            if let Some(stored) = self.stored[node] {
                values.places.insert(node, Place::Stored(stored));
            }
        }
        let mut gradients: BTreeMap<usize, Place> = BTreeMap::new();
        let mut scratch = 0;
        let mut fresh = || {
            scratch += 1;
            scratch - 1
        };
        let mut steps = Vec::new();
        for (node, kernel) in self.computed(level).rev() {
            let operands: Vec<usize> = self.inputs(node);
            if let (Some(norm), Some(widening)) = (self.read_by[node], self.widening(node)) {
                let input = (operands[0], values.place(operands[0]));
                plan.spent.push(widening.deferred);
                let target =
                    self.target(operands[0], &mut gradients, &mut fresh, written, &mut plan.first_written);
                if let Some((into, accumulate)) = target {
                    steps.push(Gradient::Corrected { norm, input, into, accumulate });
                }
                self.close(
                    node,
                    &operands,
                    level,
                    &mut gradients,
                    &mut fresh,
                    &mut values,
                    written,
                    plan,
                    &mut steps,
                );
                continue;
            }
            let gradient = match (self.read_by[node], self.stored[node]) {
                (Some(norm), _) => {
                    let into = fresh();
                    steps.push(Gradient::NormIn { norm, into });
                    Place::Scratch(into)
                }
                (None, Some(stored)) => Place::Stored(stored),
                (None, None) => match gradients.get(&node) {
                    Some(place) => *place,
                    None => continue,
                },
            };
            let (wants_inputs, wants_outcome) = match kernel {
                Kernel::Product { .. } | Kernel::Depthwise { .. } | Kernel::Dense { .. } => (true, false),
                Kernel::Multiply | Kernel::MaxPool(_) => (true, false),
                Kernel::Activation(_) => (false, true),
                _ => (false, false),
            };
            let inputs =
                operands.iter().map(|&input| (input, wants_inputs.then(|| values.place(input)))).collect();
            let outcome = wants_outcome.then(|| values.place(node));
            let into = (operands.iter())
                .map(|&input| {
                    self.target(input, &mut gradients, &mut fresh, written, &mut plan.first_written)
                })
                .collect();
            plan.layers.extend(match kernel {
                Kernel::Product { layer } | Kernel::Depthwise { layer, .. } | Kernel::Dense { layer, .. } => {
                    Some(layer)
                }
                _ => None,
            });
            steps.push(Gradient::Node { node, kernel, inputs, outcome, gradient, into });
            self.close(
                node,
                &operands,
                level,
                &mut gradients,
                &mut fresh,
                &mut values,
                written,
                plan,
                &mut steps,
            );
        }
        plan.again = values.steps;
        plan.backward = steps;
    }

    /// Where the gradient by `input` goes, if anybody wants it, and whether something is there already.
    fn target(
        &self,
        input: usize,
        gradients: &mut BTreeMap<usize, Place>,
        fresh: &mut impl FnMut() -> usize,
        written: &mut BTreeSet<usize>,
        first_written: &mut Vec<usize>,
    ) -> Option<(Place, bool)> {
        match (self.roles[input], self.stored[input]) {
            (Role::Image | Role::Hidden { .. }, _) => None,
            (Role::Computed(_), Some(stored)) => {
                let accumulate = !written.insert(stored);
                if !accumulate {
                    first_written.push(stored);
                }
                Some((Place::Stored(stored), accumulate))
            }
            (Role::Computed(_) | Role::Restored { .. }, _) => {
                let known = gradients.contains_key(&input);
                Some((*gradients.entry(input).or_insert_with(|| Place::Scratch(fresh())), known))
            }
        }
    }

    /// Goes on from the outcomes of normalisations among the `operands` of `node` that no other node of the level reads any
    /// more.
    #[expect(clippy::too_many_arguments, reason = "the state of a level's plan")]
    fn close(
        &self,
        node: usize,
        operands: &[usize],
        level: usize,
        gradients: &mut BTreeMap<usize, Place>,
        fresh: &mut impl FnMut() -> usize,
        values: &mut Steps<'_>,
        written: &mut BTreeSet<usize>,
        plan: &mut Level,
        steps: &mut Vec<Gradient>,
    ) {
        for &operand in operands {
            let Role::Restored { norm } = self.roles[operand] else { continue };
            let readers = self.readers(self.graph.nodes()[operand].id);
            let done = readers.iter().all(|&reader| self.levels[reader] != level || reader >= node);
            if !done {
                continue;
            }
            let Some(from) = gradients.remove(&operand) else { continue };
            let last = readers.iter().all(|&reader| self.levels[reader] >= level);
            plan.completes.extend(last.then_some(norm));
            let convolution = self.read_by.iter().position(|reader| *reader == Some(norm));
            if let (Some(widening), Some(convolution)) = (self.norms[norm].widening, convolution) {
                plan.first_written.push(widening.deferred);
                let input = self.inputs(convolution)[0];
                let input = (input, values.place(input));
                let outcome = values.place(convolution);
                steps.push(Gradient::Widened { norm, from, outcome, input, scratch: fresh() });
                continue;
            }
            let stored = self.norms[norm].stored;
            let accumulate = !written.insert(stored);
            if !accumulate {
                plan.first_written.push(stored);
            }
            steps.push(Gradient::NormOut { norm, from, accumulate, last });
        }
    }

    fn inputs(&self, node: usize) -> Vec<usize> {
        self.graph.nodes()[node].inputs.iter().map(|input| input.index()).collect()
    }
}

/// Steps of a level, and where they leave their outcomes.
struct Steps<'a> {
    nodes: &'a Nodes<'a>,
    level: usize,
    steps: Vec<Step>,
    places: BTreeMap<usize, Place>,
}

impl Steps<'_> {
    /// Where the value of `node` lies; adds the steps that compute it where nobody did.
    fn place(&mut self, node: usize) -> Place {
        if let Some(place) = self.places.get(&node) {
            return *place;
        }
        let nodes = self.nodes;
        if let (true, Some(stored)) = (nodes.levels[node] < self.level, nodes.stored[node]) {
            return Place::Stored(stored);
        }
        let (kernel, inputs) = match nodes.roles[node] {
            Role::Image => (Kernel::Image, Vec::new()),
            Role::Restored { norm } | Role::Hidden { norm } => {
                let convolution = nodes.read_by.iter().position(|reader| *reader == Some(norm));
                (Kernel::Affine { norm }, convolution.into_iter().collect())
            }
            Role::Computed(kernel) => (kernel, nodes.inputs(node)),
        };
        let inputs = inputs.into_iter().map(|input| (input, self.place(input))).collect();
        let outcome = match (nodes.roles[node], nodes.stored[node]) {
            (Role::Computed(_), Some(stored)) => Place::Stored(stored),
            _ => Place::Scratch(self.steps.len()),
        };
        let norm = nodes.read_by[node].filter(|_| nodes.levels[node] == self.level);
        self.steps.push(Step { node, kernel, inputs, outcome, norm });
        self.places.insert(node, outcome);
        outcome
    }
}
