//! A mark on one image: a drill made a call about it fail.
//!
//! The call itself cannot say so, for a call that hangs is dropped without a word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a drill broke a call about this image. Clones share the mark.
#[derive(Clone, Debug, Default)]
pub struct Struck(Arc<AtomicBool>);

impl Struck {
    /// Says that it did.
    pub fn mark(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it did.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
