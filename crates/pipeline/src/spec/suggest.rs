//! "Did you mean": the known name nearest to one that is not known.

/// Most names that one is compared with, and most that are listed: a pipeline may have 100,000 stages.
const MOST_COMPARED: usize = 10_000;
const MOST_LISTED: usize = 20;

/// A question with the nearest of `known`, where one is near enough.
pub(super) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(name, known).map(|near| format!("did you mean `{near}`?"))
}

/// As [`did_you_mean`]; where nothing is near, `what` and the list of all.
pub fn did_you_mean_or_list<'a>(
    name: &str,
    what: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    did_you_mean(name, known.clone()).unwrap_or_else(|| list(what, known))
}

/// `what` and the list of all, where they are many of the first.
pub fn list<'a>(what: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = known.into_iter().take(MOST_LISTED + 1).collect();
    if all.len() > MOST_LISTED {
        all.truncate(MOST_LISTED);
        all.push("…");
    }
    if all.is_empty() { format!("{what}: none") } else { format!("{what}: {}", all.join(", ")) }
}

/// The nearest of `known`: at most a third of its letters differ.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > 100 {
        return None;
    }
    let length = name.chars().count();
    let lower = name.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .take(MOST_COMPARED)
        .map(|candidate| (candidate, candidate.chars().count()))
        .filter(|(_, count)| count.abs_diff(length) <= (*count).max(3) / 3)
        .map(|(candidate, count)| {
            let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase().replace('-', "_"));
            (distance, candidate, count)
        })
        .filter(|(distance, _, count)| *distance <= (*count).max(3) / 3)
        .min_by_key(|(distance, ..)| *distance)
        .map(|(_, candidate, _)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["label_smoothing", "epochs", "lr"];
        assert_eq!(nearest("lable_smoothing", known), Some("label_smoothing"));
        assert_eq!(nearest("epoch", known), Some("epochs"));
        assert_eq!(nearest("LR", known), Some("lr"));
        assert_eq!(nearest("label-smoothing", known), Some("label_smoothing"));
        assert_eq!(nearest("momentum", known), None);
        assert_eq!(nearest("epochs", []), None);
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(list("stages are", []), "stages are: none");
        assert_eq!(list("stages are", ["a", "b"]), "stages are: a, b");
        snapshots::assert_message!(list("stages are", vec!["s"; 100_000]));
    }
}
