//! Streams of verdicts with a known truth, drawn from one law.
//!
//! An image has a severity s ~ N(mu, 1), of which the local pre-check sees a part. A judge scores
//! s + N(0, sigma) and rejects above its own line: judges agree on most images and differ near the
//! line. Rejects take longer to write, so a won hedge is selected on its outcome.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "counts and moments of made-up worlds are small"
)]
#![expect(clippy::wildcard_enum_match_arm, reason = "most scenarios leave most of the law alone")]

use std::f64::consts::PI;

use vlmgate::drift::judged::{Judged, Route, image_key};

/// 2026-01-01T00:00:00Z.
pub(crate) const T0_MS: i64 = 1_767_225_600_000;
pub(crate) const DAY_MS: f64 = 86_400_000.0;

pub(crate) const JUDGES: [&str; 3] =
    ["openai/gpt-4o-mini", "anthropic/claude-3-5-sonnet", "vertex/gemini-1.5-pro"];

/// Spread of each judge's score about the severity.
const SIGMA: [f64; 3] = [0.35, 0.35, 0.40];

/// How much of the severity the pre-check sees.
const RHO: f64 = 0.7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Quiet,
    Routing,
    Regression,
    SecondaryRegression,
    InputDrift,
    HiddenInputDrift,
    PolicyChange,
    SlowRamp,
    DiurnalMix,
    Outage,
}

impl Scenario {
    pub(crate) const ALL: [Self; 10] = [
        Self::Quiet,
        Self::Routing,
        Self::Regression,
        Self::SecondaryRegression,
        Self::InputDrift,
        Self::HiddenInputDrift,
        Self::PolicyChange,
        Self::SlowRamp,
        Self::DiurnalMix,
        Self::Outage,
    ];

    /// The label that is right.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Quiet | Self::DiurnalMix => "none",
            Self::Routing | Self::Outage => "routing",
            Self::Regression | Self::SlowRamp => "provider_drift:openai/gpt-4o-mini",
            Self::SecondaryRegression => "provider_drift:anthropic/claude-3-5-sonnet",
            Self::InputDrift | Self::HiddenInputDrift => "input_drift",
            Self::PolicyChange => "policy_change",
        }
    }
}

/// What a stream is drawn from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) per_day: f64,
    pub(crate) days: f64,
    pub(crate) onset_day: f64,
    pub(crate) baseline_days: f64,
    /// Reject rate of each judge.
    pub(crate) rates: [f64; 3],
    /// Size of the change, as a share.
    pub(crate) shift: f64,
    pub(crate) shadow: f64,
}

impl World {
    /// Ten thousand a day, two days of baseline, five points a fifth of a day later.
    pub(crate) fn of(scenario: Scenario) -> Self {
        let mut world = Self {
            scenario,
            per_day: 10_000.0,
            days: 3.0,
            onset_day: 2.2,
            baseline_days: 2.0,
            rates: [0.08, 0.11, 0.07],
            shift: 0.05,
            shadow: 0.10,
        };
        match scenario {
            Scenario::Outage => (world.per_day, world.days) = (100_000.0, 2.3),
            Scenario::SecondaryRegression => world.days = 5.0,
            _ => {}
        }
        world
    }

    /// The smaller worlds that come with the statistics: four thousand a day, six points.
    pub(crate) fn example(scenario: Scenario) -> Self {
        let mut world = Self {
            per_day: 4_000.0,
            days: 2.7,
            onset_day: 2.05,
            shadow: 0.25,
            shift: 0.06,
            ..Self::of(scenario)
        };
        match scenario {
            Scenario::Outage => {
                (world.per_day, world.days) = (100_000.0, 0.112);
                (world.onset_day, world.baseline_days, world.shadow) = (0.1, 0.1, 0.05);
            }
            Scenario::SecondaryRegression => world.days = 4.0,
            Scenario::SlowRamp => world.days = 3.2,
            Scenario::Routing => world.days = 2.4,
            _ => {}
        }
        world
    }

    pub(crate) fn baseline_until_ms(&self) -> i64 {
        moment(self.baseline_days)
    }

    pub(crate) fn onset_ms(&self) -> i64 {
        moment(self.onset_day)
    }

