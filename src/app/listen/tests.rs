use std::future::pending;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::listen::{Settings, serve};
use crate::clock::{Deadline, Late};

const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(10);
/// Long enough to see that something does not happen.
const SHORT: Duration = Duration::from_millis(150);

fn quick() -> Settings {
    Settings {
        max_connections: 8,
        first_head_within: SHORT,
        next_head_within: 2 * SHORT,
        last_head_within: SHORT,
    }
}

/// A listener that serves `router`; it ends with the set.
struct Served {
    address: std::net::SocketAddr,
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Served {
    async fn of(router: Router, settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let mut task = JoinSet::new();
        task.spawn(serve(listener, router, settings, stop.clone()));
        Self { address, stop, task }
    }

    async fn with(settings: Settings) -> Self {
        Self::of(Router::new().route("/", get(async || "here")), settings).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Reads one answer, which ends in its body.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    while !text.ends_with("here") {
        let mut bytes = [0; 512];
        let count = stream.read(&mut bytes).await.unwrap();
        assert_ne!(count, 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    text
}

/// Waits until the other side closes.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let read = Deadline::after(LONG).bound(stream.read_to_end(&mut rest)).await;
    // a reset is an end too
    drop(read.expect("it stays open"));
}

#[tokio::test]
async fn a_connection_that_sends_half_a_head_is_closed() {
    let served = Served::with(quick()).await;
    for half in [&b"GET / HTTP/1.1\r\nhost: loc"[..], b"", b"PRI * HTTP/2.0\r\n"] {
        let mut stream = served.connect().await;
        stream.write_all(half).await.unwrap();
        closed(&mut stream).await;
    }
}

#[tokio::test]
async fn a_connection_that_was_answered_and_sends_half_a_head_is_closed() {
    let served = Served::with(quick()).await;
    let mut stream = served.connect().await;
    stream.write_all(ASK).await.unwrap();
    answer(&mut stream).await;
    stream.write_all(b"GET / HT").await.unwrap();
    closed(&mut stream).await;
}

#[tokio::test]
async fn a_request_that_takes_longer_than_its_head_may_is_answered() {
    let slow = get(async || {
        tokio::time::sleep(4 * SHORT).await;
        "here"
    });
    let served = Served::of(Router::new().route("/", slow), quick()).await;
    let mut stream = served.connect().await;
    stream.write_all(ASK).await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn one_connection_too_many_waits_until_another_ends() {
    let served = Served::with(Settings { max_connections: 1, ..Settings::default() }).await;
    let mut first = served.connect().await;
    first.write_all(ASK).await.unwrap();
    answer(&mut first).await;
    let mut second = served.connect().await;
    second.write_all(ASK).await.unwrap();
    assert_eq!(Deadline::after(SHORT).bound(answer(&mut second)).await, Err(Late));
    drop(first);
    assert!(Deadline::after(LONG).bound(answer(&mut second)).await.is_ok());
}

#[tokio::test]
async fn a_caller_that_hangs_up_cancels_its_handler() {
    let (begun, mut begins) = mpsc::channel(1);
    let (held, mut dropped) = mpsc::channel::<()>(1);
    let handler = get(async move || {
        let _held = held.clone();
        begun.send(()).await.unwrap();
        pending::<()>().await;
    });
    let served = Served::of(Router::new().route("/", handler), Settings::default()).await;
    let mut stream = served.connect().await;
    stream.write_all(ASK).await.unwrap();
    begins.recv().await.unwrap();
    // the router goes with the listener, and the handler's copy with the caller
    drop(stream);
    served.stop.cancel();
    assert_eq!(Deadline::after(LONG).bound(dropped.recv()).await, Ok(None));
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let mut served = Served::with(Settings::default()).await;
    let mut idle = served.connect().await;
    idle.write_all(ASK).await.unwrap();
    answer(&mut idle).await;
    let mut fresh = served.connect().await;
    served.stop.cancel();
    closed(&mut idle).await;
    closed(&mut fresh).await;
    Deadline::after(LONG).bound(served.task.join_next()).await.unwrap();
}

#[tokio::test]
async fn half_a_head_does_not_hold_up_the_end() {
    let patient = Settings { first_head_within: 2 * LONG, next_head_within: 2 * LONG, ..quick() };
    let mut served = Served::with(patient).await;
    let mut first = served.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nhost: loc").await.unwrap();
    let mut next = served.connect().await;
    next.write_all(ASK).await.unwrap();
    answer(&mut next).await;
    next.write_all(b"GET / HT").await.unwrap();
    served.stop.cancel();
    Deadline::after(LONG)
        .bound(served.task.join_next())
        .await
        .expect("it goes on")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_listener_that_is_dropped_cuts_its_connections() {
    let mut served = Served::of(Router::new().route("/", get(pending::<()>)), quick()).await;
    let mut stream = served.connect().await;
    stream.write_all(ASK).await.unwrap();
    served.task.shutdown().await;
    closed(&mut stream).await;
}
