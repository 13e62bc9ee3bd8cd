//! The one integration-test binary: the gate as its users meet it.

// `cfg(test)` tells clippy that the helpers in here are test code too
#[cfg(test)]
mod admission;
#[cfg(test)]
mod api;
#[cfg(test)]
mod calibrate;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod codecs;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod drawn;
#[cfg(test)]
mod drift;
#[cfg(test)]
mod drills;
#[cfg(test)]
mod early;
#[cfg(test)]
mod explained;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod files;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod imports;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod ops;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod page;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod props;
#[cfg(test)]
mod rehearsals;
#[cfg(test)]
mod report;
#[cfg(test)]
mod shadow;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod spec;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod world;
