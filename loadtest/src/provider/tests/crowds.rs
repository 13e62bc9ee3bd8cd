//! Slots, rates, flapping and darkness, as callers meet them.

use super::*;
use crate::behaviour::Flap;
use crate::behaviour::Hit;
use crate::log::CallLog;

async fn send(provider: &SimulatedProvider, number: u32) -> TcpStream {
    let mut stream = TcpStream::connect(provider.address()).await.unwrap();
    let bytes = request(provider.dialect(), &image(number), false);
    stream.write_all(&bytes).await.unwrap();
    stream
}

/// Waits until so many calls stand like this.
async fn until_count(provider: &SimulatedProvider, outcome: Outcome, count: usize) {
    let stands = |call: &&CallLog| call.outcome == outcome;
    provider.until(|calls| calls.iter().filter(stands).count() == count).await;
}

#[tokio::test]
async fn a_provider_without_a_free_slot_refuses_and_says_for_how_long() {
    let behaviour =
        Behaviour { latency: Latency::ConstantMs(60_000), slots: Some(2), ..Behaviour::default() };
    let provider = start(Dialect::Anthropic, behaviour);
    let (first, second) = (send(&provider, 1).await, send(&provider, 2).await);
    until_count(&provider, Outcome::InFlight, 2).await;
    let refused = ask(&provider, &image(3)).await;
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("retry-after: 1\r\n"), "{}", refused.head);
    let call = provider.calls().remove(2);
    assert_eq!((call.fault, call.retry_after_s), (Some("no_slot"), Some(1)));
    assert_eq!(call.billed_input_tokens, 0);
    // Callers leave, the work goes on: their slots stay taken.
    drop((first, second));
    until_count(&provider, Outcome::CancelledByClient, 2).await;
    assert!(provider.calls()[..2].iter().all(|call| call.answered_after_cancel));
    assert_eq!(provider.remote().open().slots, 2);
    assert_eq!(ask(&provider, &image(4)).await.status, 429);
}

#[tokio::test]
async fn a_hung_call_frees_its_slot_when_its_connection_closes() {
    let fault = Fault::HeaderThenSilence;
    let behaviour = Behaviour { slots: Some(1), ..Behaviour::failing(fault) };
    let provider = start(Dialect::OpenAi, behaviour);
    for number in 0..3 {
        let hung = send(&provider, number).await;
        until_count(&provider, Outcome::Hung, 1).await;
        assert_eq!(ask(&provider, &image(9)).await.status, 429);
        drop(hung);
        until_count(&provider, Outcome::Hung, 0).await;
        provider.until(|calls| calls.iter().all(|call| call.ended.is_some())).await;
    }
    let calls = provider.calls();
    let hung = calls.iter().filter(|call| call.fault == Some("header_then_silence"));
    assert!(hung.clone().count() == 3 && hung.clone().all(|call| call.status == Some(200)));
}

#[tokio::test]
async fn a_rate_limit_lets_its_burst_in_and_tells_the_rest_to_wait() {
    let fault = Fault::RateLimit { per_s: 0.001, burst: Some(4.0), retry_after_s: 2 };
    let provider = start(Dialect::Mistral, Behaviour::failing(fault));
    let mut statuses = Vec::new();
    for number in 0..8 {
        let answer = ask(&provider, &image(number)).await;
        assert_eq!(answer.status == 429, answer.head.contains("retry-after: 2\r\n"));
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429, 429, 429]);
    let calls = provider.calls();
    assert_eq!((calls[0].fault, calls[4].fault), (None, Some("rate_limit")));
    assert_eq!((calls[0].retry_after_s, calls[4].retry_after_s), (None, Some(2)));
    // Set anew, the bucket is full.
    provider.set_behaviour(Behaviour::failing(fault));
    assert_eq!(ask(&provider, &image(9)).await.status, 200);
}

#[tokio::test]
async fn slow_multiplies_what_was_drawn_and_the_log_keeps_the_draw() {
    let behaviour = Behaviour {
        latency: Latency::ConstantMs(20_000),
        ..Behaviour::failing(Fault::Slow { factor: 0.0001 })
    };
    let provider = start(Dialect::Gemini, behaviour);
    assert_eq!(ask(&provider, &image(1)).await.status, 200);
    let call = provider.calls().remove(0);
    assert_eq!((call.fault, call.drawn), (Some("slow"), Duration::from_secs(20)));
    assert!(call.ended.unwrap() - call.began < Duration::from_secs(10));
}

#[tokio::test]
async fn two_faults_share_the_calls() {
    let also = vec![Hit { fault: Fault::status(500), share: 0.5 }];
    let behaviour = Behaviour { share: 0.5, also, ..Behaviour::failing(Fault::status(529)) };
    let provider = start(Dialect::OpenAi, behaviour);
    for number in 0..40 {
        ask(&provider, &image(number)).await;
    }
    let count = |status| provider.calls().iter().filter(|c| c.status == Some(status)).count();
    assert_eq!(count(529) + count(500), 40);
    assert!((10..30).contains(&count(529)), "{}", count(529));
}

