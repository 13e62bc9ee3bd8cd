use std::sync::atomic::AtomicU64;

use futures_util::future::{BoxFuture, FutureExt};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::ledger::{Settings, Sync};
use crate::panel::Judge;
use crate::panel::race::Race;
use crate::panel::script::{Script, ScriptedJudge, answers, limited, question, route};

pub(super) const MAX_PENDING: usize = 64;

/// A ledger on a real disk and a runtime whose clock stands still: slots are all that is asked of
/// the ledger, and they wait for nothing.
pub(super) struct Stage {
    pub(super) runtime: Runtime,
    pub(super) ledger: Ledger,
    _dir: TempDir,
}

impl Stage {
    pub(super) fn new(max_pending: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            path: dir.path().join("ledger.db"),
            images_dir: dir.path().join("images"),
            sync: Sync::Normal,
            max_pending,
            append_wait: Duration::from_secs(1),
            readers: 1,
            max_file_bytes: None,
            spare_bytes: 0,
        };
        let opening = Builder::new_current_thread().enable_all().build().unwrap();
        let ledger = opening.block_on(Ledger::open(settings)).unwrap();
        let runtime =
            Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        Self { runtime, ledger, _dir: dir }
    }
}

fn limits(max_in_flight: usize, max_queued: usize) -> Limits {
    Limits { max_in_flight, max_in_flight_bytes: 1_000, max_queued }
}

/// A door in front of judges that nobody waits for.
pub(super) fn door(limits: Limits) -> Door {
    before(limits, Arc::new(Panel::new(Vec::new())))
}

/// The same in front of `panel`. Its workers have nothing to do.
pub(super) fn before(limits: Limits, panel: Arc<Panel>) -> Door {
    Door::new(limits, panel, || Duration::ZERO)
}

/// One of `size_bytes` who waits for 5 s.
fn newcomer(size_bytes: usize) -> Newcomer<'static> {
    within(size_bytes, Duration::from_secs(5))
}

pub(super) fn within(size_bytes: usize, wait: Duration) -> Newcomer<'static> {
    let judged_by = Deadline::after(wait);
    let floor = Duration::from_millis(300);
    let (judges, wants_worker) = (&[], true);
    Newcomer { size_bytes, judges, read_by: judged_by, judged_by, floor, wants_worker }
}

pub(super) type Entering<'a> = BoxFuture<'a, Result<Admission, TurnedAway>>;

/// What has become of it by now.
pub(super) async fn now_of(entering: &mut Entering<'_>) -> Option<Result<Admission, TurnedAway>> {
    // twice: whoever was let in calls the next
    for _ in 0..2 {
        if let Some(entered) = entering.as_mut().now_or_never() {
            return Some(entered);
        }
        tokio::task::yield_now().await;
    }
    None
}

fn reason(entered: Option<Result<Admission, TurnedAway>>) -> Option<Shed> {
    entered.and_then(Result::err).map(|away| away.reason)
}

#[test]
fn who_waits_holds_nothing_and_the_newest_is_served_first() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let door = door(limits(1, 8));
        let inside = door.enter(newcomer(10), ledger).await.unwrap();
        let mut older = door.enter(newcomer(10), ledger).boxed();
        let mut newer = door.enter(newcomer(10), ledger).boxed();
        assert!(now_of(&mut older).await.is_none() && now_of(&mut newer).await.is_none());
        assert_eq!((door.in_flight(), door.queued()), (1, 2));
        assert!(door.is_crowded());
        drop(inside);
        assert!(now_of(&mut older).await.is_none(), "it is not its turn");
        let newer = now_of(&mut newer).await.unwrap().unwrap();
        assert!(now_of(&mut older).await.is_none());
        drop(newer);
        assert!(now_of(&mut older).await.unwrap().is_ok());
        assert_eq!((door.in_flight(), door.queued()), (0, 0));
    });
}

#[test]
fn a_waiter_leaves_as_soon_as_no_judge_could_answer_in_time() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let judge = ScriptedJudge::new("a", &[answers(1)]).expecting(1_200, 2_000);
        let panel = Arc::new(Panel::new(vec![Arc::new(judge)]));
        let door = before(limits(1, 8), panel);
        let judges = ["a".to_owned()];
        let asking = || Newcomer { judges: &judges, ..newcomer(10) };
        let _inside = door.enter(asking(), ledger).await.unwrap();
        let watch = Stopwatch::start();
        let away = door.enter(asking(), ledger).await.unwrap_err();
        assert_eq!((away.reason, away.lacked), (Shed::TooLate, Some(Shed::InFlight)));
        let left = Duration::from_secs(5).saturating_sub(watch.elapsed());
        let p50 = door.shared.panel.fastest_p50(&judges).unwrap();
        assert!(left.abs_diff(p50) < Duration::from_millis(5), "{left:?} against {p50:?}");
        assert_eq!(door.queued(), 0);
        // of unknown speed: the floor
        let watch = Stopwatch::start();
        assert!(door.enter(newcomer(10), ledger).await.is_err());
        assert!(watch.elapsed().abs_diff(Duration::from_millis(4_700)).as_millis() < 5);
    });
}

