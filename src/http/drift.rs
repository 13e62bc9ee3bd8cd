//! `GET /v1/drift`: what moved between two windows, what is watched, and how far judges agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::domain::Policy;
use crate::drift::decompose::{Cause, Decomposition};
use crate::drift::event::Severity;
use crate::drift::interval::{Estimate, Interval, Tally, newcombe};
use crate::drift::judged::Route;
use crate::drift::shift::Story;
use crate::drift::summed::{
    Compared, Sum, compare, evidence_by_judge, expected, served, served_by_judge,
};
use crate::http::Face;
use crate::http::drift::adjusted::adjusted;
use crate::http::drift::judging::{agreement, calibration, hedges, people, scores};
use crate::http::drift::pairs::Pairs;
use crate::http::drift::watching::{events, evidence, watch};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::range::{AsOf, EffectForm, RangeQuery, ShareForm, compared, unreadable, written};
use crate::http::sentence::{ENOUGH, SHOWN, Windows, change_sentence, moved_within};
use crate::ledger::LedgerError;
use crate::ledger::figures::{JudgedSum, Scope};
use crate::ledger::follow::view::{Known, View};
use crate::ledger::reader::Reader;

mod adjusted;
mod judging;
mod pairs;
pub(super) mod watching;

/// What is compared with where there is no baseline.
const BEFORE_US: i64 = 7 * 86_400 * 1_000_000;

const KNOWN: [&str; 5] = ["policy", "since", "until", "against_since", "against_until"];

/// A window as it was summed.
struct Summed {
    scope: Scope,
    /// Of a baseline: the verdicts that it was frozen from. Its window is whole hours.
    frozen: Option<u64>,
    is_baseline: bool,
    first: Vec<Sum>,
    rejects: Tally,
}

/// Two windows of one policy that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The policy's name.
    pub(crate) policy: String,
    /// From when until when.
    pub(crate) window: (Timestamp, Timestamp),
    /// With which; `None`: the baseline, or the week before where there is none.
    pub(crate) against: Option<(Timestamp, Timestamp)>,
    /// The present.
    pub(crate) now: Timestamp,
}

/// What a window and the one that it is compared with add up to.
struct Sides {
    before: Summed,
    after: Summed,
    over_dispersion: f64,
}

/// `GET /v1/drift`.
pub(super) async fn get(State(face): State<Arc<Face>>, uri: Uri) -> Result<Response, Problem> {
    let now = Timestamp::now();
    let query = RangeQuery::of(&uri, now, &KNOWN)?;
    let reader = face.gate.ledger.reader();
    let policy = policy(reader, &face, query.policy.clone()).await?;
    let (window, against) = ((query.since, query.until), query.against);
    let asked = Asked { policy, window, against, now };
    let policies = face.gate.policies.load_full();
    let loaded = policies.iter().find(|one| one.name == asked.policy);
    let loaded = loaded.map(|one| &one.loaded.policy);
    let told = told(reader, &face.known.load(), (&asked, loaded)).await;
    written(reader, told.map_err(unreadable)?).await
}

/// What moved, what is watched, and how far judges agree, in the form in which it is answered.
/// Whose lines were fitted only the loaded policy says.
pub(crate) async fn told(
    reader: &Reader,
    known: &Known,
    (asked, loaded): (&Asked, Option<&Policy>),
) -> Result<Value, LedgerError> {
    let Asked { policy, window: (_, until), .. } = asked;
    let view = known.policies.get(policy).map(AsRef::as_ref);
    let sides = Sides::of(reader, view, asked).await?;
    // intervals of many strata
    let now = asked.now;
    let (mut body, sides) = reader.apart(move || (change(&sides, now), sides)).await?;
    let Sides { before, after, .. } = &sides;
    let mut add = |key: &str, value: Value| body.insert(key.to_owned(), value);
    add("policy", json!(policy));
    add("as_of", json!(AsOf::of(known.followed)));
    let pairs = Pairs::read(reader, view, (policy, *until)).await?;
    let windows = (before.first.as_slice(), after.first.as_slice());
    add("adjusted", adjusted((reader, &pairs), windows, &after.scope).await?);
    add("pairs", pairs.json());
    add("watch", watch(view, known));
    add("evidence", evidence(reader, &after.scope).await?);
    add("events", events(reader, policy, *until).await?);
    add("agreement", agreement(&pairs));
    add("hedges", hedges(&pairs));
    add("scores", scores(reader, policy, *until).await?);
    add("people", people(reader, policy, *until).await?);
    let primary = primary(&before.first, &after.first);
    add("calibration", calibration(&pairs, loaded, (*until, primary)));
    Ok(Value::Object(body))
}

