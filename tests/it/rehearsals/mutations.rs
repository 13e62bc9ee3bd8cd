//! Whoever changes a line, an order or a time of the shipped policy is told by a test of a telling
//! name. Each row changes one thing and names tests that must fail for it.

use super::{Casting, Stage, edited, read_suite};

/// What is changed, and the beginnings of the names of tests that must fail.
struct Row(&'static str, &'static str, &'static [&'static str]);

const ORDER: &str = "judges: [openai-mini, claude-haiku, gemini-flash, mistral-vision]";
const SECOND: &str = "\
second_opinion:
  when: [borderline]
  ask: [claude-haiku, gemini-flash] # the first that did not give the first answer
  combine: mean
  needs: 900ms                      # with less time left the first answer stands
  split: review
  max_share: 15%
";

const THRESHOLDS: &[Row] = &[
    Row("pass_at: 0.70", "pass_at: 0.80", &["the common line of cutout is 0.70: 1"]),
    Row("pass_at: 0.70", "pass_at: 0.60", &["the common line of cutout is 0.70: 2"]),
    Row("claude-haiku: 0.62", "claude-haiku: 0.72", &["claude-haiku has lines of its own: 0.71"]),
    Row("claude-haiku: 0.62", "claude-haiku: 0.52", &["claude-haiku has lines of its own: 0.53"]),
    Row(
        "gemini-flash: 0.74",
        "gemini-flash: 0.84",
        &["gemini-flash is held to 0.74 for cutout: 1"],
    ),
    Row(
        "gemini-flash: 0.74",
        "gemini-flash: 0.64",
        &["gemini-flash is held to 0.74 for cutout: 2"],
    ),
    Row(
        "mistral-vision: 0.68",
        "mistral-vision: 0.78",
        &["the last chance goes to the fourth judge"],
    ),
    Row(
        "mistral-vision: 0.68",
        "mistral-vision: 0.58",
        &["the last chance goes to the fourth judge"],
    ),
    Row("pass_at: 0.75", "pass_at: 0.85", &["the common line of edge_artifacts is 0.75: 1"]),
    Row("pass_at: 0.75", "pass_at: 0.65", &["the common line of edge_artifacts is 0.75: 2"]),
    Row("claude-haiku: 0.70", "claude-haiku: 0.80", &["claude-haiku has lines of its own: 0.79"]),
    Row("claude-haiku: 0.70", "claude-haiku: 0.60", &["claude-haiku has lines of its own: 0.61"]),
    Row("pass_at: 0.60", "pass_at: 0.70", &["the line of contact_shadow is 0.60: 1"]),
    Row("pass_at: 0.60", "pass_at: 0.50", &["the line of contact_shadow is 0.60: 2"]),
    Row(
        "borderline: 0.08\n",
        "borderline: 0.09\n",
        &["the band in which a score is near its line"],
    ),
    Row(
        "borderline: 0.08\n",
        "borderline: 0.07\n",
        &["the band in which a score is near its line"],
    ),
    Row("on_fail: review  ", "on_fail: fail  ", &["a wrong shadow is for a person"]),
    Row(
        "when: vars.background != 'transparent'\n",
        "when: vars.background != 'scene'\n",
        &["nobody is asked about the shadow of a cutout"],
    ),
];