#[test]
fn who_has_too_little_time_is_let_in_where_there_is_room_and_never_waits() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let door = door(limits(1, 8));
        let hurried = within(10, Duration::from_millis(200));
        let _inside = door.enter(hurried, ledger).await.unwrap();
        let mut second = door.enter(hurried, ledger).boxed();
        assert_eq!(reason(now_of(&mut second).await), Some(Shed::TooLate));
    });
}

#[test]
fn a_full_line_sheds_its_oldest_at_once() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let door = door(limits(1, 2));
        let _inside = door.enter(newcomer(10), ledger).await.unwrap();
        let mut waiting: Vec<_> =
            (0..3).map(|_| door.enter(newcomer(10), ledger).boxed()).collect();
        for one in &mut waiting[1..] {
            assert!(now_of(one).await.is_none());
        }
        // futures act when they are polled: this one comes last
        assert!(now_of(&mut waiting[0]).await.is_none());
        assert_eq!(door.queued(), 2);
        assert_eq!(reason(now_of(&mut waiting[1]).await), Some(Shed::QueueFull));
        // less time than the oldest: it goes itself
        let mut hurried = door.enter(within(10, Duration::from_secs(1)), ledger).boxed();
        assert_eq!(reason(now_of(&mut hurried).await), Some(Shed::QueueFull));
        assert!(now_of(&mut waiting[2]).await.is_none());
    });
}

#[test]
fn without_a_line_everybody_is_told_at_once_what_is_lacking() {
    let Stage { runtime, ledger, .. } = &Stage::new(2);
    runtime.block_on(async {
        let bytes = Limits { max_in_flight: 9, ..limits(9, 0) };
        let door = door(bytes);
        let refused = async |size_bytes| {
            let away = door.enter(newcomer(size_bytes), ledger).await.unwrap_err();
            assert_eq!((away.lacked, away.retry_after), (None, RETRY_SOONEST));
            away.reason
        };
        let _one = door.enter(newcomer(600), ledger).await.unwrap();
        assert_eq!(refused(600).await, Shed::Bytes);
        let _two = door.enter(newcomer(1), ledger).await.unwrap();
        assert_eq!(refused(1).await, Shed::Journal);
        door.close();
        assert_eq!(refused(1).await, Shed::Draining);
        assert_eq!(door.admit(1, ledger).map(drop), Err(Shed::Journal), "ours, not a caller's");
    });
}

#[test]
fn a_body_that_never_fits_does_not_stand_in_line() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let door = door(limits(4, 4));
        let mut giant = door.enter(newcomer(1_001), ledger).boxed();
        assert_eq!(reason(now_of(&mut giant).await), Some(Shed::Bytes));
    });
}

/// Runs one race and says how many were asked.
pub(super) async fn ask(panel: &Panel, judges: &[&str], within: Duration) -> usize {
    let (question, route) = (question(&["cutout"]), route(judges));
    let race = Race {
        question: &question,
        route: &route,
        cost_cap: None,
        deadline: Deadline::after(within),
        began: Stopwatch::start(),
        caller_gone: &CancellationToken::new(),
    };
    panel.race(race).await.attempts.len()
}

/// Makes the judge called `a` say for how long to stay away.
async fn block(panel: &Panel) {
    ask(panel, &["a"], Duration::from_millis(500)).await;
    assert!(!panel.has_room());
}

fn scripted(scripts: &[Script]) -> Arc<Panel> {
    Arc::new(Panel::new(vec![Arc::new(ScriptedJudge::new("a", scripts))]))
}

#[test]
fn judges_that_are_all_told_to_stay_away_are_waited_for() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let panel = scripted(&[limited(1, 2_000)]);
        let door = before(limits(4, 4), Arc::clone(&panel));
        block(&panel).await;
        let judges = ["a".to_owned()];
        let watch = Stopwatch::start();
        let mut checked = newcomer(10);
        assert!(door.enter(checked, ledger).await.is_ok(), "nobody is asked about it");
        checked.judges = &judges;
        assert!(door.enter(checked, ledger).await.is_ok());
        let waited = watch.elapsed();
        let block = Duration::from_millis(2_000);
        assert!(waited <= block && block < waited + Duration::from_millis(600), "{waited:?}");
    });
}

