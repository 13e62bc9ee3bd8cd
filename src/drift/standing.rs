//! A standing is what is known of one policy's drift: the monitor, fed with records as they come,
//! and the stretch of time that its baseline was learnt from.
//!
//! It is nothing but a fold over the records in the order in which they count, so two that folded
//! the same records are equal to the last bit, however often either was written out and read again.

use serde::{Deserialize, Serialize};

use crate::drift::configs::Configs;
use crate::drift::event::{Event, Watched};
use crate::drift::judged::{Judged, Route};
use crate::drift::monitor::{Monitor, Settings};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// One judgement as a record tells it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told<'a> {
    /// The image; see [`crate::drift::judged::image_key`].
    pub image: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The judge's name.
    pub judge: &'a str,
    /// The configuration, one name for all judges.
    pub config: &'a str,
    /// Why this judge was asked.
    pub route: Route,
    /// Whether this judgement alone would not pass.
    pub reject: bool,
    /// Risk by the local pre-check, 0 to 1.
    pub risk: f64,
}

/// What an operator makes of what was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It was seen: watch again, against what was usual before.
    #[default]
    Watch,
    /// It is usual from now on: learn that.
    Learn,
}

impl Then {
    /// Every way to go on.
    pub const ALL: [Self; 2] = [Self::Watch, Self::Learn];

    /// The word of requests and answers.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Learn => "learn",
        }
    }
}

/// What is known of one policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The monitor.
    pub monitor: Monitor,
    /// The configurations met.
    pub configs: Configs,
    /// From when the baseline was, or is being, learnt; milliseconds since 1970.
    pub learnt_since_ms: i64,
    /// Until when it was; `None` while it is being learnt.
    pub learnt_until_ms: Option<i64>,
    /// Judgements folded.
    pub folded: u64,
}

impl Standing {
    /// A standing that begins at its policy's first judgement; the baseline is `baseline_days`
    /// whole days from that day's midnight (UTC).
    #[must_use]
    pub fn new(settings: Settings, first_ms: i64, baseline_days: u32) -> Self {
        Self::lasting(settings, first_ms, DAY_MS.saturating_mul(baseline_days.into()))
    }

    /// The same with a baseline of `lasts_ms` milliseconds from that midnight.
    #[must_use]
    pub fn lasting(settings: Settings, first_ms: i64, lasts_ms: i64) -> Self {
        let midnight_ms = first_ms.div_euclid(DAY_MS).saturating_mul(DAY_MS);
        let until_ms = midnight_ms.saturating_add(lasts_ms);
        Self {
            monitor: Monitor::new(settings, until_ms),
            configs: Configs::default(),
            learnt_since_ms: first_ms,
            learnt_until_ms: None,
            folded: 0,
        }
    }

