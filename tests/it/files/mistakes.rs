//! One mistake at a time: the whole message it gives, and whether the schema refuses it too. What
//! a schema cannot say is between keys, in other files, or in the meaning of a template.

use serde_json::Value as Json;

use crate::files::{POLICY, json, load, policy_schema, validator, with};

/// Whether an editor's schema can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schema {
    Refuses,
    CannotTell,
}
use Schema::{CannotTell, Refuses};

/// What is changed in a file that was right, and what is then said, without the file's name.
pub(crate) struct Mistake {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) told: &'static str,
    pub(crate) schema: Schema,
}

/// Makes each mistake in a file that was `right`, and compares what the reader and the schema say.
pub(crate) fn check(
    right: &str,
    mistakes: &[Mistake],
    schema: &Json,
    read: impl Fn(&str) -> Option<String>,
) {
    let validator = validator(schema);
    for Mistake { from, to, told, schema } in mistakes {
        let wrong = with(right, from, to);
        let message = read(&wrong).unwrap_or_default();
        let lines = message.lines().map(|line| line.split_once(".yaml:").expect("a place").1);
        assert_eq!(lines.collect::<Vec<_>>().join("\n"), *told, "{to:?}");
        let says = if validator.is_valid(&json(&wrong)) { CannotTell } else { Refuses };
        assert_eq!(says, *schema, "the schema on {to:?}");
    }
}

#[test]
fn a_mistake_in_a_policy_is_told_with_place_key_and_remedy() {
    for table in [SHAPE, BETWEEN, NAMES] {
        check(POLICY, table, &policy_schema(), |text| load(text).err());
    }
}

/// It is no JSON, so no schema sees it.
#[test]
fn a_key_that_stands_twice_is_told() {
    let told = load(&with(POLICY, "name: base\n", "name: base\nname: bass\n")).unwrap_err();
    assert_eq!(told, "policies/p.yaml:3:1: name: stands twice; first on line 2");
}