#[test]
fn a_shortage_of_judges_that_is_over_does_not_leave_slow_senders_in_line_for_ever() {
    // fewer than the judge is given after it was refused once
    const CALLERS: usize = 20;
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let panel = scripted(&[limited(1, 2_000)]);
        let door = before(limits(CALLERS, CALLERS), Arc::clone(&panel));
        block(&panel).await;
        let judges = ["a".to_owned()];
        let asking = || Newcomer { judges: &judges, ..newcomer(10) };
        let mut waiting: Vec<_> =
            (0..CALLERS).map(|_| door.enter(asking(), ledger).boxed()).collect();
        for one in &mut waiting {
            assert!(now_of(one).await.is_none());
        }
        time::advance(Duration::from_millis(2_100)).await;
        // none of them has sent its image yet, and the judge takes far more than all of them
        let mut inside = Vec::new();
        while let Some(mut newest) = waiting.pop() {
            inside.extend(now_of(&mut newest).await.map(Result::unwrap));
        }
        assert_eq!((inside.len(), door.queued()), (CALLERS, 0));
    });
}

#[test]
fn who_is_shed_for_want_of_judges_is_told_when_they_come_back() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let panel = scripted(&[limited(1, 4_000)]);
        let door = before(limits(4, 0), Arc::clone(&panel));
        block(&panel).await;
        let judges = ["a".to_owned()];
        let away = door.enter(Newcomer { judges: &judges, ..newcomer(10) }, ledger).await;
        let away = away.map(drop).unwrap_err();
        assert_eq!((away.reason, away.lacked), (Shed::Judges, None));
        let told = away.retry_after;
        assert!(Duration::from_secs(3) < told && told <= Duration::from_secs(4), "{told:?}");
    });
}

#[test]
fn judges_that_stay_away_for_longer_than_anybody_can_wait_are_not_waited_for() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let panel = scripted(&[limited(1, 20_000)]);
        let door = before(limits(4, 4), Arc::clone(&panel));
        block(&panel).await;
        let judges = ["a".to_owned()];
        let mut entering = door.enter(Newcomer { judges: &judges, ..newcomer(10) }, ledger).boxed();
        assert!(now_of(&mut entering).await.unwrap().is_ok(), "the policy answers for them");
    });
}

#[test]
fn who_waits_for_judges_that_then_stay_away_for_longer_is_let_in() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let panel = scripted(&[limited(1, 2_000), limited(1, 20_000)]);
        let door = before(limits(4, 4), Arc::clone(&panel));
        block(&panel).await;
        let judges = ["a".to_owned()];
        let mut waiting = door.enter(Newcomer { judges: &judges, ..newcomer(10) }, ledger).boxed();
        assert!(now_of(&mut waiting).await.is_none());
        assert_eq!(ask(&panel, &["a"], Duration::from_secs(3)).await, 1);
        time::sleep(LOOK_AGAIN * 2).await;
        assert!(now_of(&mut waiting).await.unwrap().is_ok(), "the policy answers for them");
    });
}

#[test]
fn a_closed_door_still_serves_those_in_the_line() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let door = door(limits(1, 4));
        let inside = door.enter(newcomer(10), ledger).await.unwrap();
        let mut waiting = door.enter(newcomer(10), ledger).boxed();
        assert!(now_of(&mut waiting).await.is_none());
        door.drain();
        door.close();
        let mut late = door.enter(newcomer(10), ledger).boxed();
        assert_eq!(reason(now_of(&mut late).await), Some(Shed::Draining));
        door.until_closed().await;
        drop(inside);
        assert!(now_of(&mut waiting).await.unwrap().is_ok());
    });
}

#[test]
fn nobody_is_asked_beside_a_slow_judge_while_the_gate_is_crowded() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let slow = ScriptedJudge::new("a", &[answers(3_000)]);
        let quick = ScriptedJudge::new("b", &[answers(10)]);
        let panel = Arc::new(Panel::new(vec![Arc::new(slow), Arc::new(quick)]));
        let door = before(limits(1, 4), Arc::clone(&panel));
        let asked = async || ask(&panel, &["a", "b"], Duration::from_secs(5)).await;
        let inside = door.enter(newcomer(10), ledger).await.unwrap();
        assert_eq!(asked().await, 1, "the gate is full");
        drop(inside);
        assert_eq!(asked().await, 2, "there is room again");
        door.close();
        assert_eq!(asked().await, 1, "the process is about to end");
    });
}

/// A panel of `a`, which is told to stay away for so many milliseconds, and `b` and `c`, of which `b`
/// is slow.
async fn a_is_away_for(retry_after_ms: u64) -> Arc<Panel> {
    let judges = [("a", limited(1, retry_after_ms)), ("b", answers(3_000)), ("c", answers(10))];
    let judges = judges.map(|(name, script)| {
        let judge: Arc<dyn Judge> = Arc::new(ScriptedJudge::new(name, &[script]));
        judge
    });
    let panel = Arc::new(Panel::new(judges.into()));
    ask(&panel, &["a"], Duration::from_millis(500)).await;
    panel
}

