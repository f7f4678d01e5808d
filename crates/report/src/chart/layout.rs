//! Places for the nodes of a directed graph in layers from top to bottom (after Sugiyama): layers by longest path,
//! order within a layer by the barycentre of neighbours, then positions that keep edges short and straight. Total:
//! cycles, loops, doubled and dangling edges are all accepted.

use std::collections::{BTreeSet, VecDeque};

/// Room for a node that only leads an edge past a layer.
const BEND: f64 = 14.0;
/// Beyond this many bends a graph is too tangled to be drawn well in reasonable time.
const MOST_BENDS: usize = 6_000;
const SWEEPS: usize = 12;

/// Sizes in the units of the drawing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) node_width: f64,
    pub(super) node_height: f64,
    pub(super) gap_x: f64,
    pub(super) gap_y: f64,
}

/// An edge as it is drawn: its ends, and the points on its way.
pub(super) type Route = (usize, usize, Vec<(f64, f64)>);

/// Where everything is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    /// Centre of each node.
    pub(super) nodes: Vec<(f64, f64)>,
    /// Edges that are drawn: ends as given, and the points on the way from the bottom of the one to the top of the
    /// other.
    pub(super) edges: Vec<Route>,
    /// Width of the drawing.
    pub(super) width: f64,
    /// Height of the drawing.
    pub(super) height: f64,
}

/// A cell of a layer: a node, or a bend of an edge.
#[derive(Debug, Clone, Default)]
struct Place {
    layer: usize,
    width: f64,
    up: Vec<usize>,
    down: Vec<usize>,
    x: f64,
}

/// Lays out `count` nodes. `None` where the edges are too tangled.
pub(super) fn layout(count: usize, edges: &[(usize, usize)], sizes: Sizes) -> Option<Layout> {
    let edges: BTreeSet<(usize, usize)> =
        edges.iter().copied().filter(|(from, to)| from != to && *from < count && *to < count).collect();
    let edges: Vec<(usize, usize)> = edges.into_iter().collect();
    let forward = without_cycles(count, &edges);
    let layers = layer_of(count, &forward);
    let mut places: Vec<Place> = layers
        .iter()
        .map(|layer| Place { layer: *layer, width: sizes.node_width, ..Place::default() })
        .collect();
    let mut chains = vec![];
    for (from, to) in &forward {
        let mut chain = vec![*from];
        for layer in layer(&layers, *from) + 1..layer(&layers, *to) {
            chain.push(places.len());
            places.push(Place { layer, width: BEND, ..Place::default() });
        }
        chain.push(*to);
        if places.len() > count + MOST_BENDS {
            return None;
        }
        for pair in chain.windows(2) {
            if let [above, below] = *pair {
                if let Some(place) = places.get_mut(above) {
                    place.down.push(below);
                }
                if let Some(place) = places.get_mut(below) {
                    place.up.push(above);
                }
            }
        }
        chains.push(chain);
    }
    let mut rows = rows_of(&places);
    sort_rows(&mut rows, &mut places);
    position(&rows, &mut places, sizes.gap_x);
    Some(finish(count, &edges, &forward, &chains, &places, sizes))
}

fn layer(layers: &[usize], node: usize) -> usize {
    layers.get(node).copied().unwrap_or(0)
}

/// The edges with those turned round that would close a cycle, found by a depth-first walk.
fn without_cycles(count: usize, edges: &[(usize, usize)]) -> Vec<(usize, usize)> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Closed,
    }
    let mut targets = vec![vec![]; count];
    for (from, to) in edges {
        if let Some(list) = targets.get_mut(*from) {
            list.push(*to);
        }
    }
    let mut marks = vec![Mark::New; count];
    let mut backward = BTreeSet::new();
    for start in 0..count {
        if marks.get(start) != Some(&Mark::New) {
            continue;
        }
        let mut stack = vec![(start, 0)];
        while let Some((node, next)) = stack.pop() {
            if let Some(mark) = marks.get_mut(node) {
                *mark = Mark::Open;
            }
            let Some(target) = targets.get(node).and_then(|list| list.get(next)).copied() else {
                if let Some(mark) = marks.get_mut(node) {
                    *mark = Mark::Closed;
                }
                continue;
            };
            stack.push((node, next + 1));
            match marks.get(target) {
                Some(Mark::New) => stack.push((target, 0)),
                Some(Mark::Open) => {
                    backward.insert((node, target));
                }
                _ => {}
            }
        }
    }
    edges.iter().map(|edge| if backward.contains(edge) { (edge.1, edge.0) } else { *edge }).collect()
}

