//! One image: a figure on a background, with clutter behind it, something in front of it, and noise.

use rand_chacha::rand_core::RngCore;

use super::SIDE;
use super::figure::Figure;

type Color = [f64; 3];

/// Everything that is drawn, back to front.
pub(super) struct Scene {
    background: Color,
    /// Change of the background's light over the image, from its middle to an edge, along x and y.
    light: [f64; 2],
    clutter: Vec<Patch>,
    figure: Patch,
    occluders: Vec<Patch>,
    /// Half the width of the triangular distribution that is added to every value.
    noise: f64,
}

/// A figure in its place.
struct Patch {
    figure: Figure,
    color: Color,
    /// What shows between the marks of a texture; the background where absent.
    other: Option<Color>,
    centre: [f64; 2],
    /// Pixels from the centre to the border.
    radius: f64,
    /// Pixels per unit of a texture: half its period.
    grain: f64,
    phase: [f64; 2],
    /// Cosine and sine of the rotation.
    turn: [f64; 2],
}

impl Scene {
    /// A scene that shows `figure`.
    pub(super) fn random(figure: Figure, rng: &mut impl RngCore) -> Self {
        let background = color(rng);
        let radius = if figure.is_texture() { between(rng, 9.0, 15.0) } else { between(rng, 8.0, 14.0) };
        let reach = (SIDE as f64 / 2.0 - radius * 0.8).max(0.0);
        let middle = SIDE as f64 / 2.0;
        let centre = [middle + between(rng, -reach, reach), middle + between(rng, -reach, reach)];
        let clutter = (0..below(rng, 4)).map(|_| small_patch(rng, 1.5, 3.0)).collect();
        let occluders = (0..below(rng, 2)).map(|_| small_patch(rng, 2.0, 4.0)).collect();
        let main = Patch {
            figure,
            color: contrasting(rng, background),
            other: (below(rng, 2) == 0).then(|| color(rng)),
            centre,
            radius,
            grain: between(rng, 2.6, 4.2),
            phase: [between(rng, 0.0, 2.0), between(rng, 0.0, 2.0)],
            turn: if figure.has_direction() { slight_turn(rng) } else { any_turn(rng) },
        };
        let other = main.other.map(|_| contrasting(rng, main.color));
        let light = [between(rng, -40.0, 40.0), between(rng, -40.0, 40.0)];
        let noise = between(rng, 4.0, 40.0);
        Self { background, light, clutter, figure: Patch { other, ..main }, occluders, noise }
    }

    /// Draws into `image`, `[3, 32, 32]`.
    pub(super) fn draw(&self, rng: &mut impl RngCore, image: &mut [u8]) {
        for y in 0..SIDE {
            for x in 0..SIDE {
                let color = self.color_of_pixel(x as f64, y as f64);
                for (channel, value) in color.into_iter().enumerate() {
                    let noise = self.noise * (uniform(rng) - uniform(rng));
                    let value = (value + noise + 0.5).clamp(0.0, 255.0);
                    image[(channel * SIDE + y) * SIDE + x] = value as u8;
                }
            }
        }
    }

    /// Mean of four points in the pixel.
    fn color_of_pixel(&self, x: f64, y: f64) -> Color {
        let mut sum = [0.0; 3];
        for offset in [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]] {
            let color = self.color_of_point([x + offset[0], y + offset[1]]);
            for (sum, value) in sum.iter_mut().zip(color) {
                *sum += value * 0.25;
            }
        }
        sum
    }

    fn color_of_point(&self, point: [f64; 2]) -> Color {
        let middle = SIDE as f64 / 2.0;
        let light =
            point.iter().zip(self.light).map(|(at, light)| (at - middle) / middle * light).sum::<f64>();
        let front = self.occluders.iter().chain([&self.figure]).chain(&self.clutter);
        let color = front.filter_map(|patch| patch.color_at(point)).next().unwrap_or(self.background);
        color.map(|value| value + light)
    }
}

impl Patch {
    fn color_at(&self, point: [f64; 2]) -> Option<Color> {
        let (x, y) = (point[0] - self.centre[0], point[1] - self.centre[1]);
        let [cos, sin] = self.turn;
        let turned = [x * cos + y * sin, y * cos - x * sin];
        if !self.figure.is_texture() {
            let scaled = turned.map(|value| value / self.radius);
            return self.figure.covers(scaled, self.phase).then_some(self.color);
        }
        // A texture shows in a square with round corners.
        let [a, b] = turned.map(|value| (value / self.radius) * (value / self.radius));
        if a * a + b * b > 1.0 {
            return None;
        }
        let scaled = turned.map(|value| value / self.grain);
        if self.figure.covers(scaled, self.phase) { Some(self.color) } else { self.other }
    }
}

/// A small disc, square, triangle or cross anywhere.
fn small_patch(rng: &mut impl RngCore, least: f64, most: f64) -> Patch {
    let side = SIDE as f64;
    Patch {
        figure: [Figure::Disc, Figure::Square, Figure::Triangle, Figure::Cross][below(rng, 4) as usize % 4],
        color: color(rng),
        other: None,
        centre: [between(rng, 0.0, side), between(rng, 0.0, side)],
        radius: between(rng, least, most),
        grain: 1.0,
        phase: [0.0; 2],
        turn: any_turn(rng),
    }
}

/// In 0..1.
fn uniform(rng: &mut impl RngCore) -> f64 {
    f64::from(rng.next_u32()) / 4_294_967_296.0
}

fn between(rng: &mut impl RngCore, low: f64, high: f64) -> f64 {
    low + uniform(rng) * (high - low)
}

fn below(rng: &mut impl RngCore, end: u32) -> u32 {
    ((u64::from(rng.next_u32()) * u64::from(end)) >> 32) as u32
}

fn color(rng: &mut impl RngCore) -> Color {
    [between(rng, 20.0, 235.0), between(rng, 20.0, 235.0), between(rng, 20.0, 235.0)]
}

/// A colour that can be told from `from`; its opposite, should none of a few be.
fn contrasting(rng: &mut impl RngCore, from: Color) -> Color {
    for _ in 0..8 {
        let color = color(rng);
        let difference: f64 = color.iter().zip(from).map(|(one, other)| (one - other).abs()).sum();
        if difference >= 200.0 {
            return color;
        }
    }
    from.map(|value| if value < 128.0 { value + 110.0 } else { value - 110.0 })
}

/// Rotation by any angle.
fn any_turn(rng: &mut impl RngCore) -> [f64; 2] {
    let [cos, sin] = half_angle(between(rng, -1.0, 1.0));
    if below(rng, 2) == 0 { [cos, sin] } else { [-cos, -sin] }
}

/// Rotation by at most 13 degrees either way.
fn slight_turn(rng: &mut impl RngCore) -> [f64; 2] {
    half_angle(between(rng, -0.114, 0.114))
}

/// Cosine and sine of the angle whose half has tangent `t`.
fn half_angle(t: f64) -> [f64; 2] {
    let scale = 1.0 + t * t;
    [(1.0 - t * t) / scale, 2.0 * t / scale]
}
