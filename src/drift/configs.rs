//! A configuration is everything that decides how the judges of a policy judge, under one name for
//! all of them.
//!
//! A record carries the digest of what decided its own judge's judging, and no two judges share
//! one. So a digest that is new for a known judge opens a configuration, and every judge that has
//! none in the newest takes its place there. Judges do not change over in one instant: checks that
//! began before a new policy end after it, so for a minute a judge may still be corrected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::drift::judged::Route;

/// How long after its opening a configuration may still correct a judge's digest.
const SETTLES_MS: i64 = 60_000;

/// Configurations looked back on.
const MAX_KEPT: usize = 64;

/// Characters of a digest that name a configuration.
const NAME_CHARS: usize = 15;

/// The configurations of one policy, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configs(Vec<Config>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Config {
    name: String,
    since_ms: i64,
    judged_by: BTreeMap<String, String>,
}

impl Config {
    fn decided(&self, judge: &str, judged_by: &str) -> bool {
        self.judged_by.get(judge).is_some_and(|one| one == judged_by)
    }
}

impl Configs {
    /// The name of the configuration under which `judge`, decided by the digest `judged_by`,
    /// judged an image at a moment, asked for a reason.
    ///
    /// Only a served verdict changes anything here: a shadow may be asked, stored or imported long
    /// after its image, with what decided then or with what decides now.
    pub fn name(
        &mut self,
        (judge, judged_by): (&str, &str),
        (at_ms, route): (i64, Route),
    ) -> String {
        let Some(newest) = self.0.last() else { return self.open(judge, judged_by, at_ms) };
        let before_ms = newest.since_ms.saturating_sub(at_ms);
        let is_known = self.0.iter().any(|one| one.decided(judge, judged_by));
        // one that began before the newest was opened may be what makes others change over with it
        let is_straggler = 0 < before_ms && (is_known || SETTLES_MS < before_ms);
        if !route.served() || is_straggler {
            return self.known(judge, judged_by, at_ms).unwrap_or_default();
        }
        self.served(judge, judged_by, at_ms)
    }

    /// The configuration of a judgement that changes nothing: the one that held at the moment of its
    /// image, unless another one, the newest first, knows what decided it. `None` before the first.
    #[must_use]
    pub fn known(&self, judge: &str, judged_by: &str, at_ms: i64) -> Option<String> {
        let newest = self.0.last()?;
        let held = self.0.iter().rev().find(|one| one.since_ms <= at_ms).or(self.0.first())?;
        let mut those = std::iter::once(held).chain(self.0.iter().rev());
        // of an image that came under the newest nothing older can be told
        let found = those.find(|one| newest.since_ms <= at_ms || one.decided(judge, judged_by));
        Some(found.unwrap_or(held).name.clone())
    }

    /// When a configuration took another one's place, in milliseconds since 1970: of what was judged
    /// before the last of them nothing says how judges judge behind it.
    #[must_use]
    pub fn changes(&self) -> Vec<i64> {
        self.0.iter().skip(1).map(|one| one.since_ms).collect()
    }

    fn served(&mut self, judge: &str, judged_by: &str, at_ms: i64) -> String {
        let known = |config: &Config| config.judged_by.get(judge).cloned();
        let earlier = |config: &&Config| config.decided(judge, judged_by);
        let inherited = self.0.iter().rev().skip(1).find_map(known);
        let found_earlier = self.0.iter().rev().skip(1).find(earlier).map(|one| one.name.clone());
        let Some(newest) = self.0.last_mut() else { return self.open(judge, judged_by, at_ms) };
        let has_settled = SETTLES_MS < at_ms.saturating_sub(newest.since_ms);
        match newest.judged_by.get_mut(judge) {
            Some(present) if present == judged_by => newest.name.clone(),
            Some(present) if !has_settled && inherited.as_ref() == Some(present) => {
                judged_by.clone_into(present);
                newest.name.clone()
            }
            Some(_) => match found_earlier {
                Some(name) if has_settled => self.come_back(name, (judge, judged_by), at_ms),
                Some(name) => name,
                None => self.open(judge, judged_by, at_ms),
            },
            None => {
                newest.judged_by.insert(judge.to_owned(), judged_by.to_owned());
                newest.name.clone()
            }
        }
    }

    fn open(&mut self, judge: &str, judged_by: &str, at_ms: i64) -> String {
        let name = judged_by.chars().take(NAME_CHARS).collect();
        self.come_back(name, (judge, judged_by), at_ms)
    }

