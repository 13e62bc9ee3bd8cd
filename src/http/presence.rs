//! Presence is whether a caller is still on the line while nothing is read from it.
//!
//! An HTTP/1 connection learns of a hang-up by reading. A request that waits in line before its body
//! is read would keep its place although nobody waits for the answer, so the socket itself is asked:
//! the system tells that the other side has closed it however much is still to be read. On HTTP/2
//! the connection always reads, and a request that is given up is dropped.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time;

/// Between two looks at a socket that has something to read.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The caller's end of a connection.
#[derive(Clone, Debug)]
pub struct Presence(Arc<OwnedReadHalf>);

impl Presence {
    /// Of the caller at the other end of `socket`.
    #[must_use]
    pub fn new(socket: Arc<OwnedReadHalf>) -> Self {
        Self(socket)
    }

    /// Returns once the caller has hung up; never, where nothing is known of it.
    pub async fn until_gone(presence: Option<&Self>) {
        let Some(Self(socket)) = presence else { return pending().await };
        let socket: &TcpStream = socket.as_ref().as_ref();
        while !is_closed(socket).await {
            // whatever there is to read stays unread, so the socket stays ready
            time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Waits until there is something to know of `socket`; whether that is its end.
async fn is_closed(socket: &TcpStream) -> bool {
    match socket.ready(Interest::READABLE).await {
        Ok(ready) => ready.is_read_closed(),
        Err(_broken) => true,
    }
}
