//! What monitors hear of a record, and of what was said behind its verdict: the same whether it is
//! read from a store or from a file.

use crate::domain::Route as Asked;
use crate::drift::event::Event;
use crate::drift::judged::{Route, image_key};
use crate::drift::standing::{Standing, Told};
use crate::ledger::form::{AttemptForm, RecordForm};
use crate::ledger::rollup::{judged, said_aside};

/// Judgements of one image that share what decided them.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard<'a> {
    form: &'a RecordForm,
    first: (Asked, &'a str),
    said: Vec<(Asked, &'a str, bool)>,
    judged_by: String,
}

impl<'a> Heard<'a> {
    /// What a record says; `None` where nobody judged.
    #[must_use]
    pub fn record(form: &'a RecordForm) -> Option<Self> {
        Self::of(form, judged(form), form.judged_by.to_string())
    }

    /// What a call behind the record's verdict says, which `judged_by` decided; `None` where it says
    /// nothing.
    #[must_use]
    pub fn behind(form: &'a RecordForm, call: &'a AttemptForm, judged_by: &str) -> Option<Self> {
        Self::of(form, said_aside(form, call).into_iter().collect(), judged_by.to_owned())
    }

    fn of(
        form: &'a RecordForm,
        said: Vec<(Asked, &'a str, bool)>,
        judged_by: String,
    ) -> Option<Self> {
        let &(route, judge, _) = said.first()?;
        Some(Self { form, first: (route, judge), said, judged_by })
    }

    /// When its image came, in milliseconds since 1970: a shadow is about its image, whenever it was
    /// asked.
    #[must_use]
    pub fn at_ms(&self) -> i64 {
        self.form.at.0.div_euclid(1_000)
    }

    /// The configuration that it was judged under, which it may open.
    pub fn config(&self, standing: &mut Standing) -> String {
        let (route, judge) = self.first;
        let asked = (self.at_ms(), drift_route(route));
        standing.configs.name((judge, &self.judged_by), asked)
    }

    /// Folds it into its policy's standing, and returns what is to be told.
    pub fn fold(&self, standing: &mut Standing, config: &str) -> Vec<Event> {
        let image = image_key(&self.form.image.digest.to_string());
        let (at_ms, risk) = (self.at_ms(), self.form.pre);
        let mut events = Vec::new();
        for &(route, judge, reject) in &self.said {
            let route = drift_route(route);
            let told = Told { image, at_ms, judge, config, route, reject, risk };
            events.extend(standing.observe(&told));
        }
        events
    }
}

/// A probe that is told of as one was the verdict: it stood in, for whoever was asked beside it.
fn drift_route(asked: Asked) -> Route {
    match asked {
        Asked::Primary => Route::Primary,
        Asked::Hedge => Route::Hedge,
        Asked::Failover | Asked::Probe => Route::Failover,
        Asked::SecondOpinion => Route::SecondOpinion,
        Asked::Shadow => Route::Shadow,
    }
}
