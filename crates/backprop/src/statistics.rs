//! What a batch normalisation knows of a batch: means, variances, sums of gradients. Summed in 64 bits over images, in their
//! order, so that the number of threads changes nothing.

/// Count, mean and sum of squared differences to it, by channel.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Moments {
    pub(crate) count: f64,
    pub(crate) mean: Vec<f64>,
    pub(crate) squares: Vec<f64>,
}

impl Moments {
    pub(crate) fn new(channels: usize) -> Self {
        Self { count: 0.0, mean: vec![0.0; channels], squares: vec![0.0; channels] }
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0.0;
        self.mean.fill(0.0);
        self.squares.fill(0.0);
    }

    /// Joins values of which `count`, by channel `mean` and sum of squared differences are known: Chan, Golub and LeVeque,
    /// *Updating Formulae and a Pairwise Algorithm for Computing Sample Variances* (1979).
    pub(crate) fn join(
        &mut self,
        count: f64,
        mean: impl Iterator<Item = f64>,
        squares: impl Iterator<Item = f64>,
    ) {
        let total = self.count + count;
        let channels = self.mean.iter_mut().zip(&mut self.squares);
        for ((own, own_squares), (mean, squares)) in channels.zip(mean.zip(squares)) {
            let difference = mean - *own;
            *own += difference * (count / total);
            *own_squares += squares + difference * difference * (self.count * count / total);
        }
        self.count = total;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if other.count > 0.0 {
            self.join(other.count, other.mean.iter().copied(), other.squares.iter().copied());
        }
    }
}

/// Sums, by channel, of the gradient with respect to a normalisation's output, and of its product with the centred input.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sums {
    pub(crate) gradient: Vec<f64>,
    pub(crate) product: Vec<f64>,
}

impl Sums {
    pub(crate) fn new(channels: usize) -> Self {
        Self { gradient: vec![0.0; channels], product: vec![0.0; channels] }
    }

    pub(crate) fn clear(&mut self) {
        self.gradient.fill(0.0);
        self.product.fill(0.0);
    }

    pub(crate) fn add(&mut self, gradient: impl Iterator<Item = f64>, product: impl Iterator<Item = f64>) {
        for ((own, own_product), (gradient, product)) in
            self.gradient.iter_mut().zip(&mut self.product).zip(gradient.zip(product))
        {
            *own += gradient;
            *own_product += product;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_moments_are_those_of_all_values() {
        let parts: [&[f64]; 3] = [&[1000.0, 1000.5], &[999.0], &[1001.0, 1002.0, 1000.25]];
        let mut joined = Moments::new(1);
        for part in parts {
            let mean = part.iter().sum::<f64>() / part.len() as f64;
            let squares = part.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
            let mut other = Moments::new(1);
            other.join(part.len() as f64, [mean].into_iter(), [squares].into_iter());
            joined.merge(&other);
        }
        let all = parts.concat();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let squares = all.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        assert_eq!(joined.count, 6.0);
        assert!((joined.mean[0] - mean).abs() < 1e-9 && (joined.squares[0] - squares).abs() < 1e-9);
    }
}
