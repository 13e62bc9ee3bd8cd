//! A world is a seed, a fault and how long each part lasts: when images come, and what becomes of
//! every call that anybody may make, whoever makes it.
//!
//! Nothing is drawn while it runs. What a call does depends on the image, the judge, how often that
//! judge was asked about it, the moment and the provider's load, so two panels that behave
//! differently still meet the same world. The laws have the shape of a vision model behind a shared
//! endpoint: a lognormal body, a Pareto tail (queueing), a factor per image that all judges feel, a
//! speed that drifts, and congestion near the provider's limit.

use crate::outages::chance::Chance;

/// Longest latency ever drawn, in seconds.
const LONGEST_S: f64 = 60.0;
/// From this share of its slots on a provider gets slower.
const CONGESTED_FROM: f64 = 0.7;
/// Seconds that a finished answer holds its slot after the deciding scores were out, at most.
const REST_OF_STREAM_S: f64 = 2.0;

/// How one provider answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Law {
    /// Median of the body, in seconds.
    pub(crate) median_s: f64,
    /// Spread of the body (of its logarithm).
    sigma: f64,
    /// Share of calls in the tail.
    tail: f64,
    /// Where the tail begins, in seconds.
    tail_from_s: f64,
    /// How fast it thins out.
    alpha: f64,
    /// 19 of 20 answers are faster, in seconds: what an operator would state.
    pub(crate) p95_s: f64,
    /// Calls it works on at once.
    pub(crate) slots: u32,
}

impl Law {
    /// The law of the judge at this place of the route.
    pub(crate) fn of(judge: usize) -> Self {
        LAWS[judge]
    }

    /// A latency on a common day, and the share of it after which the deciding scores are out: of a
    /// call in the tail most was waiting for the first token.
    fn draw(&self, chance: &mut Chance) -> (f64, f64) {
        let body = self.median_s * (self.sigma * chance.normal()).exp();
        let thinned = (1.0 - chance.unit()).powf(-1.0 / self.alpha);
        let tail = (self.tail_from_s * thinned).min(LONGEST_S);
        let share = (0.60 + 0.07 * chance.normal()).clamp(0.3, 1.0);
        if chance.unit() < self.tail { (tail, 0.85) } else { (body, share) }
    }
}

/// The providers' laws, in the route's order.
const LAWS: [Law; 3] = [
    Law {
        median_s: 0.62,
        sigma: 0.17,
        tail: 0.025,
        tail_from_s: 1.5,
        alpha: 1.30,
        p95_s: 0.93,
        slots: 110,
    },
    Law {
        median_s: 0.74,
        sigma: 0.22,
        tail: 0.025,
        tail_from_s: 1.6,
        alpha: 1.30,
        p95_s: 1.20,
        slots: 80,
    },
    Law {
        median_s: 0.90,
        sigma: 0.28,
        tail: 0.030,
        tail_from_s: 1.8,
        alpha: 1.25,
        p95_s: 1.60,
        slots: 120,
    },
];

/// What is wrong with a provider while the fault lasts. Shares are of its calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// No connection.
    Refused,
    /// Connections open, and nothing ever comes back.
    Blackhole,
    /// The same, and nothing comes back for calls that are under way either.
    Severed,
    /// This share is answered 529 within a quarter of a second.
    Overloaded(f64),
    /// This share is answered 529 after ten seconds.
    OverloadedLate(f64),
    /// Every answer takes this many times as long.
    Slow(f64),
    /// Only so many calls a second are admitted; the others hear 429, retry after 2 s.
    Limited(f64),
    /// The answer of this share is not the asked judgement.
    Garbage(f64),
    /// The answer of this share stops somewhere in the middle.
    Stall(f64),
    /// A blackhole for so many seconds, then none for as long, and so on.
    Flap(f64),
}

/// How long each part of a world lasts, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    /// Nothing is measured yet.
    pub(crate) warm_up: f64,
    /// The yardstick.
    pub(crate) healthy: f64,
    /// The fault.
    pub(crate) fault: f64,
    /// Afterwards.
    pub(crate) recovery: f64,
}

impl Spans {
    /// Enough to see one fault begin and end.
    pub(crate) const SHORT: Self =
        Self { warm_up: 20.0, healthy: 20.0, fault: 40.0, recovery: 30.0 };

    /// When the fault begins.
    pub(crate) fn fault_at(self) -> f64 {
        self.warm_up + self.healthy
    }

    /// When it ends.
    pub(crate) fn fault_ends(self) -> f64 {
        self.fault_at() + self.fault
    }

    /// When the last image comes.
    pub(crate) fn end(self) -> f64 {
        self.fault_ends() + self.recovery
    }
}

/// What a call comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reply {
    /// The asked judgement.
    Judgement,
    /// No connection.
    Refused,
    /// 529.
    Overloaded,
    /// 429, and for how many seconds to stay away.
    Limited(f64),
    /// Something that is not the asked judgement.
    Garbage,
}

/// The fate of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fate {
    /// What comes back after how many seconds; `None`: nothing, ever.
    pub(crate) reply: Option<(f64, Reply)>,
    /// For how many seconds it holds a slot of the provider even when we hang up; `None`: as long
    /// as we wait.
    pub(crate) holds_s: Option<f64>,
}

/// A seed, a fault, and how long each part lasts.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    /// Images a second.
    pub(crate) rate: f64,
    /// Judges of the route.
    pub(crate) judges: usize,
    pub(crate) spans: Spans,
    /// Who is broken, and how.
    pub(crate) faults: Vec<(usize, Fault)>,
    /// Whether the deciding scores end the wait.
    pub(crate) streams: bool,
    /// How many times as many images come while the fault lasts.
    pub(crate) surge: f64,
}

