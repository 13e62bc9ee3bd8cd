//! What the runs come to: a row for each rate, one for the overload, and whether each is held.

use std::fmt::Write as _;

use serde::Serialize;

use crate::quantile::number;
use crate::quantile::quantile;
use crate::story::shadow::paired::Between;
use crate::story::shadow::paired::difference;
use crate::story::shadow::paired::mean;
use crate::story::shadow::play::Played;

/// A difference below this is noise whatever two runs without shadows differ by, in milliseconds …
const LEAST_NOISE_MS: f64 = 1.0;
/// … and this, as a share of the images.
const LEAST_NOISE_SHARE: f64 = 0.005;
/// While there is too much to do at most this share of what is drawn may be asked.
const MOST_ASKED: f64 = 0.1;
/// Of fewer draws no share is told.
const LEAST_DRAWN: u64 = 30;
/// Beyond this share of what was measured, noise hides any cost that matters.
const MOST_NOISE: f64 = 0.1;

/// The four runs of each round: without, with, with, without.
type Rounds<'a> = &'a [[Played; 4]];

/// Everything that was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Told {
    pub(super) rates: Vec<PairRow>,
    pub(super) overload: Option<OverloadRow>,
}

/// What a row, or all of them, come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// Nobody pays.
    Held,
    /// Somebody pays.
    Missed,
    /// The machine was too restless, or too little was drawn, to say either.
    Unsure,
}

impl Seen {
    /// A cost that stands out of any noise is one; that none does says something only where one would.
    const fn of(is_missed: bool, is_seen: bool) -> Self {
        match (is_missed, is_seen) {
            (true, _) => Self::Missed,
            (false, false) => Self::Unsure,
            (false, true) => Self::Held,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Held => "pass",
            Self::Missed => "FAIL",
            Self::Unsure => "unsure",
        }
    }
}

impl Told {
    /// Whether anybody pays for what is asked behind verdicts: somebody where any row says so, nobody
    /// where all do.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let rates = self.rates.iter().map(|row| row.seen);
        let overload = self.overload.as_ref().map_or(Seen::Unsure, |row| row.seen);
        let rows: Vec<Seen> = rates.chain([overload]).collect();
        Seen::of(rows.contains(&Seen::Missed), !rows.contains(&Seen::Unsure))
    }

    /// The rows for people, and what they are held to.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "{:>6}  {:>9}  {:>6}  {:>23}  {:>23}  {:>25}  {:>5}  asked, dropped\n",
            "",
            "a second",
            "pairs",
            "without p50/95/99",
            "with p50/95/99",
            "p99 with less without",
            "noise"
        );
        for row in &self.rates {
            // a String takes any text
            let _written = writeln!(text, "{}", row.line());
        }
        if let Some(row) = &self.overload {
            let _written = writeln!(text, "{}", row.line());
        }
        text.push_str(
            "A rate is failed where the whole interval of the difference (95 %, pairs drawn anew) lies \
             beyond the noise: what p99 differs by between the first and the last runs without shadows, \
             1 ms at least. The overload is failed where verdicts are lost beyond its noise, half a \
             point at least, or more than a tenth of what was drawn is asked, by the lower end of its \
             interval. Where noise is more than a tenth of what is measured, or the interval wider than \
             that to each side, or fewer than 30 were drawn in the overload, nothing is shown: unsure.\n",
        );
        text
    }
}

/// One rate.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PairRow {
    rate_per_s: f64,
    /// Images that both answered.
    pairs: usize,
    /// Images that one of them did not answer with a verdict.
    lost: [usize; 2],
    without_ms: [f64; 3],
    with_ms: [f64; 3],
    p99_ms: Between,
    noise_ms: f64,
    asked: u64,
    dropped: u64,
    seen: Seen,
}