/// What moved alone: its sentence and its figures.
pub(crate) async fn moved(
    reader: &Reader,
    known: &Known,
    asked: &Asked,
) -> Result<Value, LedgerError> {
    let view = known.policies.get(&asked.policy).map(AsRef::as_ref);
    let sides = Sides::of(reader, view, asked).await?;
    let now = asked.now;
    Ok(Value::Object(reader.apart(move || change(&sides, now)).await?))
}

impl Sides {
    async fn of(reader: &Reader, view: Option<&View>, asked: &Asked) -> Result<Self, LedgerError> {
        let (against, is_baseline) = against(asked, view);
        let (before, after) = compared(&asked.policy, (against, asked.window), asked.now);
        let after = summed(reader, after, false).await?;
        let mut before = summed(reader, before, is_baseline).await?;
        let baseline = view.and_then(|view| view.baseline.as_ref()).filter(|_| is_baseline);
        before.frozen = baseline.map(|one| one.served.values().map(|tally| tally.n).sum());
        let over_dispersion = view.and_then(|view| view.baseline.as_ref());
        let over_dispersion = over_dispersion.map_or(1.0, |baseline| baseline.over_dispersion);
        Ok(Self { before, after, over_dispersion })
    }
}

/// The policy that is meant: the only one, where none is named.
async fn policy(reader: &Reader, face: &Face, named: Option<String>) -> Result<String, Problem> {
    let mut all = reader.counted_policies().await.map_err(unreadable)?;
    let loaded = face.gate.policies.load();
    let known: Vec<String> = loaded.iter().map(|one| one.name.clone()).collect();
    match named {
        Some(name) if all.contains(&name) || known.contains(&name) => Ok(name),
        Some(name) => {
            let detail = format!("there is no policy {name:?} and no verdict of one");
            Err(Problem::new(ProblemKind::NotFound, detail))
        }
        None => {
            if all.is_empty() {
                all = known;
            }
            match all.as_slice() {
                [only] => Ok(only.clone()),
                several => {
                    let detail = format!("is missing, expected one of {}", several.join(", "));
                    Err(Problem::bad_field("/policy", detail))
                }
            }
        }
    }
}

/// What the window is compared with: as asked, else the baseline's stretch of time, else the week
/// before.
fn against(asked: &Asked, view: Option<&View>) -> ((Timestamp, Timestamp), bool) {
    if let Some(against) = asked.against {
        return (against, false);
    }
    let (since, _) = asked.window;
    let learnt = view.and_then(|view| Some((view.learnt_since_ms, view.learnt_until_ms?)));
    match learnt {
        Some((since_ms, until_ms)) if since_ms < until_ms => {
            let moment = |ms: i64| Timestamp(ms.saturating_mul(1_000));
            ((moment(since_ms), moment(until_ms)), true)
        }
        Some(_) | None => ((Timestamp(since.0.saturating_sub(BEFORE_US)), since), false),
    }
}

async fn summed(reader: &Reader, scope: Scope, is_baseline: bool) -> Result<Summed, LedgerError> {
    let first = reader.judged_totals(&scope).await?.iter().filter_map(sum).collect();
    let mut rejects = Tally::default();
    for one in reader.verdict_sums(&scope).await? {
        rejects += Tally { n: one.rated, rejects: one.rejected };
    }
    Ok(Summed { scope, frozen: None, is_baseline, first, rejects })
}

