//! Lingering is reading on, for a while, what a caller still sends after it was answered.
//!
//! A connection that is closed on a caller who is still sending is reset, and the answer is lost
//! with it: a refusal by the head alone (no key, no such policy, no room) would look like a broken
//! server. So whoever lets go of a body that has not ended, for whatever reason, leaves the rest to
//! be thrown away beside the answer, which does not wait for it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::clock::Deadline;

/// What is thrown away of one body.
const MOST_DISCARDED_BYTES: usize = 64 << 20;
/// How long.
const DISCARD_WITHIN: Duration = Duration::from_secs(1);

/// Middleware: what is not read of a request's body is thrown away on the tracker.
pub(super) async fn linger(
    State(tracker): State<TaskTracker>,
    request: Request,
    next: Next,
) -> Response {
    let is_asked_for = !request.headers().contains_key(header::EXPECT);
    let lingering = |body: Body| {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Lingering { body: Some(body), is_asked_for, tracker })
    };
    next.run(request.map(lingering)).await
}

/// A body that is read to its end, whoever lets go of it.
struct Lingering {
    /// `None` once it has ended.
    body: Option<Body>,
    /// Whether the caller sends it by now: who waits to be asked for it (`Expect: 100-continue`)
    /// is asked by the first look at it, and spared the upload until then.
    is_asked_for: bool,
    tracker: TaskTracker,
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_asked_for = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| self.is_asked_for && !body.is_end_stream());
        // where the runtime is gone, so is the connection
        if let (Some(rest), Ok(handle)) = (rest, Handle::try_current()) {
            self.tracker.spawn_on(discard(rest), &handle);
        }
    }
}

/// Reads on and throws away, within bounds.
async fn discard(body: Body) {
    let reading = async {
        let mut left_bytes = MOST_DISCARDED_BYTES;
        let mut chunks = body.into_data_stream();
        while let Some(Ok(chunk)) = chunks.next().await {
            left_bytes = left_bytes.saturating_sub(chunk.len());
            if left_bytes == 0 {
                return;
            }
        }
    };
    // late or done: there is nothing more to be had of this caller
    Deadline::after(DISCARD_WITHIN).bound(reading).await.ok();
}