#[tokio::test]
async fn a_flapping_refusal_opens_and_closes_the_port() {
    let flap = Some(Flap { on_ms: 30, off_ms: 30 });
    let provider = start(Dialect::OpenAi, Behaviour { flap, ..Behaviour::failing(Fault::Refuse) });
    for is_open in [false, true, false, true] {
        while TcpStream::connect(provider.address()).await.is_ok() != is_open {
            tokio::task::yield_now().await;
        }
    }
    // What is set ends the flapping.
    provider.set_behaviour(Behaviour::default());
    assert_eq!(ask(&provider, &image(1)).await.status, 200);
}

#[tokio::test]
async fn a_dark_provider_leaves_the_socket_unread_and_keeps_the_backlog_open() {
    let provider = start(Dialect::OpenAi, Behaviour::failing(Fault::Blackhole));
    let stream = TcpStream::connect(provider.address()).await.unwrap();
    // More than the buffers of both sides take.
    let flood = vec![b'x'; 1 << 20];
    let mut sent_bytes = 0;
    while sent_bytes < 64 << 20 {
        let is_stuck = tokio::select! {
            biased; // what can be written is written first
            written = stream.writable() => { written.unwrap(); false }
            () = until(&provider, Outcome::Hung) => true,
        };
        match stream.try_write(&flood) {
            Ok(count) => sent_bytes += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && is_stuck => break,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    assert!(sent_bytes < 64 << 20, "somebody reads");
    assert_eq!(provider.calls()[0].received_bytes, 0);
    assert_eq!(provider.remote().open().calls, 1);
}

#[tokio::test]
async fn a_call_into_the_dark_is_known_by_its_image_once_the_caller_has_left() {
    for dialect in Dialect::ALL {
        let provider = start(dialect, Behaviour::failing(Fault::Blackhole));
        let stream = send(&provider, 7).await;
        until(&provider, Outcome::Hung).await;
        assert_eq!(provider.calls()[0].image_count, 0, "not read yet");
        drop(stream);
        until(&provider, Outcome::CancelledByClient).await;
        let call = provider.calls().remove(0);
        let digest = format!("b3:{}", blake3::hash(&image(7)).to_hex());
        assert_eq!((call.image_digests, call.fault), (vec![digest], Some("blackhole")));
        assert_eq!((call.status, call.sent_bytes), (None, 0));
        assert_eq!(provider.remote().open().calls, 0);
    }
}

#[tokio::test]
async fn a_dark_provider_tells_a_question_from_a_greeting() {
    let provider = start(Dialect::OpenAi, Behaviour::failing(Fault::Blackhole));
    let mut greeting = TcpStream::connect(provider.address()).await.unwrap();
    greeting.write_all(b"GET /v1?x=y HTTP/1.1\r\nhost: simulated\r\n\r\n").await.unwrap();
    until(&provider, Outcome::Hung).await;
    let call = provider.calls().remove(0);
    assert_eq!((call.kind, call.path.as_str()), (CallKind::Unknown, "/v1"));
    let _question = send(&provider, 1).await;
    provider.until(|calls| calls.len() == 2).await;
    assert_eq!(provider.calls()[1].kind, CallKind::Question);
}

#[tokio::test]
async fn an_idle_connection_outlives_the_darkness_and_a_call_in_it_does_not() {
    let provider = start(Dialect::OpenAi, Behaviour::default());
    let (mut idle, mut lost) = (send(&provider, 1).await, send(&provider, 2).await);
    until_count(&provider, Outcome::Answered, 2).await;
    let read_answer = async |stream: &mut TcpStream| {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"}}") && !bytes.ends_with(b"}") {
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
        }
    };
    read_answer(&mut idle).await;
    read_answer(&mut lost).await;
    provider.set_behaviour(Behaviour::failing(Fault::Blackhole));
    lost.write_all(&request(Dialect::OpenAi, &image(3), false)).await.unwrap();
    until(&provider, Outcome::Hung).await;
    provider.set_behaviour(Behaviour::default());
    idle.write_all(&request(Dialect::OpenAi, &image(4), false)).await.unwrap();
    until(&provider, Outcome::Answered).await;
    assert_eq!(provider.calls()[2].outcome, Outcome::Hung, "light does not wake the dead");
    drop(lost);
    until_count(&provider, Outcome::CancelledByClient, 1).await;
}

#[tokio::test]
async fn two_providers_of_one_dialect_draw_their_own_chances_and_ids() {
    let named = |name: &str| {
        let behaviour = Behaviour { share: 0.5, ..Behaviour::failing(Fault::status(500)) };
        let settings =
            Settings { name: name.to_owned(), behaviour, ..Settings::new(Dialect::OpenAi) };
        SimulatedProvider::start(settings).unwrap()
    };
    let (a, b) = (named("a"), named("b"));
    for number in 0..30 {
        ask(&a, &image(number)).await;
        ask(&b, &image(number)).await;
    }
    let statuses = |one: &SimulatedProvider| {
        one.calls().iter().map(|call| call.status).collect::<Vec<Option<u16>>>()
    };
    assert_ne!(statuses(&a), statuses(&b));
    let calls = [a.calls(), b.calls()].concat();
    let mut ids: Vec<String> = calls.into_iter().filter_map(|call| call.request_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 60);
    let config = crate::vlmgate_config(&[a, b]);
    assert!(config.contains("\n  b: { provider: b, model: gpt-6-luna"), "{config}");
}