    /// Makes the configuration of this name the newest: the first time, or again.
    fn come_back(&mut self, name: String, (judge, judged_by): (&str, &str), at_ms: i64) -> String {
        let judged_by = BTreeMap::from([(judge.to_owned(), judged_by.to_owned())]);
        self.0.push(Config { name: name.clone(), since_ms: at_ms, judged_by });
        if MAX_KEPT < self.0.len() {
            self.0.remove(0);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(configs: &mut Configs, judge: &str, judged_by: &str, at_ms: i64) -> String {
        configs.name((judge, judged_by), (at_ms, Route::Primary))
    }

    fn shadow(configs: &mut Configs, judge: &str, judged_by: &str, at_ms: i64) -> String {
        configs.name((judge, judged_by), (at_ms, Route::Shadow))
    }

    #[test]
    fn judges_of_one_policy_share_a_name_and_a_new_policy_has_another() {
        let mut configs = Configs::default();
        assert_eq!(served(&mut configs, "a", "a1", 0), "a1");
        assert_eq!(
            served(&mut configs, "b", "b1", 1),
            "a1",
            "a judge that is first seen is no new policy"
        );
        assert_eq!(served(&mut configs, "a", "a1", 2), "a1");
        assert_eq!(served(&mut configs, "a", "a2", 100_000), "a2");
        assert_eq!(served(&mut configs, "b", "b2", 100_001), "a2");
        assert_eq!(
            served(&mut configs, "a", "a1", 100_002),
            "a1",
            "a check that began before ends after"
        );
    }

    #[test]
    fn a_policy_that_is_rolled_back_has_its_old_name_for_every_judge() {
        let mut configs = Configs::default();
        served(&mut configs, "a", "a1", 0);
        served(&mut configs, "b", "b1", 1);
        assert_eq!(served(&mut configs, "a", "a2", 500_000), "a2");
        assert_eq!(
            served(&mut configs, "b", "b1", 600_000),
            "a2",
            "b judges as before, under the new one"
        );
        assert_eq!(served(&mut configs, "a", "a1", 900_000), "a1");
        assert_eq!(served(&mut configs, "b", "b1", 900_001), "a1");
    }

    #[test]
    fn the_first_configuration_is_no_change_and_one_that_comes_back_is() {
        let mut configs = Configs::default();
        served(&mut configs, "a", "a1", 5_000);
        served(&mut configs, "b", "b1", 6_000);
        assert_eq!(configs.changes(), Vec::<i64>::new());
        served(&mut configs, "a", "a2", 500_000);
        shadow(&mut configs, "b", "b2", 600_000);
        assert_eq!(configs.changes(), [500_000]);
        served(&mut configs, "a", "a1", 900_000);
        assert_eq!(configs.changes(), [500_000, 900_000]);
    }

    #[test]
    fn a_judge_that_was_slow_to_change_over_opens_no_second_configuration() {
        let mut configs = Configs::default();
        served(&mut configs, "a", "a1", 0);
        served(&mut configs, "b", "b1", 1);
        assert_eq!(served(&mut configs, "a", "a2", 500_000), "a2");
        assert_eq!(
            served(&mut configs, "b", "b1", 500_010),
            "a2",
            "nothing says yet that b changes too"
        );
        assert_eq!(served(&mut configs, "b", "b2", 500_020), "a2");
        assert_eq!(
            served(&mut configs, "b", "b3", 900_000),
            "b3",
            "long after, it is a change of its own"
        );
    }

    /// Two judges serve, and a new policy changes both; `b` has not served under it yet.
    fn changed_over() -> Configs {
        let mut configs = Configs::default();
        served(&mut configs, "a", "a1", 0);
        served(&mut configs, "b", "b1", 1);
        served(&mut configs, "a", "a2", 500_000);
        configs
    }

    #[test]
    fn a_shadow_of_the_old_policy_took_its_judges_place_and_the_judge_opened_a_false_one() {
        let mut configs = changed_over();
        let before = configs.clone();
        assert_eq!(shadow(&mut configs, "b", "b1", 499_000), "a1", "asked before the reload");
        assert_eq!(configs, before, "nothing rests on it");
        assert_eq!(
            served(&mut configs, "b", "b2", 900_000),
            "a2",
            "long after: no policy of its own"
        );
    }

    #[test]
    fn a_shadow_opens_nothing_whatever_decided_it() {
        let mut configs = changed_over();
        let before = configs.clone();
        assert_eq!(shadow(&mut configs, "b", "b2", 600_000), "a2", "as the new policy asks it");
        assert_eq!(shadow(&mut configs, "a", "a9", 600_001), "a2");
        assert_eq!(shadow(&mut configs, "c", "c1", 400), "a1", "a backfill hours later");
        assert_eq!(shadow(&mut configs, "a", "a2", 400), "a2", "an old image, asked about now");
        assert_eq!(configs, before);
    }

    #[test]
    fn a_verdict_of_before_that_comes_weeks_later_opens_nothing_and_brings_nothing_back() {
        let mut configs = changed_over();
        let before = configs.clone();
        assert_eq!(served(&mut configs, "a", "a1", 300_000), "a1");
        assert_eq!(served(&mut configs, "b", "b1", 300_001), "a1", "not the newest's");
        assert_eq!(
            served(&mut configs, "a", "a0", 300_002),
            "a1",
            "what decided is not known any more"
        );
        assert_eq!(
            served(&mut configs, "a", "a0", -9_000),
            "a1",
            "of before anything that is known"
        );
        assert_eq!(configs, before);
    }
}
