//! Whatever the records are, the right ones go.

use super::*;

use proptest::prelude::*;

fn digest(number: u8) -> Digest {
    Digest::of_bytes(&[number])
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Records over few objects, so that they share some, objects that are there, needed keys and a limit.
fn sets() -> impl Strategy<Value = (Vec<Candidate>, HashMap<Digest, u64>, HashSet<Digest>, u64)> {
    let record = (1u64..50, 0u64..6, proptest::collection::vec(0u8..12, 0..5));
    let records = proptest::collection::vec(record, 0..12);
    let objects = proptest::collection::hash_map(0u8..16, 0u64..1_000, 0..16);
    let needed = proptest::collection::hash_set(0u8..12, 0..6);
    (records, objects, needed, 0u64..5_000).prop_map(|(records, objects, needed, limit)| {
        let records = records.into_iter().zip(100u8..).map(|((bytes, used, objects), key)| Candidate {
            key: digest(key),
            bytes,
            used: at(used),
            objects: objects.into_iter().map(digest).collect(),
        });
        let objects = objects.into_iter().map(|(number, bytes)| (digest(number), bytes)).collect();
        let needed = needed.into_iter().map(|number| digest(100 + number)).collect();
        (records.collect(), objects, needed, limit)
    })
}

/// Bytes of records and of the objects that they name, each once.
fn taken<'a>(records: impl Iterator<Item = &'a Candidate> + Clone, objects: &HashMap<Digest, u64>) -> u64 {
    let named: HashSet<Digest> = records.clone().flat_map(|record| record.objects.clone()).collect();
    let lengths = named.iter().filter_map(|digest| objects.get(digest)).sum::<u64>();
    lengths + records.map(|record| record.bytes).sum::<u64>()
}

proptest! {
    #[test]
    fn the_right_ones_go((records, objects, needed, limit) in sets()) {
        let choice = choose(&records, &objects, &needed, limit);
        let goes = |position: &usize| choice.records.contains(position);
        let all = || records.iter().enumerate();
        let kept: Vec<&Candidate> = all().filter(|(position, _)| !goes(position)).map(|(_, one)| one).collect();
        let gone: Vec<&Candidate> = choice.records.iter().map(|position| &records[*position]).collect();
        let gone_objects: HashSet<Digest> =
            choice.objects.iter().chain(&choice.unnamed).map(|(digest, _)| *digest).collect();

        // Nothing that is needed, and nothing that what is kept names.
        prop_assert!(gone.iter().all(|record| !needed.contains(&record.key)));
        prop_assert!(kept.iter().flat_map(|record| &record.objects).all(|object| !gone_objects.contains(object)));

        // Everything else: what nobody names is gone, and what is left is what is kept.
        let left: u64 = objects.iter().filter(|(digest, _)| !gone_objects.contains(digest)).map(|(_, b)| b).sum();
        prop_assert_eq!(choice.bytes, left + kept.iter().map(|record| record.bytes).sum::<u64>());
        prop_assert_eq!(choice.bytes, taken(kept.iter().copied(), &objects));
        prop_assert_eq!(choice.objects.len() + choice.unnamed.len(), gone_objects.len(), "each once");
        let named: HashSet<&Digest> = records.iter().flat_map(|record| &record.objects).collect();
        prop_assert!(choice.unnamed.iter().all(|(digest, _)| !named.contains(digest)));

        // The least recently used go first.
        let age = |record: &Candidate| (record.used, record.key);
        let oldest_left = kept.iter().filter(|one| !needed.contains(&one.key)).map(|one| age(one)).min();
        let last_gone = gone.iter().map(|record| age(record)).max();
        if let (Some(left), Some(gone)) = (oldest_left, last_gone) {
            prop_assert!(gone < left);
        }

        // As many as it takes, and not one more.
        prop_assert!(choice.bytes <= limit || kept.iter().all(|record| needed.contains(&record.key)));
        if let Some(last) = gone.last() {
            prop_assert!(taken(kept.iter().copied().chain([*last]), &objects) > limit);
        }
        prop_assert_eq!(
            choice.needed_bytes,
            taken(records.iter().filter(|record| needed.contains(&record.key)), &objects)
        );
    }
}
