use super::*;

use crate::outcome::FigureVerdict;
use crate::outcome::Limit;
use crate::outcome::Unit;
use crate::report::sample::control;
use crate::report::sample::figure;
use crate::report::sample::run;
use crate::report::sample::scenario;
use crate::report::sample::unmeasured;

fn merged(scenarios: Vec<ScenarioRun>) -> Report {
    Report::merge(vec![run(scenarios)]).unwrap()
}

#[test]
fn seeds_of_one_scenario_stand_in_one_row_with_the_worst_of_each_figure() {
    let parts = [
        run(vec![scenario("S2", 1, 1.28, 1.0), scenario("S3", 1, 1.1, 1.0)]),
        run(vec![scenario("S2", 2, 1.33, 0.999_5)]),
        run(vec![scenario("S2", 3, 1.25, 1.0)]),
    ];
    let report = Report::merge(parts.to_vec()).unwrap();
    assert_eq!((report.parts.len(), report.rows.len()), (3, 2));
    let row = &report.rows[0];
    assert_eq!(row.runs.len(), 3);
    assert_eq!(row.figure("p95").unwrap().value, Some(1.33));
    assert_eq!(row.figure("verdict_share").unwrap().value, Some(0.999_5));
    assert!(report.passed());
}

#[test]
fn a_copy_of_a_part_is_no_second_seed() {
    let part = run(vec![scenario("S2", 1, 1.28, 1.0)]);
    let report = Report::merge(vec![part.clone(), part.clone(), part]).unwrap();
    assert_eq!(report.rows[0].runs.len(), 1);
    let again = run(vec![scenario("S2", 1, 1.31, 1.0)]);
    let report = Report::merge(vec![run(vec![scenario("S2", 1, 1.28, 1.0)]), again]).unwrap();
    assert_eq!(report.rows[0].figure("p95").unwrap().value, Some(1.31), "the worst stands");
    assert!(!report.html().contains("seeds</span>"), "and it is one seed all the same");
}

#[test]
fn the_short_form_stood_in_a_row_with_the_long_one() {
    let long = scenario("S2", 1, 1.28, 1.0);
    let mut short = run(vec![scenario("S2", 2, 1.2, 1.0)]);
    short.rig.short = true;
    let mut other = scenario("S2", 3, 1.2, 1.0);
    other.phases.last_mut().unwrap().end_s = 180.0;
    let report = Report::merge(vec![run(vec![long, other]), short]).unwrap();
    assert_eq!(report.rows.len(), 3);
    let text = report.text();
    for apart in ["held (100 s)", "held (180 s)", "held (short form)"] {
        assert!(text.contains(apart), "{apart}: {text}");
    }
}

#[test]
fn a_run_that_was_broken_off_was_taken_for_one_that_held() {
    let mut part = run(vec![scenario("S2", 1, 1.28, 1.0)]);
    part.rig.planned = vec![("S2".to_owned(), 1), ("S12".to_owned(), 1)];
    let report = Report::merge(vec![part]).unwrap();
    assert!(!report.passed() && !report.is_whole());
    for told in [report.text(), report.html()] {
        assert!(told.contains("S12 (seed 1) was to be run, and was not"), "{told}");
    }
}

#[test]
fn what_is_shown_of_a_streamed_scenario_is_what_it_is_held_to() {
    let mut streamed = scenario("S2", 1, 1.52, 1.0);
    let limit = Limit::at_most(0.89);
    (streamed.figures[0].limit, streamed.figures[0].verdict) = (None, FigureVerdict::Stated);
    streamed.figures.push(figure("p95_of_plain", 0.84, Unit::TimesHealthy, limit));
    let text = merged(vec![streamed]).text();
    assert!(text.contains("0.84 × H") && !text.contains("1.52"), "{text}");
    let text = merged(vec![scenario("S2", 1, 1.28, 1.0)]).text();
    assert!(text.contains("1.28 × H"), "{text}");
}