impl PairRow {
    /// Of these runs.
    pub(super) fn of(rate_per_s: f64, rounds: Rounds<'_>) -> Self {
        let (mut pairs, mut lost) = (Vec::new(), [0, 0]);
        for (without, with) in beside(rounds) {
            for (one, other) in without.sent.iter().zip(&with.sent) {
                lost = [
                    lost[0] + usize::from(!one.is_judged),
                    lost[1] + usize::from(!other.is_judged),
                ];
                if one.is_judged && other.is_judged {
                    pairs.push((one.took_ms, other.took_ms));
                }
            }
        }
        let p99 = |values: &[f64]| quantile(values, 0.99);
        let (first, last): (Vec<f64>, Vec<f64>) = alike(rounds, |one| one.took_ms);
        let between = difference(&pairs, p99);
        let noise_ms =
            p99(&last).zip(p99(&first)).map_or(0.0, |(last, first)| (last - first).abs());
        let noise_ms = noise_ms.max(LEAST_NOISE_MS);
        let (without, with): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let figures = |values: &[f64]| {
            [0.5, 0.95, 0.99].map(|share| quantile(values, share).unwrap_or_default())
        };
        let without_ms = figures(&without);
        let [.., without_p99_ms] = without_ms;
        let is_seen = between.is_some_and(|one| {
            one.is_within(noise_ms, (MOST_NOISE * without_p99_ms).max(LEAST_NOISE_MS))
        });
        let is_slower = between.is_some_and(|one| noise_ms < one.low);
        Self {
            rate_per_s,
            pairs: pairs.len(),
            lost,
            without_ms,
            with_ms: figures(&with),
            p99_ms: between.unwrap_or_default(),
            noise_ms,
            asked: asked(rounds),
            dropped: dropped(rounds),
            seen: Seen::of(is_slower || lost[0] < lost[1], is_seen),
        }
    }

    /// The row for people.
    pub(super) fn line(&self) -> String {
        let figures = |[p50, p95, p99]: [f64; 3]| format!("{p50:.1} / {p95:.1} / {p99:.1}");
        let Between { middle, low, high } = self.p99_ms;
        format!(
            "{:>6}  {:>9.0}  {:>6}  {:>23}  {:>23}  {:>25}  {:>5.1}  {}, {} ({:.1} %){}",
            self.seen.label(),
            self.rate_per_s,
            self.pairs,
            figures(self.without_ms),
            figures(self.with_ms),
            format!("{middle:+.1} ({low:+.1} to {high:+.1})"),
            self.noise_ms,
            self.asked,
            self.dropped,
            dropped_share(self.asked, self.dropped) * 100.0,
            if self.lost == [0, 0] {
                String::new()
            } else {
                format!(", not answered: {} without, {} with", self.lost[0], self.lost[1])
            },
        )
    }
}

/// More than the judges take.
#[derive(Clone, Debug, Serialize)]
pub(super) struct OverloadRow {
    rate_per_s: f64,
    images: usize,
    /// The shares that got a judge's verdict.
    judged_without: f64,
    judged_with: f64,
    judged: Between,
    noise: f64,
    asked: u64,
    dropped: u64,
    seen: Seen,
}

impl OverloadRow {
    /// Of these runs.
    pub(super) fn of(rate_per_s: f64, rounds: Rounds<'_>) -> Self {
        let share = |is_judged: bool| if is_judged { 1.0 } else { 0.0 };
        let pairs: Vec<(f64, f64)> = beside(rounds)
            .flat_map(|(without, with)| without.sent.iter().zip(&with.sent))
            .map(|(one, other)| (share(one.is_judged), share(other.is_judged)))
            .collect();
        let (first, last): (Vec<f64>, Vec<f64>) = alike(rounds, |one| share(one.is_judged));
        let noise = mean(&last).zip(mean(&first)).map_or(0.0, |(last, first)| (last - first).abs());
        let noise = noise.max(LEAST_NOISE_SHARE);
        let (without, with): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let judged = difference(&pairs, mean);
        let (asked, dropped) = (asked(rounds), dropped(rounds));
        let judged_without = mean(&without).unwrap_or_default();
        let is_lost = judged.is_some_and(|one| one.high < -noise);
        let is_asked = MOST_ASKED < least_share(asked, asked + dropped);
        let is_seen = LEAST_DRAWN <= asked + dropped
            && judged.is_some_and(|one| {
                one.is_within(noise, (MOST_NOISE * judged_without).max(LEAST_NOISE_SHARE))
            });
        Self {
            rate_per_s,
            images: pairs.len(),
            judged_without,
            judged_with: mean(&with).unwrap_or_default(),
            judged: judged.unwrap_or_default(),
            noise,
            asked,
            dropped,
            seen: Seen::of(is_lost || is_asked, is_seen),
        }
    }

