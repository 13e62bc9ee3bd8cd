//! Every series is there from the start, and counts what happened.

use std::collections::BTreeMap;

use loadtest::{Behaviour, Fault};

use vlmgate::telemetry::METRICS;

use crate::crash::Gate;
use crate::world::{Plan, client, mug, start_providers, write_files};

/// Series (name and labels) with their values.
pub(crate) async fn scrape(url: &str) -> BTreeMap<String, f64> {
    let text = client().get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let series = lines.map(|line| line.rsplit_once(' ').unwrap());
    series.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

async fn check_after(route: Vec<&'static str>, fault: Fault, expected: &[(&str, f64)]) {
    let folder = tempfile::tempdir().unwrap();
    let providers = start_providers();
    let plan = Plan { route, ..Plan::default() };
    let config = write_files(folder.path(), &providers, &plan);
    let gate = Gate::start(&config);
    let before = scrape(&gate.url).await;
    providers[0].set_behaviour(Behaviour::failing(fault));
    let sent = client().post(format!("{}/v1/verdicts?vars.background=white", gate.url));
    let sent = sent.header("content-type", "image/jpeg").body(mug());
    assert_eq!(sent.send().await.unwrap().status(), 200);
    let sent = client().post(format!("{}/v1/verdicts", gate.url));
    let sent = sent.header("content-type", "image/jpeg").body("no image");
    assert_eq!(sent.send().await.unwrap().status(), 415);
    let after = scrape(&gate.url).await;
    let new: Vec<_> = after.keys().filter(|name| !before.contains_key(*name)).collect();
    assert_eq!(new, Vec::<&String>::new(), "every series is registered at start");
    for (series, value) in expected {
        let found = after.get(*series).copied();
        assert!(found.is_some_and(|found| (found - value).abs() < 1e-9), "{series}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_counted_in_series_that_were_there_before() {
    let failover = "vlmgate_failovers_total{policy=\"product-photo\",from=\"openai-mini\",\
                    to=\"claude-haiku\",reason=\"overloaded\"}";
    let verdict = "vlmgate_verdicts_total{policy=\"product-photo\",verdict=\"pass\",basis=\"judge\",\
                   judge=\"claude-haiku\",route=\"failover\"}";
    let failed = "vlmgate_attempts_total{judge=\"openai-mini\",route=\"primary\",\
                  outcome=\"overloaded\"}";
    let expected = [
        (failover, 1.0),
        (verdict, 1.0),
        (failed, 1.0),
        ("vlmgate_inadmissible_total{reason=\"unknown_format\"}", 1.0),
        ("vlmgate_answers_late_total", 0.0),
        ("vlmgate_in_flight", 0.0),
        ("vlmgate_queued", 0.0),
        ("vlmgate_workers_queued", 0.0),
        ("vlmgate_shed_total{reason=\"judges\"}", 0.0),
        ("vlmgate_shed_total{reason=\"queue_full\"}", 0.0),
        ("vlmgate_shed_total{reason=\"too_late\"}", 0.0),
        ("vlmgate_shed_total{reason=\"overtaken\"}", 0.0),
        ("vlmgate_queue_seconds_count{end=\"gone\"}", 0.0),
    ];
    let route = vec!["openai-mini", "claude-haiku"];
    check_after(route, Fault::status(529), &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_that_is_alone_on_its_route_adds_no_series() {
    let verdict = "vlmgate_verdicts_total{policy=\"product-photo\",verdict=\"review\",\
                   basis=\"no_judge\",judge=\"\",route=\"\"}";
    check_after(vec!["openai-mini"], Fault::status(503), &[(verdict, 1.0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_table_has_a_series_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    // pairs are those of judges that are asked behind verdicts
    let shadow = "shadow: [{ id: standby, judge: claude-haiku, sample: 1%, per_day: 1 USD }]";
    let edits = vec![("record:".to_owned(), format!("{shadow}\nrecord:"))];
    let plan = Plan { edits, ..Plan::default() };
    let config = write_files(folder.path(), &start_providers(), &plan);
    let gate = Gate::start(&config);
    let text = client().get(format!("{}/metrics", gate.url)).send().await.unwrap();
    let text = text.text().await.unwrap();
    for (name, help) in METRICS {
        if *name == "vlmgate_drill_last_success_timestamp_seconds" {
            // it is the one that is absent until it can say something
            assert!(!text.contains(&format!("{name}{{")), "no drill has passed");
            continue;
        }
        let kind = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} ")));
        assert!(kind.is_some(), "{name} is nowhere");
        assert_eq!(kind == Some("counter"), name.ends_with("_total"), "{name} is a {kind:?}");
        assert!(text.contains(&format!("# HELP {name} {help}\n")), "{name} says what it is");
        let has_series = text.lines().any(|line| !line.starts_with('#') && line.starts_with(name));
        assert!(has_series, "{name} has no series");
    }
    let known = METRICS.iter().map(|(name, _)| *name);
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for name in kinds.filter_map(|line| line.split(' ').next()) {
        assert!(known.clone().any(|one| one == name), "{name} is in no table");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_a_baseline_some_gauges_of_drift_said_nothing_and_some_that_there_was_none() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_files(folder.path(), &start_providers(), &Plan::default());
    let gate = Gate::start(&config);
    let sent = client().post(format!("{}/v1/verdicts?vars.background=white", gate.url));
    let sent = sent.header("content-type", "image/jpeg").body(mug());
    assert_eq!(sent.send().await.unwrap().status(), 200);
    // while the follower has not counted it, and when it learns from it
    for counted in [false, true] {
        let mut series = scrape(&gate.url).await;
        while counted && series.get("vlmgate_records_uncounted") != Some(&0.0) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            series = scrape(&gate.url).await;
        }
        let is_gauge = |name: &&String| {
            name.starts_with("vlmgate_drift_") && !name.starts_with("vlmgate_drift_events_total")
        };
        let gauges: Vec<_> = series.keys().filter(is_gauge).collect();
        for kind in ["evidence", "mix_shift_ratio", "mix_shift_se", "baseline_se", "event_active"] {
            assert!(gauges.iter().any(|name| name.contains(kind)), "{kind}: {gauges:?}");
        }
        for name in gauges {
            let value = series[name];
            // that nothing was told is known, what nobody watches is not
            let is_right = match name.starts_with("vlmgate_drift_event_active") {
                true => value.abs() < f64::EPSILON,
                false => value.is_nan(),
            };
            assert!(is_right, "{name} {value}");
        }
    }
}
