use super::*;
use crate::Normalization;
use sha2::{Digest, Sha256};

fn draw(train: usize, test: usize, seed: u64) -> Dataset {
    Synthetic { train, test, seed }.dataset().unwrap()
}

#[test]
fn the_bytes_never_change() {
    let dataset = draw(60, 20, 42);
    let mut hasher = Sha256::new();
    for split in [&dataset.train, &dataset.test] {
        hasher.update(split.pixels());
        hasher.update(split.labels().iter().flat_map(|label| label.to_le_bytes()).collect::<Vec<_>>());
    }
    let digest: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, "788fd25b18ec14b85c1bf7851d8d610d1e2b0ce4a790b5a11a6b524461111ab7");
}

#[test]
fn counts_seed_and_classes_are_as_asked() {
    let dataset = draw(100, 30, 1);
    assert_eq!((dataset.train.len(), dataset.test.len(), dataset.shape()), (100, 30, [3, 32, 32]));
    assert!(dataset.train.class_counts(10).iter().all(|&count| count == 10));
    assert_ne!(draw(100, 30, 2).train, dataset.train);
    assert_ne!(dataset.train.image(0), dataset.test.image(0));
    let larger = draw(110, 30, 1);
    assert_eq!(larger.train.pixels()[..100 * 3072], *dataset.train.pixels());
}

#[test]
fn too_few_and_too_many_images_are_refused() {
    for (train, test) in [(9, 10), (10, 0), (1_000_001, 10)] {
        let error = Synthetic { train, test, seed: 1 }.dataset().unwrap_err();
        assert!(error.to_string().contains("must be from 10 to 1000000"), "{error}");
    }
}

/// Softmax regression on the pixels, by plain gradient descent: what can be had without looking at shapes.
#[test]
fn a_linear_classifier_does_not_get_far() {
    const SIZE: usize = 3 * SIDE * SIDE;
    let dataset = draw(2_000, 500, 42);
    let normalization = Normalization { mean: vec![0.5; 3], std: vec![0.25; 3] };
    let floats = |split: &Split| {
        let mut out = Vec::new();
        normalization.apply(split, &(0..split.len()).collect::<Vec<_>>(), &mut out);
        out
    };
    let (train, test) = (floats(&dataset.train), floats(&dataset.test));
    let mut weights = vec![0.0_f32; 10 * SIZE];
    let logits = |weights: &[f32], image: &[f32]| -> Vec<f32> {
        weights.chunks(SIZE).map(|row| row.iter().zip(image).map(|(w, x)| w * x).sum()).collect()
    };
    for epoch in 0..8 {
        let rate = 2e-4 / (1.0 + epoch as f32);
        for (image, &label) in train.chunks(SIZE).zip(dataset.train.labels()) {
            let scores = logits(&weights, image);
            let highest = scores.iter().copied().fold(f32::MIN, f32::max);
            let exps: Vec<_> = scores.iter().map(|score| (score - highest).exp()).collect();
            let sum: f32 = exps.iter().sum();
            for (class, row) in weights.chunks_mut(SIZE).enumerate() {
                let gradient = exps[class] / sum - f32::from(u8::from(class as i64 == label));
                row.iter_mut().zip(image).for_each(|(weight, x)| *weight -= rate * gradient * x);
            }
        }
    }
    let logits = test.chunks(SIZE).flat_map(|image| logits(&weights, image)).collect();
    let accuracy = crate::Predictions::new(logits, 10, dataset.test.labels().to_vec()).unwrap().accuracy();
    assert!(accuracy < 50.0, "{accuracy}");
    eprintln!("linear classifier: {accuracy} %");
}