#[test]
fn who_waits_for_a_judge_that_is_away_does_not_keep_out_who_asks_another() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let panel = a_is_away_for(3_000).await;
        let door = before(limits(10, 8), panel);
        let (a, b) = (["a".to_owned()], ["b".to_owned()]);
        let asking_a = Newcomer { judges: &a, ..newcomer(10) };
        let asking_b = Newcomer { judges: &b, ..newcomer(10) };
        let mut inside = Vec::new();
        for _ in 0..10 {
            let mut admission = door.enter(asking_b, ledger).await.unwrap();
            admission.permits.reach_judges();
            inside.push(admission);
        }
        let mut waits_for_b = door.enter(asking_b, ledger).boxed();
        assert!(now_of(&mut waits_for_b).await.is_none(), "there is no permit");
        let mut wait_for_a: Vec<_> = (0..2).map(|_| door.enter(asking_a, ledger).boxed()).collect();
        for one in &mut wait_for_a {
            assert!(now_of(one).await.is_none());
        }
        time::advance(Duration::from_millis(800)).await;
        inside.clear();
        assert!(now_of(&mut waits_for_b).await.unwrap().is_ok(), "its judge is idle");
        for one in &mut wait_for_a {
            assert!(now_of(one).await.is_none());
        }
        time::advance(Duration::from_millis(2_500)).await;
        for one in wait_for_a.iter_mut().rev() {
            assert!(now_of(one).await.unwrap().is_ok(), "their judge is back");
        }
        assert_eq!(door.queued(), 0);
    });
}

#[test]
fn who_waits_for_a_judge_that_is_away_does_not_freeze_the_hedges_of_others() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let panel = a_is_away_for(20_000).await;
        let door = before(limits(10, 8), Arc::clone(&panel));
        let a = ["a".to_owned()];
        let judged_by = Deadline::after(Duration::from_secs(30));
        let patient = Newcomer { judges: &a, read_by: judged_by, judged_by, ..newcomer(10) };
        let mut waiting = door.enter(patient, ledger).boxed();
        assert!(now_of(&mut waiting).await.is_none());
        assert!(!door.is_crowded());
        assert_eq!(ask(&panel, &["b", "c"], Duration::from_secs(5)).await, 2);
    });
}

#[test]
fn while_it_is_not_known_who_is_to_be_asked_nobody_is_waited_for() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let door = before(limits(10, 8), a_is_away_for(3_000).await);
        let mut entering = door.enter(newcomer(10), ledger).boxed();
        assert!(now_of(&mut entering).await.unwrap().is_ok());
    });
}

#[test]
fn who_would_wait_for_a_worker_until_no_judge_has_time_is_told_at_once() {
    let Stage { runtime, ledger, .. } = &Stage::new(MAX_PENDING);
    runtime.block_on(async {
        let wait_ms = Arc::new(AtomicU64::new(0));
        let told_ms = Arc::clone(&wait_ms);
        let would_wait = move || Duration::from_millis(told_ms.load(Ordering::Relaxed));
        let judge = ScriptedJudge::new("a", &[answers(1)]).expecting(1_000, 2_000);
        let panel = Arc::new(Panel::new(vec![Arc::new(judge)]));
        let door = Door::new(limits(4, 4), panel, would_wait);
        let judges = ["a".to_owned()];
        let asking = Newcomer { judges: &judges, ..newcomer(10) };
        let p50 = door.shared.panel.fastest_p50(&judges).unwrap();
        let most = (Duration::from_secs(5) - p50) / 2;
        let most_ms = u64::try_from(most.as_millis()).unwrap();
        wait_ms.store(most_ms - 10, Ordering::Relaxed);
        let inside = door.enter(asking, ledger).await.unwrap();
        wait_ms.store(most_ms + 10, Ordering::Relaxed);
        let watch = Stopwatch::start();
        let away = door.enter(asking, ledger).await.map(drop).unwrap_err();
        assert_eq!((away.reason, away.lacked), (Shed::Workers, None));
        assert_eq!(away.retry_after.as_millis(), u128::from(most_ms) + 10);
        assert_eq!(watch.elapsed(), Duration::ZERO);
        assert_eq!((door.in_flight(), door.queued()), (1, 0));
        // its image may be one that needs no worker
        let glanced_at = Newcomer { wants_worker: false, ..asking };
        drop(door.enter(glanced_at, ledger).await.unwrap());
        // a hurried caller's may come too late where the others' does not
        wait_ms.store(600, Ordering::Relaxed);
        drop(door.enter(asking, ledger).await.unwrap());
        let hurried = Newcomer { judges: &judges, ..within(10, Duration::from_secs(2)) };
        let away = door.enter(hurried, ledger).await.map(drop).unwrap_err();
        assert_eq!(away.reason, Shed::Workers);
        drop(inside);
    });
}
