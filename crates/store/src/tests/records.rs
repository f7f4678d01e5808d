//! Records are read as they were written, whatever is in them.

use proptest::prelude::*;
use record::ActionRecord;
use record::arbitrary::{action_records, run_records};

use crate::{Durability, Store, read_record};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_record_of_an_execution_is_read_as_it_was_written(record in action_records()) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let path = store.folder().join("record.json");
        store.write_record(&path, &record, Durability::Eventual).unwrap();
        prop_assert_eq!(read_record::<ActionRecord>(&path).whole(), Some(record));
    }

    #[test]
    fn a_record_of_a_run_is_read_as_it_was_written(record in run_records()) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        store.save_run(&record).unwrap();
        prop_assert_eq!(store.runs().unwrap(), (vec![record], vec![]));
    }
}
