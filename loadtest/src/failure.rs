//! A failure is an error that a provider answers; each dialect writes it in its own form.

/// An HTTP error to answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: u16,
    pub(crate) reason: Reason,
    /// What is wrong; `None` takes the dialect's own words for the status.
    pub(crate) message: Option<String>,
    pub(crate) retry_after_s: Option<u32>,
}

/// What a status alone does not say; dialects have codes for these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nothing beyond the status.
    Plain,
    /// A key was shown and is not the right one.
    WrongKey,
    /// An image that cannot be read.
    BadImage,
    /// A parameter that this model or dialect does not take.
    UnsupportedParameter,
    /// A value that this model does not take.
    UnsupportedValue,
    /// An answer schema that the dialect does not take.
    BadSchema,
}

impl Failure {
    /// The dialect's usual words for a status.
    pub(crate) const fn of_status(status: u16, retry_after_s: Option<u32>) -> Self {
        Self { status, reason: Reason::Plain, message: None, retry_after_s }
    }

    /// A 400 with its cause.
    pub(crate) fn bad_request(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: 400, reason, message: Some(message.into()), retry_after_s: None }
    }

    /// The same under another status.
    #[must_use]
    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}
