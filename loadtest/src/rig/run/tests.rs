use tempfile::TempDir;

use super::*;

use crate::Admin;
use crate::Dialect;
use crate::Settings;
use crate::SimulatedProvider;
use crate::outcome::Figure;
use crate::outcome::FigureVerdict;
use crate::rig::calibration::Calibration;
use crate::rig::providers::judges;

/// A short scenario with lines on what a gateway lets see, and on what it does not.
const SCENARIO: &str = "
id: X
title: made up
seconds: { warm_up: 0.2, healthy: 2, fault: 2, recovery: 0 }
targets:
  - { figure: verdict_share, at_least: 0.5 }
  - { figure: p95, at_most: 1000 }
  - { figure: extra_calls, at_most: 0.5 }
  - { figure: calls_into_a, at_most: 1000 }
  - { figure: p95_of_plain, at_most: 0 }
  - { figure: F6, at_most: 0 }
  - { figure: opens, at_most: 0 }
  - { figure: primary_share, at_least: 1 }
  - { figure: reject_shift, at_most: 0 }
  - { figure: exit_s, at_most: 0 }
";

const RATE_PER_S: f64 = 20.0;

fn provider(name: &str, dialect: Dialect) -> SimulatedProvider {
    let settings = Settings { name: name.to_owned(), ..Settings::new(dialect) };
    SimulatedProvider::start(settings).unwrap()
}

/// The scenario against the gateway at `url`, or at the provider `a` itself.
async fn run(url: Option<String>) -> ScenarioRun {
    let providers = [("a", Dialect::OpenAi), ("b", Dialect::Anthropic), ("c", Dialect::Gemini)];
    let providers = providers.map(|(name, dialect)| provider(name, dialect));
    let admin = Admin::start(([127, 0, 0, 1], 0).into(), &providers).await.unwrap();
    let out = TempDir::new().unwrap();
    let gallery = Gallery::draw(1, 3).unwrap();
    let world = World {
        calibration: Calibration::of(&gallery, &judges(), "a"),
        pictures: Arc::new(gallery.digests()),
        target: TargetKind::OpenAiChat(url.unwrap_or_else(|| providers[0].base_url())),
        binary: None,
        rate_per_s: RATE_PER_S,
        deadline_ms: 5_000,
        is_short: true,
        pinned: BTreeMap::new(),
        web: Web::new(),
        out: out.path().to_path_buf(),
        gallery,
        ports: Some([1, 2, 3]),
        who: Credentials { key: "simulated".to_owned(), model: "gpt-6-luna".to_owned() },
    };
    let scenario = world.as_read(Scenario::parse(SCENARIO).unwrap());
    let host = Host::inside(&admin, &scenario, RATE_PER_S).await.unwrap();
    let named = world.named(&scenario, 1);
    let mut baseline = Baseline::default();
    let measured = Box::pin(world.measure_with(&host, scenario, 1, &mut baseline)).await;
    world.concluded(named, measured)
}

fn figure<'a>(run: &'a ScenarioRun, id: &str) -> &'a Figure {
    run.figures.iter().find(|figure| figure.id == id).unwrap_or_else(|| panic!("no {id}"))
}

#[tokio::test]
async fn a_gateway_is_held_to_what_the_rig_and_the_providers_logs_know_and_to_no_more() {
    let run = run(None).await;
    assert_eq!(run.broken, None);
    assert!(!run.streamed && run.target.as_deref().unwrap().starts_with("openai-chat=http://"));
    for id in ["F2", "F4", "verdict_share", "p95", "extra_calls", "calls_into_a"] {
        assert_eq!(figure(&run, id).verdict, FigureVerdict::Met, "{:?}", figure(&run, id));
    }
    assert!(figure(&run, "F1").value.is_some() && figure(&run, "F1").limit.is_some());
    let calls = figure(&run, "calls_per_image").value.unwrap();
    assert!(0.5 < calls && calls < 1.5, "{calls}, from the logs: its answers tell of none");
    let unknowable = ["F3", "F5", "joined", "F6", "opens", "primary_share", "reject_shift"];
    for id in unknowable.into_iter().chain(["invalid_verdicts", "exit_s", "p95_of_plain"]) {
        assert_eq!(figure(&run, id).verdict, FigureVerdict::NotApplicable, "{id}");
    }
    // a provider that is asked directly knows no deadline, and has a long tail
    let wrong = run.wrong().into_iter().filter(|figure| figure.id != "F1");
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<&Figure>::new());
    assert!(run.attribution.is_empty());
}

#[test]
fn a_target_that_the_rig_cannot_speak_to_is_refused_before_anything_runs() {
    for wrong in ["openai-chat=https://gateway.example/v1", "vlmgate=localhost:8080"] {
        let refused = wrong.parse::<TargetKind>().unwrap_err();
        assert!(refused.is_usage() && refused.to_string().contains("plain HTTP"), "{refused}");
    }
    assert!("openai-chat=http://127.0.0.1:4000/v1/".parse::<TargetKind>().is_ok());
}

#[tokio::test]
async fn a_gateway_that_calls_nobody_has_passed_nothing() {
    let elsewhere = provider("elsewhere", Dialect::OpenAi);
    let run = run(Some(elsewhere.base_url())).await;
    assert_eq!(figure(&run, "verdict_share").value, Some(1.0), "it answers all the same");
    let broken = run.broken.as_deref().unwrap();
    assert!(broken.contains("not a single call") && broken.contains("127.0.0.1:1/v1"), "{broken}");
    assert!(!run.passed());
}
