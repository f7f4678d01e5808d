//! What a filter sees: for some places of a layer's outcome, which elements of an image its weights multiply.

use onnx::{Dim, Node, Shapes, Tensor};

/// At how many places of each image, at least and at most.
const PLACES: std::ops::RangeInclusive<usize> = 4..=16;
/// For how many weights of a filter there is a place more: what few weights multiply is known from few places.
const TERMS_A_PLACE: usize = 4;

/// Most elements of all places: layers that would have more are left out.
const MOST_ELEMENTS: usize = 1 << 24;

/// Stands for what lies beside the image, which is zero.
const OUTSIDE: u32 = u32::MAX;

/// The elements of one image that the filters of a layer multiply at some places, scattered over its outcome.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    /// Elements of an image.
    pub(crate) image: usize,
    /// Groups of channels that do not mix, each with filters of its own.
    pub(crate) groups: usize,
    /// Weights of a filter.
    pub(crate) terms: usize,
    /// By place, group and weight, the element.
    elements: Vec<u32>,
}

impl View {
    /// The view of a `Conv`, `Gemm` or `MatMul` with these weights; `None` where the size of its input is not known.
    pub(crate) fn of(node: &Node, weight: &Tensor, shapes: &Shapes) -> Option<Self> {
        let input = sizes(shapes, node.input(0)?)?;
        match node.op.as_str() {
            "Conv" => Self::of_conv(node, weight.shape(), &input, &sizes(shapes, node.output(0)?)?),
            _ => Self::of_product(&input),
        }
    }

    /// How many places it has.
    pub(crate) fn places(&self) -> usize {
        self.elements.len() / (self.groups * self.terms).max(1)
    }

    /// What stands at place `place` of `image`, by group and weight.
    pub(crate) fn look<'a>(&'a self, image: &'a [f32], place: usize) -> impl Iterator<Item = f32> + 'a {
        let width = self.groups * self.terms;
        let elements = self.elements[place * width..][..width].iter();
        elements.map(|&element| if element == OUTSIDE { 0.0 } else { image[element as usize] })
    }

    fn of_product(input: &[usize]) -> Option<Self> {
        let (&terms, rows) = input.split_last()?;
        let rows = product(rows)?;
        let image = rows.checked_mul(terms)?;
        u32::try_from(rows).ok()?;
        bounded(terms)?;
        let starts = scattered(rows, terms).map(|row| row * terms);
        let elements = starts.flat_map(|start| (start..start + terms).map(element)).collect::<Option<_>>()?;
        Some(Self { image, groups: 1, terms, elements })
    }

    fn of_conv(node: &Node, weight: &[usize], input: &[usize], output: &[usize]) -> Option<Self> {
        let ([_, channels, kernel @ ..], [all, sizes @ ..], [_, places @ ..]) = (weight, input, output)
        else {
            return None;
        };
        let groups =
            all.checked_div(*channels).filter(|groups| groups.checked_mul(*channels) == Some(*all))?;
        if sizes.len() != kernel.len() || places.len() != kernel.len() {
            return None;
        }
        let axes: Vec<Axis> = (0..kernel.len())
            .map(|axis| Axis::of(node, axis, *sizes.get(axis)?, *kernel.get(axis)?, *places.get(axis)?))
            .collect::<Option<_>>()?;
        let (area, window, places) = (product(sizes)?, product(kernel)?, product(places)?);
        let image = all.checked_mul(area)?;
        u32::try_from(places).ok()?;
        bounded(all.checked_mul(window)?)?;
        let mut elements = Vec::new();
        for place in scattered(places, channels * window) {
            for channel in 0..*all {
                for tap in 0..window {
                    elements.push(match offset(&axes, place, tap) {
                        Some(offset) => element(channel * area + offset)?,
                        None => OUTSIDE,
                    });
                }
            }
        }
        Some(Self { image, groups, terms: channels * window, elements })
    }
}

/// A spatial dimension of a convolution.
struct Axis {
    size: usize,
    kernel: usize,
    places: usize,
    stride: usize,
    dilation: usize,
    before: usize,
}

impl Axis {
    fn of(node: &Node, axis: usize, size: usize, kernel: usize, places: usize) -> Option<Self> {
        let value = |name: &str, default: usize| match node.ints(name) {
            None => Some(default),
            Some(values) => usize::try_from(*values.get(axis)?).ok(),
        };
        let (stride, dilation) = (value("strides", 1)?, value("dilations", 1)?);
        let reach = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
        let needed = places.checked_sub(1)?.checked_mul(stride)?.checked_add(reach)?;
        let padding = needed.saturating_sub(size);
        let before = match node.text("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" => value("pads", 0)?,
            "SAME_UPPER" => padding / 2,
            "SAME_LOWER" => padding.div_ceil(2),
            _ => 0,
        };
        Some(Self { size, kernel, places, stride, dilation, before })
    }
}

