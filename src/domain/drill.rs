//! A drill breaks one judge on purpose, for a share of its calls, and holds the gate to its promises.
//!
//! Meanwhile nothing is late, every image gets a verdict, nothing is much slower, and soon after the
//! judge answers again. This is the part without a clock: what was counted goes in, what it means comes out.

use std::collections::BTreeMap;
use std::time::Duration;

/// Images in a group from which its figures say something: under it a drill concludes nothing.
pub const MIN_IMAGES: u64 = 20;

/// Images without a verdict from which a share under its bound is no accident of small numbers.
const MIN_UNJUDGED: u64 = 3;

/// Samples that a [`Spread`] holds.
const MOST_SAMPLES: usize = 8_192;

/// Share of the judge's former share at which it answers again (as in the load test's recovery).
pub const RECOVERED_RATIO: f64 = 0.85;

/// How a judge's calls are broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// No connection, at once.
    Refuse,
    /// Sent nowhere, and never answered.
    Blackhole,
    /// HTTP 529 after a moment.
    Overload,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 3] = [Self::Refuse, Self::Blackhole, Self::Overload];

    /// The word used in files and answers.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Blackhole => "blackhole",
            Self::Overload => "overload",
        }
    }

    /// The fault of this label.
    #[must_use]
    pub fn of(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.label() == label)
    }
}

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrillResult {
    /// Every figure held.
    Passed,
    /// A figure did not hold.
    Failed,
    /// Ended early, because images suffered.
    Aborted,
    /// Too little traffic to say.
    Inconclusive,
    /// Ended early, because somebody asked for it or the gate stops.
    Stopped,
    /// The process died during it.
    Interrupted,
}

impl DrillResult {
    /// Every result.
    pub const ALL: [Self; 6] = [
        Self::Passed,
        Self::Failed,
        Self::Aborted,
        Self::Inconclusive,
        Self::Stopped,
        Self::Interrupted,
    ];

    /// The word used in answers and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Inconclusive => "inconclusive",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What a drill holds the gate to, beside no late answer at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Share of images that must get a judge's verdict.
    pub judged_at_least: f64,
    /// How often the p95 of before the p95 during the fault may be.
    pub p95_ratio_at_most: f64,
    /// How long the judge may take to have its share of the traffic again.
    pub recovered_within: Duration,
}

impl Default for Bounds {
    /// The load test's: 1.35 times the healthy p95, and 25 s after a fault that is not constant.
    fn default() -> Self {
        Self {
            judged_at_least: 0.99,
            p95_ratio_at_most: 1.35,
            recovered_within: Duration::from_secs(25),
        }
    }
}

/// What is drilled.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Whose calls are broken.
    pub judge: String,
    /// How.
    pub fault: Fault,
    /// Share of its calls, 0..=1.
    pub share: f64,
    /// For how long.
    pub lasts: Duration,
    /// How long traffic is watched before.
    pub baseline: Duration,
    /// What must hold.
    pub bounds: Bounds,
}

impl Plan {
    /// A fifth of the calls of `judge`, refused for a minute.
    #[must_use]
    pub fn of(judge: String) -> Self {
        Self {
            judge,
            fault: Fault::Refuse,
            share: 0.20,
            lasts: Duration::from_secs(60),
            baseline: Duration::from_secs(30),
            bounds: Bounds::default(),
        }
    }
}

/// Times in milliseconds, in bounded room: where there are too many, every second one is let go and
/// from then on every second one is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    taken_ms: Vec<u32>,
    /// Two to this power: one time in so many is taken.
    thinned: u32,
    seen: u64,
}

impl Spread {
    /// One more.
    pub fn add(&mut self, ms: u32) {
        let is_taken = self.seen.trailing_zeros() >= self.thinned || self.seen == 0;
        self.seen = self.seen.saturating_add(1);
        if !is_taken {
            return;
        }
        self.taken_ms.push(ms);
        if MOST_SAMPLES <= self.taken_ms.len() {
            let mut keep = false;
            self.taken_ms.retain(|_| {
                keep = !keep;
                keep
            });
            self.thinned += 1;
        }
    }

    /// 19 of 20 were at most this; `None` before the first.
    #[must_use]
    pub fn p95_ms(&self) -> Option<u32> {
        let mut sorted = self.taken_ms.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * 95).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    }

    fn merge(&mut self, other: &Self) {
        for ms in &other.taken_ms {
            self.add(*ms);
        }
    }
}

