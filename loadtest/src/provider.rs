//! A simulated provider is one listener on loopback that serves one dialect and acts as told.
//!
//! Its tasks live in a `JoinSet` that dies with the handle, so a test that ends leaves nothing behind.

mod call;
mod door;
mod plan;
mod prepare;
mod script;
mod slots;
mod speech;
mod standing;

use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::behaviour::Behaviour;
use crate::behaviour::Flap;
use crate::chance::Chance;
use crate::dialect::Dialect;
use crate::latency::Drift;
use crate::log::CallBook;
use crate::log::CallLog;
use crate::log::Page;
use crate::monotonic;
use crate::provider::door::Door;
use crate::provider::prepare::Counter;
use crate::provider::slots::Bucket;
use crate::provider::slots::Slots;
pub(crate) use crate::provider::slots::congestion;
use crate::provider::standing::Standing;
use crate::wire::Wire;

/// What a provider is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it is called; several of one dialect need several names, for a name is part of the seed.
    pub name: String,
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
    /// Phases, seconds, over each of which its drift is level; none: it drifts as it comes.
    pub drift_phases_s: Vec<u32>,
    /// How many calls its log keeps: the newest; older ones are only counted.
    pub max_calls_logged: usize,
    /// Whether the log keeps prompts and headers, which are most of an entry.
    pub logs_prompts: bool,
    /// The longest request body that it reads.
    pub max_body_bytes: usize,
}

impl Settings {
    /// Healthy and at once, on any free loopback port.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self {
            name: dialect.label().to_owned(),
            dialect,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            behaviour: Behaviour::default(),
            key: None,
            seed: 0,
            drift_phases_s: Vec::new(),
            max_calls_logged: 10_000,
            logs_prompts: true,
            max_body_bytes: 64 << 20,
        }
    }
}

/// A provider that runs until it is dropped.
#[derive(Debug)]
pub struct SimulatedProvider {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// What the handles and the connections have in common.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    door: Door,
    book: Arc<CallBook>,
    standing: watch::Sender<Standing>,
    /// Held while the standing and the door change together.
    switching: Mutex<()>,
    counter: Mutex<Counter>,
    slots: Mutex<Slots>,
    bucket: Mutex<Bucket>,
    drift: Drift,
    began: Instant,
    /// How many ids were given.
    ids: AtomicU64,
    connections: AtomicUsize,
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
        let seed = settings.seed.to_le_bytes();
        let shared = Arc::new(Shared {
            door: Door::open(settings.listen)?,
            book: CallBook::new(settings.max_calls_logged),
            standing: watch::Sender::new(Standing::of(settings.behaviour.clone())),
            switching: Mutex::default(),
            counter: Mutex::default(),
            slots: Mutex::default(),
            bucket: Mutex::default(),
            drift: Drift::new(
                &Chance::of(&[&seed, settings.name.as_bytes(), b"drift"]),
                &settings.drift_phases_s,
            ),
            began: Instant::now(),
            ids: AtomicU64::default(),
            connections: AtomicUsize::default(),
            settings,
        });
        shared.set_door();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(Arc::clone(&shared)));
        tasks.spawn(flap(Arc::clone(&shared)));
        Ok(Self { shared, tasks })
    }

    /// A handle for someone else; it keeps no provider alive.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote { shared: Arc::clone(&self.shared) }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.settings.name
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
        self.remote().set_behaviour(behaviour);
    }

    /// How it acts now.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        self.remote().behaviour()
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

/// A way to a provider for those who do not own it.
#[derive(Clone, Debug)]
pub struct Remote {
    shared: Arc<Shared>,
}

/// What is open at a provider at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Open {
    /// Calls that were read, or that wait unread before a dark provider, and have not ended.
    pub calls: u64,
    /// Connections, idle ones too.
    pub connections: usize,
    /// Slots in use: calls whose caller has left are still worked on.
    pub slots: u32,
}

