use std::time::Duration;

use super::*;
use crate::domain::policy::{
    CheckKind, CriterionOnFail, Encoding, Input, Keep, Mode, OnFail, Owner, Region, RouteSpec,
    ViewSpec,
};
use crate::domain::{Digest, Fallback, Format};
use crate::prompt::trial::combinations;

fn variable(values: &[&str], default: Option<&str>) -> Variable {
    let one_of = values.iter().map(|one| (*one).to_owned()).collect();
    Variable { one_of, default: default.map(str::to_owned) }
}

fn criterion(id: &str, when: Option<&str>) -> Criterion {
    Criterion {
        id: id.to_owned(),
        ask: format!("Is the {id} right?"),
        pass_at: 0.7,
        pass_at_by_judge: BTreeMap::new(),
        when: when.map(str::to_owned),
        on_fail: CriterionOnFail::Fail,
        measured_by: Vec::new(),
    }
}

fn input() -> Input {
    let category = variable(&["shoes", "bags"], Some("shoes"));
    let background = variable(&["white", "transparent"], None);
    let whole =
        ViewSpec { id: "whole".to_owned(), around: None, region: Region::WHOLE, max_side_px: 512 };
    Input {
        accept: vec![Format::Png],
        max_bytes: 1,
        max_pixels: 1,
        vars: BTreeMap::from([
            ("category".to_owned(), category),
            ("background".to_owned(), background),
        ]),
        views: vec![whole],
        encode: Encoding { quality: 85, flatten_alpha: [255; 3] },
    }
}

pub(crate) fn policy() -> Policy {
    let second = Duration::from_secs(1);
    Policy {
        name: "test".to_owned(),
        description: String::new(),
        owner: Owner::default(),
        mode: Mode::Enforce,
        input: input(),
        checks: vec![CheckSpec {
            id: "blank".to_owned(),
            kind: CheckKind::Contrast { min_stddev: 4.0 },
            when: Some("vars.background == 'white'".to_owned()),
            on_fail: OnFail::Flag,
        }],
        criteria: vec![
            criterion("outline", None),
            criterion("shadow", Some("vars.background != 'transparent'")),
        ],
        borderline: 0.05,
        system_prompt: "Judge the outline and the shadow.".to_owned(),
        user_prompt: "{{ vars.category }}: {{ criteria[0].id }}".to_owned(),
        reason_chars: 160,
        max_output_tokens: 300,
        route: RouteSpec {
            judges: vec!["local".to_owned()],
            offset_by_judge: BTreeMap::new(),
            deadline: Duration::from_secs(5),
            floor: Duration::from_millis(300),
            keep_back: Duration::from_millis(20),
            max_attempts: 3,
            attempt_cap: None,
            hedge: None,
            stream: true,
            on_deadline: Fallback::Review,
            on_no_judge: Fallback::Review,
        },
        second_opinion: None,
        cost_per_image: None,
        keep: Keep { images: Vec::new(), verdicts_for: second, images_for: second },
        shadows: Vec::new(),
        backfill: None,
        losers: None,
        revision: Digest::of(b""),
        judging: Digest::of(b""),
        asked: Digest::of(b""),
    }
}

fn with_user(template: &str) -> Policy {
    Policy { user_prompt: template.to_owned(), ..policy() }
}

fn problems(policy: Policy) -> Vec<String> {
    let problems = LoadedPolicy::compile(policy).unwrap_err();
    let show =
        |one: &CompileProblem| format!("{}:{}:{}: {}", one.part, one.line, one.column, one.message);
    problems.iter().map(show).collect()
}

fn sent(vars: &[(&str, &str)]) -> BTreeMap<String, String> {
    vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn defaults_fill_what_the_caller_left_out() {
    let loaded = LoadedPolicy::compile(policy()).unwrap();
    let vars = loaded.vars(&sent(&[("background", "white")])).unwrap();
    assert_eq!(vars, sent(&[("background", "white"), ("category", "shoes")]));
}

#[test]
fn every_wrong_variable_is_told() {
    let loaded = LoadedPolicy::compile(policy()).unwrap();
    let problems = loaded.vars(&sent(&[("colour", "red"), ("category", "hats")])).unwrap_err();
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "colour: is not a variable of this policy; it has: background, category",
            "background: is missing; one of white, transparent",
            "category: \"hats\" is not one of shoes, bags",
        ]
    );
}

#[test]
fn conditions_choose_criteria_and_checks() {
    let loaded = LoadedPolicy::compile(policy()).unwrap();
    let ids = |background: &str| {
        let vars = loaded.vars(&sent(&[("background", background)])).unwrap();
        let asked: Vec<_> = loaded.asked(&vars).iter().map(|one| one.id.clone()).collect();
        (asked.join(" "), loaded.checks(&vars).len())
    };
    assert_eq!(ids("white"), ("outline shadow".to_owned(), 1));
    assert_eq!(ids("transparent"), ("outline".to_owned(), 0));
}

