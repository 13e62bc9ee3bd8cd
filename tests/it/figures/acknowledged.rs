//! What drift told is acknowledged: watched again or learnt anew, told on every face of the gate, and
//! kept so that a kill at any moment folds to the same state.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use vlmgate::clock::{Deadline, Timestamp};
use vlmgate::config::environment::Environment;
use vlmgate::config::{Config, Overrides};
use vlmgate::domain::{Decision, Digest, Route};
use vlmgate::drift::event::Watched;
use vlmgate::drift::standing::Then;
use vlmgate::ledger::follow::acknowledge::{Done, NotDone, Wish};
use vlmgate::ledger::follow::view::View;
use vlmgate::ledger::follow::{Follower, Settings as Follow};
use vlmgate::ledger::retention::Keeping;
use vlmgate::ledger::{Entry, Ledger, Settings};

use crate::crash::Gate;
use crate::figures::counting::{connect, dump, follow, judged, soon, view};
use crate::ledger::records::judge;
use crate::ledger::settings;
use crate::metrics::scrape;
use crate::spec::check;
use crate::world::{Plan, client, start_providers, write_files};

const POLICY: &str = "product-photo";
/// Verdicts of a usual stretch, long enough for a baseline and a while of watching.
const USUAL: u32 = 2_400;
/// Verdicts of other images, after which that is told.
const OTHER: u32 = 900;

/// Images of one kind: how risky they look to the pre-check.
#[derive(Clone, Copy)]
enum Images {
    Usual,
    Risky,
}

/// Verdict `n`, at `at_us`: one judge, who rejects a twelfth of whatever it is shown.
fn verdict(n: u32, at_us: i64, images: Images) -> Entry {
    let mut entry = judged(n);
    let one = &mut entry.record;
    let said = if n % 12 == 5 { Decision::Fail } else { Decision::Pass };
    one.at_us = at_us;
    one.judge = Some(judge("openai-mini"));
    one.route = Some(Route::Primary);
    one.judged_by = Digest::of(b"openai-mini");
    (one.verdict.decision, one.verdict.first_verdict) = (said, Some(said));
    one.pre = match images {
        Images::Usual => f64::from(n % 17) / 17.0,
        Images::Risky => 0.9 + f64::from(n % 17) / 200.0,
    };
    for attempt in &mut one.attempts {
        (attempt.judge, attempt.route, attempt.said) =
            (judge("openai-mini"), Route::Primary, Some(said));
    }
    entry
}

/// A store of verdicts two seconds apart, the latest of now.
struct Stream {
    store: Settings,
    follow: Follow,
    next: u32,
    began_us: i64,
    _folder: TempDir,
}

impl Stream {
    /// One in which other images have come, and that was told.
    async fn told() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let follow = Follow::usual(folder.path().join("drift.json"));
        let began_us = Timestamp::now().0 - i64::from(USUAL + OTHER) * 2_000_000;
        let mut stream = Self {
            store: settings(folder.path()),
            follow: Follow { baseline_days: 0, ..follow },
            next: 0,
            began_us,
            _folder: folder,
        };
        let (ledger, follower) = stream.open().await;
        stream.grow((&ledger, &follower), USUAL, Images::Usual).await;
        stream.grow((&ledger, &follower), OTHER, Images::Risky).await;
        end(ledger, follower).await;
        assert_eq!(stream.view().told, [Watched::Input]);
        stream
    }

    async fn open(&self) -> (Ledger, Follower) {
        let ledger = Ledger::open(self.store.clone()).await.unwrap();
        let follower = ledger.follow(self.follow.clone()).unwrap();
        (ledger, follower)
    }

    /// Stores the next verdicts, and waits until they are counted.
    async fn grow(&mut self, (ledger, follower): (&Ledger, &Follower), more: u32, images: Images) {
        for _ in 0..more {
            let at_us = self.began_us + i64::from(self.next) * 2_000_000;
            let slot = ledger.reserve().unwrap();
            let written = ledger.append(slot, verdict(self.next, at_us, images), soon());
            self.next += 1;
            if self.next.is_multiple_of(50) {
                assert!(written.await.recorded);
            }
        }
        counted(follower, self.next).await;
    }

    fn state(&self) -> &PathBuf {
        &self.follow.checkpoint
    }

    fn file(&self) -> Vec<u8> {
        fs::read(self.state()).unwrap()
    }

    fn view(&self) -> Arc<View> {
        view(self.state())
    }

    /// Everything stored about drift is what a start makes of `old` file, and of none.
    async fn check_fold(&self, old: &[u8]) {
        let (file, dump_before) = (self.file(), dump(&self.store.path).await);
        for left in [Some(old), None] {
            match left {
                Some(old) => fs::write(self.state(), old).unwrap(),
                None => fs::remove_file(self.state()).unwrap(),
            }
            follow(self.store.clone(), self.follow.clone()).await;
            assert!(self.file() == file, "the state is the same to the last bit");
        }
        assert_eq!(dump(&self.store.path).await, dump_before, "nothing was told or counted again");
    }
}

