//! The door is a listener that can be closed and opened again on the same port.
//!
//! While it is closed a second socket, bound but never listening, keeps the port: connections are
//! refused by the kernel, as by a dead process, and nobody else can be given the port meanwhile.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::sleep;

/// A listener that opens and closes at once, from any thread.
#[derive(Debug)]
pub(super) struct Door {
    address: SocketAddr,
    _keeper: TcpSocket,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    listener: Option<TcpListener>,
    /// Who to wake when the door opens.
    waiting: Option<Waker>,
}

/// Connections that the kernel queues for a listener.
const BACKLOG: u32 = 1_024;

/// Keeps a failing accept from spinning.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(10);

impl Door {
    /// Takes the port; must be called inside the runtime.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    pub(super) fn open(wanted: SocketAddr) -> io::Result<Self> {
        let keeper = bound(wanted)?;
        let address = keeper.local_addr()?;
        let listener = bound(address)?.listen(BACKLOG)?;
        let state = Mutex::new(State { listener: Some(listener), waiting: None });
        Ok(Self { address, _keeper: keeper, runtime: Handle::current(), state })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Refuses connections from now on; those in the kernel's queue are reset.
    pub(super) fn close(&self) {
        self.lock().listener = None;
    }

    /// Listens again, if it does not.
    pub(super) fn reopen(&self) {
        let mut state = self.lock();
        if state.listener.is_some() {
            return;
        }
        let _inside = self.runtime.enter();
        // The keeper holds the port, so this fails only when sockets run out; then the door stays
        // closed, which callers see as what it is: connection refused.
        state.listener = bound(self.address).and_then(|socket| socket.listen(BACKLOG)).ok();
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }

    /// The next connection; waits while the door is closed.
    pub(super) async fn accept(&self) -> TcpStream {
        loop {
            match poll_fn(|context| self.poll_accept(context)).await {
                Ok(stream) => return stream,
                // The caller went before it was accepted, or sockets ran out for a while.
                Err(_) => sleep(AFTER_FAILED_ACCEPT).await,
            }
        }
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        let mut state = self.lock();
        state.waiting = Some(context.waker().clone());
        let Some(listener) = &state.listener else { return Poll::Pending };
        listener.poll_accept(context).map_ok(|(stream, _)| stream)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
