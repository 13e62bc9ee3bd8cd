//! A promise of the scorecard: a row of it, and what the runs of a scenario must reach.

#![expect(clippy::cast_precision_loss, reason = "counts of made-up worlds are small")]

use crate::drift::runs::Run;
use crate::drift::worlds::{Scenario, World};

/// Prints a row of the scorecard; whether it is met.
pub(crate) fn row(number: &str, what: &str, must: &str, measured: &str, met: bool) -> bool {
    let told = if met { "met" } else { "MISSED" };
    println!("| {number} | {what} | {must} | {measured} | {told} |");
    met
}

/// What a scenario must reach.
pub(crate) struct Promise {
    pub(crate) number: &'static str,
    what: &'static str,
    pub(crate) world: World,
    detected: f64,
    right: f64,
    /// Longest median minutes to the label.
    pub(crate) label_min: Option<f64>,
    /// Longest mean minutes to the alarm.
    pub(crate) alarm_min: Option<f64>,
    /// Whether no judge and no images may be blamed by any event.
    pub(crate) blames_nobody: bool,
    /// Whether there may be one event only.
    pub(crate) tells_once: bool,
}

impl Promise {
    pub(crate) fn of(
        number: &'static str,
        what: &'static str,
        scenario: Scenario,
        (detected, right): (f64, f64),
    ) -> Self {
        let world = World::of(scenario);
        let (label_min, alarm_min, blames_nobody, tells_once) = (None, None, false, false);
        Self {
            number,
            what,
            world,
            detected,
            right,
            label_min,
            alarm_min,
            blames_nobody,
            tells_once,
        }
    }

    /// Prints the row of `runs`; whether it is met.
    pub(crate) fn judge(&self, runs: &[Run]) -> bool {
        let n = runs.len() as f64;
        let detected = runs.iter().filter(|run| run.first().is_some()).count();
        let right = runs.iter().filter(|run| run.right()).count();
        let early: usize = runs.iter().map(Run::false_events).sum();
        let single = runs.iter().filter(|run| run.events.len() == 1).count();
        let blaming: usize = runs.iter().map(Run::blaming_events).sum();
        let delays: Vec<(f64, f64)> = runs.iter().filter_map(Run::delays_min).collect();
        let alarms: Vec<f64> = delays.iter().map(|delay| delay.0).collect();
        let mean_alarm = alarms.iter().sum::<f64>() / alarms.len() as f64;
        let label = median(delays.iter().map(|delay| delay.1).collect());
        // from the alarm to the label, where the alarm has a promise of its own
        let after_alarm = median(delays.iter().map(|delay| delay.1 - delay.0).collect());
        let waited = if self.alarm_min.is_some() { after_alarm } else { label };
        let met = n * self.detected <= detected as f64
            && n * self.right <= right as f64
            && self.label_min.is_none_or(|most| waited <= most)
            && self.alarm_min.is_none_or(|most| mean_alarm <= most)
            && !(self.blames_nobody && blaming != 0)
            && !(self.tells_once && single != runs.len());
        let calls = runs.iter().map(|run| run.burst_calls).sum::<u64>() / runs.len() as u64;
        let mut must =
            format!("detected {:.0} %, label {:.0} %", self.detected * 100.0, self.right * 100.0);
        if let Some(most) = self.alarm_min {
            must += &format!(", mean alarm {most} min");
        }
        if let Some(most) = self.label_min {
            must += &format!(", median label {most} min");
        }
        if self.blames_nobody {
            must += ", no provider or input event";
        }
        if self.tells_once {
            must += ", one event only";
        }
        let measured = format!(
            "detected {detected}/{n}, label {right}/{n}, one event in {single}/{n}, {blaming} of \
             a provider or the input, {early} before the onset; alarm {mean_alarm:.1} min (mean), \
             label {label:.1} min (median), {after_alarm:.1} after the alarm; {calls} burst calls"
        );
        row(self.number, self.what, &must, &measured, met)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
