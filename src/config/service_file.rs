//! The service's file, `vlmgate.yaml`, as it is written: every key, its range and its default.

use std::net::SocketAddr;

use secrecy::SecretString;
use serde_json::{Value as Json, json};

use crate::config::form::{At, Form, List, Table, Words, form, refuse};
use crate::config::problem::Report;
use crate::config::units::{
    Bytes, Money, Name, Number, PerMillion, Prose, Public, Share, Time, Whole, seconds,
};
use crate::config::{ProviderKind, Reload};
use crate::domain::drill::Fault;
use crate::http::auth::Role;
use crate::ledger::Sync;

form! {
    /// The service: where it listens, who may call it, where records go, and which judges there are. Texts may hold `${NAME}`, `${NAME:-default}` or be `file:/path`.
    ServiceFile {
        /// Where it listens and how much it takes on.
        server: ServerForm,
        /// Who may call; none: loopback only.
        keys: List<KeyForm, 0, 500> = List::of(Vec::new()),
        /// Where records go.
        store: StoreForm,
        /// Who serves models.
        providers: Table<Name<Public>, ProviderForm, 50> = Table::default(),
        /// The names that policies use: a provider and a model each. `local` is built in.
        judges: Table<Name<Public>, JudgeForm, 100> = Table::default(),
        /// Where policies are.
        policies: PoliciesForm,
        /// Judges broken on purpose for a while, to see that the others take over.
        drills: DrillsForm,
        /// How records are watched for drift.
        drift: DriftForm,
        /// Judges asked behind verdicts: policies say which, this says how much at once.
        shadow: ShadowWorkForm,
    }
    later {
        "teams" => "team budgets",
        "admin_listen" => "the separate admin address",
    }
}

form! {
    /// Where the service listens and how much it takes on.
    ServerForm {
        /// Address and port; default 127.0.0.1:8080. Also `--listen` and `VLMGATE_LISTEN`.
        listen: Address = Address(SocketAddr::from(([127, 0, 0, 1], 8080))),
        /// Checks worked on at once; who comes then waits in line; default 512.
        max_in_flight: Whole<1, 100_000> = Whole(512),
        /// Bytes of request bodies held at once; default 512MiB.
        max_in_flight_bytes: Bytes = Bytes(512 << 20),
        /// Memory of all images being decoded and measured at once; default 512MiB. One takes 256MiB at most; what would take more than this is refused.
        max_decoding_bytes: Bytes = Bytes(512 << 20),
        /// Requests that wait in line, the newest served first; past it the oldest gets 503; default 512. 0: nobody waits.
        max_queued: Whole<0, 100_000> = Whole(512),
        /// What happens between SIGTERM and the end.
        drain: DrainForm,
    }
    later {
        "admin_listen" => "the separate admin address",
    }
}

form! {
    /// What happens between SIGTERM and the end.
    DrainForm {
        /// Go on accepting for this long, while readyz already fails; default 1s.
        accept_for: Time = seconds(1.0),
        /// Then finish what is in flight, for at most this long in all; default 20s.
        at_most: Time = seconds(20.0),
    }
}

/// `127.0.0.1:8080`, `[::]:8080`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address(pub(crate) SocketAddr);

impl Form for Address {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        match at.node.text().and_then(|text| text.parse().ok()) {
            Some(address) => Some(Self(address)),
            None => refuse(at, report, "an address and port such as 127.0.0.1:8080"),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9a-fA-F.:\\[\\]]+:[0-9]{1,5}$" })
    }
}

form! {
    /// Someone who may call.
    KeyForm {
        /// Whose key it is.
        name: Name<Public>,
        /// The SHA-256 of the key, 64 hex digits.
        sha256: Sha256,
        /// What it may do: check, read, admin.
        roles: List<Role, 1, 3>,
    }
}

/// A SHA-256 in hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sha256(pub(crate) [u8; 32]);