    /// The row for people.
    pub(super) fn line(&self) -> String {
        let Between { middle, low, high } = self.judged;
        format!(
            "{:>6}  {:>9.0}  too many: judged {:.2} % without, {:.2} % with; {:+.2} points ({:+.2} to \
             {:+.2}), noise {:.2}; asked {}, dropped {} ({:.1} %)",
            self.seen.label(),
            self.rate_per_s,
            self.judged_without * 100.0,
            self.judged_with * 100.0,
            middle * 100.0,
            low * 100.0,
            high * 100.0,
            self.noise * 100.0,
            self.asked,
            self.dropped,
            dropped_share(self.asked, self.dropped) * 100.0,
        )
    }
}

/// Each run without shadows with the run with them that is next to it.
fn beside(rounds: Rounds<'_>) -> impl Iterator<Item = (&Played, &Played)> {
    rounds.iter().flat_map(|[first, second, third, last]| [(first, second), (last, third)])
}

/// A number of every request of the first runs without shadows, and of the last.
fn alike(
    rounds: Rounds<'_>,
    of: impl Fn(&crate::story::shadow::play::Sent) -> f64 + Copy,
) -> (Vec<f64>, Vec<f64>) {
    let first = rounds.iter().flat_map(|[first, ..]| first.sent.iter().map(of));
    let last = rounds.iter().flat_map(|[.., last]| last.sent.iter().map(of));
    (first.collect(), last.collect())
}

fn asked(rounds: Rounds<'_>) -> u64 {
    beside(rounds).map(|(_, with)| with.asked).sum()
}

fn dropped(rounds: Rounds<'_>) -> u64 {
    beside(rounds).map(|(_, with)| with.dropped).sum()
}

/// The share of what was drawn that was not asked.
fn dropped_share(asked: u64, dropped: u64) -> f64 {
    count(dropped) / count((asked + dropped).max(1))
}

/// The lower end of a share's 95 % interval (Wilson); nothing of nothing.
fn least_share(hits: u64, of: u64) -> f64 {
    const Z95: f64 = 1.96;
    if of == 0 {
        return 0.0;
    }
    let (n, z2) = (count(of), Z95 * Z95);
    let share = count(hits) / n;
    let spread = Z95 * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    (share + z2 / (2.0 * n) - spread) / (1.0 + z2 / n)
}