const ROUTES: &[Row] = &[
    Row(
        ORDER,
        "judges: [claude-haiku, openai-mini, gemini-flash, mistral-vision]",
        &[
            "a clean picture passes on the first judge",
            "the judges are asked in the policy's order",
        ],
    ),
    Row(
        ORDER,
        "judges: [openai-mini, claude-haiku, mistral-vision, gemini-flash]",
        &["the judges are asked in the policy's order"],
    ),
    Row("max_attempts: 3", "max_attempts: 4", &["everybody is down, and a person decides"]),
    Row(
        "deadline: 5s",
        "deadline: 4s",
        &["a judge has until the deadline, and no longer: 4979 ms"],
    ),
    Row(
        "deadline: 5s",
        "deadline: 6s",
        &[
            "a judge has until the deadline, and no longer: 4981 ms",
            "everything hangs, and the caller still has an answer on time",
        ],
    ),
    Row(
        "deadline: 5s",
        "deadline: 4950ms",
        &["a judge has until the deadline, and no longer: 4979 ms"],
    ),
    Row(
        "keep_back: 20ms",
        "keep_back: 50ms",
        &["a judge has until the deadline, and no longer: 4979 ms"],
    ),
    Row("floor: 300ms", "floor: 400ms", &["a caller who leaves less than 300 ms is refused"]),
    Row("floor: 300ms", "floor: 200ms", &["a caller who leaves less than 300 ms is refused"]),
    Row(
        "keep_back: 20ms",
        "keep_back: 5ms",
        &["a judge has until the deadline, and no longer: 4981 ms"],
    ),
    Row(
        "deadline: 5s",
        "deadline: 4990ms",
        &["a judge has until the deadline, and no longer: 4979 ms"],
    ),
    Row(
        "deadline: 5s",
        "deadline: 5010ms",
        &["a judge has until the deadline, and no longer: 4981 ms"],
    ),
    Row(
        "keep_back: 20ms",
        "keep_back: 22ms",
        &["a judge has until the deadline, and no longer: 4979 ms"],
    ),
    Row(
        "keep_back: 20ms",
        "keep_back: 18ms",
        &["a judge has until the deadline, and no longer: 4981 ms"],
    ),
    Row(
        "max_attempts: 3\n  hedge: { after: p95, budget: 10% }",
        "max_attempts: 4\n  hedge: off",
        &["a slow judge is hedged and the hedge wins"],
    ),
    Row(
        "hedge: { after: p95, budget: 10% }",
        "hedge: { after: p99, budget: 10% }",
        &["a slow judge is hedged and the hedge wins"],
    ),
    Row(
        "hedge: { after: p95, budget: 10% }",
        "hedge: { after: p90, budget: 20% }",
        &["a judge that is slower than most, and not than 19 of 20, is left alone"],
    ),
    Row(
        "hedge: { after: p95, budget: 10% }",
        "hedge: { after: p94, budget: 10% }",
        &["a judge that is slower than most, and not than 19 of 20, is left alone"],
    ),
    Row(
        "hedge: { after: p95, budget: 10% }",
        "hedge: { after: p96, budget: 10% }",
        &["a slow judge is hedged and the hedge wins"],
    ),
    Row("on_deadline: review", "on_deadline: pass", &["everything hangs, and the caller still"]),
    Row("on_no_judge: review", "on_no_judge: fail", &["everybody is down, and a person decides"]),
    Row("mode: enforce", "mode: observe", &["a ragged cutout fails, with the criterion named"]),
    Row(
        "per_image: 0.004 USD",
        "per_image: 0.0001 USD",
        &["a slow judge is hedged and the hedge wins"],
    ),
];

const SECOND_OPINIONS: &[Row] = &[
    Row(SECOND, "", &["a score near its line is asked again, and both together pass"]),
    Row(
        "ask: [claude-haiku, gemini-flash]",
        "ask: [gemini-flash, claude-haiku]",
        &["a score near its line is asked again, and both together pass"],
    ),
    Row("combine: mean", "combine: strictest", &["a score near its line is asked again, and both"]),
    Row(
        "combine: mean",
        "combine: kindest",
        &["the second judge can turn a near pass into a fail"],
    ),
    Row(
        "needs: 900ms",
        "needs: 1s",
        &["with less than 900 ms left the first answer stands: 930 ms"],
    ),
    Row(
        "needs: 900ms",
        "needs: 800ms",
        &["with less than 900 ms left the first answer stands: 870"],
    ),
    Row("split: review", "split: pass", &["two judges who both cannot tell leave it to a person"]),
];