/// The longest path from a source to each node.
fn layer_of(count: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut waiting = vec![0usize; count];
    let mut targets = vec![vec![]; count];
    for (from, to) in edges {
        if let (Some(list), Some(waiting)) = (targets.get_mut(*from), waiting.get_mut(*to)) {
            list.push(*to);
            *waiting += 1;
        }
    }
    let mut layers = vec![0; count];
    let mut ready: VecDeque<usize> =
        waiting.iter().enumerate().filter(|(_, n)| **n == 0).map(|(node, _)| node).collect();
    while let Some(node) = ready.pop_front() {
        let below = layer(&layers, node) + 1;
        for target in targets.get(node).into_iter().flatten() {
            if let (Some(layer), Some(waiting)) = (layers.get_mut(*target), waiting.get_mut(*target)) {
                *layer = below.max(*layer);
                *waiting = waiting.saturating_sub(1);
                if *waiting == 0 {
                    ready.push_back(*target);
                }
            }
        }
    }
    layers
}

fn rows_of(places: &[Place]) -> Vec<Vec<usize>> {
    let depth = places.iter().map(|place| place.layer + 1).max().unwrap_or(0);
    let mut rows = vec![vec![]; depth];
    for (index, place) in places.iter().enumerate() {
        if let Some(row) = rows.get_mut(place.layer) {
            row.push(index);
        }
    }
    rows
}

