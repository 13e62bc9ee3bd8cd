//! How far others shift what the primary would have said, paired on the same images.

use crate::quantile::number;
use crate::story::words::Effect;

/// Images that another judge judged, beside what the primary would have said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shifted {
    images: usize,
    /// Rejected although the primary would not have, and the other way round.
    more: usize,
    less: usize,
}

impl Shifted {
    /// One image: whether it was rejected, and whether the primary would have.
    pub(super) fn see(&mut self, said: bool, would: bool) {
        self.images += 1;
        self.more += usize::from(said && !would);
        self.less += usize::from(would && !said);
    }

    pub(super) fn images(&self) -> usize {
        self.images
    }

    /// The shift as a share of the images, with its 95 % interval; of no image none.
    pub(super) fn effect(&self) -> Option<Effect> {
        let n = (self.images != 0).then(|| number(self.images))?;
        let (more, less) = (number(self.more) / n, number(self.less) / n);
        let effect = more - less;
        let spread = 1.96 * ((more + less - effect * effect) / n).sqrt();
        Some(Effect { effect, low: effect - spread, high: effect + spread })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_reject_is_no_shift_and_what_they_differ_on_widens_it() {
        let mut shifted = Shifted::default();
        assert!(shifted.effect().is_none());
        for n in 0..10_000 {
            // 8 % by both, 1 % by the other alone, 0.8 % by the primary alone
            shifted.see(n < 900, n < 800 || (900..980).contains(&n));
        }
        let shift = shifted.effect().unwrap();
        assert!((shift.effect - 0.002).abs() < 1e-12, "{shift:?}");
        assert!((shift.high - shift.low - 2.0 * 0.002_629).abs() < 1e-5, "{shift:?}");
    }
}