    fn end_day(&self) -> f64 {
        match self.scenario {
            Scenario::Routing => self.onset_day + 6.0 / 24.0,
            Scenario::Outage => self.onset_day + 0.1 / 24.0,
            _ => self.days,
        }
    }

    /// Draws a stream: the verdicts in the order of the store, and what every judge would have said
    /// of every image.
    pub(crate) fn draw(&self, seed: u64) -> Drawn {
        let mut chance = Chance::new(seed);
        let expected = self.per_day * self.days;
        let n = (expected + expected.sqrt() * chance.normal()).round() as usize;
        let mut times: Vec<f64> = (0..n).map(|_| chance.share() * self.days).collect();
        times.sort_by(f64::total_cmp);
        if self.scenario == Scenario::DiurnalMix {
            times.retain(|t| chance.share() < 0.65 + 0.35 * (2.0 * PI * t).sin());
        }
        let images: Vec<Drawing> = times.iter().map(|t| self.image(*t, &mut chance)).collect();
        let mut latencies: Vec<f64> = images.iter().map(|image| image.latency[0]).collect();
        latencies.sort_by(f64::total_cmp);
        let quantile = |share: f64| latencies[(share * (latencies.len() - 1) as f64) as usize];
        let (slow, hedge_after) = (quantile(0.96), quantile(0.95));
        let mut drawn = Drawn { verdicts: Vec::new(), rejects: Vec::new() };
        for (i, (t, image)) in times.iter().zip(&images).enumerate() {
            let hedge = (slow, hedge_after);
            drawn.verdicts.extend(self.record((i, *t), image, hedge, &mut chance));
            drawn.rejects.push(image.rejects);
        }
        drawn.verdicts.sort_by_key(|judged| judged.at_ms);
        drawn
    }

    fn image(&self, t: f64, chance: &mut Chance) -> Drawing {
        let on = self.onset_day <= t;
        // the change of severity that is worth `shift` to the primary
        let scale = (1.0 + SIGMA[0] * SIGMA[0]).sqrt();
        let worse =
            (quantile(1.0 - self.rates[0]) - quantile(1.0 - self.rates[0] - self.shift)) * scale;
        let seen_shift = if on && self.scenario == Scenario::InputDrift { worse } else { 0.0 };
        let hidden = if on && self.scenario == Scenario::HiddenInputDrift { worse } else { 0.0 };
        let seen = chance.normal() + seen_shift;
        let risk = cdf(RHO * seen + (1.0 - RHO * RHO).sqrt() * chance.normal());
        let mut drawing = Drawing { risk: (risk * 1e4).round() / 1e4, ..Drawing::default() };
        for (j, sigma) in SIGMA.iter().enumerate() {
            let line = line(self.rate(j, t), *sigma);
            let score = seen + hidden + chance.normal() * sigma;
            let reject = score > line;
            drawing.rejects[j] = reject;
            drawing.stated[j] = (100.0 / (1.0 + (-3.0 * (score - line)).exp())).round() / 100.0;
            let slower = if reject { 1.25 } else { 1.0 };
            drawing.latency[j] = (chance.normal() * 0.35).exp() * [0.9, 1.1, 1.0][j] * slower;
        }
        drawing
    }

    /// Reject rate of judge `j` on images as they were, on day `t`.
    fn rate(&self, j: usize, t: f64) -> f64 {
        let after = if t < self.onset_day { 0.0 } else { 1.0 };
        let more = match (self.scenario, j) {
            (Scenario::Regression, 0) | (Scenario::PolicyChange, _) => self.shift * after,
            (Scenario::SecondaryRegression, 1) => 2.0 * self.shift * after,
            (Scenario::SlowRamp, 0) => 1.6 * self.shift * (t - self.onset_day).clamp(0.0, 1.0),
            _ => 0.0,
        };
        self.rates[j] + more
    }

    fn failover_share(&self, t: f64) -> f64 {
        let during = self.onset_day <= t && t < self.end_day();
        match self.scenario {
            Scenario::Routing if during => 0.41,
            Scenario::Outage if during => 0.40,
            Scenario::DiurnalMix => 0.01 + 0.05 * (1.0 + (2.0 * PI * t + 1.0).sin()),
            _ => 0.01,
        }
    }

