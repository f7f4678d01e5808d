//! Taking a validation set out of the training images. Knows labels only.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Splits the indices of `labels` into those to train on and `count` to validate on (all of them where there are
/// fewer), both ascending. Stratified: each class gives its share, rounded so that the shares sum to `count`
/// (largest remainder first, then lowest label). The same arguments give the same split everywhere.
#[must_use]
pub fn validation_split(labels: &[i64], count: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let count = count.min(labels.len());
    let mut classes: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (index, &label) in labels.iter().enumerate() {
        classes.entry(label).or_default().push(index);
    }
    let shares = shares(classes.values().map(Vec::len), count, labels.len());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut train, mut validation) = (Vec::with_capacity(labels.len() - count), Vec::with_capacity(count));
    for (mut members, share) in classes.into_values().zip(shares) {
        members.shuffle(&mut rng);
        let (held_out, rest) = members.split_at(share.min(members.len()));
        validation.extend(held_out);
        train.extend(rest);
    }
    train.sort_unstable();
    validation.sort_unstable();
    (train, validation)
}

fn shares(sizes: impl Iterator<Item = usize>, count: usize, total: usize) -> Vec<usize> {
    let total = total.max(1) as u128;
    let exact: Vec<_> = sizes.map(|size| size as u128 * count as u128).collect();
    let mut shares: Vec<_> = exact.iter().map(|product| (product / total) as usize).collect();
    let missing = count.saturating_sub(shares.iter().sum());
    let mut order: Vec<_> = (0..shares.len()).collect();
    order.sort_by_key(|&class| (std::cmp::Reverse(exact[class] % total), class));
    for class in order.into_iter().take(missing) {
        shares[class] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_class_gives_its_share() {
        let labels: Vec<i64> = (0..1000).map(|index| if index < 900 { 3 } else { 7 }).collect();
        let (train, validation) = validation_split(&labels, 100, 42);
        assert_eq!(train.len(), 900);
        assert_eq!(validation.iter().filter(|&&index| labels[index] == 3).count(), 90);
        assert_eq!(validation.iter().filter(|&&index| labels[index] == 7).count(), 10);
    }

    #[test]
    fn the_split_never_changes_for_a_seed() {
        let labels: Vec<i64> = (0..30).map(|index| index % 3).collect();
        assert_eq!(validation_split(&labels, 6, 42).1, GOLDEN);
        assert_ne!(validation_split(&labels, 6, 43).1, GOLDEN);
    }

    const GOLDEN: [usize; 6] = [3, 8, 13, 21, 23, 28];

    proptest! {
        #[test]
        fn every_index_is_on_exactly_one_side(labels in prop::collection::vec(0..5_i64, 0..200), count in 0..250_usize, seed: u64) {
            let (train, validation) = validation_split(&labels, count, seed);
            prop_assert_eq!(validation.len(), count.min(labels.len()));
            prop_assert!(train.is_sorted() && validation.is_sorted());
            let mut all = [train, validation].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
        }
    }
}