impl Form for Sha256 {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        // any 256 bits in hex: the parser of our own digests serves
        let hash = at.node.text().and_then(|text| blake3::Hash::from_hex(text).ok());
        if hash.is_none() {
            // never shown: people paste the key itself here
            report.add(&at.spot(), "is not a SHA-256: expected 64 hex digits");
        }
        hash.map(|hash| Self(*hash.as_bytes()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$" })
    }
}

form! {
    /// Where records go.
    StoreForm {
        /// sqlite:// and a path; default `sqlite://data/vlmgate.db`.
        url: Option<Prose<500>>,
        /// normal: safe against kill -9 (the default); full: also against power loss.
        sync: Sync = Sync::Normal,
    }
}

form! {
    /// Someone who serves models.
    ProviderForm {
        /// Their wire form.
        kind: ProviderKind,
        /// Where they are, if not at their usual address.
        base_url: Option<Url>,
        /// Their API key; best as `${NAME}` or `file:/path`.
        key: Option<Secret>,
        /// Longest time to connect; default 300ms.
        connect_timeout: Time = seconds(0.3),
        /// Azure: the API version of the older address form.
        api_version: Option<Prose<100>>,
        /// Azure: the deployment, where it is not called as the model.
        deployment: Option<Prose<200>>,
        /// Vertex: the Google Cloud project.
        project: Option<Prose<200>>,
        /// Vertex: the region.
        location: Option<Prose<100>>,
        /// Vertex: adc (application default credentials), or file: and the path of a service account's key.
        auth: Option<Secret>,
        /// It only plays a provider, for a test or a demonstration: every verdict of which a judge of it was asked has the flag `simulated`; default false.
        simulated: bool = false,
    }
}

/// A secret: never shown, neither here nor in a message.
#[derive(Clone, Debug)]
pub(crate) struct Secret(pub(crate) SecretString);

impl Form for Secret {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let text = at.node.text().map(str::trim).filter(|text| !text.is_empty());
        if text.is_none() {
            report.add(&at.spot(), "expected text: ${NAME}, or file:/path");
        }
        text.map(|text| Self(SecretString::from(text.to_owned())))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "\\S" })
    }
}

/// `https://api.example.com/v1`, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url(pub(crate) String);

impl Form for Url {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let expected = "an address such as https://api.example.com/v1, without user, query or #";
        let Some(text) = at.node.text() else {
            return refuse(at, report, expected);
        };
        let rest = text.strip_prefix("https://").or(text.strip_prefix("http://"));
        let is_plain = |rest: &&str| {
            !rest.starts_with(['/', ':'])
                && !rest.is_empty()
                && rest.chars().all(|one| one.is_ascii_graphic() && !"?#@\"<>\\".contains(one))
        };
        match rest.filter(is_plain) {
            Some(_) => Some(Self(text.trim_end_matches('/').to_owned())),
            // never shown: an address can carry a password
            None => {
                report.add(&at.spot(), format!("is not {expected}"));
                None
            }
        }
    }

    fn schema() -> Json {
        let pattern = "^https?://[^/:?#@\"<>\\\\\\s][^?#@\"<>\\\\\\s]*$";
        json!({ "type": "string", "pattern": pattern })
    }
}

form! {
    /// A provider's model under the name that policies use.
    JudgeForm {
        /// One of providers.
        provider: Name<Public>,
        /// The model, as the provider calls it.
        model: Prose<200>,
        /// USD per million tokens; default the list price, which some models do not have.
        price: Option<PriceForm>,
        /// How fast it is expected to be, before its own history says so.
        expect: Option<ExpectForm>,
        /// Most calls at once; default: what it turns out to take, at most 512.
        max_in_flight: Option<Whole<1, 100_000>>,
        /// When it is passed over for being ill, and how it comes back.
        health: Option<HealthForm>,
        /// Whether its answers are asked for as a stream, so that a verdict can leave at its scores; default true, but false for openai-compatible servers and openrouter.
        stream: Option<bool>,
    }
}

form! {
    /// When a judge is passed over for being ill, and how it comes back.
    HealthForm {
        /// A call this many times as old as the judge's normal p95 is evidence against it; default 1.25.
        strike_at: Number<1, 10> = Number(1.25),
        /// Evidence at which its breaker opens; a strike is 2.15, an answer -0.51; default 9.2.
        open_at: Number<3, 1_000> = Number(9.2),
        /// Between two probes that fail, at first; default 1s.
        hold: Time = seconds(1.0),
        /// From a quarter to all of the images once it is well again; default 2s.
        ramp: Time = seconds(2.0),
    }
}

