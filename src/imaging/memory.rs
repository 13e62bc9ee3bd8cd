//! Memory is the leave of one image to take bytes out of what all images may take together.
//!
//! A decoder asks once, for the whole of what its header says it will hold, before it allocates. It
//! is never told to wait: who waits holds a worker, and whoever holds the memory may need one. Where
//! there is no room the image gives its worker up, and comes again when there is.

use std::fmt;
use std::rc::Rc;

/// The leave of one image. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Memory {
    take: Rc<dyn Fn(u64) -> bool>,
}

impl Memory {
    /// Asks `take` for so many bytes; it says whether they are this image's now.
    pub(crate) fn new(take: impl Fn(u64) -> bool + 'static) -> Self {
        Self { take: Rc::new(take) }
    }

    /// Of an image that shares with nobody.
    pub(crate) fn unshared() -> Self {
        Self::new(|_| true)
    }

    /// Takes all of `bytes`, or nothing: then the work is to end, and is begun again later.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        (self.take)(bytes)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
