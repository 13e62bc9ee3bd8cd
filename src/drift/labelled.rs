//! A judge's line drawn by what people said of images, and what one must know before it is put to
//! use.
//!
//! People look at what somebody doubted: reviews, images that judges differ on, scores near a line,
//! and few of the rest. A share taken over the labels as they come is a share of doubtful images.
//! That is verification bias, and its cure is that of Begg and Greenes (1983, Biometrics 39,
//! 207-215): whether an image was looked at hangs on its stratum alone, so within a stratum those
//! that were stand for the others, and each stratum counts for as many images as came. A stratum
//! that nobody looked at has nobody to stand for it; a line is not drawn over its head. A small one
//! may be left out: its images could all be one way or the other, and the decision reckons with that.
//!
//! The line is drawn where the judge rejects as large a share of all images as people call
//! defective, by the same matching of quantiles as between judges ([`crate::drift::threshold`]).
//! Where the two disagree least is another line, and not a good one: defects are few, so that line
//! passes nearly everything. How often they disagree is told beside it, before and after.

use crate::drift::interval::{Estimate, Z95, real};
use crate::drift::threshold::{Line, Offset};

/// Fewest labelled images that a line may rest on.
pub const MIN_LABELS: u64 = 300;
/// Fewest of a stratum, where that is no small one.
pub const MIN_OF_STRATUM: u64 = 30;
/// Share of the images up to which a stratum is small.
const SMALL: f64 = 0.01;
/// Shares that may be further apart than this are not called the same: one point.
pub const SAME: f64 = 0.01;
/// Weights are sums of quotients: shares nearer than this are the same.
const NEAR: f64 = 1e-12;

/// One image that people looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Looked {
    /// Whether they call it defective.
    pub is_defect: bool,
    /// Whether the judge rejects it, as it is held to its line today.
    pub rejects: bool,
    /// The judge's smallest margin, no offset added.
    pub margin: f64,
    /// The image's lot, 0..1.
    pub lot: f64,
}

/// Images that are looked at about as often.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stratum {
    /// How many came.
    pub images: u64,
    /// Those that were looked at, the earliest first.
    pub looked: Vec<Looked>,
}

/// Whether a line may be put to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Enough labels, and it mends more than it is uncertain by.
    Usable,
    /// Some are missing: see [`LabelFit::missing`].
    TooFew,
    /// The judge rejects as many as people do, and the labels would have told a difference of
    /// [`SAME`].
    NoDifference,
    /// The standard error of what it leaves, with all that nobody looked at, is more than half of
    /// what it mends; or no difference shows, and one of more than [`SAME`] may be there.
    TooUnsure,
}

/// How the judge and people disagree, as shares of all images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wrong {
    /// Defective, and passed.
    pub missed: Estimate,
    /// Not defective, and rejected.
    pub in_vain: Estimate,
}

/// One judge, calibrated to people's labels.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelFit {
    /// Images that were looked at.
    pub n: u64,
    /// Share of all images that people call defective.
    pub defects: Estimate,
    /// Share that the judge rejects today.
    pub rejects: Estimate,
    /// The judge's share less people's, today, on the same images.
    pub present: Estimate,
    /// What is to be added, from no offset at all.
    pub offset: Offset,
    /// What that leaves: nothing on these images, with the error that others bring.
    pub residual: Estimate,
    /// What an offset fitted on the earlier half of each stratum leaves on the later one; the error
    /// of both is in it. None where there are no halves.
    pub held_out: Option<Estimate>,
    /// How they disagree today.
    pub before: Wrong,
    /// How they would with the offset.
    pub after: Wrong,
    /// Share of the images in strata that nobody looked at: they are in no number here.
    pub left_out: f64,
    /// Labels that are missing: of which stratum, `None` of all together.
    pub missing: Vec<(Option<usize>, u64)>,
    /// Whether the line may be put to use.
    pub verdict: Verdict,
}

