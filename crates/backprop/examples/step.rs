//! Times forward and backward of TinyNet on made-up images, to profile: `cargo run --release -p backprop --example step --
//! [BATCH] [THREADS] [STEPS]`.

use std::time::Instant;

use backprop::{Mode, Network};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut next = |default: usize| arguments.next().unwrap_or(Ok(default));
    let (batch, threads, steps) = (next(128)?, next(2)?, next(20)?);
    let graph = model::Network::tinynet().lower(10)?;
    let mut network = Network::new(&graph, threads)?;
    let values: Vec<f32> = (0..graph.parameter_count()).map(|index| (index as f32).sin() * 0.2).collect();
    let running =
        graph.params().iter().filter(|param| !param.kind.trainable()).map(model::Param::count).sum();
    let mut stats = vec![1.0; running];
    let images: Vec<f32> = (0..batch * 3072).map(|index| (index as f32 * 0.7).cos()).collect();
    let by_logits = vec![0.001; batch * 10];
    let mut gradient = Vec::new();
    let mut times = Vec::new();
    for _ in 0..steps {
        let start = Instant::now();
        network.forward(
            &values,
            Mode::Training { stats: &mut stats, momentum: 0.1, dropout: Some(1) },
            &images,
        );
        let forward = start.elapsed();
        network.backward(&values, &by_logits, &mut gradient);
        times.push((start.elapsed().as_secs_f64() * 1e3, forward.as_secs_f64() * 1e3));
    }
    times.sort_by(|left, right| left.0.total_cmp(&right.0));
    let (step, forward) = times[times.len() / 2];
    println!(
        "{batch} images, {threads} threads: {step:.1} ms a step, {forward:.1} of it forward (median of {steps})"
    );
    Ok(())
}