form! {
    /// USD per million tokens.
    PriceForm {
        /// Input tokens.
        input: PerMillion,
        /// Input tokens from the provider's cache; default: as input.
        cached: Option<PerMillion>,
        /// Output tokens, thinking included.
        output: PerMillion,
        /// The day these prices were read, in quotes: "2026-11-21".
        as_of: Option<Day>,
    }
}

/// `2026-11-21`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Day(pub(crate) String);

impl Form for Day {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let day = at.node.text().filter(|day| day.len() == 10);
        match day.filter(|day| day.parse::<jiff::civil::Date>().is_ok()) {
            Some(day) => Some(Self(day.to_owned())),
            None => refuse(at, report, "a day such as \"2026-11-21\""),
        }
    }

    fn schema() -> Json {
        let pattern = "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$";
        json!({ "type": "string", "pattern": pattern })
    }
}

form! {
    /// How fast a judge is expected to be.
    ExpectForm {
        /// Half of the answers are faster.
        p50: Time,
        /// 19 of 20 answers are faster.
        p95: Time,
    }
}

form! {
    /// Where policies are, and when they are read again.
    PoliciesForm {
        /// The directory, from this file; default: policies. Also `--policies` and `VLMGATE_POLICIES`.
        dir: Option<Prose<500>>,
        /// watch (the default), sighup, or off. A bad file keeps the last good one.
        reload: Reload = Reload::Watch,
    }
}

form! {
    /// Judges broken on purpose for a while, to see that the others take over.
    DrillsForm {
        /// Largest share of a judge's calls that a drill may break; default 50%.
        max_share: Share = Share(0.5),
        /// Drills that run by themselves.
        scheduled: List<ScheduledForm, 0, 50> = List::of(Vec::new()),
    }
}

form! {
    /// How records are watched for drift.
    DriftForm {
        /// Whole days that are taken as normal; default 7. 0: the first 2,000 judged images.
        baseline_days: Whole<0, 90> = Whole(7),
        /// False alarms allowed in thirty days, over all detectors of a policy together; default 0.5.
        false_alarms_per_30_days: Number<0, 100> = Number(0.5),
    }
}

form! {
    /// Judges asked behind verdicts, off the serving path. What does not fit is dropped and counted.
    ShadowWorkForm {
        /// Images that wait to be shown; default 256.
        max_queued: Whole<1, 10_000> = Whole(256),
        /// Memory of the pictures that wait, half of it for those that wait for a judge to come back; default 128MiB.
        max_bytes: Bytes = Bytes(128 << 20),
        /// Calls to one judge at once; never past half of what it takes; default 4.
        max_in_flight: Whole<1, 64> = Whole(4),
        /// After a drift alarm: the next images are shown to the other judges too, to tell the judge from the images; default: no.
        burst: Option<BurstForm>,
    }
}

form! {
    /// After a drift alarm the next images are shown to the other judges too.
    BurstForm {
        /// So many images after each alarm; default 1200.
        images: Whole<40, 100_000> = Whole(1_200),
        /// Most that it may cost in one day (UTC), all policies together, such as 10 USD.
        per_day: Money,
    }
}

form! {
    /// A drill that runs by itself.
    ScheduledForm {
        /// One of judges.
        judge: Name<Public>,
        /// refuse (the default), blackhole or overload.
        fault: Fault = Fault::Refuse,
        /// Share of the judge's calls; default 20%.
        share: Share = Share(0.2),
        /// How long the judge is broken; default 60s.
        r#for: Time = seconds(60.0),
        /// From one beginning to the next, such as 7d.
        every: Time,
    }
}

impl Words for Fault {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.into_iter().map(|one| (one.label(), one)).collect()
    }
}

impl Words for Role {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.into_iter().map(|one| (one.label(), one)).collect()
    }
}

impl Words for ProviderKind {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.into_iter().map(|one| (one.label(), one)).collect()
    }
}

impl Words for Sync {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("normal", Self::Normal), ("full", Self::Full)]
    }
}

impl Words for Reload {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("watch", Self::Watch), ("sighup", Self::Sighup), ("off", Self::Off)]
    }
}