const CHECKS: &[Row] = &[
    Row(
        "min_width: 256, min_height: 256",
        "min_width: 128, min_height: 128",
        &["a picture too small"],
    ),
    Row(
        "min_stddev: 2.5, on_fail: fail",
        "min_stddev: 2.5, on_fail: flag",
        &["a picture of nothing"],
    ),
    Row(
        "subject: [0.064, 0.97], max_clipped: 0.64, min_highlight: 0.14",
        "subject: [0.001, 0.97], max_clipped: 0.64, min_highlight: 0",
        &["what a check flags is for the judge and the record, and settles nothing: in the dark"],
    ),
    Row(
        "max_blown: 0.45",
        "max_blown: 1",
        &["what a check flags is for the judge and the record, and settles nothing: washed out"],
    ),
    Row(
        "min_laplacian_var: 44",
        "min_laplacian_var: 3",
        &["what a check flags is for the judge and the record, and settles nothing: out of focus"],
    ),
    Row(
        "min_white: 0.928",
        "min_white: 0",
        &["what a check flags is for the judge and the record, and settles nothing: a ground"],
    ),
    Row(
        "max_ratio: 0.13",
        "max_ratio: 1",
        &["what a check flags is for the judge and the record, and settles nothing: a halo"],
    ),
    Row(
        "max_share: 0.037",
        "max_share: 0.5",
        &["what a check flags is for the judge and the record, and settles nothing: cut off"],
    ),
    Row(
        "max_distance: 6, on_fail: fail",
        "max_distance: 6, on_fail: flag",
        &["a picture on the list of known bad"],
    ),
    Row(
        "seen as well\n    when: vars.background in ['white', 'transparent']",
        "seen as well\n    when: vars.background in ['white', 'transparent', 'scene']",
        &["a grey ground is nobody's concern"],
    ),
    Row(
        "seen as well\n    when: vars.background in ['white', 'transparent']",
        "seen as well\n    when: vars.background == 'white'",
        &[
            "what a check flags is for the judge and the record, and settles nothing: a ground that \
           should be see-through",
        ],
    ),
];

/// The lines of the checks that refuse pictures: a small step to either side is told. Every fingerprint
/// has 31 of its bits set, so that no two differ in 7: `max_distance: 7` says the same as 6.
const REFUSALS: &[Row] = &[
    Row(
        "min_width: 256",
        "min_width: 257",
        &["256 pixels a side are enough, and 255 are not: both sides are"],
    ),
    Row(
        "min_width: 256",
        "min_width: 255",
        &["256 pixels a side are enough, and 255 are not: its width is not"],
    ),
    Row(
        "min_height: 256",
        "min_height: 257",
        &["256 pixels a side are enough, and 255 are not: both sides are"],
    ),
    Row(
        "min_height: 256",
        "min_height: 255",
        &["256 pixels a side are enough, and 255 are not: its height is not"],
    ),
    Row(
        "aspect: [0.33,",
        "aspect: [0.34,",
        &["a picture is no longer than three to one, either way: 0.33 is narrow enough"],
    ),
    Row(
        "aspect: [0.33,",
        "aspect: [0.32,",
        &["a picture is no longer than three to one, either way: 0.329 is too narrow"],
    ),
    Row(
        "0.33, 3.0]",
        "0.33, 2.9]",
        &["a picture is no longer than three to one, either way: 3 is wide enough"],
    ),
    Row(
        "0.33, 3.0]",
        "0.33, 3.1]",
        &["a picture is no longer than three to one, either way: 3.01 is too wide"],
    ),
    Row(
        "min_stddev: 2.5",
        "min_stddev: 2.6",
        &[
            "a picture of next to nothing is blank below 2.5 levels of contrast: 2.60 levels are something",
        ],
    ),
    Row(
        "min_stddev: 2.5",
        "min_stddev: 2.4",
        &["a picture of next to nothing is blank below 2.5 levels of contrast: 2.44 are not"],
    ),
    Row(
        "max_distance: 6",
        "max_distance: 5",
        &["up to 6 bits from a known bad picture it is one: 6 bits are near"],
    ),
    Row(
        "max_distance: 6",
        "max_distance: 8",
        &["up to 6 bits from a known bad picture it is one: 8 bits are not"],
    ),
];