/// Mistakes in the shape of a policy.
const SHAPE: &[Mistake] = &[
    Mistake {
        from: "format: 1",
        to: "format: 2",
        told: "1:9: format: 2 is not a format that this version reads; it reads 1",
        schema: Refuses,
    },
    Mistake { from: "format: 1\n", to: "", told: "1:1: format: is missing", schema: Refuses },
    Mistake {
        from: "name: base",
        to: "name: Base Policy",
        told: r#"2:7: name: "Base Policy" is not a name of up to 64 small letters, digits, `.`, `_` and `-` that begins with a letter or digit"#,
        schema: Refuses,
    },
    Mistake {
        from: "criteria:\n",
        to: "criterias:\n",
        told: "1:1: criteria: is missing\n13:1: criterias: is not a key here; did you mean `criteria`?",
        schema: Refuses,
    },
    Mistake {
        from: "    pass_at: 0.7\n",
        to: "    pass_att: 0.7\n",
        told: "14:5: criteria[0].pass_at: is missing\n16:5: criteria[0].pass_att: is not a key here; did you mean `pass_at`?",
        schema: Refuses,
    },
    Mistake {
        from: "pass_at: 0.7\n",
        to: "pass_at: 1.7\n",
        told: "16:14: criteria[0].pass_at: 1.7 is not between 0 and 1",
        schema: Refuses,
    },
    Mistake {
        from: "pass_at: 0.7\n",
        to: "pass_at: high\n",
        told: r#"16:14: criteria[0].pass_at: "high" is not a number between 0 and 1"#,
        schema: Refuses,
    },
    Mistake {
        from: "pass_at: 0.7\n",
        to: "pass_at:\n",
        told: "16:12: criteria[0].pass_at: has no value; expected a number between 0 and 1",
        schema: Refuses,
    },
    Mistake {
        from: "ask: Is the outline clean?",
        to: "ask: 5",
        told: "15:10: criteria[0].ask: 5 is not text; put quotes around it",
        schema: Refuses,
    },
    Mistake {
        from: "id: shadow",
        to: "id: contact-shadow",
        told: r#"19:9: criteria[1].id: "contact-shadow" is not a name of up to 41 small letters, digits and `_` that begins with a letter"#,
        schema: Refuses,
    },
    Mistake {
        from: "measured_by: [edge_halo]",
        to: "measured_by: [edge_hallo]",
        told: r#"18:19: criteria[0].measured_by[0]: "edge_hallo" is not known here; did you mean `edge_halo`?"#,
        schema: Refuses,
    },
    Mistake {
        from: "measured_by: [edge_halo]",
        to: "measured_by: edge_halo",
        told: r#"18:18: criteria[0].measured_by: "edge_halo" is not a list"#,
        schema: Refuses,
    },
    Mistake {
        from: "type: sharpness, min_laplacian_var: 35",
        to: "type: sharpnes, min_laplacian_var: 35",
        told: r#"11:24: checks[0].type: "sharpnes" is not known here; did you mean `sharpness`?"#,
        schema: Refuses,
    },
    Mistake {
        from: "min_laplacian_var: 35",
        to: "min_variance: 35",
        told: "11:35: checks[0].min_variance: is not a key here; known: type, id, when, on_fail, min_laplacian_var",
        schema: Refuses,
    },
    Mistake {
        from: "list: lists/bad.txt",
        to: "lists: lists/bad.txt",
        told: "12:5: checks[1].list: is missing\n12:31: checks[1].lists: is not a key here; did you mean `list`?",
        schema: Refuses,
    },
    Mistake {
        from: "max_side: 1024",
        to: "max_side: 8192",
        told: "8:30: input.views[0].max_side: 8192 is not a whole number from 64 to 4096",
        schema: Refuses,
    },
    Mistake {
        from: "{ bottom: 35% }",
        to: "{ bottom: 135% }",
        told: r#"9:35: input.views[1].crop.bottom: "135%" is not a share such as 35% or 0.35, from 0 to 1"#,
        schema: Refuses,
    },
    Mistake {
        from: "max_bytes: 12MiB",
        to: "max_bytes: 12mb",
        told: r#"4:14: input.max_bytes: "12mb" is not a size in bytes such as 12MiB or 12000000"#,
        schema: Refuses,
    },
    Mistake {
        from: "deadline: 5s",
        to: "deadline: 5",
        told: "30:13: route.deadline: 5 is not a time with its unit such as 300ms, 5s or 90d",
        schema: Refuses,
    },
    Mistake {
        from: "max_attempts: 3",
        to: "max_attempts: 0",
        told: "33:17: route.max_attempts: 0 is not a whole number from 1 to 8",
        schema: Refuses,
    },
    Mistake {
        from: "after: p95",
        to: "after: p100",
        told: r#"34:19: route.hedge.after: "p100" is not a quantile from p50 to p99"#,
        schema: Refuses,
    },
    Mistake {
        from: "hedge: { after: p95, budget: 10% }",
        to: "hedge: no",
        told: r#"34:10: route.hedge: "no" is not off or { after: p95, budget: 10% }"#,
        schema: Refuses,
    },
    Mistake {
        from: "needs: 900ms",
        to: "when: [borderlin]",
        told: r#"37:10: second_opinion.when[0]: "borderlin" is not known here; did you mean `borderline`?"#,
        schema: Refuses,
    },
    Mistake {
        from: "record:\n",
        to: "cost: { per_image: 0.004 }\nrecord:\n",
        told: "38:20: cost.per_image: 0.004 is not an amount such as 0.004 USD, to the millionth",
        schema: Refuses,
    },
    Mistake {
        from: "name: base\n",
        to: "name: base\nmode: enforced\n",
        told: r#"3:7: mode: "enforced" is not known here; did you mean `enforce`?"#,
        schema: Refuses,
    },
    Mistake {
        from: "route:\n",
        to: "route:\n  stream: \"yes\"\n",
        told: r#"29:11: route.stream: "yes" is not true or false"#,
        schema: Refuses,
    },
    Mistake {
        from: "route:\n",
        to: "route:\n  offset_by_judge: { claude-haiku: { add: 8, at_line: 37% } }\n",
        told: "29:43: route.offset_by_judge.claude-haiku.add: 8 is not a number between -1 and 1\n29:55: route.offset_by_judge.claude-haiku.at_line: \"37%\" is not a number between 0 and 1",
        schema: Refuses,
    },
    Mistake {
        from: "route:\n",
        to: "route:\n  offset_by_judge: { claude-haiku: { at_lien: 0.3 } }\n",
        told: "29:36: route.offset_by_judge.claude-haiku.add: is missing\n29:38: route.offset_by_judge.claude-haiku.at_lien: is not a key here; did you mean `at_line`?",
        schema: Refuses,
    },
    Mistake {
        from: "route:\n",
        to: "route:\n  offset_by_judge: { claude-haiku: { add: 0.1, fitted: 23.11.2026, asked: b3:12 } }\n",
        told: "29:56: route.offset_by_judge.claude-haiku.fitted: \"23.11.2026\" is not a date such as 2026-11-23\n29:75: route.offset_by_judge.claude-haiku.asked: \"b3:12\" is not a digest: b3: and 64 hex digits",
        schema: Refuses,
    },
    Mistake {
        from: "name: base\n",
        to: "name: base\nexpect: {}\n",
        told: "3:1: expect: `expect` belongs to the drift alert, which this version does not have yet; remove it",
        schema: Refuses,
    },
    Mistake {
        from: "name: base\n",
        to: "name: base\nshadow: [{ id: s, judge: claude-haiku }]\n",
        told: "3:10: shadow[0].per_day: is missing",
        schema: Refuses,
    },
    Mistake {
        from: "name: base\n",
        to: "name: base\nbackfill: { shar: 10%, per_day: 1 USD }\n",
        told: "3:13: backfill.shar: is not a key here; did you mean `share`?",
        schema: Refuses,
    },
];