/// Where in a channel the weight `tap` of a window lies at `place`, both counted row by row; `None` beside the image.
fn offset(axes: &[Axis], place: usize, tap: usize) -> Option<usize> {
    let (mut place, mut tap, mut offset, mut pitch) = (place, tap, 0, 1);
    for axis in axes.iter().rev() {
        let at = (place % axis.places * axis.stride + tap % axis.kernel * axis.dilation)
            .checked_sub(axis.before)
            .filter(|at| *at < axis.size)?;
        offset += at * pitch;
        (place, tap, pitch) = (place / axis.places, tap / axis.kernel, pitch * axis.size);
    }
    Some(offset)
}

/// Some of `count` places, for filters of `terms` weights: all where there are few, else those of the golden-ratio sequence, which leaves no region out.
fn scattered(count: usize, terms: usize) -> impl Iterator<Item = usize> {
    let most = (terms / TERMS_A_PLACE).clamp(*PLACES.start(), *PLACES.end());
    let step = if count <= most { 1 } else { coprime_near_golden(count) };
    (0..count.min(most)).map(move |index| index * step % count)
}

/// A step near `count` / φ by which all of them are reached.
fn coprime_near_golden(count: usize) -> usize {
    let gcd = |mut one: usize, mut other: usize| {
        while other > 0 {
            (one, other) = (other, one % other);
        }
        one
    };
    let golden = count / 1000 * 618 + count % 1000 * 618 / 1000;
    (golden.max(1)..count).find(|step| gcd(*step, count) == 1).unwrap_or(1)
}

fn product(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))
}

/// Whether that many elements at each place are few enough.
fn bounded(elements: usize) -> Option<()> {
    (elements <= MOST_ELEMENTS / PLACES.end()).then_some(())
}

/// The sizes of `tensor` behind the batch.
fn sizes(shapes: &Shapes, tensor: &str) -> Option<Vec<usize>> {
    shapes.dims(tensor)?.get(1..)?.iter().map(Dim::known).collect()
}

fn element(index: usize) -> Option<u32> {
    u32::try_from(index).ok().filter(|index| *index != OUTSIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    use onnx::Attribute;

    fn conv(attributes: &[(&str, &[i64])]) -> Node {
        attributes.iter().fold(Node::new("Conv", ["x", "w"], ["y"]), |node, (name, values)| {
            node.with(name, Attribute::Ints(values.to_vec()))
        })
    }

    /// All places, in order, with what is seen there.
    fn seen(view: &View, image: &[f32]) -> Vec<Vec<f32>> {
        (0..view.places()).map(|place| view.look(image, place).collect()).collect()
    }

    #[test]
    fn a_window_beside_the_image_sees_zeros() {
        let node = conv(&[("pads", &[1, 1, 1, 1]), ("strides", &[2, 2])]);
        let view = View::of_conv(&node, &[1, 1, 3, 3], &[1, 4, 3], &[1, 2, 2]).unwrap();
        assert_eq!((view.image, view.groups, view.terms), (12, 1, 9));
        let image: Vec<f32> = (1_u8..=12).map(f32::from).collect();
        let seen = seen(&view, &image);
        assert_eq!(seen[0], [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 4.0, 5.0]);
        assert_eq!(seen[3], [5.0, 6.0, 0.0, 8.0, 9.0, 0.0, 11.0, 12.0, 0.0]);
    }

    #[test]
    fn groups_lie_side_by_side_and_dilation_spreads() {
        let view = View::of_conv(&conv(&[("dilations", &[2])]), &[2, 1, 2], &[2, 3], &[2, 1]).unwrap();
        assert_eq!((view.groups, view.terms), (2, 2));
        assert_eq!(seen(&view, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), [[1.0, 3.0, 4.0, 6.0]]);
    }

    #[test]
    fn padding_that_keeps_the_size_goes_where_it_is_said() {
        for (auto, first) in [("SAME_UPPER", [1.0, 2.0]), ("SAME_LOWER", [0.0, 1.0])] {
            let node = Node::new("Conv", ["x", "w"], ["y"]).with("auto_pad", Attribute::Text(auto.into()));
            let view = View::of_conv(&node, &[1, 1, 2], &[1, 3], &[1, 3]).unwrap();
            assert_eq!(seen(&view, &[1.0, 2.0, 3.0])[0], first, "{auto}");
        }
    }

    #[test]
    fn a_matrix_product_sees_rows() {
        let view = View::of_product(&[2, 3]).unwrap();
        assert_eq!(seen(&view, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        assert_eq!(View::of_product(&[7]).unwrap().places(), 1);
    }

    #[test]
    fn places_are_distinct_and_spread() {
        for count in 1..200 {
            let places: std::collections::BTreeSet<usize> = scattered(count, 1000).collect();
            assert_eq!(places.len(), count.min(16), "{count}");
            assert_eq!(scattered(count, 9).count(), count.min(4), "{count}");
            assert!(places.iter().all(|place| *place < count));
            if count >= 64 {
                let quarter = |place: &usize| place * 4 / count;
                let hit: std::collections::BTreeSet<usize> = places.iter().map(quarter).collect();
                assert_eq!(hit.len(), 4, "{count}: {places:?}");
            }
        }
    }
}