impl Remote {
    /// As [`SimulatedProvider::set_behaviour`]; says when, as the machine's monotonic clock has it in
    /// nanoseconds, so that another process can compare.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn set_behaviour(&self, behaviour: Behaviour) -> u64 {
        let shared = &self.shared;
        let switching = lock(&shared.switching);
        lock(&shared.bucket).refill();
        shared.standing.send_replace(Standing::of(behaviour));
        let at_ns = monotonic::now_ns();
        shared.set_door();
        drop(switching);
        at_ns
    }

    /// How it acts now.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        Behaviour::clone(&self.shared.standing.borrow().behaviour)
    }

    /// What it was started with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.door.address()
    }

    /// What is open.
    #[must_use]
    pub fn open(&self) -> Open {
        Open {
            calls: self.shared.book.open_calls(),
            connections: self.shared.connections.load(Ordering::Relaxed),
            slots: lock(&self.shared.slots).in_use(Instant::now()),
        }
    }

    /// A page of the log: at most `limit` calls from number `since` on.
    #[must_use]
    pub fn page(&self, since: u64, limit: usize) -> Page {
        self.shared.book.page(since, limit)
    }

    /// As at the start: healthy as in the settings, nothing logged, no image seen.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn reset(&self) -> u64 {
        lock(&self.shared.counter).forget();
        lock(&self.shared.slots).forget();
        self.shared.book.forget();
        self.set_behaviour(self.shared.settings.behaviour.clone())
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

async fn serve(shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let has_room = connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            biased; // reap first, so that the count of connections is right
            Some(_) = connections.join_next() => {}
            stream = shared.door.accept(), if has_room => {
                connections.spawn(converse(stream, Arc::clone(&shared)));
            }
        }
        shared.connections.store(connections.len(), Ordering::Relaxed);
    }
}

/// Switches a flapping fault on and off.
async fn flap(shared: Arc<Shared>) {
    let mut told = shared.standing.subscribe();
    loop {
        let standing = told.borrow_and_update().clone();
        let rest = standing.behaviour.flap.map(|flap| flap.rest(standing.is_faulty));
        let Some(rest) = rest else {
            if told.changed().await.is_err() {
                return; // cannot be: the sender is ours
            }
            continue;
        };
        tokio::select! {
            biased; // a behaviour that was just set begins anew
            _ = told.changed() => {}
            () = sleep(rest) => shared.turn(&standing),
        }
    }
}

impl Flap {
    fn rest(self, is_faulty: bool) -> Duration {
        Duration::from_millis(if is_faulty { self.on_ms } else { self.off_ms })
    }
}

/// One connection: request after request, until either side closes.
async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let mut told = shared.standing.subscribe();
    let mut wire = Wire::new(stream, shared.settings.max_body_bytes);
    loop {
        let read = tokio::select! {
            biased; // a dead host answers nothing, not even what it had already received
            _ = told.wait_for(Standing::is_silent) => None,
            read = wire.read_request() => Some(read),
        };
        let refuses = told.borrow().refuses();
        let stays = match read {
            None if refuses => false,
            None => call::leave_unread(&mut wire, &shared, &mut told).await,
            Some(Ok(Some(request))) => call::take(&mut wire, request, &shared, &mut told).await,
            Some(Ok(None)) => false,
            Some(Err(unreadable)) => call::refuse_unreadable(&mut wire, &unreadable, &shared).await,
        };
        if !stays {
            return;
        }
    }
}

impl Shared {
    /// How often this was seen before, counting this time.
    fn count(&self, seen: [u8; 32]) -> u32 {
        lock(&self.counter).count(seen)
    }

    /// Opens or closes the door as the standing has it.
    fn set_door(&self) {
        if self.standing.borrow().refuses() {
            self.door.close();
        } else {
            self.door.reopen();
        }
    }

    /// Turns a flapping fault, unless another behaviour was set meanwhile.
    fn turn(&self, before: &Standing) {
        let switching = lock(&self.switching);
        self.standing.send_if_modified(|standing| {
            let is_same = Arc::ptr_eq(&standing.behaviour, &before.behaviour);
            standing.is_faulty ^= is_same;
            is_same
        });
        self.set_door();
        drop(switching);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
