//! Whatever comes, waits or ends at the door, in any order and on many threads at once.

use std::future::poll_fn;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;

use futures_util::future::FutureExt;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use super::*;
use crate::gate::admission::tests::{
    Entering, MAX_PENDING, Stage, ask, before, door, now_of, within,
};
use crate::panel::script::{ScriptedJudge, answers, limited};

/// What can happen in front of a door and behind it.
#[derive(Clone, Debug)]
enum Event {
    Comes {
        judges: usize,
        size_bytes: usize,
        wait_ms: u64,
    },
    HangsUp {
        at: usize,
    },
    Ends {
        at: usize,
    },
    ReachesJudges {
        at: usize,
    },
    Passes {
        ms: u64,
    },
    /// Judge `a` is asked where it may be, and says for how long to stay away.
    AIsAsked,
}

fn any_event() -> impl Strategy<Value = Event> {
    let comes = (0_usize..3, 1_usize..=700, 0_u64..3_000);
    prop_oneof![
        5 => comes.prop_map(|(judges, size_bytes, wait_ms)| {
            Event::Comes { judges, size_bytes, wait_ms }
        }),
        1 => (0_usize..6).prop_map(|at| Event::HangsUp { at }),
        3 => (0_usize..3).prop_map(|at| Event::Ends { at }),
        1 => (0_usize..3).prop_map(|at| Event::ReachesJudges { at }),
        2 => (0_u64..1_500).prop_map(|ms| Event::Passes { ms }),
        1 => Just(Event::AIsAsked),
    ]
}

/// Whom a request asks: one that is away now and then, one that never is, or nobody.
fn routes() -> [Vec<String>; 3] {
    [vec!["a".to_owned()], vec!["b".to_owned()], Vec::new()]
}

fn panel() -> Arc<Panel> {
    let away = [limited(1, 400), limited(1, 2_500), limited(1, 60_000)];
    let a = ScriptedJudge::new("a", &away);
    let b = ScriptedJudge::new("b", &[answers(10)]);
    Arc::new(Panel::new(vec![Arc::new(a), Arc::new(b)]))
}

/// A request in the line, when it came to nothing if not let in by then, and whether it has waited.
struct Waiter<'a> {
    entering: Entering<'a>,
    size_bytes: usize,
    judges: &'a [String],
    useful_until: Instant,
    has_waited: bool,
}

struct Scene<'a> {
    door: &'a Door,
    ledger: &'a Ledger,
    routes: &'a [Vec<String>; 3],
    waiting: Vec<Waiter<'a>>,
    inside: Vec<Admission>,
}