impl World {
    /// Three judges at 40 images a second, and nothing wrong.
    pub(crate) fn healthy() -> Self {
        Self {
            seed: 1,
            rate: 40.0,
            judges: 3,
            spans: Spans::SHORT,
            faults: Vec::new(),
            streams: false,
            surge: 1.0,
        }
    }

    /// The same with the first judge broken.
    pub(crate) fn primary(fault: Fault) -> Self {
        Self { faults: vec![(0, fault)], ..Self::healthy() }
    }

    /// When each image comes, in seconds.
    pub(crate) fn arrivals(&self) -> Vec<f64> {
        let mut chance = Chance::of(&[self.seed, 7]);
        let mut at = 0.0;
        let next = || {
            let surges = (self.spans.fault_at()..self.spans.fault_ends()).contains(&at);
            at += chance.pause(if surges { self.surge * self.rate } else { self.rate });
            (at < self.spans.end()).then_some(at)
        };
        std::iter::from_fn(next).collect()
    }

    /// How much slower `judge` is than usual in each second of the world.
    pub(crate) fn drift(&self, judge: usize) -> Vec<f64> {
        let mut chance = Chance::of(&[self.seed, 13, judge as u64]);
        let mut off = 0.0;
        let mut second = || {
            off = 0.95 * off + 0.022 * chance.normal();
            f64::exp(off)
        };
        let beyond = 60.0;
        let seconds = std::iter::successors(Some(0.0), |at| Some(at + 1.0));
        seconds.take_while(|at| *at < self.spans.end() + beyond).map(|_| second()).collect()
    }

    /// What is wrong with `judge` at `at`; a flapping one is a blackhole or nothing.
    pub(crate) fn fault(&self, judge: usize, at: f64) -> Option<Fault> {
        if !(self.spans.fault_at()..self.spans.fault_ends()).contains(&at) {
            return None;
        }
        let &(_, fault) = self.faults.iter().find(|(broken, _)| *broken == judge)?;
        match fault {
            Fault::Flap(spell) => {
                let into = (at - self.spans.fault_at()) % (2.0 * spell);
                (into < spell).then_some(Fault::Blackhole)
            }
            Fault::Refused
            | Fault::Blackhole
            | Fault::Severed
            | Fault::Overloaded(_)
            | Fault::OverloadedLate(_)
            | Fault::Slow(_)
            | Fault::Limited(_)
            | Fault::Garbage(_)
            | Fault::Stall(_) => Some(fault),
        }
    }

    /// When a fault of `judge` cuts off the calls that are under way; `None`: it does not.
    pub(crate) fn severed_at(&self, judge: usize) -> Option<f64> {
        let severs = self.faults.contains(&(judge, Fault::Severed));
        severs.then_some(self.spans.fault_at())
    }

    /// What becomes of a call: `turn` counts the judge's calls about this image from 0, `slower` is
    /// the drift of the moment, `load` the share of the provider's slots in use.
    pub(crate) fn fate(&self, call: CallOf, at: f64, slower: f64, load: f64) -> Fate {
        let CallOf { image, judge, turn } = call;
        let mut chance = Chance::of(&[self.seed, 17, image, judge as u64, turn]);
        let congestion = 1.0 + 1.2 * (load - CONGESTED_FROM).max(0.0);
        let (drawn_s, share) = Law::of(judge).draw(&mut chance);
        let whole_s = drawn_s * self.image_factor(image) * slower * congestion;
        let scores_s = if self.streams { whole_s * share } else { whole_s };
        let judged = |scores_s: f64, whole_s: f64| Fate {
            reply: Some((scores_s, Reply::Judgement)),
            holds_s: Some(whole_s.min(scores_s + REST_OF_STREAM_S)),
        };
        let failed = |after_s: f64, reply| Fate { reply: Some((after_s, reply)), holds_s: None };
        let silent = Fate { reply: None, holds_s: None };
        let (coin, other) = (chance.unit(), chance.unit());
        let whole = judged(scores_s, whole_s);
        match self.fault(judge, at) {
            None | Some(Fault::Limited(_)) => whole,
            Some(Fault::Refused) => failed(0.002 + 0.01 * coin, Reply::Refused),
            Some(Fault::Blackhole | Fault::Severed | Fault::Flap(_)) => silent,
            Some(Fault::Overloaded(share)) if coin < share => {
                failed(0.08 + 0.15 * other, Reply::Overloaded)
            }
            Some(Fault::OverloadedLate(share)) if coin < share => {
                failed(10.0 + other, Reply::Overloaded)
            }
            Some(Fault::Slow(times)) => judged(scores_s * times, whole_s * times),
            Some(Fault::Garbage(share)) if coin < share => {
                Fate { reply: Some((scores_s, Reply::Garbage)), ..whole }
            }
            // seven of ten such streams stop after the deciding scores
            Some(Fault::Stall(share)) if coin < share => {
                if self.streams && other < 0.7 {
                    judged(scores_s, scores_s + REST_OF_STREAM_S)
                } else {
                    silent
                }
            }
            Some(
                Fault::Overloaded(_)
                | Fault::OverloadedLate(_)
                | Fault::Garbage(_)
                | Fault::Stall(_),
            ) => whole,
        }
    }

    /// How much longer every judge looks at this image than at others.
    fn image_factor(&self, image: u64) -> f64 {
        let mut chance = Chance::of(&[self.seed, 11, image]);
        let size = (0.08 * chance.normal()).exp();
        if chance.unit() < 0.003 { 2.5 * size } else { size }
    }
}

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallOf {
    /// The image, counted from 0.
    pub(crate) image: u64,
    /// The judge, by its place in the route.
    pub(crate) judge: usize,
    /// How often it was asked about this image before.
    pub(crate) turn: u64,
}
