//! What a model gives for samples, told apart by sample. Knows sessions; knows not what the values mean.

use std::ops::Range;

use anyhow::{Result, bail};
use protocol::counted;

use super::{Batch, Samples, Values};
use crate::runtime::Loaded;

/// What a model gives under one name for one sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Output {
    pub(crate) name: String,
    /// Sizes of its axes, without the one that counts samples.
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Values,
}

/// A model that is asked about samples.
pub(crate) struct Asked<'a> {
    samples: &'a Samples,
    model: Loaded,
    /// Whether it gets one sample a call.
    is_single: bool,
}

impl<'a> Asked<'a> {
    /// `samples` must be for `model`.
    pub(crate) fn new(samples: &'a Samples, model: Loaded) -> Self {
        // Where the batch is open and an output's first axis is not, it is not that which counts samples.
        let is_single = samples.batch == Batch::Any && model.fixed_outputs();
        Self { samples, model, is_single }
    }

    /// By sample of those in `range`, what the model gives, in the order of its outputs. What is no tensor of numbers or truth
    /// values is left out.
    ///
    /// # Errors
    /// Where ONNX Runtime fails, or a fixed batch gives an output in which samples cannot be told apart.
    pub(crate) fn ask(&mut self, range: Range<usize>) -> Result<Vec<Vec<Output>>> {
        if range.len() < 2 || !self.is_single {
            let asked = self.together(&range);
            if range.len() < 2 || matches!(asked, Ok(Ok(_))) || self.samples.batch != Batch::Any {
                return match asked? {
                    Ok(apart) => Ok(apart),
                    Err((output, shape)) => bail!(
                        "output `{output}` of {} has shape {shape:?} for {} at a time, in which these cannot be told apart: export the \
                         model for one sample, or with a dynamic batch axis",
                        self.model.source(),
                        counted(range.len(), "sample", "samples")
                    ),
                };
            }
            // A batch may be open, and a Reshape behind it take one sample and no more, or give one axis to samples and others.
            let apart = self.one_by_one(range);
            self.is_single = apart.is_ok();
            return match (asked, apart) {
                (Err(error), Err(_)) => Err(error),
                (_, apart) => apart,
            };
        }
        self.one_by_one(range)
    }

    fn one_by_one(&mut self, range: Range<usize>) -> Result<Vec<Vec<Output>>> {
        let mut all = Vec::with_capacity(range.len());
        for at in range {
            match self.together(&(at..at + 1))? {
                Ok(apart) => all.extend(apart),
                Err((output, shape)) => bail!("output `{output}` has shape {shape:?} for one sample"),
            }
        }
        Ok(all)
    }

    /// In one call; or name and shape of an output in which samples cannot be told apart.
    #[expect(clippy::type_complexity, reason = "two kinds of not getting it: one may be helped")]
    fn together(&mut self, range: &Range<usize>) -> Result<Result<Vec<Vec<Output>>, (String, Vec<usize>)>> {
        let count = range.len();
        let is_fixed = self.samples.batch != Batch::Any;
        let has_axis = self.samples.feeds.iter().any(|feed| !feed.is_whole);
        let inputs = self.samples.inputs(range)?;
        let mut apart: Vec<Vec<Output>> = (0..count).map(|_| Vec::new()).collect();
        let mut mixed = None;
        self.model.run_values(inputs, &mut |name, value| {
            let Some((shape, values)) = Values::of_output(value)? else { return Ok(()) };
            // Several rows of each sample are believed only where there is no other way to ask.
            let own = of_one(&shape, count, has_axis);
            let is_sure = shape.first() == Some(&count) || is_fixed || count == 1;
            let Some(own) = own.filter(|_| is_sure) else {
                mixed.get_or_insert((name.to_owned(), shape));
                return Ok(());
            };
            let size = values.len() / count.max(1);
            for (place, outputs) in apart.iter_mut().enumerate() {
                let values = values.slice(place * size..(place + 1) * size);
                outputs.push(Output { name: name.to_owned(), shape: own.clone(), values });
            }
            Ok(())
        })?;
        Ok(match mixed {
            None => Ok(apart),
            Some(mixed) => Err(mixed),
        })
    }
}

/// What is one sample's of an output of this shape for `count` of them; `has_axis`: they go in along a first axis.
fn of_one(shape: &[usize], count: usize, has_axis: bool) -> Option<Vec<usize>> {
    match shape {
        [first, rest @ ..] if *first == count && has_axis => Some(rest.to_vec()),
        shape if count == 1 => Some(shape.to_vec()),
        // Several rows of each, one sample after the other.
        [first, rest @ ..] if *first > 0 && first.is_multiple_of(count) => {
            Some([&[first / count], rest].concat())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::of_one;

    #[test]
    fn a_sample_has_its_own_part_of_each_output() {
        assert_eq!(of_one(&[4, 10], 4, true), Some(vec![10]));
        assert_eq!(of_one(&[8, 10], 4, true), Some(vec![2, 10]));
        assert_eq!(of_one(&[4], 4, true), Some(vec![]));
        assert_eq!(of_one(&[3, 10], 4, true), None);
        assert_eq!(of_one(&[], 4, true), None);
        assert_eq!(of_one(&[1, 10], 1, true), Some(vec![10]));
        assert_eq!(of_one(&[7, 10], 1, true), Some(vec![7, 10]));
        assert_eq!(of_one(&[1, 10], 1, false), Some(vec![1, 10]));
    }
}