impl Scene<'_> {
    async fn play(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Comes { judges, size_bytes, wait_ms } => {
                let judges = self.routes[judges].as_slice();
                let newcomer = within(size_bytes, Duration::from_millis(wait_ms));
                let newcomer = Newcomer { judges, ..newcomer };
                let useful_until = newcomer.judged_by.less(newcomer.floor).instant();
                let entering = self.door.enter(newcomer, self.ledger).boxed();
                let has_waited = false;
                self.waiting.push(Waiter {
                    entering,
                    size_bytes,
                    judges,
                    useful_until,
                    has_waited,
                });
            }
            Event::HangsUp { at } if at < self.waiting.len() => drop(self.waiting.remove(at)),
            Event::Ends { at } if at < self.inside.len() => drop(self.inside.remove(at)),
            Event::ReachesJudges { at } => {
                let reached = self.inside.get_mut(at);
                reached.into_iter().for_each(|one| one.permits.reach_judges());
            }
            Event::Passes { ms } => time::advance(Duration::from_millis(ms)).await,
            Event::AIsAsked => {
                let panel = Arc::clone(&self.door.shared.panel);
                ask(&panel, &["a"], Duration::from_millis(300)).await;
            }
            Event::HangsUp { .. } | Event::Ends { .. } => {}
        }
        self.settle().await
    }

    /// Lets everybody look until nobody moves any more.
    async fn settle(&mut self) -> Result<(), TestCaseError> {
        // twice where nobody moves: who looks may call another
        let mut quiet = 0;
        while quiet < 2 {
            quiet += 1;
            let mut at = 0;
            while at < self.waiting.len() {
                let one = &mut self.waiting[at];
                let polled = poll_fn(|cx| Poll::Ready(one.entering.as_mut().poll(cx))).await;
                let (has_waited, useful_until) = (one.has_waited, one.useful_until);
                // who has just joined may have pushed another out
                if !std::mem::replace(&mut one.has_waited, true) {
                    quiet = 0;
                }
                let Poll::Ready(entered) = polled else {
                    at += 1;
                    continue;
                };
                quiet = 0;
                drop(self.waiting.remove(at));
                if let Ok(admission) = entered {
                    let is_useful = now() < useful_until;
                    prop_assert!(!has_waited || is_useful, "served past its usefulness");
                    self.inside.push(admission);
                }
            }
        }
        let limits = LIMITS;
        let shared = self.door.shared.lock();
        prop_assert!(shared.in_flight() <= limits.max_in_flight);
        prop_assert!(shared.held_bytes() <= limits.max_in_flight_bytes);
        prop_assert!(shared.queued() <= limits.max_queued);
        prop_assert_eq!(shared.in_flight(), self.inside.len());
        prop_assert_eq!(shared.queued(), self.waiting.len());
        for one in &self.waiting {
            // only judge `a` is ever away
            let is_kept_by_judges = one.judges == self.routes[0];
            let lacks = shared.lacks(one.size_bytes);
            prop_assert!(is_kept_by_judges || lacks.is_some(), "who could go was kept waiting");
        }
        let lack_permits = self.waiting.iter().any(|one| shared.lacks(one.size_bytes).is_some());
        let is_full = limits.max_in_flight == shared.in_flight();
        prop_assert_eq!(shared.is_crowded(), lack_permits || is_full);
        Ok(())
    }
}

const LIMITS: Limits = Limits { max_in_flight: 3, max_in_flight_bytes: 1_000, max_queued: 4 };

#[test]
fn whatever_comes_hangs_up_or_ends_no_permit_leaks_and_nobody_is_served_too_late() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) };
    let mut runner = TestRunner::new(config);
    let events = prop::collection::vec(any_event(), 0..60);
    let run = runner.run(&events, |events| {
        runtime.block_on(async {
            let (door, routes) = (before(LIMITS, panel()), &routes());
            let (waiting, inside) = (Vec::new(), Vec::new());
            let mut scene = Scene { door: &door, ledger, routes, waiting, inside };
            for event in events {
                scene.play(event).await?;
            }
            scene.inside.clear();
            scene.settle().await?;
            scene.inside.clear();
            scene.waiting.clear();
            prop_assert_eq!((door.in_flight(), door.queued()), (0, 0));
            prop_assert_eq!(door.shared.lock().held_bytes(), 0);
            let slots: Vec<_> = (0..MAX_PENDING).map(|_| ledger.reserve()).collect();
            prop_assert!(slots.iter().all(Result::is_ok), "a journal slot leaked");
            Ok(())
        })
    });
    run.unwrap();
}

#[test]
fn many_threads_at_one_door_exceed_nothing_wait_for_nothing_for_ever_and_leak_nothing() {
    const CALLERS: usize = 400;
    let stage = Arc::new(Stage::new(MAX_PENDING));
    let door = Arc::new(door(Limits { max_queued: CALLERS, ..LIMITS }));
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let most = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (door, stage, most) = (Arc::clone(&door), Arc::clone(&stage), Arc::clone(&most));
            callers.spawn(async move {
                let newcomer = within(1 + caller * 37 % 600, Duration::from_secs(60));
                let mut entering = door.enter(newcomer, &stage.ledger).boxed();
                if caller % 5 == 0 {
                    // hangs up while it waits, or at the very moment it is let in
                    return drop(now_of(&mut entering).await);
                }
                let mut admission = entering.await.unwrap();
                most.fetch_max(door.in_flight(), Ordering::Relaxed);
                tokio::task::yield_now().await;
                admission.permits.reach_judges();
                tokio::task::yield_now().await;
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended.unwrap();
        }
    });
    assert!(most.load(Ordering::Relaxed) <= LIMITS.max_in_flight);
    assert_eq!((door.in_flight(), door.queued()), (0, 0));
    assert_eq!(door.shared.lock().held_bytes(), 0);
}