fn count(n: u64) -> f64 {
    number(usize::try_from(n).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::story::shadow::play::Sent;

    /// A run whose answers take 100 to 199 ms, and this much more.
    fn run(more_ms: f64, judged: usize, (asked, dropped): (u64, u64)) -> Played {
        let sent = |n: u32| Sent {
            took_ms: 100.0 + f64::from(n % 100) + more_ms,
            is_judged: usize::try_from(n).unwrap() < judged,
        };
        Played { sent: (0..1_000).map(sent).collect(), asked, dropped }
    }

    fn round(with_ms: f64, drifts_ms: f64) -> [Played; 4] {
        let (none, some) = ((0, 0), (100, 1));
        [
            run(0.0, 1_000, none),
            run(with_ms + drifts_ms / 3.0, 1_000, some),
            run(with_ms + 2.0 * drifts_ms / 3.0, 1_000, some),
            run(drifts_ms, 1_000, none),
        ]
    }

    #[test]
    fn answers_that_take_as_long_are_held_and_slower_ones_are_not() {
        let row = PairRow::of(40.0, &[round(0.0, 0.0)]);
        assert!(row.seen == Seen::Held && row.pairs == 2_000, "{row:?}");
        assert!(row.line().starts_with("  pass         40    2000"), "{}", row.line());
        let row = PairRow::of(40.0, &[round(20.0, 0.0)]);
        assert_eq!(row.seen, Seen::Missed, "{row:?}");
        assert!(row.line().starts_with("  FAIL") && row.line().contains("+20.0"), "{}", row.line());
    }

    #[test]
    fn a_machine_that_gets_slower_meanwhile_is_no_cost_of_shadows() {
        let row = PairRow::of(40.0, &[round(0.0, 15.0)]);
        assert!(row.seen == Seen::Held && row.noise_ms > 14.0, "{row:?}");
    }

    #[test]
    fn a_machine_too_restless_to_show_a_cost_shows_none_and_does_not_pass() {
        let row = PairRow::of(40.0, &[round(80.0, 90.0)]);
        assert!(row.seen == Seen::Unsure && row.noise_ms > 89.0, "{row:?}");
        assert!(row.line().starts_with("unsure"), "{}", row.line());
        let row = PairRow::of(40.0, &[round(300.0, 90.0)]);
        assert_eq!(row.seen, Seen::Missed, "what stands out of it is a cost all the same");
    }

    #[test]
    fn one_row_that_saw_nothing_is_no_pass_and_one_that_costs_is_a_miss() {
        let overload = |asked, dropped| {
            let with = || run(0.0, 600, (asked, dropped));
            let without = || run(0.0, 600, (0, 0));
            Some(OverloadRow::of(140.0, &[[without(), with(), with(), without()]]))
        };
        let rates = |drift_ms| vec![PairRow::of(40.0, &[round(0.0, drift_ms)])];
        let told = |drift_ms, calls: (u64, u64)| Told {
            rates: rates(drift_ms),
            overload: overload(calls.0, calls.1),
        };
        assert_eq!(told(0.0, (2, 98)).seen(), Seen::Held);
        assert_eq!(told(90.0, (2, 98)).seen(), Seen::Unsure);
        assert_eq!(told(90.0, (60, 40)).seen(), Seen::Missed);
    }

    #[test]
    fn seven_asked_of_sixty_eight_drawn_may_be_a_tenth() {
        let share = least_share(7, 68);
        assert!((share - 0.0508).abs() < 5e-4, "{share}");
        assert!(least_share(14, 68) > MOST_ASKED);
        assert!(least_share(0, 0).abs() < f64::EPSILON);
    }

    #[test]
    fn an_answer_that_is_lost_with_shadows_alone_is_a_cost() {
        let mut lost = round(0.0, 0.0);
        lost[1] = run(0.0, 999, (100, 1));
        assert_eq!(PairRow::of(40.0, &[lost]).seen, Seen::Missed);
    }

    #[test]
    fn in_an_overload_shadows_are_dropped_first_and_no_verdict_for_them() {
        let of = |judged_with, calls| {
            let without = || run(0.0, 600, (0, 0));
            let with = || run(0.0, judged_with, calls);
            OverloadRow::of(140.0, &[[without(), with(), with(), without()]])
        };
        assert_eq!(of(600, (2, 98)).seen, Seen::Held);
        assert_eq!(of(600, (4, 30)).seen, Seen::Held, "eight of 68 may be a tenth");
        assert_eq!(of(600, (60, 40)).seen, Seen::Missed, "asked all the same");
        assert_eq!(of(550, (2, 98)).seen, Seen::Missed, "five in a hundred lost their verdict");
        assert_eq!(of(600, (0, 0)).seen, Seen::Unsure, "nothing was drawn: nothing is shown");
        assert_eq!(of(600, (1, 12)).seen, Seen::Unsure, "26 draws show no share");
        assert!(of(600, (2, 98)).line().contains("98.0 %"), "{}", of(600, (2, 98)).line());
    }

    #[test]
    fn what_was_not_played_is_not_passed() {
        assert_eq!(Told::default().seen(), Seen::Unsure);
    }
}
