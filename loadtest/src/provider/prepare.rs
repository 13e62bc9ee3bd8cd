//! Preparing a call is reading its question and deciding its plan, before anything is waited for.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::behaviour::Fault;
use crate::chance::Chance;
use crate::dialect::Host;
use crate::dialect::Route;
use crate::dialect::Target;
use crate::failure::Failure;
use crate::latency::Conditions;
use crate::latency::Timing;
use crate::latency::image_factor;
use crate::log::CallKind;
use crate::log::CallLog;
use crate::picture::Picture;
use crate::provider::Shared;
use crate::provider::lock;
use crate::provider::plan::Act;
use crate::provider::plan::Asked;
use crate::provider::plan::Delivery;
use crate::provider::plan::Plan;
use crate::provider::plan::fail;
use crate::provider::plan::plan;
use crate::provider::slots::congestion;
use crate::provider::standing::Standing;
use crate::reply;
use crate::request::Question;
use crate::request::authenticate;
use crate::request::read;
use crate::wire::Request;
use crate::wire::Response;

/// What was decided about a request.
pub(super) struct Prepared<'a> {
    pub(super) plan: Plan,
    /// Its place in 0..1 among the calls that faults divide.
    pub(super) place: f64,
    /// The slot that it holds while it is open.
    pub(super) place_held: Option<Held<'a>>,
}

/// A slot that is given back with this.
pub(super) struct Held<'a> {
    shared: &'a Shared,
}

impl<'a> Held<'a> {
    fn of(shared: &'a Shared) -> Self {
        lock(&shared.slots).hold();
        Self { shared }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        lock(&self.shared.slots).give_back();
    }
}

/// Reads a request and decides what to do with it; what was seen goes into `entry`.
pub(super) fn prepare<'a>(
    request: &Request,
    shared: &'a Shared,
    standing: &Standing,
    entry: &mut CallLog,
) -> Prepared<'a> {
    let free = |response| {
        let act = Act::Send(response, Delivery::Whole);
        let plan = Plan::free(Duration::ZERO, act);
        Prepared { plan, place: 1.0, place_held: None }
    };
    see(entry, request, shared);
    let target = match target(request, shared, entry) {
        Ok(target) => target,
        Err(response) => return free(response),
    };
    let dialect = shared.settings.dialect;
    let read = read_question(&target, request, shared, entry);
    let chance = chance_of(read.as_ref().ok(), request, shared);
    let ids = ids(shared);
    entry.request_id = reply::request_id(dialect, target.host, &ids);
    match read {
        Ok(question) => {
            let (chance, ids) = (&chance, &ids);
            let asked = Asked { dialect, host: target.host, question: &question, chance, ids };
            decide(asked, shared, standing, entry)
        }
        Err(failure) => {
            let failed = free(reply::failure(dialect, target.host, &failure, &ids));
            Prepared { place: chance.unit("fault"), ..failed }
        }
    }
}

/// What the log should know of a request that is not served.
pub(super) fn fill(entry: &mut CallLog, request: &Request, shared: &Shared) {
    see(entry, request, shared);
    if let Ok(target) = target(request, shared, entry) {
        // What it would have been refused for is no matter now.
        let _read = read_question(&target, request, shared, entry);
    }
}

/// What can be told of a request by its first line.
pub(super) fn glance(entry: &mut CallLog, method: String, path: String, shared: &Shared) {
    entry.kind = match shared.settings.dialect.route(&method, &path) {
        Route::Ask(_) => CallKind::Question,
        Route::OAuthToken | Route::MetadataToken | Route::MetadataProject => CallKind::Token,
        Route::WrongMethod | Route::Unknown => CallKind::Unknown,
    };
    entry.method = method;
    entry.path = path;
}

/// How long a provider without a free slot, or over its rate, takes to say so.
const REFUSED_AFTER: Duration = Duration::from_millis(60);

/// The delay that a provider without a free slot asks for.
const NO_SLOT_FOR_S: u32 = 1;

/// What the log calls a call that found no slot free.
const NO_SLOT: &str = "no_slot";

fn decide<'a>(
    asked: Asked<'_>,
    shared: &'a Shared,
    standing: &Standing,
    entry: &mut CallLog,
) -> Prepared<'a> {
    let (behaviour, now) = (&standing.behaviour, Instant::now());
    let place = asked.chance.unit("fault");
    let fault = standing.fault_at(place);
    let mut timing = timing(asked, shared, standing, now);
    entry.drawn = timing.whole;
    let is_streamed = asked.question.stream.is_some();
    let share = if is_streamed { timing.scored_share.clamp(0.0, 1.0) } else { 1.0 };
    entry.drawn_scores = timing.whole.mul_f64(share);
    let in_use = lock(&shared.slots).in_use(now);
    if let Some(slots) = behaviour.slots {
        if slots <= in_use {
            entry.fault = Some(NO_SLOT);
            entry.retry_after_s = Some(NO_SLOT_FOR_S);
            let plan = fail(asked, 429, REFUSED_AFTER, Some(NO_SLOT_FOR_S));
            return Prepared { plan, place, place_held: None };
        }
        timing = timing.times(congestion(in_use, slots));
    }
    let is_limited = match fault.rate() {
        Some((per_s, burst)) => !lock(&shared.bucket).take(now, per_s, burst),
        None => false,
    };
    let is_hit = is_limited || (fault != Fault::None && fault.rate().is_none());
    entry.fault = is_hit.then(|| fault.label());
    entry.retry_after_s = fault.retry_after_s().filter(|_| is_hit);
    timing = timing.times(fault.factor());
    let plan = if is_limited {
        fail(asked, 429, REFUSED_AFTER, entry.retry_after_s)
    } else {
        plan(asked, behaviour, fault, timing)
    };
    entry.lowest_score = plan.lowest_score;
    let place_held = match plan.natural_end(timing) {
        Some(end) => {
            lock(&shared.slots).take_until(now + end);
            None
        }
        None => Some(Held::of(shared)),
    };
    Prepared { plan, place, place_held }
}

