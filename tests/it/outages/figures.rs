//! The figures of a run, each counted over the images that came while the fault lasted.

use std::fmt;
use std::time::Duration;

use vlmgate::panel::BreakerState;

use crate::outages::judges::Seen;
use crate::outages::run::{Image, Run};
use crate::outages::world::Spans;

/// The deadline, and what an answer may be late by, in seconds.
const LATEST_S: f64 = 5.05;
/// The onset of a fault is what its first seconds' images feel.
const ONSET_S: f64 = 10.0;
/// Images that came so long before the fault have been judged by then.
const ON_THEIR_WAY_S: f64 = 2.0;
/// After this long every fault has been found out, or should have been.
const SETTLED_S: f64 = 5.0;
/// Traffic is back when for this long …
const WINDOW_S: f64 = 3.0;
/// … p95 is within this much of the healthy one …
const BACK_TO_SPEED: f64 = 1.35;
/// … and the first judge judges this share.
const BACK_TO_PRIMARY: f64 = 0.85;

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// p95 of the images before the fault, in seconds.
    pub(crate) healthy_p95: f64,
    /// Calls beyond one per image before the fault, as a share of the images.
    pub(crate) healthy_extra: f64,
    /// Share of the judgements before the fault that were the first judge's.
    pub(crate) healthy_primary: f64,
    /// Half of the images took less, in seconds.
    pub(crate) p50: f64,
    /// 19 of 20 took less.
    pub(crate) p95: f64,
    /// 99 of 100 took less.
    pub(crate) p99: f64,
    /// p95 of the images of the first ten seconds.
    pub(crate) onset_p95: f64,
    /// p95 of the images after the first five seconds.
    pub(crate) settled_p95: f64,
    /// Share of the images that were judged.
    pub(crate) judged: f64,
    /// Images, of the whole run, that were raced past the deadline.
    pub(crate) late: usize,
    /// Calls beyond one per image, as a share of the images.
    pub(crate) extra: f64,
    /// Share of the judgements that were the first judge's.
    pub(crate) primary: f64,
    /// Calls that a broken provider swallowed or failed.
    pub(crate) lost: usize,
    /// Of those, calls after the first five seconds.
    pub(crate) lost_settled: usize,
    /// Calls that a provider turned away for their number.
    pub(crate) limited: usize,
    /// Breakers that opened before the fault.
    pub(crate) false_opens: usize,
    /// Breakers that opened in it or after it.
    pub(crate) opens: usize,
    /// Seconds until traffic was back after the fault; `None`: it never was.
    pub(crate) recovery: Option<f64>,
    /// The most images raced at once.
    pub(crate) at_once: usize,
    /// The most images that waited for a judge with room.
    pub(crate) line: usize,
    /// Calls still open when the last image was done.
    pub(crate) leaked: usize,
}

impl Figures {
    /// The figures of these runs together: times and shares over the images of all of them, counts
    /// of the worst of them.
    pub(crate) fn of(runs: &[Run]) -> Self {
        let spans = runs.first().map_or(Spans::SHORT, |run| run.world.spans);
        let (begins, ends) = (spans.fault_at(), spans.fault_ends());
        let during = |from: f64, to: f64| -> Vec<Image> {
            runs.iter().flat_map(|run| between(run, from, to)).collect()
        };
        // the last images before the fault may still be on their way when it begins
        let well = begins - ON_THEIR_WAY_S;
        let healthy = during(spans.warm_up, well);
        let fault = during(begins, ends);
        let healthy_p95 = p(&healthy, 0.95);
        let worst = |of: &dyn Fn(&Run) -> usize| runs.iter().map(of).max().unwrap_or_default();
        let calls = |counts: &dyn Fn(&Seen) -> bool| {
            worst(&|run| run.calls.iter().flatten().filter(|call| counts(call)).count())
        };
        let back = runs.iter().map(|run| recovery(run, healthy_p95));
        Self {
            healthy_p95,
            healthy_extra: extra(runs, spans.warm_up, well),
            healthy_primary: primary(&healthy),
            p50: p(&fault, 0.50),
            p95: p(&fault, 0.95),
            p99: p(&fault, 0.99),
            onset_p95: p(&during(begins, begins + ONSET_S), 0.95),
            settled_p95: p(&during(begins + SETTLED_S, ends), 0.95),
            judged: share(&fault, |image| image.by.is_some()),
            late: worst(&|run| run.images.iter().filter(|one| LATEST_S < one.took).count()),
            extra: extra(runs, begins, ends),
            primary: primary(&fault),
            lost: calls(&|call| call.lost),
            lost_settled: calls(&|call| call.lost && begins + SETTLED_S <= call.at),
            limited: calls(&|call| call.limited),
            false_opens: worst(&|run| opens(run, 0.0, begins)),
            opens: worst(&|run| opens(run, begins, spans.end())),
            recovery: back.collect::<Option<Vec<f64>>>().map(|all| max(&all)),
            at_once: worst(&|run| run.most_at_once),
            line: worst(&|run| run.longest_line),
            leaked: calls(&|call| call.ended.is_none()),
        }
    }