/// Fits one judge to what people said; fewer than `least` labels are too few, and never fewer than
/// [`MIN_LABELS`] suffice. None where nobody looked at anything.
#[must_use]
pub fn fit_labels(strata: &[Stratum], least: u64) -> Option<LabelFit> {
    let n: u64 = strata.iter().map(|one| one.looked.len() as u64).sum();
    let weighed = Weighed::of(strata)?;
    let defects = weighed.mean(|image| one(image.is_defect));
    let rejects = weighed.mean(|image| one(image.rejects));
    let present = weighed.mean(|image| one(image.rejects) - one(image.is_defect));
    let (line, residual) = weighed.fitted()?;
    let then = |image: &Looked| expected(line, image);
    let wrong = |said: &dyn Fn(&Looked) -> f64| Wrong {
        missed: weighed.mean(|image| if image.is_defect { 1.0 - said(image) } else { 0.0 }),
        in_vain: weighed.mean(|image| if image.is_defect { 0.0 } else { said(image) }),
    };
    let missing = missing(strata, n, least);
    let left_out = weighed.left_out;
    let verdict =
        if missing.is_empty() { verdict(present, residual, left_out) } else { Verdict::TooFew };
    Some(LabelFit {
        n,
        defects,
        rejects,
        present,
        offset: Offset { add: line.at, at_line: line.share_at },
        residual,
        held_out: held_out(strata),
        before: wrong(&|image| one(image.rejects)),
        after: wrong(&then),
        left_out,
        missing,
        verdict,
    })
}

impl LabelFit {
    /// Whether the labels tell the judge's share from people's.
    #[must_use]
    pub fn differs(&self) -> bool {
        is_told(self.present)
    }
}

fn is_told(present: Estimate) -> bool {
    Z95 * present.se < present.effect.abs()
}

/// What is decided where no label is missing. In what was left out judge and people may disagree on
/// every image.
fn verdict(present: Estimate, residual: Estimate, left_out: f64) -> Verdict {
    let is_same = Z95 * present.se + left_out <= SAME;
    let is_mended = residual.se + left_out <= 0.5 * present.effect.abs();
    match (is_told(present), is_mended, is_same) {
        (true, true, _) => Verdict::Usable,
        (false, _, true) => Verdict::NoDifference,
        (true, false, _) | (false, _, false) => Verdict::TooUnsure,
    }
}

fn one(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

/// How surely `line` rejects an image: the lots of those on it are any.
fn expected(line: Line, image: &Looked) -> f64 {
    match (-image.margin).total_cmp(&line.at) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => line.share_at,
        std::cmp::Ordering::Less => 0.0,
    }
}

/// See [`LabelFit::held_out`]: ties are settled by each image's lot as in service.
fn held_out(strata: &[Stratum]) -> Option<Estimate> {
    let halves = strata.iter().filter(|of| 2 <= of.looked.len()).filter_map(|of| {
        let (earlier, later) = of.looked.split_at_checked(of.looked.len() / 2)?;
        let half = |looked: &[Looked]| Stratum { images: of.images, looked: looked.to_vec() };
        Some((half(earlier), half(later)))
    });
    let (earlier, later): (Vec<_>, Vec<_>) = halves.unzip();
    let (line, fitted) = Weighed::of(&earlier)?.fitted()?;
    let left = Weighed::of(&later)?
        .mean(|image| one(line.rejects(-image.margin, image.lot)) - one(image.is_defect));
    // the line is off by what the earlier half's images were off by
    Some(Estimate { effect: left.effect, se: left.se.hypot(fitted.se) })
}

/// What is missing, of all labels and of each stratum that is no small one.
fn missing(strata: &[Stratum], n: u64, least: u64) -> Vec<(Option<usize>, u64)> {
    let all: u64 = strata.iter().map(|one| one.images).sum();
    let of_all = least.max(MIN_LABELS).saturating_sub(n);
    let of_stratum = |(place, one): (usize, &Stratum)| {
        let is_small = real(one.images) < SMALL * real(all);
        // there are no more than came
        let wanted = if is_small { 0 } else { MIN_OF_STRATUM.min(one.images) };
        (Some(place), wanted.saturating_sub(one.looked.len() as u64))
    };
    let of_strata = strata.iter().enumerate().map(of_stratum);
    [(None, of_all)].into_iter().chain(of_strata).filter(|(_, missing)| 0 < *missing).collect()
}

/// Strata that were looked at, each with its share of their images.
struct Weighed<'a> {
    strata: Vec<(f64, &'a [Looked])>,
    images: f64,
    left_out: f64,
}

