//! Whole streams through the monitor: what it told, and when.

use std::collections::HashMap;

use vlmgate::drift::event::{Event, Label};
use vlmgate::drift::judged::{Judged, Route, image_key};
use vlmgate::drift::monitor::{Monitor, Settings};

use crate::drift::worlds::{Drawn, JUDGES, Scenario, World};

/// What the monitor told about one stream, annotations left out.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) world: World,
    pub(crate) events: Vec<Event>,
    /// Judgements asked for beside the stream.
    pub(crate) burst_calls: u64,
}

/// Plays a stream; with a burst, the monitor's questions are answered as the judges would.
pub(crate) fn play(world: World, seed: u64, settings: Settings) -> Run {
    let drawn = world.draw(seed);
    let monitor = Monitor::new(settings, world.baseline_until_ms());
    let (events, burst_calls) = fold(monitor, &drawn);
    Run { world, events, burst_calls }
}

fn fold(mut monitor: Monitor, drawn: &Drawn) -> (Vec<Event>, u64) {
    let answers: HashMap<u64, [bool; 3]> = drawn
        .rejects
        .iter()
        .enumerate()
        .map(|(i, rejects)| (image_key(&format!("im{i:07}")), *rejects))
        .collect();
    let (mut events, mut calls) = (Vec::new(), 0);
    for judged in &drawn.verdicts {
        events.extend(monitor.observe(judged));
        if !judged.route.served() || judged.route == Route::Hedge {
            continue;
        }
        let asked: Vec<String> = monitor.burst_judges().into_iter().map(str::to_owned).collect();
        for judge in asked.into_iter().filter(|judge| *judge != judged.judge) {
            let at = JUDGES.iter().position(|one| *one == judge).unwrap();
            let reject = answers[&judged.image][at];
            let shadow = Judged { judge, route: Route::Shadow, reject, ..judged.clone() };
            events.extend(monitor.observe(&shadow));
            calls += 1;
        }
    }
    events.retain(|event| !matches!(event.label, Label::PolicyAnnotation | Label::None));
    (events, calls)
}

impl Run {
    /// The first event after the onset.
    pub(crate) fn first(&self) -> Option<&Event> {
        self.events.iter().find(|event| self.world.onset_ms() <= event.at_ms)
    }

    /// Whether that one says what happened.
    pub(crate) fn right(&self) -> bool {
        self.first().is_some_and(|first| first.label.to_string() == self.world.scenario.label())
    }

    /// Events that nothing caused: before the onset, or at any time in a quiet stream.
    pub(crate) fn false_events(&self) -> usize {
        let quiet = matches!(self.world.scenario, Scenario::Quiet | Scenario::DiurnalMix);
        let onset_ms = self.world.onset_ms();
        self.events.iter().filter(|event| quiet || event.at_ms < onset_ms).count()
    }

    /// Events that blame a judge or the images.
    pub(crate) fn blaming_events(&self) -> usize {
        let blames =
            |event: &&Event| matches!(event.label, Label::ProviderDrift(_) | Label::InputDrift);
        self.events.iter().filter(blames).count()
    }

    /// Minutes from the onset to the alarm, and to the label.
    pub(crate) fn delays_min(&self) -> Option<(f64, f64)> {
        let first = self.first()?;
        #[expect(clippy::cast_precision_loss, reason = "streams last days")]
        let minutes = |at_ms: i64| (at_ms - self.world.onset_ms()) as f64 / 60_000.0;
        Some((minutes(first.alarm_at_ms), minutes(first.at_ms)))
    }
}
