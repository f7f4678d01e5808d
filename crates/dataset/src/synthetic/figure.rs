//! The ten figures, as predicates on the plane. Knows no colours and no pixels.

/// What an image shows; its position in [`Figure::ALL`] is the label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    Disc,
    Square,
    Triangle,
    Cross,
    Ring,
    HorizontalStripes,
    VerticalStripes,
    DiagonalStripes,
    Checkerboard,
    Dots,
}

impl Figure {
    pub(super) const ALL: [Self; 10] = [
        Self::Disc,
        Self::Square,
        Self::Triangle,
        Self::Cross,
        Self::Ring,
        Self::HorizontalStripes,
        Self::VerticalStripes,
        Self::DiagonalStripes,
        Self::Checkerboard,
        Self::Dots,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Disc => "disc",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Cross => "cross",
            Self::Ring => "ring",
            Self::HorizontalStripes => "horizontal_stripes",
            Self::VerticalStripes => "vertical_stripes",
            Self::DiagonalStripes => "diagonal_stripes",
            Self::Checkerboard => "checkerboard",
            Self::Dots => "dots",
        }
    }

    /// Whether it is a pattern in two colours rather than an outline in one.
    pub(super) fn is_texture(self) -> bool {
        matches!(
            self,
            Self::HorizontalStripes
                | Self::VerticalStripes
                | Self::DiagonalStripes
                | Self::Checkerboard
                | Self::Dots
        )
    }

    /// Whether turning it makes another figure of it.
    pub(super) fn has_direction(self) -> bool {
        matches!(self, Self::HorizontalStripes | Self::VerticalStripes | Self::DiagonalStripes)
    }

    /// Whether the point is on the figure. An outline fills about the unit disc; a texture fills the plane with a
    /// period of 2 and starts at `phase`.
    pub(super) fn covers(self, [x, y]: [f64; 2], phase: [f64; 2]) -> bool {
        let (u, v) = (x + phase[0], y + phase[1]);
        match self {
            Self::Disc => x * x + y * y <= 0.9,
            Self::Square => x.abs().max(y.abs()) <= 0.82,
            Self::Triangle => y <= 0.62 && x.abs() <= (y + 1.0) * 0.6,
            Self::Cross => x.abs().min(y.abs()) <= 0.28 && x.abs().max(y.abs()) <= 1.0,
            Self::Ring => (0.3..=1.0).contains(&(x * x + y * y)),
            Self::HorizontalStripes => is_even(v),
            Self::VerticalStripes => is_even(u),
            // √½ keeps the stripes as wide as the others.
            Self::DiagonalStripes => is_even((u + v) * 0.5_f64.sqrt()),
            Self::Checkerboard => is_even(u) == is_even(v),
            Self::Dots => {
                let (a, b) = (u - 2.0 * (u * 0.5).floor() - 1.0, v - 2.0 * (v * 0.5).floor() - 1.0);
                a * a + b * b <= 0.3
            }
        }
    }
}

fn is_even(value: f64) -> bool {
    value - 2.0 * (value * 0.5).floor() < 1.0
}