impl<'a> Weighed<'a> {
    fn of(strata: &'a [Stratum]) -> Option<Self> {
        let count = |all: &[&Stratum]| {
            // a label comes after its image was counted, or that was not: it is one of those at least
            let images = |one: &&Stratum| one.images.max(one.looked.len() as u64);
            real(all.iter().map(images).sum())
        };
        let all: Vec<&Stratum> = strata.iter().collect();
        let looked: Vec<&Stratum> = strata.iter().filter(|one| !one.looked.is_empty()).collect();
        let (whole, images) = (count(&all), count(&looked));
        if looked.is_empty() {
            return None;
        }
        let share = |one: &&'a Stratum| (count(&[*one]) / images, one.looked.as_slice());
        let strata = looked.iter().map(share).collect();
        Some(Self { strata, images, left_out: 1.0 - images / whole })
    }

    /// The mean over all images of what an image comes to, from -1 to 1.
    ///
    /// Within a stratum half an image more is counted that comes to one: of a few that all come to
    /// nothing it is not certain that all do.
    fn mean(&self, of: impl Fn(&Looked) -> f64) -> Estimate {
        let (mut effect, mut variance) = (0.0, 0.0);
        let mut means = Vec::with_capacity(self.strata.len());
        for (share, looked) in &self.strata {
            let n = real(looked.len() as u64);
            let sum: f64 = looked.iter().map(&of).sum();
            let squares: f64 = looked.iter().map(|image| of(image).powi(2)).sum();
            let spread = (squares + 0.5) / (n + 1.0) - (sum / (n + 1.0)).powi(2);
            effect += share * sum / n;
            variance += share * share * spread / n;
            means.push((share, sum / n));
        }
        // the shares of the strata are those of the images that came, not of all that ever will
        let between = |(share, mean): &(&f64, f64)| **share * (mean - effect).powi(2);
        variance += means.iter().map(between).sum::<f64>() / self.images;
        Estimate { effect, se: variance.sqrt() }
    }

    /// The line at which as many are rejected as are defective, and what it leaves.
    fn fitted(&self) -> Option<(Line, Estimate)> {
        let defects = self.mean(|image| one(image.is_defect));
        let line = self.line(defects.effect)?;
        let left = self.mean(|image| expected(line, image) - one(image.is_defect));
        Some((line, left))
    }