const FAULTS: &[Row] = &[
    Row(
        "max_fall_db: 21",
        "max_fall_db: 90",
        &["what a check flags is for the judge and the record, and settles nothing: out of focus"],
    ),
    Row(
        "min_alpha: 0.926",
        "min_alpha: 0.1",
        &["what coding, cutting out and placing did wrong is flagged: a ghost"],
    ),
    Row(
        "max_levels: 9.2",
        "max_levels: 92",
        &["what coding, cutting out and placing did wrong is flagged: grain"],
    ),
    Row(
        "max_share: 0.76",
        "max_share: 1",
        &["what coding, cutting out and placing did wrong is flagged: blocks"],
    ),
    Row(
        "max_share: 0.47",
        "max_share: 1",
        &["what coding, cutting out and placing did wrong is flagged: bands"],
    ),
    Row(
        "type: checkerboard, max_share: 0.1 ",
        "type: checkerboard, max_share: 1 ",
        &["what coding, cutting out and placing did wrong is flagged: a painted"],
    ),
    Row(
        "type: bars, max_share: 0.061",
        "type: bars, max_share: 1",
        &["what coding, cutting out and placing did wrong is flagged: black bars"],
    ),
    Row(
        "max_share: 0.023",
        "max_share: 0.9",
        &["what coding, cutting out and placing did wrong is flagged: litter"],
    ),
    Row(
        "max_count: 8",
        "max_count: 30",
        &["what coding, cutting out and placing did wrong is flagged: specks"],
    ),
    Row(
        "max_count: 7",
        "max_count: 50",
        &["what coding, cutting out and placing did wrong is flagged: holes"],
    ),
    Row(
        "max_share: 0.29",
        "max_share: 1",
        &["what coding, cutting out and placing did wrong is flagged: a hard edge"],
    ),
    Row(
        "max_share: 0.14",
        "max_share: 1",
        &["what coding, cutting out and placing did wrong is flagged: stairs"],
    ),
    Row(
        "share: [0.0076, 0.98]",
        "share: [0.0001, 0.98]",
        &["what coding, cutting out and placing did wrong is flagged: far away"],
    ),
    Row(
        "max_offset: 0.3 ",
        "max_offset: 0.5 ",
        &["what coding, cutting out and placing did wrong is flagged: in a corner"],
    ),
    Row(
        "max_gap: 0.14",
        "max_gap: 0.9",
        &["what coding, cutting out and placing did wrong is flagged: above its"],
    ),
];

#[test]
fn a_threshold_that_is_changed_fails_the_test_of_its_name() {
    check(THRESHOLDS);
}

#[test]
fn an_order_a_time_or_a_fallback_that_is_changed_fails_the_test_of_its_name() {
    check(ROUTES);
}

#[test]
fn a_second_opinion_that_is_changed_fails_the_test_of_its_name() {
    check(SECOND_OPINIONS);
}

#[test]
fn a_check_that_is_changed_fails_the_test_of_its_name() {
    check(CHECKS);
    check(FAULTS);
}

#[test]
fn a_line_that_refuses_pictures_fails_the_test_of_its_name_when_it_is_moved_a_little() {
    check(REFUSALS);
}

fn check(rows: &[Row]) {
    let casting = Casting::usual();
    // one stage for all: an image that is prepared for one row is prepared for the next
    let mut stage = Stage::new().unwrap();
    for Row(from, to, expected) in rows {
        let folder = edited(&[(from, to)]);
        let suite = read_suite(&folder.path().join("product-photo.test.yaml"), &casting);
        let suite = suite.unwrap_or_else(|why| panic!("{from} to {to}: {why}"));
        let performance = stage.play(&suite, "").unwrap();
        let failed = performance.played.iter().filter(|one| !one.passed());
        let failed: Vec<&str> = failed.map(|one| one.name.as_str()).collect();
        for name in *expected {
            let told = failed.iter().any(|one| one.starts_with(name));
            assert!(told, "{from} to {to}: {name:?} passes; failed: {failed:#?}");
        }
        assert!(
            failed.len() < performance.played.len(),
            "{from} to {to}: all fail, that tells nothing"
        );
    }
}
