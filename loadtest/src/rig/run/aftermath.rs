//! The aftermath is what is looked up when the load has stopped: what leaked, what is in the store.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use crate::evidence::Stop;
use crate::evidence::Subject;
use crate::quantile::number;
use crate::rig::RigError;
use crate::rig::policy::ACCEPT_FOR_S;
use crate::rig::providers::Host;
use crate::rig::run::Driven;
use crate::sample::Sample;
use crate::sample::SampleEnd;
use crate::sample::VerdictBody;
use crate::scenario::BlowKind;
use crate::scenario::PROVIDERS;
use crate::scenario::Scenario;
use crate::web::Reply;
use crate::web::Web;

/// How long calls may take to end after the load stopped.
const LEAK_AFTER: Duration = Duration::from_secs(10);

/// How long a gate without load may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// What is found is looked up within this.
const LOOKUP_WITHIN: Duration = Duration::from_secs(30);

/// What passes between a caller's leaving and the gate's noticing.
const NOTICE_MS: f64 = 150.0;

/// When a target was gone because it was told to go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Gone {
    /// Nobody told it.
    Never,
    /// Told to stop: from then on it need not listen.
    From(f64),
    /// Killed, and up again.
    Between(f64, f64),
}

impl Gone {
    /// By when it was killed and up again, or when it was told to stop.
    pub(super) fn of(blow: Option<(f64, f64)>, stop: Option<Stop>) -> Self {
        match (blow, stop) {
            (Some((killed_at_s, up_at_s)), _) => Self::Between(killed_at_s, up_at_s),
            (None, Some(stop)) => Self::From(stop.told_at_s + ACCEPT_FOR_S),
            (None, None) => Self::Never,
        }
    }
}

/// Whose fault it is that a request got no answer. What a kill cut off is nobody's, and so is what
/// came when the target had been told to go; everything else is the target's, above all that nobody
/// listens on a target that nobody stopped.
pub(super) fn blame(mut samples: Vec<Sample>, gone: Gone) -> Vec<Sample> {
    for sample in &mut samples {
        let is_excused = match gone {
            Gone::Never => false,
            Gone::From(gone_at_s) => {
                sample.end == SampleEnd::TurnedAway && gone_at_s <= sample.sent_s
            }
            Gone::Between(killed_at_s, up_at_s) => {
                killed_at_s <= sample.ended_s && sample.sent_s <= up_at_s + 0.1
            }
        };
        if matches!(sample.end, SampleEnd::Missing | SampleEnd::TurnedAway) {
            sample.end = if is_excused { SampleEnd::TurnedAway } else { SampleEnd::Missing };
        }
    }
    samples
}

/// What a reader must know of a target that the rig cannot do everything to, or see everything of.
pub(super) fn reservations(subject: Subject, scenario: &Scenario) -> Vec<String> {
    let mut notes = Vec::new();
    if scenario.blow.is_some() && subject != Subject::OwnGate {
        notes.push("no signal was sent: the rig did not start the target".to_owned());
    }
    if scenario.judges != PROVIDERS && subject != Subject::OwnGate {
        let judges = scenario.judges.join(", ");
        notes.push(format!("the target took its own route; this scenario means one of {judges}"));
    }
    if subject == Subject::Gateway {
        let told = "the gateway does not say who judged: its recovery is held to speed alone";
        notes.push(told.to_owned());
    }
    notes
}

