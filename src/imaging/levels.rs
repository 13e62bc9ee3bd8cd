//! Levels are how often each of the 256 occurs among some samples: what a median, a mean or a peak
//! is read from.

/// Counters that are raised in turn. Neighbours are often alike, and raising one counter twice is
/// slower than raising two.
const LANES: usize = 4;

/// How often each level occurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Levels {
    counts: [u32; 256],
}

impl Levels {
    /// Counts `levels`.
    pub(crate) fn of(levels: impl Iterator<Item = u8>) -> Self {
        let mut lanes = [[0_u32; 256]; LANES];
        levels.enumerate().for_each(|(number, level)| {
            let lane = lanes.get_mut(number % LANES);
            if let Some(count) = lane.and_then(|lane| lane.get_mut(usize::from(level))) {
                *count += 1;
            }
        });
        let mut counts = [0; 256];
        for lane in &lanes {
            counts.iter_mut().zip(lane).for_each(|(count, more)| *count += more);
        }
        Self { counts }
    }

    /// Counts the levels of `pieces`.
    pub(crate) fn of_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let (mut lanes, mut rest) = ([[0_u32; 256]; LANES], [0; 256]);
        let raise = |lane: &mut [u32; 256], level: u8| {
            if let Some(count) = lane.get_mut(usize::from(level)) {
                *count += 1;
            }
        };
        for piece in pieces {
            let (fours, last) = piece.as_chunks::<LANES>();
            for four in fours {
                lanes.iter_mut().zip(four).for_each(|(lane, level)| raise(lane, *level));
            }
            last.iter().for_each(|level| raise(&mut rest, *level));
        }
        for lane in &lanes {
            rest.iter_mut().zip(lane).for_each(|(count, more)| *count += more);
        }
        Self { counts: rest }
    }

    /// The counts by level.
    pub(crate) fn counts(&self) -> &[u32; 256] {
        &self.counts
    }

    /// How many were counted.
    pub(crate) fn total(&self) -> usize {
        self.counts.iter().map(|count| *count as usize).sum()
    }

    /// The sum of all that were counted.
    pub(crate) fn sum(&self) -> usize {
        self.counts.iter().enumerate().map(|(level, count)| level * *count as usize).sum()
    }

    /// The level that stands at place `number` once all are sorted, counted from 0; `None` where there
    /// are not so many.
    pub(crate) fn nth(&self, number: usize) -> Option<u8> {
        let mut passed = 0;
        let found = self.counts.iter().position(|count| {
            passed += *count as usize;
            number < passed
        });
        found.and_then(|level| u8::try_from(level).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sorted_place_a_sum_and_a_count_are_those_of_the_list() {
        let list = [7, 3, 3, 255, 0, 7, 7];
        let levels = Levels::of(list.into_iter());
        let mut sorted = list;
        sorted.sort_unstable();
        let read: Vec<_> = (0..=list.len()).map(|number| levels.nth(number)).collect();
        assert_eq!(read[..7], sorted.map(Some));
        assert_eq!(read[7], None);
        assert_eq!((levels.total(), levels.sum(), levels.counts()[7]), (7, 282, 3));
        assert_eq!(Levels::of(std::iter::empty()).nth(0), None);
        let cut: [&[u8]; 4] = [&list[..1], &[], &list[1..6], &list[6..]];
        assert_eq!(Levels::of_pieces(cut), levels);
    }
}