#[test]
fn one_seed_that_misses_is_a_miss() {
    let report = merged(vec![scenario("S2", 1, 1.28, 1.0), scenario("S2", 2, 1.4, 1.0)]);
    assert!(!report.passed());
    assert!(report.text().contains("0 of 1 scenarios held."), "{}", report.text());
    assert!(report.text().contains("S2 the p95: 1.40 × H, to be at most 1.35 × H"));
}

#[test]
fn other_work_on_the_machine_is_told_where_it_may_show() {
    let told = |other_cores: f64| {
        let mut part = run(vec![scenario("S2", 1, 1.28, 1.0)]);
        part.rig.other_cores = other_cores;
        Report::merge(vec![part]).unwrap().text()
    };
    assert!(told(1.7).contains("other work used 1.7 cores"), "{}", told(1.7));
    assert!(!told(0.1).contains("other work"));
}

#[test]
fn streamed_and_plain_runs_are_different_rows() {
    let plain = ScenarioRun { streamed: false, ..scenario("S0", 1, 1.0, 1.0) };
    assert_eq!(merged(vec![scenario("S0", 1, 1.0, 1.0), plain]).rows.len(), 2);
}

/// What the terminal and the page say of a row's own circumstances, and its place in the page.
fn told(report: &Report) -> (String, String, Vec<String>) {
    let page = report.html();
    let anchors = page.split("<section id=\"").skip(1);
    let anchors = anchors.filter_map(|rest| rest.split_once('"')).map(|(id, _)| id.to_owned());
    let anchors = anchors.collect();
    (report.text(), page, anchors)
}

#[test]
fn runs_of_two_targets_are_no_seeds_of_one_row() {
    let naive = || {
        let mut naive = run(vec![scenario("S2", 1, 3.0, 0.2)]);
        naive.rig.target = "naive".to_owned();
        naive
    };
    let report = Report::merge(vec![run(vec![scenario("S2", 1, 1.28, 1.0)]), naive()]).unwrap();
    assert_eq!(report.rows.len(), 2);
    let (text, page, anchors) = told(&report);
    assert!(text.contains("MISSED (naive)") && text.contains("S2 (naive) the p95: 3.00"), "{text}");
    assert!(!text.contains("held (vlmgate)"), "what is usual is not told: {text}");
    assert!(page.contains(">naive<") && page.contains("S2 (naive) the p95"));
    assert_eq!(anchors.len(), 2);
    assert_ne!(anchors[0], anchors[1]);
    assert!(page.contains(&format!("href=\"#{}\"", anchors[1])));
    let named = ScenarioRun { target: Some("naive".to_owned()), ..scenario("S2", 2, 3.0, 0.2) };
    let named = ScenarioRun { streamed: false, ..named };
    let report = Report::merge(vec![naive(), run(vec![named])]).unwrap();
    assert_eq!(report.rows.len(), 1, "a target is the same whoever named it");
    assert!(!report.text().contains("not streamed"), "how others read is not known");
}

#[test]
fn rows_of_one_scenario_are_told_apart_by_deadline_rate_and_way_of_reading() {
    let usual = || scenario("S2", 1, 1.28, 1.0);
    let report = merged(vec![
        usual(),
        ScenarioRun { deadline_ms: 3_000, ..usual() },
        ScenarioRun { rate_per_s: 15.0, ..usual() },
        ScenarioRun { streamed: false, ..usual() },
    ]);
    assert_eq!(report.rows.len(), 4);
    let (text, page, mut anchors) = told(&report);
    for apart in ["deadline 3000 ms", "15 a second", "not streamed"] {
        assert!(text.contains(&format!("held ({apart})")), "{text}");
        assert!(page.contains(&format!(">{apart}<")), "{apart}");
    }
    anchors.sort();
    anchors.dedup();
    assert_eq!(anchors.len(), 4, "{anchors:?}");
}

#[test]
fn parts_of_two_programs_are_no_one_measurement() {
    let part = |seed, gate: &str| {
        let mut part = run(vec![scenario("S2", seed, 1.2, 1.0)]);
        part.rig.target = OWN_GATE.to_owned();
        part.rig.versions.insert(OWN_GATE.to_owned(), gate.to_owned());
        part
    };
    let same = Report::merge(vec![part(1, "0.1.0 (aa)"), part(2, "0.1.0 (aa)")]).unwrap();
    assert!(same.passed(), "{}", same.text());
    let other = Report::merge(vec![part(1, "0.1.0 (aa)"), part(2, "0.1.0 (bb)")]).unwrap();
    assert!(!other.passed() && !other.is_whole());
    assert!(other.text().contains("parts of different programs: 0.1.0 (aa), 0.1.0 (bb)"));
}

