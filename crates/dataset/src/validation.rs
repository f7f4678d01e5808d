//! Taking a validation or a test set out of the training images. Knows labels only.

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

/// Splits images, of which labels and names are given, into those to train on and those to test on; indices, both
/// ascending. Each class gives the nearest number to `share` of its images, at least one, and keeps at least one: those
/// whose names, with the seed, have the lowest hashes. So neither their order matters, nor, but for the number, what
/// other images there are.
///
/// # Errors
/// A label that only one image has.
pub(crate) fn test_split(
    images: &[(i64, &str)],
    share: f64,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>), i64> {
    let mut classes: BTreeMap<i64, Vec<(u64, &str, usize)>> = BTreeMap::new();
    for (index, &(label, name)) in images.iter().enumerate() {
        classes.entry(label).or_default().push((hash(name, seed), name, index));
    }
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (label, mut members) in classes {
        let most = members.len().checked_sub(1).filter(|&most| most > 0).ok_or(label)?;
        members.sort_unstable();
        let count = (members.len() as f64 * share).round() as usize;
        let (held_out, rest) = members.split_at(count.clamp(1, most));
        test.extend(held_out.iter().map(|(.., index)| *index));
        train.extend(rest.iter().map(|(.., index)| *index));
    }
    train.sort_unstable();
    test.sort_unstable();
    Ok((train, test))
}

/// FNV-1a of the name from a start that is the seed's, mixed as SplitMix64 does.
fn hash(name: &str, seed: u64) -> u64 {
    let mix = |mut value: u64| {
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    };
    let start = 0xcbf2_9ce4_8422_2325 ^ mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
    mix(name.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
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

    fn named(sizes: &[usize]) -> Vec<(i64, String)> {
        let classes = sizes.iter().enumerate();
        classes
            .flat_map(|(label, &size)| (0..size).map(move |index| (label as i64, format!("{index}.png"))))
            .collect()
    }

    fn split(images: &[(i64, String)], share: f64, seed: u64) -> Result<(Vec<usize>, Vec<usize>), i64> {
        let images: Vec<_> = images.iter().map(|(label, name)| (*label, name.as_str())).collect();
        test_split(&images, share, seed)
    }

    #[test]
    fn each_class_is_tested_on_its_share_and_keeps_some() {
        let images = named(&[100, 10, 2]);
        let count =
            |indices: &[usize], label| indices.iter().filter(|&&index| images[index].0 == label).count();
        let (train, test) = split(&images, 0.2, 42).unwrap();
        assert_eq!(
            [0, 1, 2].map(|label| (count(&train, label), count(&test, label))),
            [(80, 20), (8, 2), (1, 1)]
        );
        let (_, most) = split(&images, 0.99, 42).unwrap();
        assert_eq!([0, 1, 2].map(|label| count(&most, label)), [99, 9, 1]);
        assert_ne!(split(&images, 0.2, 43).unwrap().1, test);
        assert_eq!(split(&[(0, "a".into()), (0, "b".into()), (5, "a".into())], 0.2, 42), Err(5));
    }

    #[test]
    fn images_are_tested_on_by_their_names() {
        let images = named(&[100]);
        let names = |images: &[(i64, String)]| -> std::collections::BTreeSet<String> {
            split(images, 0.2, 42).unwrap().1.into_iter().map(|index| images[index].1.clone()).collect()
        };
        let tested = names(&images);
        let reversed: Vec<_> = images.iter().rev().cloned().collect();
        assert_eq!(names(&reversed), tested);
        // One more image, and as many to test on: at most it takes the place of one.
        let mut more = images.clone();
        more.insert(0, (0, "new.png".into()));
        assert!(names(&more).intersection(&tested).count() >= 19);
        // The first ten of a hundred are no more likely than others.
        assert!(
            (0..50).filter(|seed| split(&images, 0.5, *seed).unwrap().1.contains(&0)).count().abs_diff(25)
                < 12
        );
    }

    #[test]
    fn the_test_split_never_changes_for_a_seed() {
        assert_eq!(split(&named(&[30]), 0.2, 42).unwrap().1, TESTED);
    }

    const TESTED: [usize; 6] = [3, 4, 21, 22, 28, 29];

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
