//! What is shipped for Prometheus and Grafana names only what there is, and says what to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use vlmgate::telemetry::METRICS;

/// The metrics that users may rely on.
const CONTRACT: &[&str] = &[
    "vlmgate_verdicts_total",
    "vlmgate_verdict_seconds",
    "vlmgate_answers_late_total",
    "vlmgate_stage_seconds",
    "vlmgate_attempts_total",
    "vlmgate_attempt_seconds",
    "vlmgate_breaker_state",
    "vlmgate_failovers_total",
    "vlmgate_hedges_total",
    "vlmgate_second_opinions_total",
    "vlmgate_score",
    "vlmgate_reject_ratio",
    "vlmgate_drift_evidence_ratio",
    "vlmgate_drift_mix_shift_ratio",
    "vlmgate_cost_usd_total",
    "vlmgate_tokens_total",
    "vlmgate_in_flight",
    "vlmgate_queued",
    "vlmgate_shed_total",
    "vlmgate_records_pending",
    "vlmgate_policy_info",
    "vlmgate_drill_last_success_timestamp_seconds",
];

/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&file("ops/grafana/vlmgate.json")).unwrap()
}

/// Every text of the dashboard.
fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(all) => all.iter().for_each(|one| texts(one, found)),
        Value::Object(all) => all.values().for_each(|one| texts(one, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The names with this head in a text.
fn names(text: &str, head: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    let words = text.split(|letter| !is_part(letter)).map(|word| word.trim_end_matches(':'));
    words.filter(|word| word.starts_with(head)).map(str::to_owned).collect()
}

/// The metrics that a text names which no gate has.
fn unknown(text: &str) -> Vec<String> {
    let is_known = |name: &String| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        METRICS.iter().any(|(known, _)| known == name || Some(*known) == histogram)
    };
    names(text, "vlmgate_").into_iter().filter(|name| !is_known(name)).collect()
}

/// What stands behind `key` in a block of YAML, quotes left out.
fn behind<'a>(block: &'a str, key: &str) -> Option<&'a str> {
    let line = block.lines().find_map(|line| line.trim().strip_prefix(key))?;
    Some(line.trim().trim_matches('"'))
}

/// Name and block of every alert.
fn alerts(rules: &str) -> Vec<(String, String)> {
    let blocks = rules.split("- alert: ").skip(1);
    let named = blocks.map(|block| block.split_once('\n').unwrap());
    named.map(|(name, block)| (name.trim().to_owned(), block.to_owned())).collect()
}

#[test]
fn the_contract_s_metrics_are_all_there() {
    for name in CONTRACT {
        assert!(METRICS.iter().any(|(known, _)| known == name), "{name} is promised");
    }
}

#[test]
fn the_readme_s_table_is_the_table_of_the_metrics() {
    let readme = file("README.md");
    let table = readme.split("| metric | says |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let expected: Vec<_> =
        METRICS.iter().map(|(name, help)| format!("| `{name}` | {help} |")).collect();
    assert_eq!(rows.collect::<Vec<_>>(), expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn the_dashboard_names_only_metrics_that_there_are_and_leaves_none_out() {
    let board = dashboard();
    let mut found = Vec::new();
    texts(&board, &mut found);
    let text = found.join("\n");
    assert_eq!(unknown(&text), Vec::<String>::new(), "no gate has these");
    let shown = names(&text, "vlmgate_");
    let is_shown = |name: &str| shown.iter().any(|one| one.starts_with(name));
    let missing: Vec<_> = METRICS.iter().filter(|(name, _)| !is_shown(name)).collect();
    // when a drill last passed is what the alert is for
    let left_out = ["vlmgate_drill_last_success_timestamp_seconds"];
    let missing: Vec<_> = missing.iter().filter(|(name, _)| !left_out.contains(name)).collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}");
}

#[test]
fn every_panel_says_what_it_shows_and_none_lies_on_another() {
    let board = dashboard();
    assert_eq!(board["__inputs"][0]["name"], "DS_PROMETHEUS");
    let panels = board["panels"].as_array().unwrap();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(at("x") + at("w") <= COLUMNS, "{title}: wider than the page");
        for cell in (at("x")..at("x") + at("w"))
            .flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            assert!(cells.insert(cell), "{title}: lies on another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        let says = panel["description"].as_str().unwrap();
        assert!(says.ends_with('.'), "{title}: what does it show?");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}: asks nothing");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${DS_PROMETHEUS}", "{title}");
        }
    }
}

#[test]
fn the_rules_name_only_metrics_and_rules_that_there_are() {
    let rules = file("ops/alerts.yaml");
    assert_eq!(unknown(&rules), Vec::<String>::new(), "no gate has these");
    let recorded = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    let recorded: BTreeSet<_> = recorded.map(str::to_owned).collect();
    let named = names(&rules, "vlmgate:");
    assert_eq!(named, recorded, "every rule is recorded, and every recorded one is used");
}

#[test]
fn every_alert_says_whom_it_calls_what_happened_where_to_look_and_what_to_do() {
    let all = alerts(&file("ops/alerts.yaml"));
    assert!(all.len() > 15, "the rules were read: {}", all.len());
    for (name, block) in all {
        let severity = behind(&block, "labels: { severity: ").unwrap_or_default();
        assert!(["page }", "ticket }", "info }"].contains(&severity), "{name}: {severity:?}");
        for key in ["summary:", "description:", "runbook:"] {
            let said = behind(&block, key).unwrap_or_default();
            assert!(said.len() > 15, "{name} lacks {key}");
        }
        let page = behind(&block, "page:").unwrap_or_default();
        let is_known = page.starts_with("/ui/") || page == "/readyz?verbose";
        assert!(is_known, "{name}: {page} is no page of the gate");
    }
}

#[test]
fn every_alert_fires_in_a_story() {
    let stories = file("ops/alerts.test.yaml") + &file("ops/alerts.days.test.yaml");
    for (name, _) in alerts(&file("ops/alerts.yaml")) {
        let fires = format!("alertname=\"{name}\"");
        assert!(stories.contains(&fires), "{name} fires in no story");
    }
}
