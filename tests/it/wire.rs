//! The wire forms against golden requests and responses, and calls against a loopback server.
//!
//! The fixtures hold what the providers' own clients sent and read, with an answer schema of their
//! own (`verdict`, `confidence`, `reasons`): encoding and decoding take the schema as an argument.

#![cfg(test)]

mod aside;
mod calls;
mod early;
mod google;
mod requests;
mod responses;
mod sight;
pub(crate) mod sse;
pub(crate) mod stub;

use std::fs;
use std::path::PathBuf;

use secrecy::SecretString;
use serde_json::Value;
use vlmgate::imaging::{Base64, View};
use vlmgate::provider::ProviderJudge;
use vlmgate::provider::answer::Shape;
use vlmgate::provider::settings::{
    CONNECT_TIMEOUT, Credential, JudgeSettings, Kind, ProviderSettings,
};

const SYSTEM: &str = "You are a product image quality gate. Judge only what is visible in the \
                      image. Answer with the verdict JSON object and nothing else.";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// The fixtures' answer: `{verdict, confidence, reasons[{code, severity, note}]}`.
fn fixture_shape() -> Shape {
    let words = |words: &[&str]| Shape::OneOf(words.iter().map(|w| (*w).to_owned()).collect());
    let reason = Shape::Object(vec![
        ("code".to_owned(), Shape::Text),
        ("severity".to_owned(), words(&["info", "minor", "major", "critical"])),
        ("note".to_owned(), Shape::Text),
    ]);
    Shape::Object(vec![
        ("verdict".to_owned(), words(&["pass", "fail"])),
        ("confidence".to_owned(), Shape::Number { low: 0.0, high: 1.0 }),
        ("reasons".to_owned(), Shape::List(Box::new(reason))),
    ])
}

fn view(id: &str, image: &str) -> View {
    let bytes = bytes(&format!("images/{image}"));
    View { id: id.to_owned(), width_px: 64, height_px: 48, jpeg: Base64::of(&bytes) }
}

fn judge(kind: Kind, base_url: Option<String>, model: &str) -> ProviderJudge {
    judge_with(kind, base_url, model, Credential::Key(SecretString::from("sk-hush")))
}

fn judge_with(
    kind: Kind,
    base_url: Option<String>,
    model: &str,
    credential: Credential,
) -> ProviderJudge {
    build(kind, base_url, (model, false), credential)
}

/// A judge whose answers are streamed.
fn streaming(kind: Kind, base_url: Option<String>, model: &str) -> ProviderJudge {
    build(kind, base_url, (model, true), Credential::Key(SecretString::from("sk-hush")))
}

fn build(
    kind: Kind,
    base_url: Option<String>,
    (model, stream): (&str, bool),
    credential: Credential,
) -> ProviderJudge {
    let provider = ProviderSettings {
        name: "house".to_owned(),
        kind,
        base_url,
        credential,
        connect_timeout: CONNECT_TIMEOUT * 10,
        simulated: false,
    };
    let judge = JudgeSettings {
        name: "judge".to_owned(),
        model: model.to_owned(),
        family: None,
        price: Some(vlmgate::domain::Price { input_nano_usd: 1_000, ..Default::default() }),
        expect: None,
        stream: Some(stream),
    };
    ProviderJudge::new(&provider, &judge).expect("a judge")
}