#[test]
fn a_scorecard_with_a_hole_in_it_has_not_passed() {
    let parts = || {
        vec![scenario("S1", 1, 1.2, 1.0), scenario("S2", 1, 1.2, 1.0), scenario("S2", 2, 1.2, 1.0)]
    };
    let whole = |seeds| Whole { scenarios: vec!["S1".to_owned(), "S2".to_owned()], seeds };
    assert!(merged(parts()).held_to(&whole(1)).passed());
    let report = merged(parts()).held_to(&whole(2));
    assert!(!report.passed());
    let text = report.text();
    assert!(text.contains("S1 is there under 1 seeds, which is not enough"), "{text}");
    assert!(text.contains("(seeds 1 2)"), "{text}");
    let other = ScenarioRun { deadline_ms: 3_000, ..scenario("S1", 2, 1.2, 1.0) };
    let report = merged([parts(), vec![other]].concat()).held_to(&whole(2));
    assert!(!report.passed(), "another deadline is another row");
}

#[test]
fn a_figure_without_a_line_is_that_of_its_worst_seed_too() {
    let seed = |seed, p95, share| {
        let mut run = scenario("S2", seed, p95, share);
        for figure in &mut run.figures {
            (figure.limit, figure.verdict) = (None, FigureVerdict::Stated);
        }
        run
    };
    let report = merged(vec![seed(1, 1.2, 0.99), seed(2, 1.5, 0.41), seed(3, 1.3, 1.0)]);
    assert_eq!(report.rows[0].figure("p95").unwrap().value, Some(1.5));
    assert_eq!(report.rows[0].figure("verdict_share").unwrap().value, Some(0.41));
}

#[test]
fn a_seed_that_broke_off_does_not_hide_what_another_missed() {
    let broken = ScenarioRun { figures: Vec::new(), ..scenario("S2", 1, 1.0, 1.0) };
    let broken = ScenarioRun { broken: Some("it did not start".to_owned()), ..broken };
    let text = merged(vec![broken, scenario("S2", 2, 1.4, 1.0)]).text();
    assert!(text.contains("S2 the p95: 1.40 × H, to be at most 1.35 × H"), "{text}");
}

#[test]
fn what_could_not_be_measured_is_worse_than_any_number() {
    let mut blind = scenario("S2", 2, 1.0, 1.0);
    blind.figures = vec![unmeasured("p95")];
    let report = merged(vec![scenario("S2", 1, 1.3, 1.0), blind]);
    assert_eq!(report.rows[0].figure("p95").unwrap().value, None);
    assert!(!report.passed());
}

#[test]
fn a_control_that_holds_is_told_as_a_failure_of_the_rig() {
    assert!(merged(vec![control(true)]).passed());
    let blind = merged(vec![control(false)]);
    assert!(!blind.passed());
    assert!(blind.text().contains("HELD, which it must not"));
    assert!(blind.html().contains("held, which it must not"));
    let both = merged(vec![scenario("S2", 1, 1.28, 1.0), control(true)]).text();
    assert!(both.contains("1 of 1 scenarios held; 1 of 1 controls failed as they must."), "{both}");
}

#[test]
fn a_control_that_failed_another_way_is_not_told_as_one_that_held() {
    let mut leaking = control(true);
    leaking.figures.push(unmeasured("F4"));
    let report = merged(vec![leaking]);
    assert!(!report.passed());
    assert!(report.text().contains("FAILED ANOTHER WAY"), "{}", report.text());
    let told = report.text();
    assert!(told.contains("C1") && told.contains(" the F4: "), "what was missed is named: {told}");
    assert!(report.html().contains("failed another way"));
    assert!(!report.html().contains("sees too little"));
}

