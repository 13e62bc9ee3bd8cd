//! A standing is how a provider acts at this moment: a behaviour, and whether its flapping fault is on.

use std::sync::Arc;

use crate::behaviour::Behaviour;
use crate::behaviour::Fault;

/// How a provider acts at this moment.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) behaviour: Arc<Behaviour>,
    /// A fault that flaps is on; one that does not always is.
    pub(super) is_faulty: bool,
}

impl Standing {
    pub(super) fn of(behaviour: Behaviour) -> Self {
        Self { behaviour: Arc::new(behaviour), is_faulty: true }
    }

    /// Whether nobody listens.
    pub(super) fn refuses(&self) -> bool {
        self.is_faulty && self.behaviour.refuses()
    }

    /// What goes wrong with the call at this place in 0..1.
    pub(super) fn fault_at(&self, place: f64) -> Fault {
        if self.is_faulty { self.behaviour.fault_at(place) } else { Fault::None }
    }

    /// Whether connections are left alone.
    pub(super) fn is_silent(&self) -> bool {
        self.refuses() || self.is_dark()
    }

    /// Whether no call gets an answer and nothing is read.
    pub(super) fn is_dark(&self) -> bool {
        let Behaviour { fault, share, .. } = &*self.behaviour;
        self.is_faulty && *fault == Fault::Blackhole && 1.0 <= *share
    }
}