fn timing(asked: Asked<'_>, shared: &Shared, standing: &Standing, now: Instant) -> Timing {
    let image = asked.question.pictures.first();
    let conditions = Conditions {
        image_factor: image.map_or(1.0, |picture| image_factor(&picture.digest)),
        drift_factor: shared.drift.at(now.saturating_duration_since(shared.began)),
    };
    let behaviour = &standing.behaviour;
    let drawn = behaviour.latency.draw(asked.chance, conditions);
    Timing { scored_share: behaviour.scored_share.unwrap_or(drawn.scored_share), ..drawn }
}

/// Which model is asked; of what is no question, its answer.
fn target(request: &Request, shared: &Shared, entry: &mut CallLog) -> Result<Target, Response> {
    let dialect = shared.settings.dialect;
    match dialect.route(&request.method, &request.path) {
        Route::Ask(target) => Ok(target),
        Route::OAuthToken => {
            entry.kind = CallKind::Token;
            Err(reply::access_token(request))
        }
        Route::MetadataToken | Route::MetadataProject => {
            entry.kind = CallKind::Token;
            Err(reply::metadata(request, request.path.ends_with("/token")))
        }
        route @ (Route::WrongMethod | Route::Unknown) => {
            entry.kind = CallKind::Unknown;
            let status = if route == Route::Unknown { 404 } else { 405 };
            let failure = Failure::of_status(status, None);
            Err(reply::failure(dialect, Host::Direct, &failure, &ids(shared)))
        }
    }
}

fn read_question(
    target: &Target,
    request: &Request,
    shared: &Shared,
    entry: &mut CallLog,
) -> Result<Question, Failure> {
    let (dialect, key) = (shared.settings.dialect, shared.settings.key.as_deref());
    entry.model.clone_from(&target.model);
    entry.credential = Some(authenticate(dialect, target.host, request, key)?);
    let question = read(dialect, target, request)?;
    entry.model = Some(question.model.clone());
    if shared.settings.logs_prompts {
        entry.prompt = question.prompt.chars().take(MAX_PROMPT_CHARS).collect();
    }
    entry.image_count = question.pictures.len();
    let digest = |picture: &Picture| format!("b3:{}", picture.digest.to_hex());
    entry.image_digests = question.pictures.iter().map(digest).collect();
    entry.is_streamed = question.stream.is_some();
    Ok(question)
}

/// How much of a prompt the log keeps.
const MAX_PROMPT_CHARS: usize = 2_048;

/// The chances of a call hang on its first image and on how often that image was sent here before:
/// a second try draws anew, and a second run draws the same.
fn chance_of(question: Option<&Question>, request: &Request, shared: &Shared) -> Chance {
    let picture = question.and_then(|question| question.pictures.first());
    let digest = picture.map_or_else(|| blake3::hash(&request.body), |picture| picture.digest);
    let digest = *digest.as_bytes();
    let times = shared.count(digest).to_le_bytes();
    let settings = &shared.settings;
    let seed = settings.seed.to_le_bytes();
    Chance::of(&[&seed, settings.name.as_bytes(), &digest, &times])
}

/// What the ids of one reply are drawn from.
fn ids(shared: &Shared) -> Chance {
    let settings = &shared.settings;
    let number = shared.ids.fetch_add(1, Ordering::Relaxed).to_le_bytes();
    Chance::of(&[b"ids", &settings.seed.to_le_bytes(), settings.name.as_bytes(), &number])
}

/// How often each subject was seen; forgets all when it is full.
#[derive(Debug, Default)]
pub(super) struct Counter {
    times: HashMap<[u8; 32], u32>,
}

const MAX_COUNTED: usize = 262_144;

impl Counter {
    pub(super) fn count(&mut self, seen: [u8; 32]) -> u32 {
        if MAX_COUNTED <= self.times.len() {
            self.times.clear();
        }
        let times = self.times.entry(seen).or_default();
        *times += 1;
        *times
    }

    pub(super) fn forget(&mut self) {
        self.times.clear();
    }
}

/// The headers that the log keeps: never a key.
const HEADERS_LOGGED: [&str; 7] = [
    "content-type",
    "user-agent",
    "anthropic-version",
    "openai-organization",
    "x-goog-user-project",
    "x-request-id",
    "traceparent",
];

/// What is seen of a request before it is understood.
fn see(entry: &mut CallLog, request: &Request, shared: &Shared) {
    entry.method.clone_from(&request.method);
    entry.path.clone_from(&request.path);
    entry.received_bytes = request.body.len();
    if shared.settings.logs_prompts {
        let is_logged = |(name, _): &&(String, String)| HEADERS_LOGGED.contains(&name.as_str());
        entry.headers = request.headers.iter().filter(is_logged).cloned().collect();
    }
}
