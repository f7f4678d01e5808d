//! Floats that begin at a cache line, so that no vector lies across two: reading and writing would take twice as long.

use std::ops::{Deref, DerefMut};

use crate::simd::LANES;

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

/// A row of floats that can grow.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    lines: Vec<Line>,
    length: usize,
}

impl Memory {
    /// `length` zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        let mut memory = Self::default();
        memory.resize(length);
        memory
    }

    /// Makes it `length` long; what is new is zero or what was there before.
    pub(crate) fn resize(&mut self, length: usize) {
        let lines = length.div_ceil(LANES);
        if lines > self.lines.len() {
            self.lines.resize(lines, Line([0.0; LANES]));
        }
        self.length = length;
    }

    /// Floats that it has room for without asking the system.
    pub(crate) fn capacity(&self) -> usize {
        self.lines.len() * LANES
    }

    /// The first `length` floats, growing where there are fewer.
    pub(crate) fn at_least(&mut self, length: usize) -> &mut [f32] {
        if self.length < length {
            self.resize(length);
        }
        &mut self[..length]
    }

    /// `length` zeros.
    pub(crate) fn cleared(&mut self, length: usize) -> &mut [f32] {
        self.resize(length);
        self.fill(0.0);
        self
    }
}

impl Deref for Memory {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: lines are sixteen floats each without padding, and there are enough of them for `length`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_begins_at_a_line_and_keeps_its_length() {
        let mut memory = Memory::zeros(17);
        assert!((memory.as_ptr().addr()).is_multiple_of(64));
        assert_eq!((memory.len(), memory.capacity()), (17, 32));
        memory[16] = 3.0;
        assert_eq!(memory.at_least(40)[16], 3.0);
        memory.resize(5);
        assert_eq!((memory.len(), memory.capacity()), (5, 48));
        assert_eq!(memory.cleared(20), [0.0; 20]);
    }
}
