//! vlmgate.

pub mod clock;
pub mod domain;
pub mod imaging;
pub mod ledger;
pub mod panel;
pub mod provider;
pub mod telemetry;
