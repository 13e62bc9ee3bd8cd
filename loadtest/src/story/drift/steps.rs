//! The steps of `loadtest drift`: each makes one thing happen and looks at what the gate told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::behaviour::Fault;
use crate::gallery::Gallery;
use crate::monotonic::wall_ms;
use crate::quantile::number;
use crate::rig::RigError;
use crate::story::drift::BLUR_PX;
use crate::story::drift::DriftArgs;
use crate::story::drift::StepName;
use crate::story::drift::onlookers::Onlookers;
use crate::story::drift::pasted::Pasted;
use crate::story::drift::rows::event_row;
use crate::story::drift::rows::lost_row;
use crate::story::drift::rows::quiet_row;
use crate::story::drift::rows::shift_row;
use crate::story::drift::rows::silent;
use crate::story::drift::rows::skipped;
use crate::story::drift::shifted::Shifted;
use crate::story::files;
use crate::story::files::BASELINE_DAYS;
use crate::story::files::Policy;
use crate::story::history::Drawn;
use crate::story::history::History;
use crate::story::history::Plan;
use crate::story::history::Stretch;
use crate::story::law::FIVE_POINTS;
use crate::story::law::Law;
use crate::story::law::PRIMARY;
use crate::story::law::SECONDARY;
use crate::story::stage::Stage;
use crate::story::stage::Survey;
use crate::story::table::End;
use crate::story::table::Row;
use crate::story::traffic::Sent;
use crate::story::traffic::Traffic;
use crate::story::traffic::number_of;
use crate::story::words::DriftPage;
use crate::story::words::Stream;
use crate::story::words::Told;
use crate::story::words::counted_events;
use crate::story::words::drift;
use crate::story::words::export;
use crate::story::words::moment_ms;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;
/// Longest that the gate may take to know a baseline, or to count what came.
const KNOW_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at what was told.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long pictures go on coming behind an event where somebody looks on: an alert that waits a minute
/// for what stands would have told another cause by then, and *Why* has whole minutes to compare.
const LINGER_S: u64 = 150;

/// The story while it is played.
pub(super) struct Playing<'a> {
    pub(super) args: &'a DriftArgs,
    pub(super) stage: Stage,
    pub(super) onlookers: Onlookers,
    pub(super) law: Law,
    pub(super) policy: Policy,
    pub(super) sharp: Arc<Gallery>,
    /// The share of all pictures that each judge rejects.
    pub(super) shares: BTreeMap<String, f64>,
    pub(super) survey: Option<Survey>,
    /// The survey's pictures and the last history's: the number of the first live one.
    pub(super) first_live: usize,
    /// Of the last history's images, those that all judged.
    pub(super) paired: usize,
}

/// What the gate told of a step.
pub(super) struct Heard {
    page: DriftPage,
    pub(super) events: Vec<Told>,
    /// The labels on `/v1/events`, and those that the metrics count.
    pub(super) streamed: Vec<String>,
    pub(super) counted: Vec<(String, f64)>,
    pub(super) sent: Sent,
}

/// What had to be told, and of what size it truly is.
pub(super) struct Expected {
    pub(super) step: &'static str,
    pub(super) label: String,
    pub(super) truth: f64,
    pub(super) began_ms: u64,
}