/// What became of some images that judges were asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub images: u64,
    /// Answered after their deadline.
    pub late: u64,
    /// Calls made for them.
    pub calls: u64,
    /// Who gave the verdict; images that nobody judged are in `images` alone.
    pub judged_by: BTreeMap<String, u64>,
    /// From first byte to answer.
    pub took: Spread,
}

impl Group {
    /// Images with a judge's verdict.
    #[must_use]
    pub fn judged(&self) -> u64 {
        self.judged_by.values().sum()
    }

    /// Share of the images with a judge's verdict; `None` without images.
    #[must_use]
    pub fn judged_ratio(&self) -> Option<f64> {
        ratio(self.judged(), self.images)
    }

    /// Share of the verdicts that `judge` gave; `None` without verdicts.
    #[must_use]
    pub fn share_of(&self, judge: &str) -> Option<f64> {
        ratio(self.judged_by.get(judge).copied().unwrap_or(0), self.judged())
    }

    /// Calls for each image; `None` without images.
    #[must_use]
    pub fn calls_per_image(&self) -> Option<f64> {
        ratio(self.calls, self.images)
    }

    fn merge(&mut self, other: &Self) {
        self.images += other.images;
        self.late += other.late;
        self.calls += other.calls;
        for (judge, images) in &other.judged_by {
            *self.judged_by.entry(judge.clone()).or_default() += images;
        }
        self.took.merge(&other.took);
    }
}

/// One image as a drill sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight<'a> {
    /// Whether the drill broke one of its calls.
    pub struck: bool,
    /// Who judged it.
    pub judged_by: Option<&'a str>,
    /// Whether the answer came after its deadline.
    pub late: bool,
    /// Calls made for it.
    pub calls: u64,
    /// From first byte to answer.
    pub took_ms: u32,
}

/// What became of the traffic: of the images that the drill struck, and of all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Images of which the drill broke a call.
    pub struck: Group,
    /// All others.
    pub clear: Group,
    /// Those of them that came while its breaker kept the broken judge out: they met the drill
    /// too, though it broke no call of theirs.
    pub spared: u64,
}

impl Tally {
    /// One more image.
    pub fn add(&mut self, seen: Sight<'_>) {
        let group = if seen.struck { &mut self.struck } else { &mut self.clear };
        group.images += 1;
        group.late += u64::from(seen.late);
        group.calls += seen.calls;
        if let Some(judge) = seen.judged_by {
            *group.judged_by.entry(judge.to_owned()).or_default() += 1;
        }
        group.took.add(seen.took_ms);
    }

    /// Images that met the drill: struck, or spared because others were.
    #[must_use]
    pub fn met(&self) -> u64 {
        if self.struck.images == 0 { 0 } else { self.struck.images.saturating_add(self.spared) }
    }

    /// Both groups as one.
    #[must_use]
    pub fn all(&self) -> Group {
        let mut all = self.struck.clone();
        all.merge(&self.clear);
        all
    }

    /// Adds images that were struck before the judge was restored and answered after it.
    pub fn add_stragglers(&mut self, after: &Self) {
        self.struck.merge(&after.struck);
    }
}

/// When the judge had its share of the traffic again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// This long after the restoration.
    After(Duration),
    /// Not within the bound.
    NotWithin,
    /// There was too little traffic to tell.
    Unseen,
}

/// One figure against its bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    /// Which figure.
    pub figure: &'static str,
    /// What was measured; `None`: nothing.
    pub value: Option<f64>,
    /// Its bound.
    pub bound: f64,
    /// Whether it held; `None`: too little traffic to say.
    pub held: Option<bool>,
}

/// What a drill's figures mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// `Passed`, `Failed` or `Inconclusive`.
    pub result: DrillResult,
    /// Every assertion.
    pub assertions: Vec<Assertion>,
    /// Why it did not pass; `None` where it did.
    pub reason: Option<String>,
}