#[test]
fn a_prompt_sees_variables_views_flags_and_criteria() {
    let template = "{{ vars.category }} {{ views[0].id }} {{ views[0].width }}x{{ views[0].height }} \
                    {{ flags | join('+') }} {{ criteria[0].ask }}{{ ', more' if not flags }}";
    let loaded = LoadedPolicy::compile(with_user(template)).unwrap();
    let vars = loaded.vars(&sent(&[("background", "white")])).unwrap();
    let asked = loaded.asked(&vars);
    let flags = ["blank".to_owned()];
    let views = [("whole", 800, 600)];
    let input = RenderInput { vars: &vars, views: &views, flags: &flags, asked: &asked };
    let prompt = loaded.render(&input).unwrap();
    assert_eq!(prompt.system, "Judge the outline and the shadow.");
    assert_eq!(prompt.user, "shoes whole 800x600 blank Is the outline right?");
}

#[test]
fn an_undefined_name_is_found_at_the_desk_with_its_place() {
    assert_eq!(
        problems(with_user("One\n  {{ vars.colour }} {{ verdict }}")),
        [
            "prompt.user:2:6: `vars.colour` is not declared in input.vars: background, category",
            "prompt.user:2:24: `verdict` is not known here; known: vars, views, flags, criteria",
        ]
    );
    assert_eq!(
        problems(with_user("a\n{{ views[0].size }}")),
        ["prompt.user:2:4: `views[0].size` is not defined"]
    );
}

#[test]
fn a_name_that_only_some_variables_reach_is_found_too() {
    let template = "{% if vars.category == 'bags' %}{{ views[7].id }}{% endif %}";
    assert_eq!(problems(with_user(template)), ["prompt.user:1:36: `views[7].id` is not defined"]);
    let template = "{% if flags %}{{ flags[0].name }}{% endif %}";
    assert_eq!(problems(with_user(template)), ["prompt.user:1:18: `flags[0].name` is not defined"]);
}

#[test]
fn a_template_that_does_not_parse_is_told_with_its_line() {
    assert_eq!(
        problems(with_user("fine\n{% for c in criteria %}")),
        ["prompt.user:2:22: syntax error: unexpected end of input, expected end of block"]
    );
}

#[test]
fn a_runaway_template_is_stopped() {
    let template = "{% for a in range(1000) %}{% for b in range(1000) %}x{% endfor %}{% endfor %}";
    let found = problems(with_user(template));
    assert!(found[0].ends_with("takes more than 50000 steps"), "{found:?}");
    let template = "{% for a in range(9000) %}0123456789{% endfor %}";
    assert_eq!(
        problems(with_user(template)),
        ["prompt.user:1:1: makes 90000 bytes, the limit is 65536"]
    );
}

#[test]
fn a_condition_is_one_expression_over_known_variables() {
    let with_when = |when: &str| {
        let mut policy = policy();
        policy.criteria[1].when = Some(when.to_owned());
        problems(policy)
    };
    assert_eq!(
        with_when("vars.backgroud == 'white'"),
        [
            "criteria[1].when:1:1: `vars.backgroud` is not declared in input.vars: background, category"
        ]
    );
    assert_eq!(
        with_when("vars.background == 'wite'"),
        ["criteria[1].when:1:1: is never true, whatever the variables are"]
    );
    assert_eq!(
        with_when("flags == []"),
        ["criteria[1].when:1:1: `flags` is not known here; known: vars"]
    );
    assert_eq!(
        with_when("vars.background =="),
        ["criteria[1].when:1:17: syntax error: unexpected end of input, expected expression"]
    );
    assert!(with_when("true %}{% if true")[0].contains("syntax error"));
}

#[test]
fn variables_that_leave_nothing_to_ask_are_told() {
    let mut policy = policy();
    policy.criteria.remove(0);
    assert_eq!(
        problems(policy),
        ["criteria:1:1: nothing is asked when background=transparent, category=shoes, \
          and in 2 combinations in all"]
    );
}

#[test]
fn many_variables_are_tried_one_at_a_time() {
    let names: Vec<String> = (0..12).map(|index| format!("v{index}")).collect();
    let vars: BTreeMap<_, _> =
        names.iter().map(|name| (name.clone(), variable(&["a", "b"], None))).collect();
    let (some, are_all) = combinations(&vars);
    assert_eq!((some.len(), are_all), (24, false));
    assert!(some.iter().all(|one| one.len() == 12));
    assert_eq!(combinations(&BTreeMap::new()), (vec![BTreeMap::new()], true));
}

#[test]
fn a_judge_must_be_told_of_whatever_it_is_asked() {
    let told_of = |system: &str, user: &str| {
        let mut policy = with_user(user);
        policy.system_prompt = system.to_owned();
        policy.criteria.push(criterion("edge_artifacts", None));
        LoadedPolicy::compile(policy).map(drop).map_err(|problems| {
            let messages = problems.into_iter().map(|one| one.message);
            messages.collect::<Vec<_>>()
        })
    };
    let unsaid = |id: &str| format!("says nothing of the criterion \"{id}\"");
    let all = told_of("Judge.", "How is it?").unwrap_err();
    assert_eq!(all, ["edge_artifacts", "outline", "shadow"].map(unsaid));
    // shadow is asked of some pictures only, and is told of to those
    let some = "{% for c in criteria %}{{ c.ask }}{% endfor %}";
    assert_eq!(told_of("Judge.", some), Ok(()));
    assert_eq!(told_of("Outline, shadow and edge artifacts.", "How are they?"), Ok(()));
    let first = told_of("Judge.", "{{ criteria[0].ask }}, and the edge_artifacts?").unwrap_err();
    assert_eq!(first, [unsaid("shadow")]);
}