#[test]
fn a_scenario_that_broke_off_says_why() {
    let mut broken = scenario("S2", 1, 1.28, 1.0);
    broken.broken = Some("the gate did not start".to_owned());
    let report = merged(vec![broken]);
    assert!(report.text().contains("S2 (seed 1) was not carried through: the gate did not start"));
    assert!(report.html().contains("was not carried through"));
}

#[test]
fn the_page_stands_alone_and_is_well_formed() {
    let page = merged(vec![scenario("S2", 1, 1.28, 1.0), control(true)]).html();
    for foreign in ["<script", "src=", "url(", "@import", "http://", "https://", "NaN", "inf"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    for tag in ["table", "tr", "td", "svg", "section", "p", "text", "rect", "title"] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        let closed = page.matches(&format!("</{tag}>")).count();
        let empty = if tag == "rect" {
            page.split("<rect ").skip(1).filter(|rest| closes_itself(rest)).count()
        } else {
            0
        };
        assert_eq!(opened, closed + empty, "{tag}");
    }
}

fn closes_itself(rest: &str) -> bool {
    rest.split_once('>').is_some_and(|(tag, _)| tag.ends_with('/'))
}

#[test]
fn names_from_elsewhere_cannot_write_markup() {
    let mut scenario = scenario("S2", 1, 1.28, 1.0);
    scenario.title = "<b>&\"".to_owned();
    scenario.timeline[3].by_judge.insert("<i>".to_owned(), 1);
    let page = merged(vec![scenario]).html();
    assert!(page.contains("&lt;b&gt;&amp;&quot;") && page.contains("&lt;i&gt;"));
    assert!(!page.contains("<b>&") && !page.contains("<i>"));
}

#[test]
fn the_picture_shows_the_fault_the_switches_and_every_second() {
    let page = merged(vec![scenario("S2", 1, 1.28, 1.0)]).html();
    assert_eq!(page.matches("class=\"fault\"").count(), 1);
    assert!(page.contains(">a blackhole<") && page.contains(">a healthy<"));
    assert_eq!(page.matches("class=\"hover\"").count(), 100);
    // open for 37 s, from the end of the onset to the probes
    assert_eq!(page.matches("a is open").count(), 37);
    assert_eq!(page.matches("a is half open").count(), 1);
}

#[test]
fn a_scenario_without_a_timeline_is_still_told() {
    let mut bare = scenario("S14", 1, 1.0, 1.0);
    bare.timeline.clear();
    let page = merged(vec![bare]).html();
    assert!(page.contains("S14") && !page.contains("<svg"));
}

#[test]
fn parts_are_found_in_directories_and_below() {
    let place = std::env::temp_dir().join(format!("loadtest-report-{}", std::process::id()));
    let below = place.join("seed-2");
    fs::create_dir_all(&below).unwrap();
    let write = |path: &Path, seed| {
        let run = run(vec![scenario("S2", seed, 1.28, 1.0)]);
        fs::write(path.join(RUN_FILE), serde_json::to_string(&run).unwrap()).unwrap();
    };
    write(&place, 1);
    write(&below, 2);
    let report = Report::read(std::slice::from_ref(&place)).unwrap();
    assert_eq!(report.rows[0].runs.iter().map(|run| run.seed).collect::<Vec<_>>(), [1, 2]);
    fs::write(place.join(RUN_FILE), "{}").unwrap();
    let error = Report::read(&[place.join(RUN_FILE)]).unwrap_err().to_string();
    assert!(error.contains("is not a run"), "{error}");
    fs::remove_dir_all(&place).unwrap();
    assert!(matches!(Report::read(&[place]), Err(ReportError::Unreadable { .. })));
}

#[test]
fn a_run_of_another_format_is_refused() {
    let other = Run { format: FORMAT + 1, ..run(Vec::new()) };
    assert!(matches!(Report::merge(vec![other]), Err(ReportError::OtherFormat { .. })));
}

#[test]
fn a_figure_that_does_not_apply_is_neither_met_nor_missed() {
    let mut row = scenario("S2", 1, 1.28, 1.0);
    row.figures[0].verdict = FigureVerdict::NotApplicable;
    assert!(merged(vec![row]).html().contains(">n/a<"));
}
