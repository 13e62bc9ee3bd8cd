//! The panel's history as it is kept over a restart: how fast each judge was.
//!
//! Breakers are not kept: they start closed, because what was true of a provider before a restart
//! is found out again within seconds, and a wrong memory would keep a judge from its turn.

use serde::{Deserialize, Serialize};

use crate::panel::Panel;
use crate::panel::latency::Kept;
use crate::panel::pace::Speeds;

/// The version of the form.
const FORM: u32 = 1;

/// What is known of every judge's speed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    form: u32,
    /// When it was kept, microseconds since the Unix epoch.
    pub kept_at_us: i64,
    judges: Vec<JudgeHistory>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct JudgeHistory {
    name: String,
    /// A judge with other parameters is another judge.
    parameters: String,
    recent: Histogram,
    normal: Histogram,
    /// Empty in what was kept before ends had a speed of their own.
    #[serde(default)]
    whole: Histogram,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Histogram {
    samples: u64,
    overflow: f32,
    buckets: Vec<(u16, f32)>,
}

impl Panel {
    /// What to keep over a restart.
    #[must_use]
    pub fn history(&self, kept_at_us: i64) -> History {
        let looking = self.seats.iter().filter(|seat| !seat.stands_in());
        let judges = looking.map(|seat| {
            let Speeds { recent, normal, whole } = seat.keep();
            JudgeHistory {
                name: seat.name().to_owned(),
                parameters: seat.judge().parameters().to_owned(),
                recent: recent.into(),
                normal: normal.into(),
                whole: whole.into(),
            }
        });
        History { form: FORM, kept_at_us, judges: judges.collect() }
    }

    /// Takes up what was kept of the judges that are still the same, and says of how many.
    ///
    /// # Errors
    /// What is damaged; judges before it are taken up.
    pub fn restore(&self, history: &History) -> Result<usize, String> {
        if history.form != FORM {
            return Err(format!("form {}, expected {FORM}", history.form));
        }
        let mut restored = 0;
        for kept in &history.judges {
            let Some(seat) = self.seat(&kept.name) else { continue };
            if seat.judge().parameters() == kept.parameters {
                let speeds = Speeds {
                    recent: Kept::from(&kept.recent),
                    normal: Kept::from(&kept.normal),
                    whole: Kept::from(&kept.whole),
                };
                seat.restore(&speeds).map_err(|why| format!("{}: {why}", kept.name))?;
                restored += 1;
            }
        }
        Ok(restored)
    }
}

impl From<Kept> for Histogram {
    fn from(Kept { buckets, overflow, samples }: Kept) -> Self {
        Self { samples, overflow, buckets }
    }
}

impl From<&Histogram> for Kept {
    fn from(Histogram { samples, overflow, buckets }: &Histogram) -> Self {
        Self { buckets: buckets.clone(), overflow: *overflow, samples: *samples }
    }
}

#[cfg(test)]
impl History {
    /// What is known of a judge called a after 40 answers.
    pub(crate) fn example(kept_at_us: i64) -> Self {
        let histogram = || Histogram { samples: 40, overflow: 0.0, buckets: vec![(87, 40.0)] };
        let judge = JudgeHistory {
            name: "a".to_owned(),
            parameters: "scripted".to_owned(),
            recent: histogram(),
            normal: histogram(),
            whole: histogram(),
        };
        Self { form: FORM, kept_at_us, judges: vec![judge] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;
    use std::time::Duration;

    use crate::panel::script::{ScriptedJudge, answers};

    fn panel(names: &[&str]) -> Panel {
        let judge = |name: &&str| Arc::new(ScriptedJudge::new(name, &[answers(1)])) as Arc<_>;
        Panel::new(names.iter().map(judge).collect())
    }

    fn used() -> Panel {
        let used = panel(&["a", "b"]);
        let seat = used.seat("a").unwrap();
        (0..40).for_each(|_| seat.censor(Duration::from_secs(4)));
        used
    }

    #[test]
    fn what_was_known_of_a_judge_is_known_after_a_restart() {
        let before = used();
        let text = serde_json::to_string(&before.history(7)).unwrap();
        let history: History = serde_json::from_str(&text).unwrap();
        let after = panel(&["b", "a"]);
        assert_eq!(after.restore(&history), Ok(2));
        let status =
            |panel: &Panel| panel.statuses().into_iter().find(|one| one.id.name == "a").unwrap();
        assert_eq!(status(&before).samples, status(&after).samples);
        assert_eq!(status(&before).p50_ms, status(&after).p50_ms);
    }

    #[test]
    fn ends_were_held_to_the_speed_of_scores_after_a_restart() {
        let before = panel(&["a"]);
        let seat = before.seat("a").unwrap();
        (0..200).for_each(|_| seat.record_end(Duration::from_millis(2_500)));
        let budget = Duration::from_secs(5);
        let known = seat.end_strike_age(budget);
        assert!(known.is_some_and(|age| Duration::from_secs(3) < age), "{known:?}");

        let after = panel(&["a"]);
        assert_eq!(after.seat("a").unwrap().end_strike_age(budget), None);
        after.restore(&before.history(7)).unwrap();

        assert_eq!(after.seat("a").unwrap().end_strike_age(budget), known);
    }

    #[test]
    fn a_judge_with_other_parameters_starts_anew() {
        let mut history = used().history(7);
        "another model".clone_into(&mut history.judges[0].parameters);
        let after = panel(&["a", "b"]);
        assert_eq!(after.restore(&history), Ok(1));
        assert_eq!(after.statuses()[0].samples, 0);
    }

    #[test]
    fn a_judge_that_is_gone_is_passed_over() {
        assert_eq!(panel(&["b"]).restore(&used().history(7)), Ok(1));
    }

    #[test]
    fn what_is_damaged_is_refused_with_its_judge() {
        let mut history = used().history(7);
        history.judges[0].normal.buckets.push((9_999, 1.0));
        let after = panel(&["a"]);
        assert_eq!(after.restore(&history).unwrap_err(), "a: bucket 9999 is past the last, 220");
        assert_eq!(after.statuses()[0].samples, 0);
        history.form = 2;
        assert_eq!(after.restore(&history).unwrap_err(), "form 2, expected 1");
    }
}
