//! From an act as a file writes it to what a player does.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::LOCAL_JUDGE;
use crate::config::form::Table;
use crate::config::problem::{Report, Spot, hint};
use crate::config::test_file::{ActForm, Fault, OrStar};
use crate::config::units::{Name, Unit, Word};
use crate::domain::{AttemptOutcome, Policy};
use crate::rehearse::{Act, Says, Scores};

/// Writes the script of one judge of one test.
pub(crate) struct Author<'a> {
    pub(crate) policy: &'a Policy,
    /// Whose script it is; `None`: that of all who are not named.
    pub(crate) judge: Option<&'a str>,
    /// The criteria that are asked in this test.
    pub(crate) asked: &'a [&'a str],
    pub(crate) report: &'a mut Report,
}

type ScoreTable = Table<OrStar<Name<Word>>, Unit, 33>;

impl Author<'_> {
    /// What the judge does; `None` after a problem was reported.
    pub(crate) fn act(&mut self, spot: &Spot, form: &ActForm) -> Option<Act> {
        let scores = form.scores.get()?.as_ref();
        let fault = *form.fault.get()?;
        let retry_after = form.retry_after.get()?.map(|time| time.0);
        let reasons = form.reasons.get()?;
        let says = match (scores, fault) {
            (Some(_), Some(_)) => {
                let message = "a judge that scores does not fail: say `scores` or `fault`";
                self.report.add(&form.fault.spot, message);
                return None;
            }
            (Some(table), None) => {
                let mut scores = self.scores(&form.scores.spot, table);
                for (key, name, reason) in reasons.each() {
                    self.hold_criterion(&key.spot, &name.text);
                    scores.reasons.insert(name.text.clone(), reason.text.clone());
                }
                Says::Scores(scores)
            }
            (None, Some(fault)) => says(fault, retry_after),
            (None, None) if self.judge == Some(LOCAL_JUDGE) => Says::Measurements,
            (None, None) => {
                self.report.add(spot, "does nothing: say `scores` or `fault`");
                return None;
            }
        };
        if scores.is_none() && !reasons.0.is_empty() {
            self.report.add(&form.reasons.spot, "are of no use without scores");
        }
        if retry_after.is_some() && !fault.is_some_and(can_ask_to_stay_away) {
            let message = "goes with overloaded, rate_limited or server_error alone";
            self.report.add(&form.retry_after.spot, message);
        }
        Some(Act { after: form.after.get()?.0, says })
    }

    /// A judgement that lacks a criterion is unreadable: whoever wants that says so as a fault.
    fn scores(&mut self, spot: &Spot, table: &ScoreTable) -> Scores {
        let mut named = BTreeMap::new();
        let mut others = None;
        for (key, criterion, score) in table.each() {
            match criterion {
                OrStar::Star => others = Some(score.0),
                OrStar::Named(name) => {
                    self.hold_criterion(&key.spot, &name.text);
                    named.insert(name.text.clone(), score.0);
                }
            }
        }
        let scores = Scores { named, others, reasons: BTreeMap::new() };
        let unsaid = self.asked.iter().filter(|id| scores.of(id).is_none());
        let unsaid: Vec<&str> = unsaid.copied().collect();
        if !unsaid.is_empty() {
            let unsaid = unsaid.join(", ");
            let message =
                format!("say nothing of {unsaid}, asked here; \"*\" scores all that are not named");
            self.report.add(spot, message);
        }
        scores
    }

    fn hold_criterion(&mut self, spot: &Spot, name: &str) {
        if self.policy.criterion(name).is_none() {
            let hint = hint(name, self.policy.criteria.iter().map(|one| one.id.as_str()));
            self.report.add(spot, format!("no criterion of the policy is called \"{name}\"{hint}"));
        }
    }
}

fn says(fault: Fault, retry_after: Option<Duration>) -> Says {
    match fault {
        Fault::Outcome(outcome) => Says::Fault { outcome, retry_after },
        Fault::Hang => Says::Hangs,
        Fault::MustNotBeCalled => Says::MustNotBeCalled,
    }
}

fn can_ask_to_stay_away(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Outcome(
            AttemptOutcome::Overloaded | AttemptOutcome::RateLimited | AttemptOutcome::ServerError
        )
    )
}
