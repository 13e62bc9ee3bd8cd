//! Drift is the difference between how images were judged and how they are judged now, told apart
//! by cause: the images, the routing, the policy, or a judge.
//!
//! Everything here is arithmetic over [`judged::Judged`] records: no clock, no I/O, nothing waits.
//! Time is the record's own. [`monitor::Monitor`] folds records in the order of the store and is
//! nothing but what it has folded: written out after any record and read again, it goes on bit for
//! bit as if it had never stopped.
//!
//! | Question | Module |
//! |---|---|
//! | how sure is a share? | [`interval`] |
//! | what made the reject rate move? | [`decompose`], [`shift`], [`summed`] |
//! | what is the mix alone worth, after thirty verdicts? | [`mix`] |
//! | has anything changed, at a stated rate of false alarms? | [`detector`], [`tables`] |
//! | is it the judge or the images? | [`pairs`] |
//! | what is said of it? | [`event`], [`label`] |
//! | what is known of one policy, and under which configuration? | [`standing`], [`configs`] |
//! | how far do two judges agree? | [`agreement`] |
//! | what would the primary have said? | [`adjusted`] |
//! | where must another judge draw its line? | [`threshold`], [`fit`] |
//! | when is a second judge asked, and who wins? | [`opinion`] |
//!
//! Here *reject* is the statistics' word for y = 1: the first judgement alone would not pass.

pub mod adjusted;
pub mod agreement;
pub mod baseline;
pub mod configs;
pub mod decompose;
pub mod detector;
pub mod event;
pub mod evidence;
pub mod fit;
pub mod interval;
pub mod judged;
pub mod label;
pub mod labelled;
mod listed;
pub mod mix;
pub mod monitor;
pub mod opinion;
pub mod pairs;
pub mod shift;
pub mod standing;
pub mod summed;
pub mod tables;
pub mod threshold;
mod watch;
