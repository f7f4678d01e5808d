//! The matrix with orthogonal rows or columns that is nearest to a matrix, roughly. Knows no network.

use crate::memory::Memory;
use crate::product::{Left, Size, multiply};
use crate::simd::{Instructions, LANES};

/// Replaces the singular values of matrices of one shape by about 1: with X = U·S·Vᵀ it gives roughly U·Vᵀ.
#[derive(Debug, Clone)]
pub struct Orthogonal {
    on: Instructions,
    rows: usize,
    columns: usize,
    matrix: Memory,
    transposed: Memory,
    gram: Memory,
    polynomial: Memory,
    product: Memory,
}

/// The distance of rows that are `length` long.
fn padded(length: usize) -> usize {
    length.next_multiple_of(LANES)
}

/// `out = left · right`, of matrices with padded rows.
fn product(
    on: Instructions,
    [rows, depth, columns]: [usize; 3],
    left: &[f32],
    right: &[f32],
    out: &mut [f32],
) {
    let left = Left { values: left, row: padded(depth), column: 1 };
    multiply(on, Size { rows, depth, columns: padded(columns) }, left, right, out, false);
}

impl Orthogonal {
    /// Times that singular values are brought nearer to 1.
    pub const ITERATIONS: usize = 5;

    /// What a singular value σ becomes in an iteration: aσ + bσ³ + cσ⁵. Five of these take all from 0.002 to 1 to between 0.68
    /// and 1.21 (Jordan et al., *Muon: An optimizer for hidden layers in neural networks* (2024)).
    pub const POLYNOMIAL: [f32; 3] = [3.4445, -4.7750, 2.0315];

    /// For matrices of `rows` times `columns`.
    #[must_use]
    pub fn new(rows: usize, columns: usize) -> Self {
        let (short, long) = (rows.min(columns), rows.max(columns));
        let zeros = |rows: usize, columns: usize| Memory::zeros(rows * padded(columns));
        Self {
            on: Instructions::best(),
            rows,
            columns,
            matrix: zeros(short, long),
            transposed: zeros(long, short),
            gram: zeros(short, short),
            polynomial: zeros(short, short),
            product: zeros(short, long),
        }
    }

    /// A matrix whose norm, the root of the sum of all squares, is less points nowhere: floats hardly hold its squares.
    pub const LEAST_NORM: f64 = 1e-15;

    /// Puts the orthogonal matrix in the place of `matrix`, which is row-major, and says whether there is one: where the norm
    /// is below [`Self::LEAST_NORM`], the matrix stays.
    ///
    /// # Panics
    /// When `matrix` is not of the shape.
    #[must_use]
    pub fn replace(&mut self, matrix: &mut [f32]) -> bool {
        let Self { rows, columns, .. } = *self;
        assert_eq!(matrix.len(), rows * columns);
        let (short, long) = (rows.min(columns), rows.max(columns));
        // The largest singular value is at most the root of the sum of all squares.
        let square: f64 = matrix.iter().map(|&value| f64::from(value).powi(2)).sum();
        let norm = square.sqrt();
        if norm < Self::LEAST_NORM {
            return false;
        }
        let factor = (1.0 / norm) as f32;
        // Where a value of the matrix with the shorter rows' number as rows is in the one given.
        let place = |row: usize, column: usize| match rows <= columns {
            true => row * columns + column,
            false => column * columns + row,
        };
        for row in 0..short {
            for column in 0..long {
                self.matrix[row * padded(long) + column] = matrix[place(row, column)] * factor;
            }
        }
        for _ in 0..Self::ITERATIONS {
            self.iterate(short, long);
        }
        for row in 0..short {
            for column in 0..long {
                matrix[place(row, column)] = self.matrix[row * padded(long) + column];
            }
        }
        true
    }

    /// X ← aX + (bA + cA²)X, where A = XXᵀ.
    fn iterate(&mut self, short: usize, long: usize) {
        let [a, b, c] = Self::POLYNOMIAL;
        for row in 0..short {
            for column in 0..long {
                self.transposed[column * padded(short) + row] = self.matrix[row * padded(long) + column];
            }
        }
        product(self.on, [short, long, short], &self.matrix, &self.transposed, &mut self.gram);
        product(self.on, [short, short, short], &self.gram, &self.gram, &mut self.polynomial);
        for (value, gram) in self.polynomial.iter_mut().zip(self.gram.iter()) {
            *value = b * gram + c * *value;
        }
        product(self.on, [short, short, long], &self.polynomial, &self.matrix, &mut self.product);
        for (value, product) in self.matrix.iter_mut().zip(self.product.iter()) {
            *value = a * *value + product;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};

    use super::*;

    /// `left · leftᵀ`, of rows of `columns` values.
    fn gram(matrix: &[f32], columns: usize) -> Vec<f32> {
        let rows = || matrix.chunks(columns);
        rows().flat_map(|one| rows().map(move |two| one.iter().zip(two).map(|(a, b)| a * b).sum())).collect()
    }

    fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
        (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns).copied()).collect()
    }

    #[test]
    fn all_directions_become_about_as_long() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for (rows, columns) in
            [(1, 1), (1, 7), (5, 1), (3, 20), (24, 48), (48, 24), (17, 17), (64, 128), (16, 27)]
        {
            let mut matrix: Vec<f32> =
                (0..rows * columns).map(|_| (rng.random::<f32>() - 0.3) * 1e-4).collect();
            let before = matrix.clone();
            assert!(Orthogonal::new(rows, columns).replace(&mut matrix));
            let (short, inner) = match rows <= columns {
                true => (rows, gram(&matrix, columns)),
                false => (columns, gram(&transposed(&matrix, columns), rows)),
            };
            let trace: f32 = (0..short).map(|index| inner[index * short + index]).sum();
            let mean = trace / short as f32;
            assert!((0.46..1.47).contains(&mean), "{rows}×{columns}: mean square {mean}");
            // The squares of all values of the Gram matrix sum up to the fourth powers of the singular values.
            let squares: f32 = inner.iter().map(|value| value * value).sum();
            assert!(squares / (short as f32) < 1.21_f32.powi(4), "{rows}×{columns}: {squares}");
            // It points where the matrix did: the sum of products is a sum of singular values.
            let same: f32 = matrix.iter().zip(&before).map(|(a, b)| a * b).sum();
            assert!(same > 0.0, "{rows}×{columns}");
        }
    }

    #[test]
    fn its_size_does_not_matter_and_what_was_there_before_leaves_nothing() {
        let mut one = Orthogonal::new(2, 3);
        let matrix = [0.5_f32, -1.0, 2.0, 0.25, 4.0, -0.5];
        let (mut small, mut large) = (matrix.map(|value| value / 1024.0), matrix.map(|value| value * 1024.0));
        assert!(one.replace(&mut small) && one.replace(&mut large));
        assert_eq!(small, large);
        for value in [0.0, 1e-42, 1e-20] {
            let mut nothing = [value; 6];
            assert!(!one.replace(&mut nothing));
            assert_eq!(nothing, [value; 6]);
        }
    }
}