    fn record(
        &self,
        (i, t): (usize, f64),
        drawing: &Drawing,
        (slow, hedge_after): (f64, f64),
        chance: &mut Chance,
    ) -> Vec<Judged> {
        let mut verdicts = Vec::new();
        let at_ms = moment(t);
        let image = image_key(&format!("im{i:07}"));
        let version =
            if self.scenario == Scenario::PolicyChange && self.onset_day <= t { 2 } else { 1 };
        let mut push = |judge: usize, route, after_ms| {
            verdicts.push(Judged {
                image,
                at_ms: at_ms + after_ms,
                judge: JUDGES[judge].to_owned(),
                config: format!("artifact@{version}"),
                route,
                reject: drawing.rejects[judge],
                risk: drawing.risk,
            });
        };
        let fails = chance.share() < self.failover_share(t);
        let latency = drawing.latency;
        let won = !fails && slow < latency[0] && hedge_after * 0.9 + latency[1] * 0.5 < latency[0];
        let second = if chance.share() < 0.9 { 1 } else { 2 };
        let (served, route) = match (fails, won) {
            (true, _) => (second, Route::Failover),
            (false, true) => (1, Route::Hedge),
            (false, false) => (0, Route::Primary),
        };
        push(served, route, 0);
        if (drawing.stated[served] - 0.5).abs() < 0.10 && route != Route::Hedge {
            push(usize::from(served != 1), Route::SecondOpinion, 900);
        }
        let [shadowed, either, backfilled] = [chance.share(), chance.share(), chance.share()];
        if shadowed < self.shadow {
            let others = [[1, 2], [0, 2], [0, 1]][served];
            push(others[usize::from(either < 0.5)], Route::Shadow, 2000);
        } else if fails && backfilled < 0.10 {
            push(0, Route::Shadow, 1_800_000);
        }
        verdicts
    }
}

/// A stream, and what every judge would have said: the truth behind a diagnostic burst.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) verdicts: Vec<Judged>,
    pub(crate) rejects: Vec<[bool; 3]>,
}

/// One image.
#[derive(Clone, Copy, Debug, Default)]
struct Drawing {
    risk: f64,
    rejects: [bool; 3],
    stated: [f64; 3],
    latency: [f64; 3],
}

pub(crate) fn moment(day: f64) -> i64 {
    T0_MS + (day * DAY_MS) as i64
}

/// Where a judge with this reject rate on ordinary images draws its line.
pub(crate) fn line(rate: f64, sigma: f64) -> f64 {
    quantile(1.0 - rate) * (1.0 + sigma * sigma).sqrt()
}

/// Standard normal distribution, by its series near zero and its continued fraction beyond.
pub(crate) fn cdf(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
    let size = x.abs();
    let upper = if size < 3.0 {
        let (mut term, mut sum) = (size, size);
        for k in 1..200 {
            term *= size * size / f64::from(2 * k + 1);
            sum += term;
        }
        0.5 - density * sum
    } else {
        let tail = (1..60).rev().fold(size, |below, k| size + f64::from(k) / below);
        density / tail
    };
    if x > 0.0 { 1.0 - upper } else { upper }
}

/// Standard normal quantile, by Acklam's approximation and one step of Newton's method.
pub(crate) fn quantile(p: f64) -> f64 {
    let t = (-2.0 * p.min(1.0 - p).ln()).sqrt();
    let top = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let bottom = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let size = t - top / bottom;
    let mut x = if p < 0.5 { -size } else { size };
    for _ in 0..3 {
        x -= (cdf(x) - p) / ((-0.5 * x * x).exp() / (2.0 * PI).sqrt());
    }
    x
}

/// Seeded chance: xoshiro256++, seeded by `SplitMix64` (Blackman and Vigna).
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    state: [u64; 4],
    spare: Option<f64>,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        let mut at = seed;
        let state = [(); 4].map(|()| {
            at = at.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (at ^ (at >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        });
        Self { state, spare: None }
    }

    fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let bits = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        bits
    }

    /// Uniform in [0, 1).
    pub(crate) fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / 9_007_199_254_740_992.0
    }

    /// Uniform below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.share() * n as f64) as usize
    }

    /// Standard normal, by Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        let angle = 2.0 * PI * self.share();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }
}
