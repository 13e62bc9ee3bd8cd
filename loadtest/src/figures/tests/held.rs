//! Which figures are held to a line, and on which side of it the good is.

use super::*;

#[test]
fn a_rig_that_was_late_is_no_measure_but_where_builds_run_beside_it() {
    let mut evidence = world("");
    change(&mut evidence, 0..20, |one| one.sent_s += 0.03);
    let verdict = |evidence: &Evidence| {
        figures(evidence).into_iter().find(|one| one.id == RIG_LATE).unwrap().verdict
    };
    assert_eq!(verdict(&evidence), FigureVerdict::Missed);
    evidence.is_short = true;
    assert_eq!(verdict(&evidence), FigureVerdict::Stated);
}

#[test]
fn under_another_deadline_only_the_gates_are_held() {
    let mut evidence = world("targets: [{ figure: verdict_share, at_least: 1.1 }]");
    evidence.deadline_ms = 400;
    let verdict = |evidence: &Evidence, id: &str| {
        figures(evidence).into_iter().find(|one| one.id == id).unwrap().verdict
    };
    assert_eq!(verdict(&evidence, "verdict_share"), FigureVerdict::Stated);
    assert_eq!(verdict(&evidence, "F1"), FigureVerdict::Missed);
    evidence.scenario.deadline_ms = Some(400);
    assert_eq!(verdict(&evidence, "verdict_share"), FigureVerdict::Missed);
}

#[test]
fn waits_of_a_streamed_scenario_are_held_to_the_plain_healthy_p95() {
    let lines = "
targets:
  - { figure: p95, at_most: 0.5 }
  - { figure: p95_of_plain, at_most: 0.5 }
";
    let mut evidence = world(lines);
    let verdict = |evidence: &Evidence, id: &str| {
        figures(evidence).into_iter().find(|one| one.id == id).unwrap().verdict
    };
    assert_eq!(verdict(&evidence, "p95"), FigureVerdict::Stated);
    assert_eq!(verdict(&evidence, "p95_of_plain"), FigureVerdict::Missed);
    evidence.scenario.streamed = false;
    assert_eq!(verdict(&evidence, "p95"), FigureVerdict::Missed);
    assert_eq!(verdict(&evidence, "p95_of_plain"), FigureVerdict::NotApplicable);
}

#[test]
fn nothing_is_kept_of_a_stalled_answer_where_none_is_read_as_it_comes() {
    let mut evidence = world("targets: [{ figure: kept_of_stalled, at_least: 0.4 }]");
    evidence.scenario.streamed = false;
    let kept = figures(&evidence).into_iter().find(|one| one.id == "kept_of_stalled").unwrap();
    assert_eq!(kept.verdict, FigureVerdict::NotApplicable);
}

#[test]
fn probes_are_no_calls_of_an_image_while_nobody_answers() {
    let mut evidence = world("");
    change(&mut evidence, 200..400, |one| {
        let attempts = &mut one.verdict.as_mut().unwrap().attempts;
        let probe = AttemptBody { route: "probe".to_owned(), ..attempts[0].clone() };
        attempts.push(probe);
    });
    check(&evidence, "calls_per_image", Some(2.0));
    check(&evidence, "after5_calls_per_image", Some(1.0));
}

#[test]
fn a_call_to_a_judge_that_is_back_is_none_of_the_fault_s() {
    let mut evidence = world("");
    let (_, end_s) = evidence.fault();
    let last = |one: &Sample| (end_s - 0.2..end_s).contains(&one.due_s);
    let images = evidence.samples.iter().filter(|one| last(one)).count();
    assert!(0 < images);
    for one in evidence.samples.iter_mut().filter(|one| last(one)) {
        let attempts = &mut one.verdict.as_mut().unwrap().attempts;
        attempts.push(AttemptBody { started_ms: 2_500.0, ..attempts[0].clone() });
    }
    check(&evidence, "after5_calls_per_image", Some(1.0));
    for one in evidence.samples.iter_mut().filter(|one| last(one)) {
        one.verdict.as_mut().unwrap().attempts[1].started_ms = 0.0;
    }
    let many = figures(&evidence).into_iter().find(|one| one.id == "after5_calls_per_image");
    assert!(1.0 < many.unwrap().value.unwrap(), "a second call within the fault is one of its own");
}

#[test]
fn a_target_that_cannot_be_measured_is_missed_and_one_that_cannot_apply_is_not() {
    let targets = "streamed: false\ntargets: [{ figure: opens, at_most: 6 }, { figure: p95_of_plain, at_most: 1 }]\n";
    let figures = figures(&world(targets));
    let verdict = |id: &str| figures.iter().find(|figure| figure.id == id).unwrap().verdict;
    assert_eq!(verdict("opens"), FigureVerdict::Missed);
    assert_eq!(verdict("p95_of_plain"), FigureVerdict::NotApplicable);
}

#[test]
fn a_line_of_a_streamed_scenario_held_nobody_because_only_the_plain_form_holds_it() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    for scenario in Scenario::read_all(&[root]).unwrap() {
        let has = |id: &str| scenario.targets.iter().any(|line| line.figure == id);
        let pairs = [("p95", "p95_of_plain"), ("onset_p95", "onset_of_plain")];
        for (plain, streamed) in pairs {
            let is_held = !scenario.streamed || !has(plain) || has(streamed);
            assert!(is_held, "{}: {plain} without {streamed}", scenario.id);
        }
    }
}

#[test]
fn a_line_on_a_figure_that_there_is_not_would_hold_nobody() {
    let scenario = |lines: &str| Scenario::parse(&format!("{SCENARIO}{lines}")).unwrap();
    let known = scenario("targets: [{ figure: verdict_share, at_least: 0.9 }]\n");
    assert_eq!(unknown_line(&known), None);
    let misspelt = scenario("targets: [{ figure: verdict_shares, at_least: 0.9 }]\n");
    assert_eq!(unknown_line(&misspelt), Some("verdict_shares"));
    let failing = scenario("expected_to_fail: [p96]\n");
    assert_eq!(unknown_line(&failing), Some("p96"));
}

#[test]
fn every_line_that_ships_is_drawn_on_its_figures_good_side() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let all = ["", "controls", "soak"].map(|folder| root.join(folder));
    let gates = GATES.iter().map(|(id, limit)| ((*id).to_owned(), *limit));
    // judges that nobody calibrated must be seen to disagree
    let calibrated = Scenario::read_all(&all).unwrap().into_iter().filter(|one| one.calibrated);
    let lines = calibrated.flat_map(|one| one.targets);
    let lines = lines.filter_map(|line| Some((line.figure.clone(), line.limit(false)?)));
    for (id, limit) in gates.chain(lines) {
        assert_eq!(good_side(&id), limit.op, "{id}");
    }
    for id in ["primary_share", "verdict_share", "goodput", SUSTAINED] {
        assert_eq!(good_side(id), Op::AtLeast, "{id}");
    }
}