impl Playing<'_> {
    pub(super) async fn play(
        &mut self,
        step: StepName,
        tell: impl Fn(&str),
    ) -> Result<Vec<Row>, RigError> {
        match step {
            StepName::Routing => self.routing(tell).await,
            StepName::Calibrated => self.calibrated(tell).await,
            StepName::Provider => self.provider(tell).await,
            StepName::Input => self.input(tell).await,
        }
    }

    /// The seconds before the primary goes, while it is away, and after it is back.
    fn seconds(&self) -> (u64, u64, u64) {
        if self.args.short { (15, 125, 20) } else { (30, 360, 60) }
    }

    /// The primary is away: images are judged by others, and no judge is to blame.
    async fn routing(&mut self, tell: impl Fn(&str)) -> Result<Vec<Row>, RigError> {
        let url = self.begin(&tell).await?;
        let watching = self.onlookers.watch(&url, &self.stage.web).await?;
        let (heard, window) = self.outage(&url, &tell).await?;
        let worth = self.worth_in(&heard.page);
        let (step, label) = ("routing", "routing");
        let mut expected =
            Expected { step, label: label.to_owned(), truth: worth, began_ms: window.0 };
        let mut rows = Vec::new();
        if let Some(event) = heard.events.first() {
            expected.truth = self.truth_at(event, &heard.page).await?;
            rows.push(event_row(&expected, event));
        } else {
            rows.push(silent(step, label));
        }
        rows.push(self.outage_row(&heard.page));
        rows.push(quiet_row(step, label, &heard));
        rows.push(self.onlookers.alarms((step, label), &watching).await);
        let whole = whole_minutes(window.0, window.1);
        // few pictures may be too few for a label: then *Why* has none to tell
        let is_short = self.args.short && heard.page.label == "none";
        rows.extend(self.onlookers.page(&url, &expected, (worth, whole, is_short)).await);
        rows.push(lost_row(step, &heard.sent));
        Ok(rows)
    }

    /// Plays an outage; what was heard of it, and when it was.
    async fn outage(
        &mut self,
        url: &str,
        tell: &impl Fn(&str),
    ) -> Result<(Heard, (u64, u64)), RigError> {
        let stream = Stream::listen(url);
        let mut traffic = Traffic::new(&self.stage.web, url, (&self.sharp, self.first_live));
        let (before, away, after) = self.seconds();
        self.flow(&mut traffic, before).await?;
        let began_ms = wall_ms();
        tell(&format!("  {PRIMARY} answers 529 for {away} s"));
        self.stage.play(&self.law, &BTreeMap::from([(PRIMARY, Fault::status(529))]));
        self.flow(&mut traffic, away).await?;
        self.stage.play(&self.law, &BTreeMap::new());
        let mended_ms = wall_ms();
        self.flow(&mut traffic, after).await?;
        let window = whole_minutes(began_ms, mended_ms);
        Ok((self.hear(traffic, &stream, Some(window)).await?, (began_ms, mended_ms)))
    }

    /// Fits the other judges to the primary, pastes what that says, and plays the outage again: the
    /// same pictures must be rejected as if the primary had judged them.
    async fn calibrated(&mut self, tell: impl Fn(&str)) -> Result<Vec<Row>, RigError> {
        if self.stage.run(&["calibrate", "--help"]).await.is_err() {
            tell("  SKIPPED: this gate has no `vlmgate calibrate`");
            return Ok(vec![skipped(self.onlookers.absent)]);
        }
        self.begin(&tell).await?;
        let said = self.stage.run(&["calibrate", "--json"]).await?;
        let Some(pasted) = Pasted::read(&said) else {
            let told = format!("`vlmgate calibrate` has nothing to paste: {said}");
            return Err(RigError::Story(told));
        };
        tell(&format!("  calibrated: {:?}", pasted.add));
        let paired = self.paired;
        let usual = (self.law.clone(), self.policy.clone(), self.survey.take());
        self.law = self.law.held_to(pasted.lines());
        self.policy.offsets = pasted.below_route;
        let played = match self.begin(&tell).await {
            Ok(url) => self.outage(&url, &tell).await,
            Err(why) => Err(why),
        };
        let shifted = match &played {
            Ok((_, window)) => self.paired_shift(&usual.0, *window).await,
            Err(_) => Ok(Shifted::default()),
        };
        let shares = self.law.reject_shares();
        (self.law, self.policy, self.survey) = usual;
        let ((heard, _), shifted) = (played?, shifted?);
        let share = |judge: &str| shares.get(judge).copied().unwrap_or_default();
        let truth = share(SECONDARY) - share(PRIMARY);
        let row = shift_row(&shifted, truth, (paired, self.args.short));
        Ok(vec![row, lost_row("calibrated", &heard.sent)])
    }

    /// How many images more the gate rejected while others judged than the primary would have: on
    /// images of which none was calibrated on.
    async fn paired_shift(&self, law: &Law, window: (u64, u64)) -> Result<Shifted, RigError> {
        let mut shifted = Shifted::default();
        for record in export(&self.stage.web, &self.stage.url(), window).await? {
            let judge = record.pointer("/judge/name").and_then(Value::as_str);
            let (Some(judge), Some(n)) = (judge, number_of(&record)) else { continue };
            if judge == PRIMARY || n < self.first_live {
                continue;
            }
            let image = blake3::hash(&self.sharp.own(n).file());
            let said = record.get("first_verdict").and_then(Value::as_str) != Some("pass");
            shifted.see(said, law.opinion(PRIMARY, &image).is_reject());
        }
        Ok(shifted)
    }

    /// What the mix of judges in a window is worth: who judged, and how many of all pictures each of
    /// them rejects.
    fn worth_in(&self, page: &DriftPage) -> f64 {
        let moved = page.judges.iter().map(|row| {
            let share = |share: Option<f64>| share.unwrap_or_default();
            let (after, before) = (share(row.share_after.share), share(row.share_before.share));
            (after - before) * self.share_of(&row.judge)
        });
        moved.sum()
    }

    /// The outage on `/v1/drift`.
    fn outage_row(&self, page: &DriftPage) -> Row {
        let truth = self.worth_in(page);
        let effect = page.part("routing");
        let is_covered = effect.is_some_and(|effect| effect.covers(truth));
        // few pictures may be too few for a label; another one is wrong all the same
        let is_labelled = page.label == "routing" || (self.args.short && page.label == "none");
        Row {
            step: "routing",
            asserted: "/v1/drift of its whole minutes: routing, its interval covers the truth"
                .to_owned(),
            told: page.label.clone(),
            effect,
            truth: Some(truth),
            seconds: None,
            end: End::of(is_labelled && is_covered),
        }
    }

    /// The primary rejects more: that is a judge, and no other.
    async fn provider(&mut self, tell: impl Fn(&str)) -> Result<Vec<Row>, RigError> {
        let strict = self.law.stricter(PRIMARY, FIVE_POINTS);
        let moved = strict.reject_shares();
        let truth = moved.get(PRIMARY).copied().unwrap_or_default() - self.share_of(PRIMARY);
        tell(&format!("  {PRIMARY} will reject {:.1} points more", truth * 100.0));
        let label = format!("provider_drift:{PRIMARY}");
        self.moved(("provider", &label, truth), &strict, None, tell).await
    }

    /// Every picture is blurred, and every judge finds more to fault.
    async fn input(&mut self, tell: impl Fn(&str)) -> Result<Vec<Row>, RigError> {
        let soft = self.args.gallery(BLUR_PX)?;
        let law = self.law.of_blurred();
        let moved = law.reject_shares();
        let truth = moved.get(PRIMARY).copied().unwrap_or_default() - self.share_of(PRIMARY);
        tell(&format!("  blurred pictures will be rejected {:.1} points more", truth * 100.0));
        self.moved(("input", "input_drift", truth), &law, Some(soft), tell).await
    }

    /// Plays another law, and perhaps other pictures, until an event is told or the time is over.
    async fn moved(
        &mut self,
        (step, label, truth): (&'static str, &str, f64),
        law: &Law,
        pictures: Option<Arc<Gallery>>,
        tell: impl Fn(&str),
    ) -> Result<Vec<Row>, RigError> {
        let url = self.begin(&tell).await?;
        let watching = self.onlookers.watch(&url, &self.stage.web).await?;
        let stream = Stream::listen(&url);
        let mut traffic = Traffic::new(&self.stage.web, &url, (&self.sharp, self.first_live));
        self.flow(&mut traffic, self.seconds().0).await?;
        self.stage.play(law, &BTreeMap::new());
        if let Some(pictures) = pictures {
            traffic.show(&pictures);
        }
        let began_ms = wall_ms();
        let most = Duration::from_secs(if self.args.short { 600 } else { 1_200 });
        let until = Instant::now() + most;
        while Instant::now() < until && stream.heard().is_empty() {
            traffic.flow(self.args.rate, Instant::now() + LOOK_EVERY).await;
            self.check_gate()?;
        }
        if self.onlookers.any() {
            self.flow(&mut traffic, LINGER_S).await?;
        }
        let heard = self.hear(traffic, &stream, None).await?;
        self.stage.play(&self.law, &BTreeMap::new());
        let expected = Expected { step, label: label.to_owned(), truth, began_ms };
        let row = heard.events.first().map(|event| event_row(&expected, event));
        let mut rows = vec![row.unwrap_or_else(|| silent(step, label))];
        rows.push(quiet_row(step, label, &heard));
        rows.push(self.onlookers.alarms((step, label), &watching).await);
        let whole = whole_minutes(began_ms, wall_ms());
        rows.extend(self.onlookers.page(&url, &expected, (truth, whole, false)).await);
        rows.push(lost_row(step, &heard.sent));
        Ok(rows)
    }

    /// A gate that knows two days, and what is normal.
    async fn begin(&mut self, tell: &impl Fn(&str)) -> Result<String, RigError> {
        let survey = match self.survey.take() {
            Some(survey) => survey,
            None => {
                tell("  every picture is shown once, to make a history of");
                self.stage.survey(&self.sharp, &self.policy, &self.law).await?
            }
        };
        self.stage.clear().await?;
        let (stage, policy) = (&self.stage, &self.policy);
        files::write(&stage.folder, &stage.providers, policy, &self.law)?;
        let history = History { survey: &survey, gallery: &self.sharp, law: &self.law };
        let path = stage.folder.join("history.ndjson");
        let Drawn { records, paired } = history.write(&self.plan(), &path)?;
        (self.first_live, self.paired) = (survey.records.len() + records, paired);
        tell(&format!("  a history of {records} records, {paired} of them judged by all"));
        let told = stage.import(&path).await?;
        tell(&format!("  {}", told.trim()));
        self.survey = Some(survey);
        let url = self.stage.open(&self.policy, &self.law).await?;
        let known_by = Instant::now() + KNOW_WITHIN;
        while !drift(&self.stage.web, &url, None).await?.is_watching() {
            if known_by < Instant::now() {
                return Err(RigError::Story("the gate knows no baseline".to_owned()));
            }
            sleep(Duration::from_millis(200)).await;
        }
        Ok(url)
    }

    /// Two whole days before today, and today until now.
    fn plan(&self) -> Plan {
        let to_ms = wall_ms();
        let midnight_ms = to_ms - to_ms % DAY_MS;
        let from_ms = midnight_ms - u64::from(BASELINE_DAYS) * DAY_MS;
        let a_day: u64 = if self.args.short { 6_000 } else { 12_000 };
        let count = |span_ms: u64| usize::try_from(span_ms * a_day / DAY_MS).unwrap_or_default();
        let stretch = |from_ms, to_ms| Stretch { from_ms, to_ms, records: count(to_ms - from_ms) };
        Plan {
            stretches: vec![stretch(from_ms, midnight_ms), stretch(midnight_ms, to_ms)],
            outage: None,
            paired: 0.5,
            seed: self.args.seed,
        }
    }

    async fn flow(&mut self, traffic: &mut Traffic, seconds: u64) -> Result<(), RigError> {
        traffic.flow(self.args.rate, Instant::now() + Duration::from_secs(seconds)).await;
        self.check_gate()
    }

    fn check_gate(&mut self) -> Result<(), RigError> {
        match self.stage.last_words()? {
            None => Ok(()),
            Some(words) => Err(RigError::Story(format!("the gate ended: {words}"))),
        }
    }

    /// Waits for the last answers and until they are counted, and reads what was told.
    async fn hear(
        &self,
        traffic: Traffic,
        stream: &Stream,
        window: Option<(u64, u64)>,
    ) -> Result<Heard, RigError> {
        let sent = traffic.end().await;
        // sums follow within a second, and the stream looks once a second
        sleep(Duration::from_secs(4)).await;
        let url = self.stage.url();
        let page = drift(&self.stage.web, &url, window).await?;
        let mut events = drift(&self.stage.web, &url, None).await?.events;
        events.sort_by_key(Told::at_ms);
        let counted = counted_events(&self.stage.web, &url).await?;
        Ok(Heard { page, events, streamed: stream.heard(), counted, sent })
    }

    /// The share of all pictures that a judge rejects.
    fn share_of(&self, judge: &str) -> f64 {
        self.shares.get(judge).copied().unwrap_or_default()
    }

    /// What the mix between a routing event's onset and its telling is worth: who judged then, and how
    /// many of the pictures each of them rejects.
    async fn truth_at(&self, event: &Told, page: &DriftPage) -> Result<f64, RigError> {
        let onset_ms = moment_ms(&event.onset).unwrap_or_default();
        let window = (onset_ms, event.at_ms() + 1);
        let records = export(&self.stage.web, &self.stage.url(), window).await?;
        let mut served: BTreeMap<String, usize> = BTreeMap::new();
        for record in &records {
            if let Some(judge) = record.pointer("/judge/name").and_then(Value::as_str) {
                *served.entry(judge.to_owned()).or_default() += 1;
            }
        }
        let all = number(served.values().sum::<usize>().max(1));
        let then = |judge: &str| {
            let row = page.judges.iter().find(|row| row.judge == judge);
            row.and_then(|row| row.share_before.share).unwrap_or_default()
        };
        let now = |judge: &str| number(served.get(judge).copied().unwrap_or_default()) / all;
        let worth = self.shares.iter().map(|(judge, share)| (now(judge) - then(judge)) * share);
        Ok(worth.sum())
    }
}

/// The whole minutes in a stretch of time: figures are kept by the minute, and one that the primary
/// served a part of would say how it judges by some dozens of images.
const fn whole_minutes(from_ms: u64, to_ms: u64) -> (u64, u64) {
    (from_ms.div_ceil(MINUTE_MS) * MINUTE_MS, to_ms / MINUTE_MS * MINUTE_MS)
}