    /// The line at which this share of all images is rejected; ties shared out.
    fn line(&self, rejects: f64) -> Option<Line> {
        let weigh = |(share, looked): &(f64, &'a [Looked])| {
            let each = share / real(looked.len() as u64);
            looked.iter().map(move |image| (-image.margin, each))
        };
        let mut scores: Vec<(f64, f64)> = self.strata.iter().flat_map(weigh).collect();
        scores.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut above = 0.0;
        let mut lowest = None;
        for ties in scores.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
            let (at, _) = *ties.first()?;
            let weight: f64 = ties.iter().map(|(_, each)| each).sum();
            if rejects <= above + weight + NEAR {
                let share_at = ((rejects - above) / weight).clamp(0.0, 1.0);
                return Some(Line { at, share_at });
            }
            above += weight;
            lowest = Some(Line { at, share_at: 1.0 });
        }
        lowest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, proptest};
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    /// Images by a known law: each has a quality and is defective below 0.62; the judge sees it with
    /// an error of its own, scores it in steps of 0.05, and rejects below 0.7, which is too many.
    /// With each goes its stratum, and how often people look at images of that one.
    fn images(n: usize, seed: u64) -> Vec<(usize, f64, Looked)> {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut draw = SmallRng::seed_from_u64(seed ^ 0xbe11);
        let mut bell = move || (0..12).map(|_| draw.random::<f64>()).sum::<f64>() - 6.0;
        let mut image = || {
            let quality = 0.88 + 0.15 * bell();
            let seen = quality + 0.03 * bell();
            let score = (seen.clamp(0.0, 1.0) * 20.0).round() / 20.0;
            let margin = ((score - 0.7) * 1e9).round() / 1e9 + 0.0;
            let (is_defect, rejects) = (quality < 0.62, margin < 0.0);
            let (stratum, looked_at) = match (margin.abs() <= 0.08, rejects) {
                (true, _) => (0, 0.8),
                (false, true) => (1, 0.3),
                (false, false) => (2, 0.1),
            };
            (stratum, looked_at, Looked { is_defect, rejects, margin, lot: random.random() })
        };
        (0..n).map(|_| image()).collect()
    }

    /// The same as people left them.
    fn drawn(n: usize, seed: u64) -> Vec<Stratum> {
        let mut random = SmallRng::seed_from_u64(seed ^ 0x100c);
        let mut strata = vec![Stratum::default(); 3];
        for (stratum, looked_at, image) in images(n, seed) {
            strata[stratum].images += 1;
            if random.random::<f64>() < looked_at {
                strata[stratum].looked.push(image);
            }
        }
        strata
    }

    fn share(of: &[(usize, f64, Looked)], counts: impl Fn(&Looked) -> bool) -> f64 {
        let n = of.iter().filter(|(_, _, image)| counts(image)).count();
        real(n as u64) / real(of.len() as u64)
    }

    fn covers(estimate: Estimate, truth: f64) -> bool {
        let interval = estimate.interval();
        interval.low <= truth && truth <= interval.high
    }

    #[test]
    fn a_line_drawn_on_doubtful_images_holds_for_all_of_them() {
        let all = images(200_000, 0xa11);
        let defects = share(&all, |image| image.is_defect);
        let rejects = share(&all, |image| image.rejects);
        assert!(0.03 < rejects - defects, "{rejects} {defects}");
        let (mut left, mut naive, mut covered, mut held) = (0.0, 0.0, 0, 0);
        for seed in 0..200 {
            let strata = drawn(6_000, seed);
            let fit = fit_labels(&strata, 0).unwrap();
            assert_eq!(fit.verdict, Verdict::Usable, "{fit:?}");
            covered += u32::from(covers(fit.defects, defects) && covers(fit.rejects, rejects));
            held += u32::from(covers(fit.held_out.unwrap(), 0.0));
            let line = Line { at: fit.offset.add, share_at: fit.offset.at_line };
            left += share(&all, |image| line.rejects(-image.margin, image.lot)) - defects;
            let looked: Vec<_> = strata.iter().flat_map(|one| &one.looked).collect();
            let defective = looked.iter().filter(|one| one.is_defect).count();
            naive += real(defective as u64) / real(looked.len() as u64) - defects;
        }
        let [left, naive] = [left, naive].map(|sum: f64| sum / 200.0);
        assert!(left.abs() <= 0.002, "no more than chance is left: {left}");
        assert!(0.01 < naive, "the labels as they come are of doubtful images: {naive}");
        assert!((174..=200).contains(&covered), "{covered} of 200 where both are to cover");
        assert!(
            (183..=200).contains(&held),
            "what is left on later images covers 0 in {held} of 200"
        );
    }

    #[test]
    fn few_labels_and_a_stratum_nobody_looked_at_draw_no_line() {
        let strata = drawn(700, 1);
        let fit = fit_labels(&strata, 0).unwrap();
        assert_eq!((fit.verdict, fit.missing[0].0), (Verdict::TooFew, None), "{fit:?}");
        assert_eq!(fit.missing[0].1, MIN_LABELS - fit.n);
        let mut blind = drawn(6_000, 2);
        blind[2].looked.clear();
        let fit = fit_labels(&blind, 0).unwrap();
        assert_eq!(fit.verdict, Verdict::TooFew);
        assert_eq!(fit.missing, [(Some(2), MIN_OF_STRATUM)]);
        assert!(0.6 < fit.left_out, "{fit:?}");
        let more = fit_labels(&drawn(6_000, 2), 100_000).unwrap();
        assert_eq!(more.verdict, Verdict::TooFew, "whoever wants more gets more");
        assert_eq!(fit_labels(&[], 0), None);
        assert_eq!(fit_labels(&[Stratum { images: 9, looked: Vec::new() }], 0), None);
    }

    #[test]
    fn a_judge_that_says_what_people_say_needs_no_line() {
        let mut strata = drawn(6_000, 3);
        strata.iter_mut().flat_map(|one| &mut one.looked).for_each(|image| {
            image.is_defect = image.rejects;
        });
        let fit = fit_labels(&strata, 0).unwrap();
        assert_eq!(fit.verdict, Verdict::NoDifference);
        assert!(fit.present.effect.abs() < 1e-12 && 0.0 < fit.present.se, "and may be chance");
        assert!(fit.before.missed.effect + fit.before.in_vain.effect < 1e-12);
    }

    /// `n` images that came and were looked at, the first `defects` of them defective.
    fn seen(n: u64, defects: u64, rejects: bool) -> Stratum {
        let image = |place: u64| Looked {
            is_defect: place < defects,
            rejects,
            margin: if rejects { -0.1 } else { 0.05 * real(1 + place % 6) },
            lot: 0.5,
        };
        Stratum { images: n, looked: (0..n).map(image).collect() }
    }

    #[test]
    fn fails_that_nobody_looked_at_draw_no_line_as_large_as_they_are() {
        // nine in a thousand fail, ten in a thousand of the others are defective
        let unseen = Stratum { images: 90, looked: Vec::new() };
        let fit = fit_labels(&[seen(9_910, 99, false), unseen.clone()], 0).unwrap();
        assert!(fit.missing.is_empty() && fit.residual.se < 0.0025, "{fit:?}");
        assert!((fit.present.effect + 0.01).abs() < 0.001 && fit.differs(), "{fit:?}");
        assert!((fit.left_out - 0.009).abs() < 1e-9, "{fit:?}");
        assert_eq!(fit.verdict, Verdict::TooUnsure, "{fit:?}");
        let known = fit_labels(&[seen(9_910, 99, false)], 0).unwrap();
        assert_eq!(known.verdict, Verdict::Usable, "but for those: {known:?}");
        let same = fit_labels(&[seen(9_910, 0, false)], 0).unwrap();
        assert_eq!(same.verdict, Verdict::NoDifference, "{same:?}");
        let unseen = Stratum { images: 99, ..unseen };
        let unsure = fit_labels(&[seen(9_910, 0, false), unseen], 0).unwrap();
        assert!(!unsure.differs(), "{unsure:?}");
        assert_eq!(unsure.verdict, Verdict::TooUnsure, "they may be all there is: {unsure:?}");
    }

    #[test]
    fn labels_that_would_miss_a_difference_of_a_point_do_not_tell_that_there_is_none() {
        let even = |n: u64| [seen(10 * n, n, false), seen(n, 0, true)];
        let few = fit_labels(&even(30), 0).unwrap();
        assert!(few.missing.is_empty() && few.present.effect.abs() < 1e-9, "{few:?}");
        assert!(SAME < Z95 * few.present.se && !few.differs(), "{few:?}");
        assert_eq!(few.verdict, Verdict::TooUnsure);
        let many = fit_labels(&even(1_000), 0).unwrap();
        assert!(many.present.effect.abs() < 1e-9 && Z95 * many.present.se < SAME, "{many:?}");
        assert_eq!(many.verdict, Verdict::NoDifference);
    }

    #[test]
    fn at_its_line_a_judge_misses_as_many_as_it_rejects_in_vain() {
        let fit = fit_labels(&drawn(20_000, 4), 0).unwrap();
        let Wrong { missed, in_vain } = fit.after;
        assert!((missed.effect - in_vain.effect).abs() < 1e-9, "{:?}", fit.after);
        assert!(fit.before.missed.effect < fit.before.in_vain.effect, "{:?}", fit.before);
    }

    proptest! {
        #[test]
        fn a_fit_is_total_and_leaves_nothing_over_on_its_own_images(
            strata in vec((0_u64..500, vec((any::<bool>(), -20_i32..=20, 0.0..1.0_f64), 0..60)), 0..5),
        ) {
            let looked = |&(is_defect, margin, lot): &(bool, i32, f64)| Looked {
                is_defect,
                rejects: margin < 0,
                margin: f64::from(margin) / 20.0,
                lot,
            };
            let stratum = |(images, all): &(u64, Vec<_>)| {
                Stratum { images: *images, looked: all.iter().map(looked).collect() }
            };
            let strata: Vec<_> = strata.iter().map(stratum).collect();
            let fitted = fit_labels(&strata, 0);
            let n: usize = strata.iter().map(|one| one.looked.len()).sum();
            prop_assert!(fitted.is_some() == (0 < n));
            if let Some(fit) = fitted {
                prop_assert!(fit.residual.effect.abs() < 1e-9, "{fit:?}");
                prop_assert!((0.0..=1.0).contains(&fit.offset.at_line));
                prop_assert!((0.0..1.0).contains(&fit.left_out));
                prop_assert!(fit.present.se.is_finite() && 0.0 < fit.present.se);
                let apart = fit.rejects.effect - fit.defects.effect;
                prop_assert!((fit.present.effect - apart).abs() < 1e-9);
            }
        }
    }
}