/// Waits for open calls to end, and counts those that do not.
pub(super) async fn leaked(host: &Host) -> Result<u64, RigError> {
    let until = Instant::now() + LEAK_AFTER;
    loop {
        let open: u64 = host.open_calls().await?.values().sum();
        if open == 0 || until <= Instant::now() {
            return Ok(open);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// What the gate's own records say, where a scenario asks for it.
pub(super) async fn lookups(
    driven: &Driven,
    scenario: &Scenario,
    samples: &[Sample],
    web: &Web,
    notes: &mut Vec<String>,
) -> BTreeMap<String, (f64, u64)> {
    let mut found = BTreeMap::new();
    let Some(url) = driven.url() else { return found };
    let is_killed = scenario.blow.is_some_and(|blow| blow.signal == BlowKind::Sigkill);
    if is_killed || scenario.targets.iter().any(|line| line.figure == "missing_records") {
        let (missing, asked) = missing_records(&url, samples, web).await;
        // that nothing is missing of nothing says nothing
        if asked != 0 {
            found.insert("missing_records".to_owned(), (number(missing), count(asked)));
        }
    }
    if 0.0 < scenario.callers.cancel_share {
        match started_after_hang_up(&url, scenario, web).await {
            Ok((_, 0)) => notes.push("no record says that its caller hung up".to_owned()),
            Ok((started, gone)) => {
                let value = (number(started), count(gone));
                found.insert("started_after_hang_up".to_owned(), value);
            }
            Err(problem) => notes.push(format!("the records could not be read: {problem}")),
        }
    }
    found
}

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// Verdicts that were answered, as recorded or not, and that the store does not know as they were.
async fn missing_records(url: &str, samples: &[Sample], web: &Web) -> (usize, usize) {
    let answered: Vec<&VerdictBody> =
        samples.iter().filter_map(|one| one.verdict.as_ref()).collect();
    let mut missing = 0;
    for verdict in &answered {
        let asked = web.get(&format!("{url}/v1/verdicts/{}", verdict.id), LOOKUP_WITHIN).await;
        missing += usize::from(!asked.is_ok_and(|reply| is_of(&reply, verdict)));
    }
    (missing, answered.len())
}

/// Whether this is the record of that verdict.
fn is_of(reply: &Reply, verdict: &VerdictBody) -> bool {
    let known = serde_json::from_slice::<VerdictBody>(&reply.body);
    reply.status == 200
        && known.is_ok_and(|known| {
            (&known.id, &known.verdict, known.judge_name())
                == (&verdict.id, &verdict.verdict, verdict.judge_name())
        })
}

/// Attempts of records whose caller had gone that began after it went; and how many such records.
async fn started_after_hang_up(
    url: &str,
    scenario: &Scenario,
    web: &Web,
) -> Result<(usize, usize), RigError> {
    let all = web.get(&format!("{url}/v1/verdicts:export?format=ndjson"), LOOKUP_WITHIN).await?;
    let text = String::from_utf8_lossy(&all.body);
    let left_ms = number(usize::try_from(scenario.callers.cancel_after_ms).unwrap_or(usize::MAX));
    let (mut started, mut gone) = (0, 0);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let record: VerdictBody = serde_json::from_str(line)
            .map_err(|why| RigError::Usage(format!("a record cannot be read: {why}")))?;
        if record.client_gone {
            gone += 1;
            let late = |started_ms: f64| left_ms + NOTICE_MS < started_ms;
            started += record.attempts.iter().filter(|one| late(one.started_ms)).count();
        }
    }
    Ok((started, gone))
}

/// Stops a gate that the rig started; whether it ended well, which a note explains where it did not.
pub(super) async fn stop_gate(
    driven: &mut Driven,
    notes: &mut Vec<String>,
) -> Result<bool, RigError> {
    let Some((gate, _)) = &mut driven.gate else { return Ok(true) };
    if gate.pid().is_none() {
        return Ok(true); // it was told to stop under load, which is told by itself
    }
    gate.terminate().await?;
    match gate.ended(STOP_WITHIN).await? {
        Some(status) if status.success() => return Ok(true),
        Some(status) => {
            notes.push(format!("the gate ended with {status}: {}", gate.last_words()));
        }
        None => notes.push("the gate did not stop and was killed".to_owned()),
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a request of this time that nobody answered counts.
    fn end(end: SampleEnd, (sent_s, ended_s): (f64, f64), gone: Gone) -> SampleEnd {
        let sample = Sample { due_s: sent_s, sent_s, ended_s, end, ..Sample::default() };
        blame(vec![sample], gone).remove(0).end
    }

    #[test]
    fn a_target_that_went_down_by_itself_has_lost_its_requests() {
        let refused = SampleEnd::TurnedAway;
        let lost = SampleEnd::Missing;
        assert_eq!(end(refused.clone(), (5.0, 5.0), Gone::Never), lost);
        assert_eq!(end(refused.clone(), (5.0, 5.0), Gone::From(6.0)), lost, "it still accepts");
        assert_eq!(end(refused.clone(), (6.5, 6.5), Gone::From(6.0)), refused);
        assert_eq!(end(lost.clone(), (6.5, 9.0), Gone::From(6.0)), lost, "it had taken it");
        assert_eq!(end(refused.clone(), (3.0, 3.0), Gone::Between(5.0, 6.0)), lost);
        assert_eq!(end(refused.clone(), (5.5, 5.5), Gone::Between(5.0, 6.0)), refused);
        assert_eq!(end(lost.clone(), (4.5, 5.0), Gone::Between(5.0, 6.0)), refused, "cut off");
        assert_eq!(end(lost.clone(), (7.0, 9.0), Gone::Between(5.0, 6.0)), lost);
        let answered = SampleEnd::Answered { status: 200, retry_after: false };
        assert_eq!(end(answered.clone(), (5.5, 6.0), Gone::Between(5.0, 7.0)), answered);
    }
}
