//! What is held of whom: a gate, a gateway, a client.

use super::*;

#[test]
fn who_has_no_metrics_misses_none_and_a_gate_that_hides_them_does() {
    let lines = "
streamed: false
targets:
  - { figure: F6, at_most: 0 }
  - { figure: opens, at_most: 0 }
  - { figure: reject_shift, at_most: 0.5 }
  - { figure: exit_s, at_most: 7 }
  - { figure: p95, at_most: 0.5 }
";
    let verdict = |subject: Subject, id: &str| {
        let mut evidence = world(lines);
        evidence.subject = subject;
        if subject == Subject::Client {
            evidence.ticks.push(Tick { queued: Some(600), ..Tick::default() });
        }
        figures(&evidence).into_iter().find(|one| one.id == id).unwrap().verdict
    };
    let (missed, none) = (FigureVerdict::Missed, FigureVerdict::NotApplicable);
    for subject in [Subject::OwnGate, Subject::GateElsewhere, Subject::Gateway, Subject::Client] {
        assert_eq!(verdict(subject, "p95"), missed, "{subject:?}: what the rig knows is held");
        let of_gates = if subject.is_gate() { missed } else { none };
        assert_eq!(verdict(subject, "opens"), of_gates, "{subject:?}");
        let of_own = if subject == Subject::OwnGate { missed } else { none };
        assert_eq!(verdict(subject, "exit_s"), of_own, "{subject:?}");
        assert_eq!(verdict(subject, "F3"), of_own, "{subject:?}");
        let of_all = if subject == Subject::Gateway { none } else { missed };
        assert_eq!(verdict(subject, "F6"), of_all, "{subject:?}: a client has a queue of its own");
    }
    assert_eq!(verdict(Subject::Client, "F5"), FigureVerdict::Met);
    assert_eq!(verdict(Subject::Gateway, "F5"), none);
    assert_eq!(verdict(Subject::Gateway, "joined"), none);
}

#[test]
fn a_gateway_that_does_not_say_who_judged_recovers_when_it_is_quick() {
    let mut evidence = world("");
    change(&mut evidence, 400..600, |one| {
        one.verdict.as_mut().unwrap().judge = Some(JudgeBody { name: "gateway".to_owned() });
    });
    check(&evidence, "recovery_s", None);
    evidence.subject = Subject::Gateway;
    check(&evidence, "recovery_s", Some(0.0));
    change(&mut evidence, 400..420, |one| one.ended_s = one.due_s + 0.7);
    check(&evidence, "recovery_s", Some(2.0));
}

#[test]
fn what_a_control_must_miss_can_be_known_of_its_client() {
    let controls = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/controls");
    for control in Scenario::read_all(&[controls]).unwrap() {
        assert!(!control.expected_to_fail.is_empty(), "{}", control.id);
        for id in &control.expected_to_fail {
            assert!(is_knowable(id, Subject::Client), "{} must miss {id}", control.id);
        }
    }
}
