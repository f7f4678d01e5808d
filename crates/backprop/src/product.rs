//! Products of matrices with few columns: what convolutions over single pixels are made of. Unlike a general library's, they
//! pack nothing: one operand is small and stays in the first cache, the other is read once.

use crate::simd::{LANES, Simd, on_every_processor};

/// Rows of the right operand that a pass over the left one takes, so that both stay in the first cache where the depth is
/// that of an image's pixels.
const DEPTH_BLOCK: usize = 64;

/// A matrix of which columns, or rows, lie side by side.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) values: &'a [f32],
    /// Distance of two rows.
    pub(crate) row: usize,
    /// Distance of two columns.
    pub(crate) column: usize,
}

/// `rows × columns`, `depth` of them multiplied and summed for each value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) depth: usize,
    /// A multiple of [`LANES`].
    pub(crate) columns: usize,
}

on_every_processor! {
    /// `out = left · right`, or `out += left · right`; `right` is `[depth, columns]` and `out` `[rows, columns]`, row-major.
    /// Values are summed in the order of the depth.
    ///
    /// # Panics
    /// When an operand is too short.
    pub(crate) fn multiply = multiply_on(size: Size, left: Left<'_>, right: &[f32], out: &mut [f32], accumulate: bool)
}

#[inline(always)]
fn multiply_on<S: Simd>(size: Size, left: Left<'_>, right: &[f32], out: &mut [f32], accumulate: bool) {
    let Size { rows, depth, columns } = size;
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(columns.is_multiple_of(LANES));
    assert!(right.len() >= depth * columns && out.len() >= rows * columns);
    if depth == 0 {
        if !accumulate {
            out[..rows * columns].fill(0.0);
        }
        return;
    }
    assert!(left.values.len() > (rows - 1) * left.row + (depth - 1) * left.column);
    // A left operand that is read column by column changes its place in memory with the depth.
    let block = if left.row < left.column { DEPTH_BLOCK } else { depth };
    for start in (0..depth).step_by(block) {
        let tile = Tile {
            depth: block.min(depth - start),
            // SAFETY: the largest index read is that of the last row and depth, which was asserted above.
            left: unsafe { left.values.as_ptr().add(start * left.column) },
            left_row: left.row,
            left_column: left.column,
            // SAFETY: as above.
            right: unsafe { right.as_ptr().add(start * columns) },
            out: out.as_mut_ptr(),
            columns,
            accumulate: accumulate || start > 0,
        };
        let mut row = 0;
        while row < rows {
            // SAFETY: rows and columns of the tile lie within the operands.
            row += unsafe {
                match rows - row {
                    8.. if S::WIDE => tile.across::<S, 8>(row),
                    6.. if !S::WIDE => tile.across::<S, 6>(row),
                    4.. => tile.across::<S, 4>(row),
                    2.. => tile.across::<S, 2>(row),
                    _ => tile.across::<S, 1>(row),
                }
            };
        }
    }
}

#[derive(Clone, Copy)]
struct Tile {
    depth: usize,
    left: *const f32,
    left_row: usize,
    left_column: usize,
    right: *const f32,
    out: *mut f32,
    columns: usize,
    accumulate: bool,
}

impl Tile {
    /// All columns of `R` rows from `row`. Returns `R`.
    #[inline(always)]
    unsafe fn across<S: Simd, const R: usize>(self, row: usize) -> usize {
        let mut column = 0;
        while column < self.columns {
            column += LANES
                * match (self.columns - column) / LANES {
                    3.. if S::WIDE => unsafe { self.block::<S, R, 3>(row, column) },
                    2.. if S::WIDE => unsafe { self.block::<S, R, 2>(row, column) },
                    _ => unsafe { self.block::<S, R, 1>(row, column) },
                };
        }
        R
    }

    /// `R` rows of `C` vectors. Returns `C`.
    #[inline(always)]
    unsafe fn block<S: Simd, const R: usize, const C: usize>(self, row: usize, column: usize) -> usize {
        unsafe {
            let mut sums = [[S::splat(0.0); C]; R];
            let out = self.out.add(row * self.columns + column);
            if self.accumulate {
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (c, sum) in sums.iter_mut().enumerate() {
                        *sum = S::load(out.add(r * self.columns + c * LANES));
                    }
                }
            }
            let mut left = self.left.add(row * self.left_row);
            let mut right = self.right.add(column);
            for _ in 0..self.depth {
                let mut vectors = [S::splat(0.0); C];
                for (c, vector) in vectors.iter_mut().enumerate() {
                    *vector = S::load(right.add(c * LANES));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let factor = S::splat(*left.add(r * self.left_row));
                    for (sum, vector) in sums.iter_mut().zip(vectors) {
                        *sum = S::mul_add(factor, vector, *sum);
                    }
                }
                left = left.wrapping_add(self.left_column);
                right = right.wrapping_add(self.columns);
            }
            for (r, sums) in sums.iter().enumerate() {
                for (c, sum) in sums.iter().enumerate() {
                    S::store(out.add(r * self.columns + c * LANES), *sum);
                }
            }
        }
        C
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Instructions;
    use crate::testing::{assert_close, numbers};

    #[test]
    fn products_are_those_of_the_definition_on_every_processor() {
        for (rows, depth, columns) in
            [(1, 1, 16), (7, 5, 32), (13, 70, 48), (30, 200, 80), (8, 0, 16), (0, 3, 16)]
        {
            for transposed in [false, true] {
                let (a, b) = (numbers(1, rows * depth), numbers(2, depth * columns));
                let (row, column) = if transposed { (1, rows.max(1)) } else { (depth, 1) };
                let start = numbers(3, rows * columns);
                for accumulate in [false, true] {
                    let wanted: Vec<f32> = (0..rows * columns)
                        .map(|index| {
                            let (r, c) = (index / columns, index % columns);
                            let products = (0..depth)
                                .map(|d| f64::from(a[r * row + d * column]) * f64::from(b[d * columns + c]));
                            let first = if accumulate { f64::from(start[index]) } else { 0.0 };
                            (first + products.sum::<f64>()) as f32
                        })
                        .collect();
                    let results: Vec<Vec<f32>> = Instructions::all()
                        .map(|instructions| {
                            let mut out = start.clone();
                            let left = Left { values: &a, row, column };
                            multiply(
                                instructions,
                                Size { rows, depth, columns },
                                left,
                                &b,
                                &mut out,
                                accumulate,
                            );
                            out
                        })
                        .collect();
                    assert_close(&results[0], &wanted, 1e-5);
                    assert!(results.iter().all(|result| result == &results[0]), "the same bits everywhere");
                }
            }
        }
    }
}
