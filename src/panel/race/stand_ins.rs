//! A judge that stands in answers at once and without looking: when it may, and when it may not.
//!
//! It is called l. Without hedges a judge that looks has until the deadline: nothing is kept for l.

use crate::domain::AttemptOutcome::{BadRequest, Connect, Empty, Overloaded, Refused};
use crate::panel::race::scene::Scene;
use crate::panel::script::{Script, ScriptedJudge, answers, fails, hangs};

use Seated::{Looks, StandsIn};

/// A judge of a route.
enum Seated {
    Looks(Script),
    StandsIn(Script),
}

/// A route over judges called a, b, … that look, and l, which stands in.
fn scene(seated: &[Seated]) -> Scene {
    let mut names = ["a", "b", "c"].into_iter();
    let judge = |one: &Seated| match one {
        Looks(script) => ScriptedJudge::new(names.next().unwrap(), std::slice::from_ref(script)),
        StandsIn(script) => ScriptedJudge::new("l", std::slice::from_ref(script)).standing_in(),
    };
    Scene::of(seated.iter().map(judge).collect())
}

/// Answers as measurements do.
fn measures() -> Seated {
    StandsIn(answers(0))
}

#[tokio::test(start_paused = true)]
async fn a_slow_judge_is_not_beaten_by_a_measurement() {
    let slow = scene(&[Looks(answers(4_000)), measures()]);
    slow.check("judged by a at 4000 ms: a primary judged 0+4000").await;
    // nor does it make way for one
    let slow = scene(&[Looks(answers(4_900)), measures()]).without_hedges();
    slow.check("judged by a at 4900 ms: a primary judged 0+4900").await;
}

#[tokio::test(start_paused = true)]
async fn a_hedge_passes_over_a_measurement_to_a_judge_that_looks() {
    let slow = scene(&[Looks(answers(4_000)), measures(), Looks(answers(300))]);
    let expected = "judged by b at 1800 ms: a primary cancelled 0+1800, b hedge judged 1500+300";
    slow.check(expected).await;
}

#[tokio::test(start_paused = true)]
async fn the_last_chance_is_not_a_measurement_s() {
    let slow = scene(&[Looks(answers(4_000)), measures()]);
    slow.spend_hedge_budget();
    slow.check("judged by a at 4000 ms: a primary judged 0+4000").await;
}

#[tokio::test(start_paused = true)]
async fn where_all_that_look_have_failed_a_measurement_answers() {
    let failed = scene(&[Looks(fails(50, Overloaded)), Looks(fails(60, Connect)), measures()]);
    failed
        .check(
            "judged by l at 110 ms: a primary overloaded 0+50, b failover connect 50+60, \
             l failover judged 110+0",
        )
        .await;
    // in its turn: the policy put it before b
    let failed = scene(&[Looks(fails(50, Overloaded)), measures(), Looks(answers(300))]);
    let expected = "judged by l at 50 ms: a primary overloaded 0+50, l failover judged 50+0";
    failed.check(expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_hedge_does_not_let_a_measurement_beat_the_slow_primary() {
    let slow = scene(&[Looks(answers(3_000)), Looks(fails(50, Connect)), measures()]);
    let expected = "judged by a at 3000 ms: a primary judged 0+3000, b hedge connect 1500+50";
    slow.check(expected).await;
    let failing = scene(&[Looks(fails(3_000, Connect)), Looks(fails(50, Connect)), measures()]);
    failing
        .check(
            "judged by l at 3000 ms: a primary connect 0+3000, b hedge connect 1500+50, \
             l failover judged 3000+0",
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_ends_in_a_measurement_is_not_late() {
    let expected = "judged by l at 4970 ms: a primary cancelled 0+4970, l failover judged 4970+0";
    scene(&[Looks(hangs()), measures()]).check(expected).await;
    scene(&[Looks(hangs()), measures()]).without_hedges().check(expected).await;
    // it may be one attempt more than the policy says
    let mut hung = scene(&[Looks(hangs()), measures()]);
    hung.route.max_attempts = 1;
    hung.check(expected).await;
    // and where it cannot tell, those that look keep what time is left
    let silent = scene(&[Looks(answers(4_990)), StandsIn(fails(0, Empty))]);
    let expected = "judged by a at 4990 ms: a primary judged 0+4990, l failover empty 4970+0";
    silent.check(expected).await;
    let silent =
        scene(&[Looks(hangs()), StandsIn(fails(0, Empty)), Looks(answers(1))]).without_hedges();
    let expected = "late at 5000 ms: a primary cancelled 0+5000, l failover empty 4970+0";
    silent.check(expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_race_shorter_than_the_measurement_s_lead_asks_it_beside_the_first() {
    let mut short = scene(&[Looks(answers(10)), measures()]);
    short.deadline_ms = 20;
    short.check("judged by l at 0 ms: a primary cancelled 0+0, l failover judged 0+0").await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_gone_gets_no_measurement() {
    let mut gone = scene(&[Looks(hangs()), measures()]);
    gone.caller_leaves_ms = Some(100);
    gone.check("late at 5000 ms: a primary cancelled 0+5000").await;
}

#[tokio::test(start_paused = true)]
async fn what_a_measurement_says_settles_nothing_about_the_content() {
    for outcome in [Refused, BadRequest, Empty] {
        let refused =
            scene(&[Looks(fails(40, Refused)), StandsIn(fails(0, outcome)), Looks(answers(300))]);
        let expected = format!(
            "judged by b at 340 ms: a primary refused 0+40, l failover {} 40+0, \
             b failover judged 40+300",
            outcome.label()
        );
        refused.check(&expected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_measurement_that_cannot_tell_is_not_asked_again() {
    scene(&[StandsIn(fails(0, Empty))]).check("exhausted at 0 ms: l primary empty 0+0").await;
}