/// Mistakes between the keys of a policy.
const BETWEEN: &[Mistake] = &[
    Mistake {
        from: "name: base\n",
        to: "name: base\nshadow: [{ id: s, judge: claude-haik, per_day: 1 USD }]\n",
        told: r#"3:26: shadow[0].judge: no judge is called "claude-haik"; did you mean `claude-haiku`?"#,
        schema: CannotTell,
    },
    Mistake {
        from: "name: base\n",
        to: "name: base\nshadow: [{ id: s, judge: local, per_day: 1 USD }]\n",
        told: "3:26: shadow[0].judge: it measures and does not look: there is nothing to learn from it",
        schema: CannotTell,
    },
    Mistake {
        from: "name: base\n",
        to: "name: base\nbackfill: { per_day: 0 USD }\n",
        told: "3:22: backfill.per_day: 0 USD asks nobody: leave the entry out instead",
        schema: CannotTell,
    },
    Mistake {
        from: "name: base\n",
        to: "name: base\nlosers: { share: 0%, per_day: 1 USD }\n",
        told: "3:18: losers.share: 0 shows it no image: leave the entry out instead",
        schema: CannotTell,
    },
    Mistake {
        from: "hedge: { after: p95, budget: 10% }\n",
        to: "hedge: off\nlosers: { per_day: 1 USD }\n",
        told: "35:9: losers: nobody loses a hedge while route.hedge is off: leave it out",
        schema: CannotTell,
    },
    Mistake {
        from: "id: shadow",
        to: "id: cutout",
        told: r#"19:9: criteria[1].id: "cutout" stands twice; first on line 14"#,
        schema: CannotTell,
    },
    Mistake {
        from: "id: foot",
        to: "id: whole",
        told: r#"9:13: input.views[1].id: "whole" stands twice; first on line 8"#,
        schema: CannotTell,
    },
    Mistake {
        from: "id: known",
        to: "id: sharp",
        told: r#"12:11: checks[1].id: "sharp" stands twice; first on line 11"#,
        schema: CannotTell,
    },
    Mistake {
        from: "default: scene",
        to: "default: scen",
        told: r#"6:52: input.vars.background.default: "scen" is not in one_of; did you mean `scene`?"#,
        schema: CannotTell,
    },
    Mistake {
        from: "{ bottom: 35% }",
        to: "{ top: 20%, bottom: 35% }",
        told: "9:45: input.views[1].crop.bottom: stands beside `top`; a view keeps one side of each pair",
        schema: CannotTell,
    },
    Mistake {
        from: "max_bytes: 12MiB",
        to: "max_bytes: 1GiB",
        told: "4:14: input.max_bytes: 1073741824 bytes are over the limit of 67108864 (64MiB)",
        schema: CannotTell,
    },
    Mistake {
        from: "floor: 300ms",
        to: "floor: 6s",
        told: "31:10: route.floor: 6s is not under the deadline of 5s",
        schema: CannotTell,
    },
    Mistake {
        from: "keep_back: 20ms",
        to: "keep_back: 400ms",
        told: "32:14: route.keep_back: 400ms is not under the floor of 300ms",
        schema: CannotTell,
    },
    Mistake {
        from: "deadline: 5s",
        to: "deadline: 5m",
        told: "30:13: route.deadline: 5m is over the limit of 2m",
        schema: CannotTell,
    },
    Mistake {
        from: "max_attempts: 3",
        to: "max_attempts: 3\n  attempt_cap: 4960ms",
        told: r#"34:16: route.attempt_cap: 4960ms leaves no time for "claude-haiku": the attempts before it take 4960ms of 4980ms when they hang"#,
        schema: CannotTell,
    },
    Mistake {
        from: "max_attempts: 3",
        to: "max_attempts: 3\n  attempt_cap: 6s",
        told: "34:16: route.attempt_cap: 6s is not between 50ms and the 4980ms that the deadline leaves",
        schema: CannotTell,
    },
    Mistake {
        from: "budget: 10%",
        to: "budget: 5%",
        told: "34:32: route.hedge.budget: 5% is spent by the 5% of healthy attempts that are slower than p95; give more than 5%, or say hedge: off",
        schema: CannotTell,
    },
    Mistake {
        from: "needs: 900ms",
        to: "needs: 5s",
        told: "37:10: second_opinion.needs: 5s is not under the 4980ms that the deadline leaves: no second judge is ever asked",
        schema: CannotTell,
    },
    Mistake {
        from: "images: 14d",
        to: "images: 180d",
        told: "39:34: record.keep.images: 180d is longer than the 90d that records are kept",
        schema: CannotTell,
    },
];

