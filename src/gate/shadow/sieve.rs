//! A sieve keeps a share of a stream whose length nobody knows, so that at its end each image had
//! the same, known chance to be kept.
//!
//! Every image has a lot of its own. While more and more come the share that is wanted falls, and
//! with it the highest lot that stays. Where room runs out before that, the highest lot goes and
//! becomes the limit: given the limit, each of those below it was kept with just that chance
//! (bottom-k sampling), whatever was judged of it.

use std::collections::BTreeMap;

use tokio::task;

use crate::drift::adjusted::backfill_share;
use crate::drift::judged::image_lot;

/// Images kept at most; fifty times what an adjusted rate needs.
const MOST: usize = 10_000;

/// Images that are looked at in one go when it is emptied: who takes them puts a question for each,
/// and others have a turn between.
const AT_ONCE: usize = 8;

/// A share of a stream.
#[derive(Debug)]
pub(super) struct Sieve<T> {
    least_share: f64,
    /// Images that came.
    n: u64,
    /// No lot from here on is kept.
    limit: f64,
    kept: BTreeMap<u64, T>,
}

impl<T> Sieve<T> {
    /// A sieve that keeps `least_share` of many images, and all of few.
    pub(super) fn new(least_share: f64) -> Self {
        Self { least_share, n: 0, limit: 1.0, kept: BTreeMap::new() }
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// One more image; those that are not kept, or not any longer.
    pub(super) fn offer(&mut self, key: u64, one: T) -> Vec<T> {
        self.n += 1;
        let mut gone: Vec<T> = self.kept.insert(key, one).into_iter().collect();
        let share = self.share();
        while self.kept.last_key_value().is_some_and(|(key, _)| share <= image_lot(*key)) {
            gone.extend(self.kept.pop_last().map(|(_, one)| one));
        }
        while MOST < self.kept.len() {
            gone.extend(self.squeeze());
        }
        gone
    }

    /// Gives up one image for want of room; `None`: there is none.
    pub(super) fn squeeze(&mut self) -> Option<T> {
        let (key, one) = self.kept.pop_last()?;
        self.limit = self.limit.min(image_lot(key));
        Some(one)
    }

    /// The chance that each image has to be kept: over 0 where one is.
    pub(super) fn share(&self) -> f64 {
        backfill_share(self.n, self.least_share).min(self.limit)
    }

    /// Those that are kept, the lowest lot first, and the chance that each had: all of them, or up
    /// to the first that `can_take` does not take. Others have a turn between every few.
    pub(super) async fn take(self, mut can_take: impl FnMut(&T) -> bool) -> (Vec<T>, f64, Vec<T>) {
        let mut share = self.share();
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for (n, (key, one)) in self.kept.into_iter().enumerate() {
            if n % AT_ONCE == AT_ONCE - 1 {
                task::yield_now().await;
            }
            if left.is_empty() && can_take(&one) {
                taken.push(one);
            } else {
                if left.is_empty() {
                    share = share.min(image_lot(key));
                }
                left.push(one);
            }
        }
        (taken, share, left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::pin::pin;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use crate::drift::interval::real;
    use crate::drift::judged::image_key;

    /// What a sieve gives, and how often others had their turn meanwhile.
    fn taken<T>(
        sieve: Sieve<T>,
        can_take: impl FnMut(&T) -> bool,
    ) -> ((Vec<T>, f64, Vec<T>), usize) {
        let mut taking = pin!(sieve.take(can_take));
        let mut turns = 0;
        loop {
            if let Some(taken) = taking.as_mut().now_or_never() {
                return (taken, turns);
            }
            turns += 1;
        }
    }

    fn key(of: &str, n: usize) -> u64 {
        image_key(&format!("{of}{n}"))
    }

    #[test]
    fn of_few_images_all_are_kept_and_of_many_the_share() {
        let kept = |n: usize, least| {
            let mut sieve = Sieve::new(least);
            (0..n).for_each(|one| drop(sieve.offer(key("a", one), one)));
            let ((kept, share, left), _) = taken(sieve, |_| true);
            assert!(left.is_empty());
            (kept.len(), share)
        };
        assert_eq!(kept(1, 0.1), (1, 1.0));
        assert_eq!(kept(200, 0.1), (200, 1.0));
        let (n, share) = kept(1_000, 0.1);
        assert!((share - 0.2).abs() < 1e-12 && n.abs_diff(200) < 50, "{n} at {share}");
        let (n, share) = kept(5_000, 0.1);
        assert!((share - 0.1).abs() < 1e-12 && n.abs_diff(500) < 80, "{n} at {share}");
        let (n, share) = kept(1_000, 0.5);
        assert!((share - 0.5).abs() < 1e-12 && n.abs_diff(500) < 60, "{n} at {share}");
    }

    #[test]
    fn what_a_sieve_keeps_stands_for_all_whatever_room_it_had() {
        // as many as came, estimated from those that were kept: right on the average
        for (room, affordable) in [(usize::MAX, usize::MAX), (60, usize::MAX), (usize::MAX, 40)] {
            let (rounds, came) = (400, 900);
            let mut estimate = 0.0;
            for round in 0..rounds {
                let mut sieve = Sieve::new(0.1);
                for n in 0..came {
                    drop(sieve.offer(key(&format!("{round}/"), n), ()));
                    while room < sieve.kept.len() {
                        sieve.squeeze();
                    }
                }
                let mut left = affordable;
                let ((taken, share, _), _) = taken(sieve, |()| {
                    left = left.saturating_sub(1);
                    0 < left
                });
                assert!(taken.len() < affordable);
                estimate += real(taken.len() as u64) / share / f64::from(rounds);
            }
            assert!(
                (estimate - real(came as u64)).abs() < 30.0,
                "{estimate} of {came}, room {room}"
            );
        }
    }

    #[test]
    fn a_judge_that_is_back_does_not_hold_up_the_reactor_while_thousands_are_counted_out() {
        let mut sieve = Sieve::new(1.0);
        (0..2_000).for_each(|one| drop(sieve.offer(key("a", one), one)));
        let ((kept, ..), turns) = taken(sieve, |_| true);
        assert_eq!((kept.len(), turns), (2_000, 250));
    }

    proptest! {
        #[test]
        fn everything_offered_is_kept_or_given_back_and_lots_are_below_the_share(
            keys in prop::collection::btree_set(any::<u64>(), 0..600),
            squeezes in prop::collection::vec(0_usize..600, 0..20),
            least in 0.01_f64..1.0,
        ) {
            let mut sieve = Sieve::new(least);
            let mut back = 0;
            for (n, key) in keys.iter().enumerate() {
                back += sieve.offer(*key, *key).len();
                if squeezes.contains(&n) {
                    back += usize::from(sieve.squeeze().is_some());
                }
            }
            let share = sieve.share();
            prop_assert!((0.0..=1.0).contains(&share));
            let ((kept, at, left), _) = taken(sieve, |_| true);
            prop_assert!(at.total_cmp(&share).is_eq());
            prop_assert!(left.is_empty());
            prop_assert_eq!(kept.len() + back, keys.len());
            prop_assert!(kept.iter().all(|key| image_lot(*key) < share));
        }
    }
}
