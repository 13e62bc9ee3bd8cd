//! From the service's file to its settings: the rules between its keys, then the plain values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use crate::config::form::{Field, List, Table};
use crate::config::problem::{Report, Spot, hint};
use crate::config::service_file::{JudgeForm, KeyForm, ProviderForm, ServiceFile, StoreForm};
use crate::config::units::{Name, Prose, Public, Time, Whole, show_time};
use crate::config::{
    Config, Drain, DriftConfig, GoogleAuth, JudgeConfig, KeyConfig, LOCAL_JUDGE, PoliciesConfig,
    PolicyFolder, ProviderConfig, ProviderKind, ServerConfig, StoreConfig,
};
use crate::domain::drill::Plan;
use crate::domain::{MicroUsd, Price};
use crate::drill;
use crate::drill::schedule::Scheduled;
use crate::gate::shadow::{self, Burst};
use crate::panel::breaker::Rules;
use crate::panel::{Care, Expectation};

/// The settings that `raw` says, with relative paths from `dir`; `None` after at least one problem.
pub(crate) fn build(raw: &ServiceFile, dir: &Path, report: &mut Report) -> Option<Config> {
    let providers = providers(raw, report);
    let judges = judges(raw, report);
    let keys = keys(raw, report);
    let drills = drills(raw, report);
    let drift = drift(raw, report);
    let shadow = shadow(raw, report);
    let store = store(raw.store.filled()?, dir, report);
    let server = raw.server.filled()?;
    let drain = server.drain.filled()?;
    let (accept_for, at_most) = (drain.accept_for.filled()?.0, drain.at_most.filled()?.0);
    if at_most <= accept_for {
        let message =
            format!("{} is not over accept_for, {}", show_time(at_most), show_time(accept_for));
        report.add(&drain.at_most.spot, message);
    }
    let policies = raw.policies.filled()?;
    let folder = text(&policies.dir).unwrap_or("policies");
    Some(Config {
        server: ServerConfig {
            listen: server.listen.filled()?.0,
            max_in_flight: usize::try_from(server.max_in_flight.filled()?.0).ok()?,
            max_in_flight_bytes: server.max_in_flight_bytes.filled()?.0,
            max_decoding_bytes: server.max_decoding_bytes.filled()?.0,
            max_queued: usize::try_from(server.max_queued.filled()?.0).ok()?,
            drain: Drain { accept_for, at_most },
        },
        keys: keys?,
        store: store?,
        providers,
        judges,
        policies: PoliciesConfig {
            folder: PolicyFolder::At(dir.join(folder)),
            reload: *policies.reload.filled()?,
        },
        drills: drills?,
        drift: drift?,
        shadow: shadow?,
        left_out: Vec::new(),
        insecure_no_auth: false,
    })
}

fn text<const MOST: usize>(field: &Field<Option<Prose<MOST>>>) -> Option<&str> {
    field.get()?.as_ref().map(|prose| prose.text.as_str())
}

fn owned<const MOST: usize>(field: &Field<Option<Prose<MOST>>>) -> Option<String> {
    text(field).map(str::to_owned)
}

/// Whether the file says something for a key.
fn is_given<T>(field: &Field<Option<T>>) -> bool {
    field.filled().is_some_and(Option::is_some) || field.get().is_none()
}

fn keys(raw: &ServiceFile, report: &mut Report) -> Option<Vec<KeyConfig>> {
    let forms: Vec<&KeyForm> = raw.keys.filled()?.values().collect();
    let mut keys: Vec<KeyConfig> = Vec::new();
    for form in forms {
        let (Some(name), Some(sha256)) = (form.name.get(), form.sha256.get()) else {
            continue;
        };
        if keys.iter().any(|other| other.name == name.text) {
            report.add(&form.name.spot, format!("two keys are called \"{}\"", name.text));
        }
        if let Some(twin) = keys.iter().find(|other| other.sha256 == sha256.0) {
            let message = format!("is the key of \"{}\" too; each caller has its own", twin.name);
            report.add(&form.sha256.spot, message);
        }
        let roles = form.roles.get().into_iter().flat_map(List::values).copied().collect();
        keys.push(KeyConfig { name: name.text.clone(), sha256: sha256.0, roles });
    }
    Some(keys)
}

