//! A race on the paused clock, told as one line.
//!
//! Judges are called a, b, c, …; of unknown speed, so that a hedge is due after 1500 ms, the last
//! chance at 3450 ms of 5000, and a quarter of what is left is kept for the next judge.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::clock::{Deadline, Stopwatch};
use crate::domain::policy::RouteSpec;
use crate::domain::{Attempt, MicroUsd};
use crate::panel::hedge::Purse;
use crate::panel::race::{Outcome, Race, Raced};
use crate::panel::script::{Script, ScriptedJudge, question, route};
use crate::panel::{Care, Judge, Panel, Question};

pub(crate) const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A panel and what is asked of it.
pub(crate) struct Scene {
    pub(crate) panel: Panel,
    pub(crate) question: Question,
    pub(crate) route: RouteSpec,
    pub(crate) cost_cap: Option<MicroUsd>,
    pub(crate) deadline_ms: u64,
    pub(crate) caller_leaves_ms: Option<u64>,
    pub(crate) caller_is_gone: bool,
}

impl Scene {
    pub(crate) fn of(judges: Vec<ScriptedJudge>) -> Self {
        Self::capped(judges.into_iter().map(|judge| (judge, None)).collect())
    }

    /// The same where each judge may have so many calls at once.
    pub(crate) fn capped(judges: Vec<(ScriptedJudge, Option<u32>)>) -> Self {
        let names: Vec<String> = judges.iter().map(|(judge, _)| judge.id().name.clone()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let route = route(&names);
        let seated = |(judge, max_in_flight)| {
            (Arc::new(judge) as Arc<dyn Judge>, Care { max_in_flight, ..Care::default() })
        };
        Self {
            panel: Panel::seated(judges.into_iter().map(seated).collect(), || 0.5),
            question: question(&["cutout", "shadow"]),
            route,
            cost_cap: None,
            deadline_ms: 5_000,
            caller_leaves_ms: None,
            caller_is_gone: false,
        }
    }

    pub(crate) fn scripted(scripts: &[Script]) -> Self {
        let judge = |(name, script): (&&str, &Script)| {
            ScriptedJudge::new(name, std::slice::from_ref(script))
        };
        Self::of(NAMES.iter().zip(scripts).map(judge).collect())
    }

    pub(crate) fn without_hedges(mut self) -> Self {
        self.route.hedge = None;
        self
    }

    pub(crate) fn spend_hedge_budget(&self) {
        while self.panel.budgets().take(Purse::Hedge) {}
    }

    pub(crate) fn spend_last_chances(&self) {
        while self.panel.budgets().take(Purse::LastChance) {}
    }

    pub(crate) async fn race(&self) -> (Raced, Duration) {
        let watch = Stopwatch::start();
        let caller_gone = CancellationToken::new();
        if self.caller_is_gone {
            caller_gone.cancel();
        }
        let entry = Race {
            question: &self.question,
            route: &self.route,
            cost_cap: self.cost_cap,
            deadline: Deadline::after(Duration::from_millis(self.deadline_ms)),
            began: watch,
            caller_gone: &caller_gone,
        };
        let leaving = async {
            match self.caller_leaves_ms {
                Some(ms) => time::sleep(Duration::from_millis(ms)).await,
                None => pending().await,
            }
            caller_gone.cancel();
            pending::<()>().await;
        };
        let raced = tokio::select! {
            raced = self.panel.race(entry) => raced,
            () = leaving => panic!("nobody waits for the caller"),
        };
        (raced, watch.elapsed())
    }

    #[track_caller]
    pub(crate) fn assert_idle(&self) {
        for judge in self.panel.statuses() {
            assert_eq!(judge.in_flight, 0, "{} is still called", judge.id.name);
        }
    }

    /// The same where a probe may run on.
    pub(crate) async fn check_but_probes(&self, expected: &str) {
        let (raced, took) = self.race().await;
        assert_eq!(story(&raced, took), expected);
    }

    /// Runs the race and compares its story with `expected`.
    pub(crate) async fn check(&self, expected: &str) {
        let (raced, took) = self.race().await;
        assert_eq!(story(&raced, took), expected);
        self.assert_idle();
    }
}

/// `judged by b at 1800 ms: a primary cancelled 0+1800, b hedge judged 1500+300`.
pub(crate) fn story(raced: &Raced, took: Duration) -> String {
    let end = match &raced.outcome {
        Outcome::Judged { judge, .. } => format!("judged by {}", judge.name),
        Outcome::Exhausted => "exhausted".to_owned(),
        Outcome::Late => "late".to_owned(),
    };
    let attempt = |one: &Attempt| {
        let (name, route, outcome) = (&one.judge.name, one.route.label(), one.outcome.label());
        format!("{name} {route} {outcome} {}+{}", one.started_ms, one.took_ms)
    };
    let attempts: Vec<String> = raced.attempts.iter().map(attempt).collect();
    format!("{end} at {} ms: {}", took.as_millis(), attempts.join(", "))
}

pub(crate) async fn check(scripts: &[Script], expected: &str) {
    Scene::scripted(scripts).check(expected).await;
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, cost_cap, deadline_ms, caller_leaves_ms, .. } = self;
        write!(f, "{route:?} {cost_cap:?} {deadline_ms} ms, caller leaves {caller_leaves_ms:?}")
    }
}