/// One row of the roll-up; `None` of a route that is none.
fn sum(row: &JudgedSum) -> Option<Sum> {
    let route = match row.route.as_str() {
        "primary" => Route::Primary,
        "hedge" => Route::Hedge,
        // told of as a probe is one that was the verdict
        "failover" | "probe" => Route::Failover,
        "shadow" => Route::Shadow,
        _ => return None,
    };
    Some(Sum {
        judge: row.judge.clone(),
        config: row.config.clone(),
        route,
        risk: row.risk.parse().ok()?,
        tally: Tally { n: row.n, rejects: row.rejects },
    })
}

/// Who served most, before and after.
fn primary(before: &[Sum], after: &[Sum]) -> Option<String> {
    let window = if before.is_empty() { after } else { before };
    let most = served_by_judge(window).into_iter().max_by_key(|(_, tally)| tally.n);
    most.map(|(judge, _)| judge)
}

fn change(sides: &Sides, now: Timestamp) -> serde_json::Map<String, Value> {
    let Sides { before, after, over_dispersion } = sides;
    let over_dispersion = *over_dispersion;
    let n = served(&after.first).n;
    let compared = compare(&before.first, &after.first, over_dispersion);
    let windows = Windows {
        before: &before.first,
        after: &after.first,
        since_ms: after.scope.since_s * 1_000,
        until_ms: after.scope.until_s * 1_000,
        now_ms: now.0.div_euclid(1_000),
    };
    // who came before is what a change is measured from: few of them make any story
    let is_measurable = ENOUGH <= served(&before.first).n;
    let shown = compared.as_ref().filter(|_| SHOWN <= n && is_measurable);
    let told = shown.filter(|_| ENOUGH <= n);
    let label = told.map_or_else(|| "unknown".to_owned(), |one| one.reading.label().to_string());
    let labels = told.map(|one| &one.reading.all).into_iter().flatten();
    let labels: Vec<_> = labels.map(ToString::to_string).collect();
    let total = told.map(|one| one.reading.decomposition.total).unwrap_or_default();
    let mix = expected(&before.first, &after.first);
    let left = shown.zip(mix).map(|(one, mix)| left_over(one, mix));
    let body = json!({
        "sentence": change_sentence(windows, compared.as_ref()),
        "label": label,
        "labels": labels,
        "severity": Severity::of(total).label(),
        "before": window_json(before),
        "after": window_json(after),
        "change": shown.map(|one| change_json(one, over_dispersion, before, after)),
        "expected": mix.map(EffectForm::from),
        "left_over": left.map(EffectForm::from),
        "judges": judges(before, after, compared.as_ref()),
        "attribution": shown.map(attribution),
    });
    if let Value::Object(body) = body { body } else { serde_json::Map::new() }
}

/// What the mix leaves of the change.
fn left_over(compared: &Compared, mix: Estimate) -> Estimate {
    let total = compared.reading.decomposition.total;
    // both rest on the same verdicts; taken as independent the interval is too wide, not too narrow
    Estimate { effect: total.effect - mix.effect, se: total.se.hypot(mix.se) }
}

fn window_json(window: &Summed) -> Value {
    let moment = |s: i64| Timestamp(s.saturating_mul(1_000_000)).to_string();
    json!({
        "since": moment(window.scope.since_s),
        "until": moment(window.scope.until_s),
        "baseline": window.is_baseline,
        "frozen": window.frozen,
        "first_reject": ShareForm::of(served(&window.first)),
        "reject": ShareForm::of(window.rejects),
    })
}

