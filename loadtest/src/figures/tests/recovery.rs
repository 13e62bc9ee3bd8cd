//! From when on nobody notices anything any more.

use super::*;

fn of_b(one: &mut Sample) {
    one.verdict.as_mut().unwrap().judge = Some(JudgeBody { name: "b".to_owned() });
}

#[test]
fn a_primary_that_is_lost_again_right_after_a_good_window_has_not_come_back() {
    let mut evidence = world("");
    // 4 good seconds, and then the second judge for most of the rest
    change(&mut evidence, 440..520, of_b);
    check(&evidence, "recovery_s", Some(11.75));
    change(&mut evidence, 520..600, of_b);
    check(&evidence, "recovery_s", None);
}

#[test]
fn one_that_comes_and_goes_is_well_again_when_it_went_last() {
    let mut evidence = world("");
    let flapping = "{ fault: blackhole, flap: { on_ms: 5000, off_ms: 5000 } }";
    let text = format!("id: X\ntitle: x\nfaults: [{{ on: [a], behaviour: {flapping} }}]\n");
    evidence.scenario.faults = Scenario::parse(&text).unwrap().faults;
    // there from 20 to 25 s and from 30 to 35 s; mended at 40 s
    change(&mut evidence, 300..420, of_b);
    check(&evidence, "recovery_s", Some(6.75));
    let fault = &evidence.scenario.faults[0];
    for (span, last_ill_s) in [((20.0, 40.0), 35.0), ((20.0, 33.0), 33.0), ((20.0, 28.0), 25.0)] {
        assert!((fault.last_ill_s(span) - last_ill_s).abs() < 1e-9, "{span:?}");
    }
}