async fn end(ledger: Ledger, follower: Follower) {
    follower.finish(soon()).await.unwrap();
    ledger.close(soon()).await.unwrap();
}

async fn counted(follower: &Follower, n: u32) {
    let counted = async {
        while follower.known().followed.n < i64::from(n) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(soon().bound(counted).await.is_ok(), "{n} were not counted");
}

fn wish(then: Then) -> Wish {
    let note = Some("new lamps".to_owned());
    Wish { policy: POLICY.to_owned(), then, by: "root".to_owned(), note }
}

async fn acknowledge(follower: &Follower, then: Then) -> Done {
    follower.acknowledging().acknowledge(wish(then), soon()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_input_event_every_judge_stayed_mute_and_now_is_watched_again() {
    let mut stream = Stream::told().await;
    let old = stream.file();
    let (ledger, follower) = stream.open().await;
    counted(&follower, stream.next).await;
    let done = acknowledge(&follower, Then::Watch).await;
    assert_eq!((done.told, done.stands), (vec![Watched::Input], vec![]));
    // it is known at once, and kept at once: a kill that comes now loses nothing
    let known = follower.known();
    assert_eq!(known.policies[POLICY].told, []);
    assert!(known.policies[POLICY].detecting.iter().all(|one| one.n == 0 || one.ratio < 1.0));
    let kept = stream.file();
    assert!(kept != old);
    stream.grow((&ledger, &follower), 150, Images::Usual).await;
    // what is still so is told again
    stream.grow((&ledger, &follower), OTHER, Images::Risky).await;
    end(ledger, follower).await;
    assert_eq!(stream.view().told, [Watched::Input]);
    let events = dump(&stream.store.path).await;
    let events = events.iter().filter(|line| line.starts_with("mark [\"drift\"")).count();
    assert_eq!(events, 2);
    for file in [&old, &kept] {
        stream.check_fold(file).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_learnt_anew_is_a_fold_over_the_store_before_and_after_it_is_frozen() {
    let mut stream = Stream::told().await;
    let (old, before) = (stream.file(), stream.view());
    let (ledger, follower) = stream.open().await;
    counted(&follower, stream.next).await;
    let done = acknowledge(&follower, Then::Learn).await;
    assert_eq!(done.told, [Watched::Input]);
    assert_eq!(done.learning, Some((0, 2_000, done.at.0.div_euclid(1_000))));
    stream.grow((&ledger, &follower), 500, Images::Risky).await;
    end(ledger, follower).await;
    let learning = stream.view();
    assert_eq!(learning.learning.map(|(n, ..)| n), Some(500));
    assert_eq!((&learning.told, learning.learnt_until_ms), (&vec![], None));
    let kept = stream.file();
    for file in [&old, &kept] {
        stream.check_fold(file).await;
    }
    // another budget takes what is being learnt over as it is
    let usual = stream.follow.clone();
    stream.follow.false_alarms_per_30_days = 2.0;
    follow(stream.store.clone(), stream.follow.clone()).await;
    assert_eq!(stream.view().learning, learning.learning);
    stream.follow = usual;
    let (ledger, follower) = stream.open().await;
    stream.grow((&ledger, &follower), 2_000, Images::Risky).await;
    end(ledger, follower).await;
    let after = stream.view();
    let (baseline, first) = (after.baseline.as_ref().unwrap(), before.baseline.as_ref().unwrap());
    assert_ne!(baseline.edges, first.edges, "these images are what is usual now");
    assert!(!baseline.provisional);
    assert_eq!(after.told, [], "and nothing is told of them");
    for file in [&old, &kept] {
        stream.check_fold(file).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_twice_at_one_place_the_second_word_holds() {
    let stream = Stream::told().await;
    let old = stream.file();
    let (ledger, follower) = stream.open().await;
    counted(&follower, stream.next).await;
    assert_eq!(acknowledge(&follower, Then::Watch).await.told, [Watched::Input]);
    let marks = dump(&stream.store.path).await;
    assert_eq!(acknowledge(&follower, Then::Watch).await.told, [], "it was seen already");
    assert_eq!(dump(&stream.store.path).await, marks, "which is worth no mark");
    let done = acknowledge(&follower, Then::Learn).await;
    assert_eq!((done.told, done.learning.map(|(n, ..)| n)), (vec![], Some(0)));
    let unknown = Wish { policy: "nobody".to_owned(), ..wish(Then::Learn) };
    let refused = follower.acknowledging().acknowledge(unknown, soon()).await.unwrap_err();
    assert!(matches!(refused, NotDone::Unknown), "{refused}");
    end(ledger, follower).await;
    assert!(stream.view().learning.is_some());
    let here = "SELECT count(*) FROM baseline WHERE n = (SELECT n FROM followed)";
    let mut conn = connect(&stream.store.path).await;
    assert_eq!(sqlx::query_scalar::<_, i64>(here).fetch_one(&mut conn).await.unwrap(), 1);
    stream.check_fold(&old).await;
    // who said so is kept as long as what was told
    let ledger = Ledger::open(stream.store.clone()).await.unwrap();
    let (policy, never) = (POLICY.to_owned(), Duration::ZERO);
    let keeping = Keeping { policy, verdicts_for: never, images_for: never };
    let tomorrow = Timestamp(Timestamp::now().0 + 86_400_000_000);
    assert_eq!(ledger.sweep(&[keeping], tomorrow).await.unwrap().marks, 3);
    ledger.close(soon()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_takes_nothing_nobody_says_that_it_was_done() {
    let stream = Stream::told().await;
    let before = stream.file();
    // a folder where the spare should be: it can never be held, as on a full disk
    fs::create_dir_all(stream.store.path.with_extension("db.spare")).unwrap();
    let ledger = Ledger::open(Settings { spare_bytes: 1_000, ..stream.store.clone() }).await;
    let ledger = ledger.unwrap();
    let follower = ledger.follow(stream.follow.clone()).unwrap();
    counted(&follower, stream.next).await;
    let acknowledging = follower.acknowledging();
    let shortly = Deadline::after(Duration::from_millis(1_500));
    let refused = acknowledging.acknowledge(wish(Then::Watch), shortly).await.unwrap_err();
    assert!(matches!(refused, NotDone::Unsure), "{refused}");
    assert_eq!(follower.known().policies[POLICY].told, [Watched::Input]);
    end(ledger, follower).await;
    assert!(stream.file() == before);
    let closed = acknowledging.acknowledge(wish(Then::Watch), soon()).await.unwrap_err();
    assert!(matches!(closed, NotDone::Closed), "{closed}");
}

/// A gate over a store in which other images have come since yesterday, and that was told.
async fn gate() -> (TempDir, Gate, Config) {
    const DAY_US: i64 = 86_400_000_000;
    let folder = tempfile::tempdir().unwrap();
    let providers = start_providers();
    let config = write_files(folder.path(), &providers, &Plan::default());
    let read = Config::read(&config, &Environment::of([]), &Overrides::default());
    let read = read.unwrap_or_else(|problems| panic!("{problems}"));
    let ledger = Ledger::open(read.ledger_settings()).await.unwrap();
    let follower = ledger.follow(read.follow_settings()).unwrap();
    let began_us = Timestamp::now().0 - 8 * DAY_US;
    for n in 0..USUAL + OTHER {
        // a week as usual, then almost a day
        let (images, after_us) = match n.checked_sub(USUAL) {
            None => (Images::Usual, i64::from(n) * (7 * DAY_US / i64::from(USUAL))),
            Some(more) => {
                (Images::Risky, 7 * DAY_US + i64::from(more) * (DAY_US / i64::from(OTHER + 100)))
            }
        };
        let at_us = began_us + after_us;
        let written = ledger.append(ledger.reserve().unwrap(), verdict(n, at_us, images), soon());
        if n % 50 == 49 {
            assert!(written.await.recorded);
        }
    }
    counted(&follower, USUAL + OTHER).await;
    end(ledger, follower).await;
    (folder, Gate::start(&config), read)
}

async fn ask(gate: &Gate, body: &str) -> (u16, Value) {
    let sent = client().post(format!("{}/admin/drift:acknowledge", gate.url));
    let answer = sent.body(body.to_owned()).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

async fn get(gate: &Gate, path: &str) -> Value {
    let answer = client().get(format!("{}{path}", gate.url)).send().await.unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

async fn active(gate: &Gate, detector: &str) -> f64 {
    let series =
        format!("vlmgate_drift_event_active{{policy=\"{POLICY}\",detector=\"{detector}\"}}");
    scrape(&gate.url).await[&series]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_what_was_told_and_then_it_is_told_no_more() {
    let (_folder, gate, config) = gate().await;
    let spec = get(&gate, "/openapi.json").await;
    let input = json!([{ "detector": "input", "judge": null }]);
    let watch = async || get(&gate, "/v1/drift").await["watch"].take();
    let told = soon().bound(async {
        while watch().await["told"] != input {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(told.await.is_ok(), "the page shows what stands: {}", watch().await);
    assert!((active(&gate, "input").await - 1.0).abs() < 1e-9);
    for (body, pointer) in [
        (json!({ "policy": POLICY, "then": "forget" }), Some("/then")),
        (json!({ "policy": POLICY, "note": "" }), Some("/note")),
        (json!({ "policy": POLICY, "note": "n".repeat(1_001) }), Some("/note")),
        (json!({ "policy": POLICY, "watch": true }), None),
        (json!({ "then": "learn" }), None),
        (json!({ "policy": POLICY, "note": "n".repeat(20_000) }), None),
    ] {
        let (status, refused) = ask(&gate, &body.to_string()).await;
        assert_eq!(status, 400, "{refused}");
        assert_eq!(refused["errors"][0]["pointer"].as_str(), pointer, "{refused}");
    }
    let (status, refused) = ask(&gate, &json!({ "policy": "nobody" }).to_string()).await;
    assert_eq!((status, &refused["code"]), (404, &json!("unknown_policy")));
    assert_eq!(watch().await["told"], input, "who is refused changes nothing");

    let seen = json!({ "policy": POLICY, "note": "new lamps" }).to_string();
    let (status, done) = ask(&gate, &seen).await;
    assert_eq!((status, &done["then"], &done["told"]), (200, &json!("watch"), &input), "{done}");
    check(&spec, "Acknowledged", &done);
    assert_eq!((&done["by"], &done["learning"]), (&json!("anonymous"), &Value::Null));
    assert_eq!(watch().await["told"], json!([]));
    assert!(active(&gate, "input").await.abs() < 1e-9, "an alert on it resolves");
    let (status, again) = ask(&gate, &seen).await;
    assert_eq!((status, &again["told"]), (200, &json!([])));

    let (status, done) =
        ask(&gate, &json!({ "policy": POLICY, "then": "learn" }).to_string()).await;
    assert_eq!((status, &done["learning"]["n"]), (200, &json!(0)), "{done}");
    check(&spec, "Acknowledged", &done);
    let drift = get(&gate, "/v1/drift").await;
    check(&spec, "Drift", &drift);
    assert_eq!(drift["watch"]["phase"], "learning");
    let series = scrape(&gate.url).await;
    let evidence =
        format!("vlmgate_drift_evidence_ratio{{policy=\"{POLICY}\",detector=\"input\"}}");
    assert!(series[&evidence].is_nan(), "nothing watches");

    let stats = get(&gate, "/v1/stats?since=1h").await;
    check(&spec, "Stats", &stats);
    let marks = stats["marks"].as_array().unwrap().iter();
    let marks: Vec<_> = marks.filter(|one| one["kind"] == "acknowledged").collect();
    let [learnt, seen] = marks.as_slice() else { panic!("two words: {marks:?}") };
    assert_eq!(seen["text"], "seen by anonymous, watched again: the images");
    assert_eq!((&seen["detail"]["note"], &seen["detail"]["told"]), (&json!("new lamps"), &input));
    assert_eq!(learnt["text"], "the new normal by anonymous, learnt anew");
    let streamed = client().get(format!("{}/v1/events?last_event_id=0-0", gate.url));
    let mut streamed = streamed.send().await.unwrap();
    let mut text = String::new();
    while !text.contains("learnt anew") {
        let piece = soon().bound(streamed.chunk()).await.expect("in time").unwrap();
        text.push_str(&String::from_utf8_lossy(&piece.expect("the stream goes on")));
    }
    assert!(text.contains("\"kind\":\"acknowledged\""), "{text}");
    drop(gate);
    check_killed(&config).await;
}

/// What a gate that was killed knew is what its store says, whatever its file says.
async fn check_killed(config: &Config) {
    let (state, usual) = (config.store.drift_file(), config.follow_settings());
    follow(config.ledger_settings(), usual.clone()).await;
    let known = fs::read(&state).unwrap();
    assert!(view(&state).learning.is_some());
    fs::remove_file(&state).unwrap();
    follow(config.ledger_settings(), usual).await;
    assert!(fs::read(&state).unwrap() == known, "the state is the same to the last bit");
}
