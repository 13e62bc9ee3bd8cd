//! A curve is a filter's weight by distance, from a table.
//!
//! Every resizing asks its filter for some ten thousand weights, and one with sines in it takes a tenth of
//! the time that a small picture takes. Between two places of the table a cubic goes through the four
//! nearest, which is as near to the filter itself as what is made of it can tell: weights are rounded
//! to 14 bits or so before they are used.

use std::f64::consts::PI;
use std::sync::LazyLock;

use fast_image_resize::{Filter, FilterType};

/// Pieces of the table for a distance of 1.
const PIECES: u16 = 256;

/// The curve of one side, piece by piece: four factors of each, for the powers 0 to 3 of the distance from
/// its beginning, which is 1 at its end.
#[derive(Debug)]
struct Curve(Vec<[f64; 4]>);

/// The same filter, from a table where it is one with sines.
pub(crate) fn tabled(filter: FilterType) -> FilterType {
    let tabled = if filter == FilterType::Lanczos3 {
        Filter::new("Lanczos3", |x| LANCZOS3.at(x), 3.0)
    } else if filter == FilterType::Hamming {
        Filter::new("Hamming", |x| HAMMING.at(x), 1.0)
    } else {
        return filter;
    };
    tabled.map_or(filter, FilterType::Custom)
}

static LANCZOS3: LazyLock<Curve> = LazyLock::new(|| Curve::of(lanczos3, 3));
static HAMMING: LazyLock<Curve> = LazyLock::new(|| Curve::of(hamming, 1));

fn lanczos3(x: f64) -> f64 {
    sinc(x) * sinc(x / 3.0)
}

fn hamming(x: f64) -> f64 {
    (0.54 + 0.46 * (PI * x).cos()) * sinc(x)
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

impl Curve {
    /// The table of `filter` up to a distance of `reach`.
    fn of(filter: fn(f64) -> f64, reach: u16) -> Self {
        let value = |place: u16, off: f64| filter((f64::from(place) + off) / f64::from(PIECES));
        let piece = |first: u16| {
            let [a, b, c, d] = [-1.0, 0.0, 1.0, 2.0].map(|off| value(first, off));
            let bend = (a + c) / 2.0 - b;
            let twist = (d - a) / 6.0 + (b - c) / 2.0;
            [b, c - b - bend - twist, bend, twist]
        };
        Self((0..reach * PIECES).map(piece).collect())
    }

    /// The weight at a distance to either side; 0 beyond the table.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small distance")]
    fn at(&self, x: f64) -> f64 {
        let place = x.abs() * f64::from(PIECES);
        let piece = place as u32;
        let Some([a, b, c, d]) = self.0.get(piece as usize) else { return 0.0 };
        let on = place - f64::from(piece);
        a + on * (b + on * (c + on * d))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(curve: &Curve, filter: fn(f64) -> f64, reach: f64) {
        for number in -40_000..40_000_i32 {
            let x = f64::from(number) * 1e-4 * 0.999_7;
            let known = if x.abs() < reach { filter(x) } else { 0.0 };
            assert!((curve.at(x) - known).abs() < 1e-9, "{x}: {} {known}", curve.at(x));
        }
        assert!(curve.at(f64::INFINITY).abs() < 1e-9);
    }

    #[test]
    fn a_table_tells_what_its_filter_would() {
        check(&LANCZOS3, lanczos3, 3.0);
        check(&HAMMING, hamming, 1.0);
    }
}
