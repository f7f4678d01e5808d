//! Windows without padding over `[height, width, padded channels]`, forward and backward.

use model::Pool;

use crate::plan::Shape;

/// Calls `each` with the place of every output pixel and those of the pixels of its window, in rows.
fn windows(pool: Pool, input: Shape, output: Shape, mut each: impl FnMut(usize, &[usize])) {
    let mut window = Vec::with_capacity(pool.kernel * pool.kernel);
    for y in 0..output.height {
        for x in 0..output.width {
            window.clear();
            for row in 0..pool.kernel {
                let start = (y * pool.stride + row) * input.width + x * pool.stride;
                window.extend((start..start + pool.kernel).map(|pixel| pixel * input.padded()));
            }
            each((y * output.width + x) * output.padded(), &window);
        }
    }
}

/// Which of a window is largest: the first of equals, as in PyTorch; what is not a number is larger than all.
fn largest(x: &[f32], window: &[usize], channel: usize) -> usize {
    let mut best = window[0] + channel;
    for start in &window[1..] {
        let at = start + channel;
        if x[at] > x[best] || x[at].is_nan() {
            best = at;
        }
    }
    best
}

/// The largest value of each window.
pub(crate) fn max(pool: Pool, shapes: [Shape; 2], x: &[f32], y: &mut [f32]) {
    windows(pool, shapes[0], shapes[1], |out, window| {
        for channel in 0..shapes[1].padded() {
            y[out + channel] = x[largest(x, window, channel)];
        }
    });
}

/// Adds the gradient of [`max`] to `dx`.
pub(crate) fn max_gradient(pool: Pool, shapes: [Shape; 2], x: &[f32], dy: &[f32], dx: &mut [f32]) {
    windows(pool, shapes[0], shapes[1], |out, window| {
        for channel in 0..shapes[1].padded() {
            dx[largest(x, window, channel)] += dy[out + channel];
        }
    });
}

/// The mean of each window.
pub(crate) fn average(pool: Pool, shapes: [Shape; 2], x: &[f32], y: &mut [f32]) {
    let share = 1.0 / (pool.kernel * pool.kernel) as f32;
    windows(pool, shapes[0], shapes[1], |out, window| {
        for channel in 0..shapes[1].padded() {
            y[out + channel] = window.iter().map(|start| x[start + channel]).sum::<f32>() * share;
        }
    });
}

/// Adds the gradient of [`average`] to `dx`.
pub(crate) fn average_gradient(pool: Pool, shapes: [Shape; 2], dy: &[f32], dx: &mut [f32]) {
    let share = 1.0 / (pool.kernel * pool.kernel) as f32;
    windows(pool, shapes[0], shapes[1], |out, window| {
        for start in window {
            for channel in 0..shapes[1].padded() {
                dx[start + channel] += dy[out + channel] * share;
            }
        }
    });
}
