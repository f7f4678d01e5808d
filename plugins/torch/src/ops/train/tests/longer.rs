//! What is left of one training for the next: the bytes, and where a longer one goes on.

use super::*;

#[test]
fn more_epochs_go_on_from_the_earlier_training_where_no_rate_depends_on_them() {
    let _turn = alone();
    for schedule in [json!({"schedule": "constant"}), json!({"schedule": "cosine", "restart_every": 2})] {
        let (whole, grown) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let lasting = |epochs: u32| {
            let mut changes = json!({"epochs": epochs, "ema": 0.9, "warmup": 0.25});
            changes.as_object_mut().unwrap().extend(schedule.as_object().unwrap().clone());
            with(&changes)
        };
        train(whole.path(), lasting(4)).unwrap();
        train(grown.path(), lasting(2)).unwrap();
        let reported = train(grown.path(), lasting(4)).unwrap();
        let logs = reported.logs();
        assert!(logs.contains("continuing after epoch 2 of an earlier training"), "{logs}");
        for file in ["weights", "reference"] {
            let [one, two] = [&whole, &grown].map(|folder| fs::read(folder.path().join(file)).unwrap());
            assert!(one == two, "{schedule}: {file} differs");
        }
        let reported = train(grown.path(), lasting(3)).unwrap();
        assert!(
            reported.logs().contains("went on for 4 epochs, too long for one of 3"),
            "{}",
            reported.logs()
        );
    }
}

#[test]
fn a_cosine_to_another_end_starts_anew_and_says_why() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), with(&json!({"epochs": 1}))).unwrap();
    let reported = train(folder.path(), with(&json!({"epochs": 2}))).unwrap();
    assert!(
        reported.logs().contains("`schedule: constant` or `restart_every` it could be continued"),
        "{}",
        reported.logs()
    );
    let Content::Series { series, .. } = &reported.figure("history").content else { panic!() };
    assert_eq!(series[0].points.len(), 2);
}

/// Of our own kernels, which come to the same on every machine; but for an exponential of another C library.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_change_of_what_training_comes_to_wants_a_new_version() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let recipe = json!({"engine": "native", "epochs": 2, "nesterov": true, "decay_norms": false, "muon": {}, "ema": 0.9});
    train(folder.path(), with(&recipe)).unwrap();
    let digest = blake3::hash(&fs::read(folder.path().join("weights")).unwrap()).to_hex();
    assert_eq!(
        (Train::VERSION, &digest[..16]),
        (5, "d9a684ce2f868856"),
        "bump Train::VERSION, then change this"
    );
}