/// Names of a policy that are nowhere, and templates that cannot work.
const NAMES: &[Mistake] = &[
    // names of elsewhere
    Mistake {
        from: "judges: [openai-mini, claude-haiku]",
        to: "judges: [openai_mini, claude-haiku]",
        told: r#"29:12: route.judges[0]: no judge is called "openai_mini"; did you mean `openai-mini`?"#,
        schema: CannotTell,
    },
    Mistake {
        from: "judges: [openai-mini, claude-haiku]",
        to: "judges: [llama]",
        told: r#"29:12: route.judges[0]: no judge is called "llama"; known: openai-mini, claude-haiku, gemini-flash, mistral-vision, local"#,
        schema: CannotTell,
    },
    Mistake {
        from: "judges: [openai-mini, claude-haiku]\n  deadline: 5s\n  floor: 300ms\n  keep_back: 20ms\n  max_attempts: 3",
        to: "judges: [openai-mini, claude-haiku, local]\n  max_attempts: 1",
        told: r#"29:11: route.judges: "local" is never asked: max_attempts 1 and one last chance reach 2 judges"#,
        schema: CannotTell,
    },
    Mistake {
        from: "max_attempts: 3\n  hedge: { after: p95, budget: 10% }",
        to: "max_attempts: 1\n  hedge: off",
        told: r#"29:11: route.judges: "claude-haiku" is never asked: max_attempts is 1, and without hedges there is no last chance"#,
        schema: CannotTell,
    },
    Mistake {
        from: "ask: [claude-haiku]",
        to: "ask: [claude]",
        told: r#"36:9: second_opinion.ask[0]: no judge is called "claude"; did you mean `claude-haiku`?"#,
        schema: CannotTell,
    },
    Mistake {
        from: "{ claude-haiku: 0.6 }",
        to: "{ claude-hiaku: 0.6 }",
        told: r#"17:25: criteria[0].pass_at_by_judge.claude-hiaku: no judge is called "claude-hiaku"; did you mean `claude-haiku`?"#,
        schema: CannotTell,
    },
    Mistake {
        from: "route:\n",
        to: "route:\n  offset_by_judge: { claude-haiku: { add: 0.1, fitted: 2026-11-31 } }\n",
        told: "29:56: route.offset_by_judge.claude-haiku.fitted: \"2026-11-31\" is not a date such as 2026-11-23",
        schema: CannotTell,
    },
    Mistake {
        from: "route:\n",
        to: "route:\n  offset_by_judge: { claude-hiaku: { add: 0.1, against: openai-mimi } }\n",
        told: "29:22: route.offset_by_judge.claude-hiaku: no judge is called \"claude-hiaku\"; did you mean `claude-haiku`?\n29:57: route.offset_by_judge.claude-hiaku.against: no judge is called \"openai-mimi\"; did you mean `openai-mini`?",
        schema: CannotTell,
    },
    Mistake {
        from: "list: lists/bad.txt",
        to: "list: lists/bda.txt",
        told: r#"12:37: checks[1].list: there is no file "lists/bda.txt" in policies; did you mean `lists/bad.txt`?"#,
        schema: CannotTell,
    },
    Mistake {
        from: "file:prompts/system.j2",
        to: "file:../../etc/passwd",
        told: r#"24:11: prompt.system: there is no file "../../etc/passwd" in policies; prompts and lists end in .j2, .jinja, .md or .txt"#,
        schema: CannotTell,
    },
    // templates and conditions
    Mistake {
        from: "vars.background == 'white'",
        to: "vars.backgruond == 'white'",
        told: "22:11: criteria[1].when: `vars.backgruond` is not declared in input.vars: background",
        schema: CannotTell,
    },
    Mistake {
        from: "vars.background == 'white'",
        to: "vars.background == 'wite'",
        told: "22:11: criteria[1].when: is never true, whatever the variables are",
        schema: CannotTell,
    },
    Mistake {
        from: "vars.background == 'white'",
        to: "vars.background =",
        told: "22:11: criteria[1].when: syntax error: unexpected input after expression",
        schema: CannotTell,
    },
    Mistake {
        from: "On {{ vars.background }}:",
        to: "On {{ vars.colour }}:",
        told: "26:11: prompt.user: `vars.colour` is not declared in input.vars: background",
        schema: CannotTell,
    },
    Mistake {
        from: "{{ criteria | length }}",
        to: "{{ criteria[0].question }}",
        told: "27:8: prompt.user: `criteria[0].question` is not defined",
        schema: CannotTell,
    },
    Mistake {
        from: "{{ criteria | length }}",
        to: "{% if flags %}",
        told: "27:19: prompt.user: syntax error: unexpected end of input, expected end of block",
        schema: CannotTell,
    },
    Mistake {
        from: "    measured_by: [edge_halo]\n",
        to: "    when: vars.background == 'white'\n",
        told: "14:3: criteria: nothing is asked when background=scene",
        schema: CannotTell,
    },
];