/// Orders each row by the mean place of its neighbours, going down and up in turns. `x` holds places meanwhile.
fn sort_rows(rows: &mut [Vec<usize>], places: &mut [Place]) {
    let number = |row: &[usize], places: &mut [Place]| {
        for (place, index) in row.iter().enumerate() {
            if let Some(cell) = places.get_mut(*index) {
                cell.x = place as f64;
            }
        }
    };
    for row in rows.iter() {
        number(row, places);
    }
    for sweep in 0..SWEEPS {
        let downward = sweep % 2 == 0;
        let order: Vec<usize> =
            if downward { (0..rows.len()).collect() } else { (0..rows.len()).rev().collect() };
        for row in order {
            let Some(row) = rows.get_mut(row) else { continue };
            let mut keyed: Vec<(f64, usize)> =
                row.iter().map(|index| (wish(places, *index, Some(downward)), *index)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            *row = keyed.into_iter().map(|(_, index)| index).collect();
            number(row, places);
        }
    }
}

/// Where a cell's neighbours would have it: above (`Some(true)`), below, or on both sides. Its own place where it
/// has none.
fn wish(places: &[Place], index: usize, above: Option<bool>) -> f64 {
    let Some(cell) = places.get(index) else { return 0.0 };
    let ups = cell.up.iter().filter(|_| above != Some(false));
    let downs = cell.down.iter().filter(|_| above != Some(true));
    let neighbours: Vec<f64> = ups.chain(downs).filter_map(|n| places.get(*n)).map(|n| n.x).collect();
    if neighbours.is_empty() { cell.x } else { neighbours.iter().sum::<f64>() / neighbours.len() as f64 }
}

/// Gives each cell its horizontal centre.
fn position(rows: &[Vec<usize>], places: &mut [Place], gap: f64) {
    for row in rows {
        let wishes = vec![0.0; row.len()];
        spread(row, &wishes, places, gap);
    }
    for sweep in 0..SWEEPS * 2 {
        let above = match sweep {
            s if s + 2 >= SWEEPS * 2 => None,
            s => Some(s % 2 == 0),
        };
        let order: Vec<&Vec<usize>> =
            if sweep % 2 == 0 { rows.iter().collect() } else { rows.iter().rev().collect() };
        for row in order {
            let wishes: Vec<f64> = row.iter().map(|index| wish(places, *index, above)).collect();
            spread(row, &wishes, places, gap);
        }
    }
}

/// Puts the cells of a row as near to their wishes as their order and widths allow: neighbours that would overlap
/// form a block, which stands at the mean of what its members wish.
fn spread(row: &[usize], wishes: &[f64], places: &mut [Place], gap: f64) {
    struct Block {
        /// Cells with their offsets from the block's start.
        cells: Vec<(usize, f64)>,
        /// Sum of where the members would have the block start.
        wish: f64,
        width: f64,
    }
    let start = |block: &Block| block.wish / block.cells.len().max(1) as f64;
    let mut blocks: Vec<Block> = vec![];
    for (index, wish) in row.iter().zip(wishes) {
        let width = places.get(*index).map_or(0.0, |cell| cell.width);
        let mut block = Block { cells: vec![(*index, width / 2.0)], wish: wish - width / 2.0, width };
        while let Some(before) = blocks.pop_if(|before| start(before) + before.width + gap > start(&block)) {
            let offset = before.width + gap;
            let moved = block.cells.len() as f64 * offset;
            let mut cells = before.cells;
            cells.extend(block.cells.iter().map(|(index, at)| (*index, at + offset)));
            block = Block { cells, wish: before.wish + block.wish - moved, width: offset + block.width };
        }
        blocks.push(block);
    }
    for block in &blocks {
        for (index, offset) in &block.cells {
            if let Some(cell) = places.get_mut(*index) {
                cell.x = start(block) + offset;
            }
        }
    }
}

fn finish(
    count: usize,
    edges: &[(usize, usize)],
    forward: &[(usize, usize)],
    chains: &[Vec<usize>],
    places: &[Place],
    sizes: Sizes,
) -> Layout {
    let left = places.iter().map(|cell| cell.x - cell.width / 2.0).fold(f64::INFINITY, f64::min);
    let right = places.iter().map(|cell| cell.x + cell.width / 2.0).fold(f64::NEG_INFINITY, f64::max);
    let depth = places.iter().map(|cell| cell.layer + 1).max().unwrap_or(0);
    let (left, right) = if left > right { (0.0, 0.0) } else { (left, right) };
    let margin = 4.0;
    let pitch = sizes.node_height + sizes.gap_y;
    let centre = |index: usize| {
        let (x, layer) = places.get(index).map_or((0.0, 0), |cell| (cell.x, cell.layer));
        (x - left + margin, layer as f64 * pitch + sizes.node_height / 2.0 + margin)
    };
    let half = sizes.node_height / 2.0;
    let drawn = edges.iter().zip(forward).zip(chains).map(|((edge, forward), chain)| {
        let mut points = vec![];
        for (step, index) in chain.iter().enumerate() {
            let (x, y) = centre(*index);
            // A bend runs straight down past its layer; a node is left at its bottom and entered at its top.
            if step > 0 {
                points.push((x, y - half));
            }
            if step + 1 < chain.len() {
                points.push((x, y + half));
            }
        }
        if edge != forward {
            points.reverse();
        }
        (edge.0, edge.1, points)
    });
    Layout {
        nodes: (0..count).map(centre).collect(),
        edges: drawn.collect(),
        width: right - left + 2.0 * margin,
        height: depth as f64 * pitch - if depth > 0 { sizes.gap_y } else { 0.0 } + 2.0 * margin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { node_width: 100.0, node_height: 40.0, gap_x: 20.0, gap_y: 30.0 };

    #[test]
    fn a_chain_stands_straight() {
        let layout = layout(3, &[(0, 1), (1, 2)], SIZES).unwrap();
        assert_eq!(layout.nodes, [(54.0, 24.0), (54.0, 94.0), (54.0, 164.0)]);
        assert_eq!(layout.edges[0], (0, 1, vec![(54.0, 44.0), (54.0, 74.0)]));
        assert_eq!((layout.width, layout.height), (108.0, 188.0));
    }

    #[test]
    fn nodes_of_a_layer_do_not_overlap() {
        let edges = [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4), (0, 4), (2, 5)];
        let layout = layout(6, &edges, SIZES).unwrap();
        for (a, first) in layout.nodes.iter().enumerate() {
            for second in layout.nodes.iter().skip(a + 1) {
                let apart = (first.0 - second.0).abs() >= 119.9 || (first.1 - second.1).abs() >= 60.0;
                assert!(apart, "{first:?} {second:?}");
            }
        }
        let (from, to) = (layout.nodes[0], layout.nodes[4]);
        assert!(layout.edges.iter().all(|(_, _, points)| points.len() >= 2));
        assert!(from.1 < to.1);
    }

    #[test]
    fn cycles_loops_and_strays_are_accepted() {
        let layout = layout(3, &[(0, 1), (1, 2), (2, 0), (1, 1), (0, 9), (0, 1)], SIZES).unwrap();
        assert_eq!(layout.edges.len(), 3);
        assert!(layout.nodes.iter().all(|(x, y)| x.is_finite() && y.is_finite()));
        assert_eq!(super::layout(0, &[], SIZES).unwrap().nodes, []);
    }

    #[test]
    fn a_tangle_is_refused() {
        let mut edges: Vec<(usize, usize)> = (0..399).map(|i| (i, i + 1)).collect();
        edges.extend((0..200).map(|i| (i, 399)));
        assert!(layout(400, &edges, SIZES).is_none());
    }
}