    /// Folds one judgement, and returns what is to be told.
    pub fn observe(&mut self, told: &Told<'_>) -> Vec<Event> {
        let judged = Judged {
            image: told.image,
            at_ms: told.at_ms,
            judge: told.judge.to_owned(),
            config: told.config.to_owned(),
            route: told.route,
            reject: told.reject,
            risk: told.risk,
        };
        self.folded += 1;
        let events = self.monitor.observe(&judged);
        match (self.monitor.baseline().is_some(), self.learnt_until_ms) {
            (true, None) => self.learnt_until_ms = Some(told.at_ms),
            (false, Some(_)) => {
                self.learnt_since_ms = told.at_ms;
                self.learnt_until_ms = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
        events
    }

    /// An operator has seen what was told; whom that was about. A baseline that is to be learnt anew is
    /// learnt from `now_ms` on, milliseconds since 1970, over `baseline_days` times 24 hours.
    pub fn acknowledge(&mut self, then: Then, now_ms: i64, baseline_days: u32) -> Vec<Watched> {
        match then {
            Then::Watch => self.monitor.acknowledge(),
            Then::Learn => {
                let told = self.monitor.told();
                let lasts_ms = DAY_MS.saturating_mul(baseline_days.into());
                self.monitor.learn_anew(now_ms.saturating_add(lasts_ms));
                (self.learnt_since_ms, self.learnt_until_ms) = (now_ms, None);
                told
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;
    use crate::drift::event::Label;
    use crate::drift::interval::real;
    use crate::drift::judged::image_key;

    /// Judgement `n` of a stream whose first judge is away for a while, and then judges otherwise.
    fn told(n: u32) -> Told<'static> {
        let lot = n.wrapping_mul(2_654_435_761) >> 7;
        let is_away = (2_300..2_500).contains(&n) && lot.is_multiple_of(2);
        let is_worse = 2_900 < n;
        let (judge, rate) = match (is_away, is_worse) {
            (true, _) => ("claude-haiku", 20),
            (false, true) => ("openai-mini", 35),
            (false, false) => ("openai-mini", 8),
        };
        let route = match lot % 23 {
            _ if is_away => Route::Failover,
            0 => Route::Hedge,
            1 => Route::Shadow,
            _ => Route::Primary,
        };
        Told {
            image: image_key(&(n / 2).to_string()),
            at_ms: 1_000_000 + i64::from(n) * 9_000,
            judge,
            config: if n < 3_600 { "one" } else { "two" },
            route,
            reject: lot % 100 < rate,
            risk: f64::from(lot % 31) / 31.0,
        }
    }

    fn fold(standing: &mut Standing, from: u32, to: u32) -> Vec<Event> {
        (from..to).flat_map(|n| standing.observe(&told(n))).collect()
    }

    fn begun() -> Standing {
        let settings = Settings { burst_images: 0, ..Settings::default() };
        Standing::new(settings, 1_000_000, 0)
    }

    #[test]
    fn a_policy_that_is_rolled_back_is_met_as_a_policy() {
        let mut standing = begun();
        let config = |n| if (2_500..5_800).contains(&n) { "two" } else { "one" };
        let observed = (0..6_000_u32).flat_map(|n| {
            let at_ms = 1_000_000 + i64::from(n) * 9_000;
            let reject = (n.wrapping_mul(2_654_435_761) >> 7).is_multiple_of(16);
            let (judge, route, config) = ("openai-mini", Route::Primary, config(n));
            let image = image_key(&n.to_string());
            standing.observe(&Told { image, at_ms, judge, config, route, reject, risk: 0.1 })
        });
        let met = observed.filter(|event| event.label == Label::PolicyAnnotation).count();
        assert_eq!(met, 2, "the new policy, and the old one when it came back");
    }

    #[test]
    fn a_burst_begins_with_an_alarm_and_ends_with_its_images() {
        let settings = Settings { burst_images: 600, ..Settings::default() };
        let mut standing = Standing::new(settings, 1_000_000, 0);
        let mut shown = 0;
        for n in 0..8_000_u32 {
            let told = |judge, route, rejects: u32| Told {
                image: image_key(&n.to_string()),
                at_ms: 1_000_000 + i64::from(n) * 9_000,
                judge,
                config: "one",
                route,
                reject: n.wrapping_mul(2_654_435_761) % 100 < rejects,
                risk: 0.1,
            };
            let rejects = if n < 4_000 { 8 } else { 30 };
            standing.observe(&told("openai-mini", Route::Primary, rejects));
            let bursting = standing.monitor.burst_judges();
            let is_asked = bursting.contains(&"claude-haiku");
            assert!(!is_asked || 4_000 <= n, "nothing has moved by the {n}th");
            if is_asked || n < 4_000 && n % 5 == 0 {
                shown += u32::from(is_asked);
                standing.observe(&told("claude-haiku", Route::Shadow, 10));
            }
        }
        assert!((40..=600).contains(&shown), "{shown}");
        assert_eq!(standing.monitor.burst_judges(), Vec::<&str>::new());
    }

    /// A stretch in which the images look so risky, and the first judge rejects so many in a hundred;
    /// a second judge, who stays as it was, looks at every fifth image too.
    fn stretch(
        standing: &mut Standing,
        all: Range<u32>,
        (risk, rejects): (f64, u64),
    ) -> Vec<Label> {
        let mut told = Vec::new();
        for n in all {
            let draw = |what: &str, of: u64| image_key(&format!("{n} {what}")) % of;
            let one = |judge, route, rejects| Told {
                image: image_key(&n.to_string()),
                at_ms: 1_000_000 + i64::from(n) * 9_000,
                judge,
                config: "one",
                route,
                reject: draw(judge, 100) < rejects,
                risk: risk + real(draw("risk", 31)) / 62.0,
            };
            told.extend(standing.observe(&one("openai-mini", Route::Primary, rejects)));
            if n % 5 == 0 {
                told.extend(standing.observe(&one("claude-haiku", Route::Shadow, 10)));
            }
        }
        told.into_iter().map(|event| event.label).collect()
    }

    /// After a baseline and a stretch of other images, which was told.
    fn told_of_images() -> Standing {
        let mut standing = begun();
        assert_eq!(stretch(&mut standing, 0..3_000, (0.0, 10)), []);
        assert_eq!(stretch(&mut standing, 3_000..4_500, (0.5, 10)), [Label::InputDrift]);
        assert_eq!(standing.monitor.told(), [Watched::Input]);
        standing
    }

    #[test]
    fn after_an_input_event_a_judge_that_drifts_is_told_once_that_was_acknowledged() {
        let (mut mute, mut seen) = (told_of_images(), told_of_images());
        assert_eq!(seen.acknowledge(Then::Watch, 0, 7), [Watched::Input]);
        assert_eq!(seen.monitor.told(), []);
        assert_eq!(seen.acknowledge(Then::Watch, 0, 7), [], "there is nothing more to see");
        for standing in [&mut mute, &mut seen] {
            assert_eq!(stretch(standing, 4_500..5_500, (0.0, 10)), [], "the images are back");
        }
        assert_eq!(stretch(&mut mute, 5_500..9_000, (0.0, 40)), []);
        let told = stretch(&mut seen, 5_500..9_000, (0.0, 40));
        assert_eq!(told, [Label::ProviderDrift("openai-mini".to_owned())]);
        let judge = Watched::Judge("openai-mini".to_owned());
        assert_eq!(seen.acknowledge(Then::Watch, 0, 7), std::slice::from_ref(&judge));
        // and what is still so is told again
        let told = stretch(&mut seen, 9_000..12_500, (0.0, 40));
        assert_eq!(told, [Label::ProviderDrift("openai-mini".to_owned())]);
        assert_eq!(seen.monitor.told(), [judge]);
    }

    #[test]
    fn a_judge_that_was_told_stands_beside_other_images_until_both_are_seen() {
        let mut standing = begun();
        assert_eq!(stretch(&mut standing, 0..3_000, (0.0, 10)), []);
        let judge = Watched::Judge("openai-mini".to_owned());
        let told = stretch(&mut standing, 3_000..6_500, (0.0, 40));
        assert_eq!(told, [Label::ProviderDrift("openai-mini".to_owned())]);
        assert_eq!(stretch(&mut standing, 6_500..9_000, (0.5, 40)), [Label::InputDrift]);
        assert_eq!(standing.monitor.told(), [Watched::Input, judge.clone()]);
        assert_eq!(standing.acknowledge(Then::Watch, 0, 7), [Watched::Input, judge]);
        assert_eq!(standing.monitor.told(), []);
    }

    #[test]
    fn the_new_normal_is_learnt_over_whole_days_and_nothing_is_told_of_it() {
        let mut standing = told_of_images();
        let now_ms = 1_000_000 + 4_500 * 9_000;
        assert_eq!(standing.acknowledge(Then::Learn, now_ms, 1), [Watched::Input]);
        assert_eq!((standing.learnt_since_ms, standing.learnt_until_ms), (now_ms, None));
        let day = 4_500..4_500 + 9_600;
        assert_eq!(standing.monitor.learning(), Some((0, 2_000, now_ms + DAY_MS)));
        assert_eq!(stretch(&mut standing, day.clone(), (0.5, 10)), []);
        assert_eq!(standing.monitor.learning(), Some((9_600, 2_000, now_ms + DAY_MS)));
        assert_eq!(stretch(&mut standing, day.end..day.end + 4_000, (0.5, 10)), []);
        let baseline = standing.monitor.baseline().unwrap();
        assert_eq!((baseline.served_elsewhere(), baseline.provisional), ((9_600, 0), false));
        assert_eq!(standing.learnt_until_ms, Some(now_ms + DAY_MS));
        let told = stretch(&mut standing, 18_200..20_000, (0.0, 10));
        assert_eq!(told, [Label::InputDrift], "it is what was usual once that is other now");
    }

    #[test]
    fn routing_stands_until_the_share_is_back_whoever_has_seen_it() {
        let mut standing = begun();
        assert_eq!(stretch(&mut standing, 0..2_300, (0.0, 10)), []);
        let mut away = Vec::new();
        for n in 2_300..2_500 {
            let at_ms = 1_000_000 + i64::from(n) * 9_000;
            let (judge, route) = ("claude-haiku", Route::Failover);
            let image = image_key(&n.to_string());
            let reject = n % 10 == 0;
            let told = Told { image, at_ms, judge, config: "one", route, reject, risk: 0.2 };
            away.extend(standing.observe(&told).into_iter().map(|event| event.label));
        }
        assert_eq!(away, [Label::Routing]);
        let before = standing.clone();
        assert_eq!(standing.acknowledge(Then::Watch, 0, 7), []);
        assert_eq!(standing, before, "there is nothing to see");
        assert_eq!(standing.monitor.told(), [Watched::Share]);
        assert_eq!(standing.acknowledge(Then::Learn, 0, 0), [Watched::Share]);
        assert_eq!(standing.monitor.told(), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn written_out_anywhere_and_read_again_it_goes_on_bit_for_bit(
            cuts in proptest::collection::btree_set(0_u32..4_000, 1..5),
        ) {
            let mut whole = begun();
            let events = fold(&mut whole, 0, 4_000);
            let mut pieces = begun();
            let (mut told, mut from) = (Vec::new(), 0);
            for cut in cuts {
                told.extend(fold(&mut pieces, from, cut));
                let written = serde_json::to_vec(&pieces).unwrap();
                pieces = serde_json::from_slice(&written).unwrap();
                from = cut;
            }
            told.extend(fold(&mut pieces, from, 4_000));
            prop_assert!(events.len() > 1, "something was told: {events:?}");
            prop_assert_eq!(told, events);
            prop_assert!(serde_json::to_vec(&pieces).unwrap() == serde_json::to_vec(&whole).unwrap());
        }
    }
}
