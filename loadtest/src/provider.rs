//! A simulated provider is one listener on loopback that serves one dialect and acts as told.
//!
//! Its tasks live in a `JoinSet` that dies with the handle, so a test that ends leaves nothing behind.

mod call;
mod door;
mod plan;

use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::behaviour::Behaviour;
use crate::dialect::Dialect;
use crate::log::CallBook;
use crate::log::CallLog;
use crate::provider::call::Counter;
use crate::provider::door::Door;
use crate::wire::Wire;

/// What a provider is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The wire form that it speaks.
    pub dialect: Dialect,
    /// Where it listens; port 0 takes any free one.
    pub listen: SocketAddr,
    /// How it acts at first.
    pub behaviour: Behaviour,
    /// The only key that it takes; `None` takes any key, but still wants one.
    pub key: Option<String>,
    /// What all its chances hang on: the same seed and the same images give the same run.
    pub seed: u64,
    /// How many calls its log keeps; further ones are only counted.
    pub max_calls_logged: usize,
    /// The longest request body that it reads.
    pub max_body_bytes: usize,
}

impl Settings {
    /// Healthy and at once, on any free loopback port.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            behaviour: Behaviour::default(),
            key: None,
            seed: 0,
            max_calls_logged: 10_000,
            max_body_bytes: 64 << 20,
        }
    }
}

/// A provider that runs until it is dropped.
#[derive(Debug)]
pub struct SimulatedProvider {
    shared: Arc<Shared>,
    behaviour: watch::Sender<Behaviour>,
    tasks: JoinSet<()>,
}

/// What the handle and the connections have in common.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    door: Door,
    book: Arc<CallBook>,
    counter: Mutex<Counter>,
}

impl SimulatedProvider {
    /// Binds and serves; call it inside a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    ///
    /// # Panics
    ///
    /// Outside of a runtime, where nothing could be served.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            door: Door::open(settings.listen)?,
            book: CallBook::new(settings.max_calls_logged),
            counter: Mutex::default(),
            settings,
        });
        let (behaviour, told) = watch::channel(shared.settings.behaviour.clone());
        if shared.settings.behaviour.refuses() {
            shared.door.close();
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(Arc::clone(&shared), told));
        Ok(Self { shared, behaviour, tasks })
    }

    /// The wire form that it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.shared.settings.dialect
    }

    /// Where it listens, or listened before it refused.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.door.address()
    }

    /// What to configure as this provider's `base_url`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}{}", self.address(), self.dialect().base_path())
    }

    /// Acts so from now on.
    ///
    /// Calls that have begun keep what they began with, but a blackhole freezes them too and never
    /// thaws them. Refusing closes the listener before this returns; leaving it opens the same port.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        let refuses = behaviour.refuses();
        self.behaviour.send_replace(behaviour);
        if refuses {
            self.shared.door.close();
        } else {
            self.shared.door.reopen();
        }
    }

    /// How it acts now.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        self.behaviour.borrow().clone()
    }

    /// What it saw and did, in the order in which calls began.
    #[must_use]
    pub fn calls(&self) -> Vec<CallLog> {
        self.shared.book.calls()
    }

    /// Waits until its calls are so; it may wait for ever, so bound it.
    ///
    /// For tests that need a call in flight: no sleeping, no polling.
    pub async fn until(&self, is_so: impl FnMut(&[CallLog]) -> bool) {
        self.shared.book.until(is_so).await;
    }

    /// How many calls the log had no room for.
    #[must_use]
    pub fn calls_dropped(&self) -> u64 {
        self.shared.book.dropped()
    }

    /// Stops listening and breaks off what is open.
    pub async fn shutdown(mut self) {
        self.shared.door.close();
        self.tasks.shutdown().await;
    }
}

impl Drop for SimulatedProvider {
    fn drop(&mut self) {
        // The tasks are aborted with their set, but only at their next turn: refuse from now on.
        self.shared.door.close();
    }
}

/// How many connections are held at once; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4_096;

async fn serve(shared: Arc<Shared>, told: watch::Receiver<Behaviour>) {
    let mut connections = JoinSet::new();
    loop {
        let has_room = connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            biased; // reap first, so that the count of connections is right
            Some(_) = connections.join_next() => {}
            stream = shared.door.accept(), if has_room => {
                connections.spawn(converse(stream, Arc::clone(&shared), told.clone()));
            }
        }
    }
}

/// One connection: request after request, until either side closes.
async fn converse(stream: TcpStream, shared: Arc<Shared>, mut told: watch::Receiver<Behaviour>) {
    let mut wire = Wire::new(stream, shared.settings.max_body_bytes);
    loop {
        let read = tokio::select! {
            biased; // a dead host answers nothing, not even what it had already received
            _ = told.wait_for(Behaviour::refuses) => return,
            read = wire.read_request() => read,
        };
        let stays = match read {
            Ok(Some(request)) => call::take(&mut wire, request, &shared, &mut told).await,
            Ok(None) => false,
            Err(unreadable) => call::refuse_unreadable(&mut wire, &unreadable, &shared).await,
        };
        if !stays {
            return;
        }
    }
}

impl Shared {
    /// How often this was seen before, counting this time.
    fn count(&self, seen: [u8; 32]) -> u32 {
        self.counter.lock().unwrap_or_else(PoisonError::into_inner).count(seen)
    }
}

#[cfg(test)]
mod tests;