    /// The heads of the columns of a table of figures.
    pub(crate) fn heads() -> String {
        let heads = [
            "p50", "p95", "p99", "x H", "onset", "after", "judged%", "late", "extra%", "prim%",
            "lost", "429s", "at once", "line", "recov", "opens", "false", "H p95", "H extra%",
            "H prim%", "leaked",
        ];
        heads.map(|head| format!("{head:>8}")).concat()
    }
}

impl fmt::Display for Figures {
    /// One line of the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.2}", 100.0 * share);
        let seconds = |seconds: f64| format!("{seconds:.2}");
        let cells = [
            seconds(self.p50),
            seconds(self.p95),
            seconds(self.p99),
            seconds(self.p95 / self.healthy_p95),
            seconds(self.onset_p95),
            seconds(self.settled_p95),
            percent(self.judged),
            self.late.to_string(),
            percent(self.extra),
            percent(self.primary),
            self.lost.to_string(),
            self.limited.to_string(),
            self.at_once.to_string(),
            self.line.to_string(),
            self.recovery.map_or("-".to_owned(), seconds),
            self.opens.to_string(),
            self.false_opens.to_string(),
            seconds(self.healthy_p95),
            percent(self.healthy_extra),
            percent(self.healthy_primary),
            self.leaked.to_string(),
        ];
        cells.iter().try_for_each(|cell| write!(f, "{cell:>8}"))
    }
}

/// How often a closed breaker was seen open.
fn opens(run: &Run, from: f64, to: f64) -> usize {
    let mut closed = vec![true; run.world.judges];
    let mut opened = 0;
    for turn in &run.turns {
        let is_closed = turn.state == BreakerState::Closed;
        let was_closed = std::mem::replace(&mut closed[turn.judge], is_closed);
        opened += usize::from(was_closed && !is_closed && (from..to).contains(&turn.at));
    }
    opened
}

fn between(run: &Run, from: f64, to: f64) -> Vec<Image> {
    run.images.iter().filter(|image| (from..to).contains(&image.at)).copied().collect()
}

/// How long the fastest `share` of `images` took at most.
fn p(images: &[Image], share: f64) -> f64 {
    let mut took: Vec<f64> = images.iter().map(|image| image.took).collect();
    took.sort_by(f64::total_cmp);
    let rank = Duration::from_secs_f64(share * count(took.len().saturating_sub(1))).as_secs();
    took.get(usize::try_from(rank).unwrap()).copied().unwrap_or(f64::NAN)
}

fn share(images: &[Image], counts: impl Fn(&Image) -> bool) -> f64 {
    count(images.iter().filter(|image| counts(image)).count()) / count(images.len())
}

/// The first judge's share of the judgements.
fn primary(images: &[Image]) -> f64 {
    let judged: Vec<Image> = images.iter().filter(|image| image.by.is_some()).copied().collect();
    share(&judged, |image| image.by == Some(0))
}

/// Calls beyond one per image that came in this time, as a share of those images.
fn extra(runs: &[Run], from: f64, to: f64) -> f64 {
    let came = |at: f64| (from..to).contains(&at);
    let (mut images, mut calls) = (0, 0);
    for run in runs {
        let at = |image: u64| usize::try_from(image).ok().and_then(|image| run.images.get(image));
        let about = |image: u64| at(image).is_some_and(|image| came(image.at));
        images += run.images.iter().filter(|image| came(image.at)).count();
        calls += run.calls.iter().flatten().filter(|call| about(call.image)).count();
    }
    count(calls) / count(images) - 1.0
}

/// Seconds from the fault's end to the first window in which traffic is as before.
fn recovery(run: &Run, healthy_p95: f64) -> Option<f64> {
    let spans = run.world.spans;
    let starts = std::iter::successors(Some(spans.fault_ends()), |at| Some(at + 0.25));
    let starts = starts.take_while(|at| at + WINDOW_S < spans.end());
    let is_back = |from: &f64| {
        let window = between(run, *from, from + WINDOW_S);
        let by_first = share(&window, |image| image.by == Some(0));
        p(&window, 0.95) <= BACK_TO_SPEED * healthy_p95 && BACK_TO_PRIMARY <= by_first
    };
    { starts }.find(is_back).map(|at| at - spans.fault_ends())
}

fn max(of: &[f64]) -> f64 {
    of.iter().copied().fold(0.0, f64::max)
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}
