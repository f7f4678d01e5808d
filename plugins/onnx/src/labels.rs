//! Which class each sample is of, and how often scores say so. Knows arrays and outputs; knows no models.

use anyhow::Context;
use arrays::Source;
use protocol::Failure;

use crate::contrast::best;
use crate::samples::{Output, Values};

/// How many classes count for the looser of the two ways to be right.
pub(crate) const FEW: usize = 5;

/// The class of each sample that is looked at.
#[derive(Debug)]
pub(crate) struct Labels {
    /// The array that they are.
    pub(crate) name: String,
    pub(crate) classes: Vec<i64>,
}

impl Labels {
    /// Checks that the array is there and counts classes by sample.
    pub(crate) fn check(name: Option<&str>, source: &Source) -> Result<(), Failure> {
        let Some(name) = name else { return Ok(()) };
        let path = source.path().display();
        let Some(header) = source.headers().get(name) else {
            if let Some(reason) = source.why_not(name) {
                return Err(Failure::new(format!(
                    "`labels` names array `{name}` of `{path}`, which {reason}"
                ))
                .hint("save the class of each sample as a whole number, counted from 0"));
            }
            let names: Vec<_> = source.headers().keys().map(|name| format!("`{name}`")).collect();
            return Err(Failure::new(format!("`labels` names `{name}`, which is no array of `{path}`"))
                .hint(format!("its arrays are {}", names.join(", "))));
        };
        match header.shape.as_slice() {
            [_] | [_, 1] => Ok(()),
            shape => Err(Failure::new(format!(
                "`labels` names array `{name}` of `{path}`, which has shape {shape:?}, not [samples]: one class for each sample"
            ))
            .hint(
                "leave `labels` out where there are several for a sample, and compute a metric of your own from `predictions`",
            )),
        }
    }

    /// Those of the samples at `indices`.
    pub(crate) fn read(
        name: Option<&str>,
        source: &Source,
        indices: &[usize],
    ) -> Result<Option<Self>, Failure> {
        Self::check(name, source)?;
        let Some(name) = name else { return Ok(None) };
        let array = source.take(name, indices).map_err(anyhow::Error::from)?;
        let classes = Values::integers(&array)
            .with_context(|| format!("array `{name}` of `{}`, named by `labels`", source.path().display()))?;
        if let Some((class, index)) = classes.iter().zip(indices).find(|(class, _)| **class < 0) {
            return Err(Failure::new(format!(
                "array `{name}` of `{}`, named by `labels`, holds {class} for sample {index}, but classes count from 0",
                source.path().display()
            ))
            .hint("leave out samples without a class"));
        }
        Ok(Some(Self { name: name.to_owned(), classes }))
    }
}

/// Whether an output says of a sample which class it is of: scores of classes, or the class itself.
pub(crate) fn says_class(output: &Output) -> bool {
    match output.shape.as_slice() {
        [] | [1] => !output.values.are_floats(),
        [_] => output.values.are_floats(),
        _ => false,
    }
}

/// The class that an output says.
pub(crate) fn said(output: &Output) -> Option<i64> {
    let scores = output.values.numbers();
    if output.values.are_floats() {
        return best(&scores).and_then(|place| i64::try_from(place).ok());
    }
    match output.values {
        Values::I64(ref values) => values.first().copied(),
        _ => scores.first().map(|class| *class as i64),
    }
}

/// How often an output was right.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hits {
    /// By sample.
    pub(crate) right: Vec<bool>,
    /// Where there are more classes: how often the right one was among the best [`FEW`].
    pub(crate) among_few: Option<u64>,
}

impl Hits {
    /// Takes in what is said of the sample at `index`, which is of class `label`.
    ///
    /// # Errors
    /// Where there is no such class.
    pub(crate) fn add(&mut self, index: usize, label: i64, output: &Output) -> anyhow::Result<()> {
        self.right.push(said(output) == Some(label));
        if !output.values.are_floats() {
            return Ok(());
        }
        let scores = output.values.numbers();
        let Some(own) = usize::try_from(label).ok().and_then(|label| scores.get(label)) else {
            anyhow::bail!(
                "sample {index} is of class {label}, but output `{}` has scores of {} classes, from 0",
                output.name,
                scores.len()
            );
        };
        if scores.len() > FEW {
            let better = scores.iter().filter(|score| *score > own).count();
            *self.among_few.get_or_insert(0) += u64::from(better < FEW);
        }
        Ok(())
    }

    pub(crate) fn correct(&self) -> u64 {
        self.right.iter().filter(|right| **right).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(values: &[f32]) -> Output {
        Output { name: "y".into(), shape: vec![values.len()], values: Values::F32(values.to_vec()) }
    }

    #[test]
    fn the_best_and_the_best_five_are_counted() {
        let row = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4];
        let mut hits = Hits::default();
        for label in [0, 4, 5] {
            hits.add(0, label, &scores(&row)).unwrap();
        }
        assert_eq!((hits.correct(), hits.among_few), (1, Some(2)));
        let mut few = Hits::default();
        few.add(0, 1, &scores(&[0.1, 0.2])).unwrap();
        assert_eq!((few.correct(), few.among_few), (1, None));
        let failure = few.add(3, 2, &scores(&[0.1, 0.2])).unwrap_err().to_string();
        assert_eq!(failure, "sample 3 is of class 2, but output `y` has scores of 2 classes, from 0");
        let class = Output { name: "class".into(), shape: vec![], values: Values::I64(vec![7]) };
        few.add(0, 7, &class).unwrap();
        assert!(says_class(&class));
        assert_eq!(few.right, [true, false, true]);
    }
}