/// Holds what was counted to `bounds`.
#[must_use]
pub fn assess(bounds: &Bounds, before: &Tally, during: &Tally, recovery: Recovery) -> Assessment {
    let (baseline, all) = (before.all(), during.all());
    let enough = MIN_IMAGES <= baseline.images && MIN_IMAGES <= during.met();
    // what broke, broke; that nothing did says little where little happened
    let held = |value: Option<f64>, holds: bool| match (value, holds) {
        (Some(_), false) => Some(false),
        (Some(_), true) if enough => Some(true),
        (Some(_) | None, _) => None,
    };
    let late = ratio(all.late, 1);
    let judged = worst_judged_ratio(during);
    let p95 = all.took.p95_ms().zip(baseline.took.p95_ms());
    let p95 = p95.map(|(now, then)| f64::from(now) / f64::from(then.max(1)));
    // the p95 of a few images is the slowest of them: it neither holds nor breaks
    let p95_holds = p95.map(|p95| p95 <= bounds.p95_ratio_at_most).filter(|_| enough);
    let (recovered, recovery_holds) = match recovery {
        Recovery::After(took) => (Some(millis(took)), Some(true)),
        Recovery::NotWithin => (None, Some(false)),
        Recovery::Unseen => (None, None),
    };
    let judged_holds = judged.is_some_and(|judged| bounds.judged_at_least <= judged);
    let assertions = vec![
        Assertion {
            figure: "answers_late",
            value: late,
            bound: 0.0,
            held: held(late, all.late == 0),
        },
        Assertion {
            figure: "judged_ratio",
            value: judged,
            bound: bounds.judged_at_least,
            held: held(judged, judged_holds),
        },
        Assertion {
            figure: "p95_ratio",
            value: p95,
            bound: bounds.p95_ratio_at_most,
            held: p95_holds,
        },
        Assertion {
            figure: "recovery_ms",
            value: recovered,
            bound: millis(bounds.recovered_within),
            held: recovery_holds,
        },
    ];
    let broken: Vec<_> = assertions.iter().filter(|one| one.held == Some(false)).collect();
    let (result, reason) = if !broken.is_empty() {
        let words: Vec<_> = broken.into_iter().map(Assertion::sentence).collect();
        (DrillResult::Failed, Some(words.join("; ")))
    } else if assertions.iter().any(|one| one.held.is_none()) {
        (DrillResult::Inconclusive, Some(too_little(&baseline, during)))
    } else {
        (DrillResult::Passed, None)
    };
    Assessment { result, assertions, reason }
}

/// Why a running drill must end now: images suffer.
#[must_use]
pub fn breach(bounds: &Bounds, during: &Tally) -> Option<String> {
    let late = during.struck.late + during.clear.late;
    if 0 < late {
        return Some(format!("{late} answers came after their deadline"));
    }
    [during.struck.clone(), during.all()].iter().find_map(|group| {
        let unjudged = group.images.saturating_sub(group.judged());
        let judged = group.judged_ratio()?;
        (MIN_UNJUDGED <= unjudged && judged < bounds.judged_at_least).then(|| {
            let images = group.images;
            let bound = bounds.judged_at_least * 100.0;
            format!("{unjudged} of {images} images got no verdict, and {bound:.1} % must")
        })
    })
}

/// Whether `judge` answers again as it did before.
#[must_use]
pub fn has_recovered(judge: &str, before: &Tally, now: &Tally) -> bool {
    let then = before.all().share_of(judge).unwrap_or(0.0);
    now.clear.share_of(judge).is_some_and(|share| then * RECOVERED_RATIO <= share)
}

impl Assertion {
    fn sentence(&self) -> String {
        let Self { figure, value, bound, held: _ } = self;
        match value {
            Some(value) => format!("{figure} is {value:.3}, the bound is {bound:.3}"),
            None => format!("{figure} is over {bound:.3}"),
        }
    }
}

fn too_little(baseline: &Group, during: &Tally) -> String {
    let (before, struck, met) = (baseline.images, during.struck.images, during.met());
    if before < MIN_IMAGES || met < MIN_IMAGES {
        let spared = met - struck;
        return format!(
            "too little traffic: {before} images before, {struck} struck and {spared} spared by \
             the breaker, {MIN_IMAGES} before and {MIN_IMAGES} of the others are needed"
        );
    }
    "too little traffic after the restoration to see the judge answer again".to_owned()
}

/// Of the struck images and of all: the lower one.
fn worst_judged_ratio(during: &Tally) -> Option<f64> {
    let ratios = [during.struck.judged_ratio(), during.all().judged_ratio()];
    ratios.into_iter().flatten().reduce(f64::min)
}

fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e3).round()
}

/// Counts in one process stay far under 2^32.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    let number = |count: u64| u32::try_from(count).map_or(f64::from(u32::MAX), f64::from);
    (0 < whole).then(|| number(part) / number(whole))
}

#[cfg(test)]
mod tests;