fn change_json(
    compared: &Compared,
    over_dispersion: f64,
    before: &Summed,
    after: &Summed,
) -> Value {
    let change = &compared.reading.decomposition;
    let first = (served(&before.first), served(&after.first));
    json!({
        "total": EffectForm::within(change.total, moved_within(change.total, first.0, first.1)),
        "newcombe": newcombe(first.0, first.1),
        "parts": parts(change, Some(first)),
        "residual": change.residual,
        "borrowed_share": change.borrowed_share,
        "unseen_share": change.unseen_share,
        "input_separated": compared.input_separated,
        "over_dispersion": over_dispersion,
    })
}

/// The four effects, each with what adds to it; `first` is what both windows' first judgements said,
/// where that is known.
fn parts(change: &Decomposition, first: Option<(Tally, Tally)>) -> Vec<Value> {
    let part = |cause: Cause| {
        let part = change.part(cause);
        let by = part.by.iter();
        let by = by.map(|(name, one)| effect_json((*one, one.interval()), ("name", name)));
        // another mix or policy is one or is none; that judges rejected nothing is no certainty
        let interval = match (cause, first) {
            (Cause::Within, Some((before, after))) => moved_within(part.whole, before, after),
            (Cause::Within | Cause::Input | Cause::Routing | Cause::Policy, _) => {
                part.whole.interval()
            }
        };
        let mut whole = effect_json((part.whole, interval), ("cause", cause.label()));
        if let Value::Object(whole) = &mut whole {
            whole.insert("by".to_owned(), by.collect());
        }
        whole
    };
    Cause::ALL.map(part).into()
}

fn effect_json((effect, interval): (Estimate, Interval), (key, value): (&str, &str)) -> Value {
    json!({ key: value, "effect": effect.effect, "se": effect.se, "low": interval.low,
        "high": interval.high })
}

fn judges(before: &Summed, after: &Summed, compared: Option<&Compared>) -> Vec<Value> {
    let all = |window: &Summed| (served_by_judge(&window.first), evidence_by_judge(&window.first));
    let ((served_then, then), (served_now, now)) = (all(before), all(after));
    let whole = (served(&before.first).n, served(&after.first).n);
    let mut names: BTreeMap<&String, ()> = BTreeMap::new();
    let seen = [&served_then, &then, &served_now, &now];
    names.extend(seen.into_iter().flat_map(BTreeMap::keys).map(|name| (name, ())));
    let tally =
        |from: &BTreeMap<String, Tally>, name: &String| from.get(name).copied().unwrap_or_default();
    let judge = |name: &String| {
        let share = |from: &BTreeMap<String, Tally>, all: u64| {
            ShareForm::of(Tally { n: all, rejects: tally(from, name).n })
        };
        let (then, now) = (tally(&then, name), tally(&now, name));
        let is_shown = then.n != 0 && now.n != 0;
        let interval = newcombe(then, now);
        let shift = compared.and_then(|one| one.reading.shifts.get(name));
        json!({
            "judge": name,
            "share_before": share(&served_then, whole.0),
            "share_after": share(&served_now, whole.1),
            "before": ShareForm::of(then),
            "after": ShareForm::of(now),
            "moved": is_shown.then(|| json!({ "effect": now.rate() - then.rate(),
                "low": interval.low, "high": interval.high })),
            "log_odds": shift.map(|one| EffectForm::from(Estimate {
                effect: one.log_odds_ratio, se: one.variance.sqrt() })),
        })
    };
    names.into_keys().map(judge).collect()
}

fn attribution(compared: &Compared) -> Value {
    let attribution = &compared.reading.attribution;
    let story = match &attribution.story {
        Story::Insufficient => "insufficient".to_owned(),
        Story::None => "none".to_owned(),
        Story::Common => "common".to_owned(),
        Story::One(judge) => format!("one:{judge}"),
        Story::Separate => "separate".to_owned(),
        Story::Unattributed => "unattributed".to_owned(),
        Story::Ambiguous => "ambiguous".to_owned(),
    };
    json!({ "story": story, "gap": attribution.gap })
}