fn drills(raw: &ServiceFile, report: &mut Report) -> Option<drill::Settings> {
    let form = raw.drills.filled()?;
    let max_share = form.max_share.filled()?.0;
    let mut scheduled = Vec::new();
    for one in form.scheduled.filled()?.values() {
        let judges: Vec<_> = raw.judges.filled()?.each().map(|(_, name, _)| &name.text).collect();
        let Some(judge) = one.judge.get() else { continue };
        if !judges.contains(&&judge.text) {
            let hint = hint(&judge.text, judges.into_iter().map(String::as_str));
            report.add(&one.judge.spot, format!("no judge is called \"{}\"{hint}", judge.text));
        }
        let share = one.share.filled()?.0;
        if share <= 0.0 || max_share < share {
            let most = max_share * 100.0;
            report.add(&one.share.spot, format!("is not over 0 and at most max_share, {most}%"));
        }
        let (lasts, least, most) = (one.r#for.filled()?.0, drill::SPAN.0, drill::SPAN.1);
        if lasts < least || most < lasts {
            let (least, most) = (show_time(least), show_time(most));
            report.add(&one.r#for.spot, format!("is not from {least} to {most}"));
        }
        let Some(every) = one.every.get().map(|every| every.0) else { continue };
        let usual = Plan::of(judge.text.clone());
        let whole = usual.baseline + lasts + usual.bounds.recovered_within;
        if every < whole {
            let (every, whole) = (show_time(every), show_time(whole));
            report.add(&one.every.spot, format!("{every} is shorter than the drill, {whole}"));
        }
        let plan = Plan { fault: *one.fault.filled()?, share, lasts, ..usual };
        scheduled.push(Scheduled { plan, every });
    }
    Some(drill::Settings { max_share, scheduled })
}

fn drift(raw: &ServiceFile, report: &mut Report) -> Option<DriftConfig> {
    let form = raw.drift.filled()?;
    let false_alarms_per_30_days = form.false_alarms_per_30_days.filled()?.0;
    if false_alarms_per_30_days <= 0.0 {
        let message = "is 0: who never alarms falsely never alarms";
        report.add(&form.false_alarms_per_30_days.spot, message);
    }
    let baseline_days = form.baseline_days.filled()?.0;
    Some(DriftConfig { baseline_days, false_alarms_per_30_days })
}

fn shadow(raw: &ServiceFile, report: &mut Report) -> Option<shadow::Settings> {
    let form = raw.shadow.filled()?;
    let mut burst = None;
    if let Some(form) = form.burst.filled()? {
        let per_day = form.per_day.get()?.0;
        if per_day == MicroUsd(0) {
            report.add(&form.per_day.spot, "0 USD asks nobody: leave burst out instead");
        }
        burst = Some(Burst { images: form.images.filled()?.0.into(), per_day });
    }
    Some(shadow::Settings {
        max_queued: usize::try_from(form.max_queued.filled()?.0).ok()?,
        max_bytes: form.max_bytes.filled()?.0,
        max_in_flight: form.max_in_flight.filled()?.0,
        burst,
    })
}

fn store(form: &StoreForm, dir: &Path, report: &mut Report) -> Option<StoreConfig> {
    let url = text(&form.url).unwrap_or("sqlite://data/vlmgate.db");
    if url.starts_with("postgres") {
        let message = "postgres:// belongs to the PostgreSQL store, which this version does not \
                       have yet; use sqlite://";
        report.add(&form.url.spot, message);
        return None;
    }
    let Some(path) = url.strip_prefix("sqlite://").filter(|path| !path.is_empty()) else {
        report.add(&form.url.spot, "is not sqlite:// and a path, such as sqlite://data/vlmgate.db");
        return None;
    };
    Some(StoreConfig { sqlite: dir.join(path), sync: *form.sync.filled()? })
}

type Providers<'a> = Vec<(&'a Field<Name<Public>>, &'a Name<Public>, &'a ProviderForm)>;

fn providers(raw: &ServiceFile, report: &mut Report) -> BTreeMap<String, ProviderConfig> {
    let forms: Providers<'_> = raw.providers.filled().into_iter().flat_map(Table::each).collect();
    let mut providers = BTreeMap::new();
    for (key, name, form) in forms {
        check_provider(&key.spot, form, report);
        if let Some(provider) = provider(form) {
            providers.insert(name.text.clone(), provider);
        }
    }
    providers
}

/// What each kind must have and may have; every kind may have `base_url`,
/// `connect_timeout` and `simulated`.
fn check_provider(spot: &Spot, form: &ProviderForm, report: &mut Report) {
    let Some(kind) = form.kind.get().copied() else {
        return;
    };
    let given = [
        ("base_url", is_given(&form.base_url), &form.base_url.spot),
        ("key", is_given(&form.key), &form.key.spot),
        ("api_version", is_given(&form.api_version), &form.api_version.spot),
        ("deployment", is_given(&form.deployment), &form.deployment.spot),
        ("project", is_given(&form.project), &form.project.spot),
        ("location", is_given(&form.location), &form.location.spot),
        ("auth", is_given(&form.auth), &form.auth.spot),
    ];
    let has_own_address = is_given(&form.base_url);
    let (must, may): (&[&str], &[&str]) = match kind {
        ProviderKind::Azure => (&["base_url", "key"], &["api_version", "deployment"]),
        ProviderKind::Compatible => (&["base_url"], &["key"]),
        ProviderKind::Vertex => (&["project", "location", "auth"], &["base_url"]),
        // a server of one's own that speaks OpenAI's form often takes no key
        ProviderKind::OpenAi if has_own_address => (&[], &["base_url", "key"]),
        ProviderKind::OpenAi
        | ProviderKind::OpenRouter
        | ProviderKind::Anthropic
        | ProviderKind::Gemini
        | ProviderKind::Mistral => (&["key"], &["base_url"]),
    };
    for (name, is_given, place) in given {
        if is_given && !must.contains(&name) && !may.contains(&name) {
            report.add(place, format!("is of no use to a provider of kind {}", kind.label()));
        }
        if !is_given && must.contains(&name) {
            report.add(spot, format!("a provider of kind {} needs `{name}`", kind.label()));
        }
    }
}

fn provider(form: &ProviderForm) -> Option<ProviderConfig> {
    let auth = form.auth.get().cloned().flatten().map(|auth| {
        if auth.0.expose_secret() == "adc" {
            GoogleAuth::Default
        } else {
            GoogleAuth::ServiceAccountKey(auth.0)
        }
    });
    Some(ProviderConfig {
        kind: *form.kind.filled()?,
        base_url: form.base_url.get().cloned().flatten().map(|url| url.0),
        key: form.key.get().cloned().flatten().map(|key| key.0),
        connect_timeout: form.connect_timeout.filled()?.0,
        api_version: owned(&form.api_version),
        deployment: owned(&form.deployment),
        project: owned(&form.project),
        location: owned(&form.location),
        auth,
        simulated: *form.simulated.filled()?,
    })
}

fn judges(raw: &ServiceFile, report: &mut Report) -> BTreeMap<String, JudgeConfig> {
    let known: Vec<String> = raw
        .providers
        .filled()
        .into_iter()
        .flat_map(|table| table.0.iter())
        .filter_map(|(key, _)| key.get().map(|name| name.text.clone()))
        .collect();
    let mut judges = BTreeMap::new();
    for (key, name, form) in raw.judges.filled().into_iter().flat_map(Table::each) {
        if name.text == LOCAL_JUDGE {
            report.add(&key.spot, "is the built-in judge; call yours something else");
        }
        if let Some(provider) = form.provider.get()
            && raw.providers.get().is_some()
            && !known.contains(&provider.text)
        {
            let hint = hint(&provider.text, known.iter().map(String::as_str));
            report.add(
                &form.provider.spot,
                format!("no provider is called \"{}\"{hint}", provider.text),
            );
        }
        if let Some(judge) = judge(form, report) {
            judges.insert(name.text.clone(), judge);
        }
    }
    judges
}

fn judge(form: &JudgeForm, report: &mut Report) -> Option<JudgeConfig> {
    let expect = form.expect.get().and_then(Option::as_ref);
    let expect = expect.and_then(|expect| {
        let (Time(p50), Time(p95)) = (*expect.p50.get()?, *expect.p95.get()?);
        if p95 < p50 || p50.is_zero() {
            let message = format!("{} is under p50, {}", show_time(p95), show_time(p50));
            report.add(&expect.p95.spot, message);
        }
        Some(Expectation { p50, p95 })
    });
    let price = form.price.get().and_then(Option::as_ref).and_then(|price| {
        let input = price.input.get()?.0;
        Some(Price {
            input_nano_usd: input,
            cached_nano_usd: price.cached.get().copied().flatten().map_or(input, |one| one.0),
            output_nano_usd: price.output.get()?.0,
            as_of: price.as_of.get().cloned().flatten().map(|day| day.0).unwrap_or_default(),
        })
    });
    Some(JudgeConfig {
        provider: form.provider.get()?.text.clone(),
        model: form.model.get()?.text.clone(),
        price,
        expect,
        care: care(form)?,
        stream: form.stream.get().copied().flatten(),
    })
}

fn care(form: &JudgeForm) -> Option<Care> {
    let max_in_flight = (*form.max_in_flight.get()?).map(|Whole(most)| most);
    let mut rules = Rules::default();
    if let Some(health) = form.health.get()? {
        rules.strike_multiple = health.strike_at.get()?.0;
        rules.threshold = health.open_at.get()?.0;
        rules.hold = health.hold.get()?.0;
        rules.longest_hold = rules.longest_hold.max(rules.hold);
        rules.ramp = health.ramp.get()?.0;
    }
    Some(Care { rules, max_in_flight })
}

/// The folder of a file, for the paths in it.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}
