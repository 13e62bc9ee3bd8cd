//! The door as callers meet it: three body forms, every refusal, records, probes, keys.

use std::collections::BTreeMap;
use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::world::{JUDGES, Plan, World, mug, root};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_image_through_each_dialect_gives_the_same_verdict() {
    let mut said = BTreeMap::new();
    for (judge, dialect) in JUDGES {
        let world = World::of(Plan { route: vec![judge], ..Plan::default() }).await;
        let mut behaviour = crate::world::healthy();
        behaviour.judging = loadtest::Judging::default();
        world.provider(judge).set_behaviour(behaviour);
        let (status, verdict) = world.post(mug()).await;
        assert_eq!(status, 200, "{judge}: {verdict}");
        assert_eq!(verdict["judge"]["name"], judge, "{judge}: {verdict}");
        assert_eq!(verdict["route"], "primary");
        assert!(verdict["judge"]["model"].as_str().is_some_and(|model| !model.is_empty()));
        assert_eq!(world.questions(judge), 1, "{dialect:?}: one call, no warm-up is billed");
        let scores: Vec<_> = ["cutout", "edge_artifacts", "contact_shadow"]
            .iter()
            .map(|criterion| verdict["scores"][criterion]["score"].to_string())
            .collect();
        said.insert(judge, (verdict["verdict"].to_string(), scores));
        world.stop().await;
    }
    let first = said.values().next().unwrap();
    assert!(said.values().all(|one| one == first), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_body_forms_are_one_request() {
    let world = World::new().await;
    let (status, raw) = world.post(mug()).await;
    assert_eq!(status, 200, "{raw}");
    let part = reqwest_part(&mug());
    let answer = world.client.post(world.url("/v1/verdicts")).header("content-type", part.0);
    let answer = answer.body(part.1).send().await.unwrap();
    let multipart: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let json = json!({
        "image": { "base64": STANDARD.encode(mug()) },
        "policy": "product-photo",
        "vars": { "category": "home", "background": "white" },
        "external_id": "sku-1",
    });
    let answer = world.client.post(world.url("/v1/verdicts"));
    let answer = answer.header("content-type", "application/json").body(json.to_string());
    let answer = answer.send().await.unwrap();
    assert!(answer.headers().contains_key("server-timing"));
    assert!(answer.headers().contains_key("x-request-id"));
    let json: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    for (form, verdict) in [("multipart", &multipart), ("json", &json)] {
        for key in
            ["verdict", "basis", "scores", "policy", "image", "vars", "findings", "judged_by"]
        {
            assert_eq!(verdict[key], raw[key], "{form}: {key}");
        }
        assert_eq!(verdict["external_id"], "sku-1", "{form}");
    }
    world.stop().await;
}

/// A multipart body by hand: content type and bytes.
fn reqwest_part(image: &[u8]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    let fields = [
        ("policy", "product-photo"),
        ("vars", r#"{"category":"home","background":"white"}"#),
        ("external_id", "sku-1"),
    ];
    for (name, value) in fields {
        let part =
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    let head = "--edge\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\
                Content-Type: image/png\r\n\r\n";
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(image);
    body.extend_from_slice(b"\r\n--edge--\r\n");
    ("multipart/form-data; boundary=edge".to_owned(), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_input_is_told_so_and_leaves_no_record() {
    let world = World::new().await;
    let png = fs::read(root().join("tests/fixtures/mug-halo.png")).unwrap();
    let huge_header = huge_png_header();
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("not an image", b"hello there, not an image".to_vec(), 415, "unknown_format"),
        ("a gif", b"GIF89a\x01\x00\x01\x00".to_vec(), 415, "unknown_format"),
        ("too many bytes", [mug(), vec![0; 13 << 20]].concat(), 413, "too_large"),
        ("cut off", mug()[..mug().len() / 2].to_vec(), 422, "corrupt"),
        ("a cut png", png[..png.len() / 3].to_vec(), 422, "corrupt"),
        ("too many pixels", huge_header, 422, "too_many_pixels"),
        ("nothing", Vec::new(), 422, "empty"),
    ];
    for (name, image, expected, code) in cases {
        let (status, problem) = world.post(image).await;
        assert_eq!((status, problem["code"].as_str()), (expected, Some(code)), "{name}: {problem}");
        assert_eq!(problem["status"], expected, "{name}");
        assert!(problem["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{name}");
    }
    let paths = [
        ("?policy=nobody", 404, "unknown_policy"),
        ("?vars.category=shoes", 422, "bad_variable"),
        ("?vars.colour=red", 422, "bad_variable"),
        ("?polcy=product-photo", 400, "bad_request"),
    ];
    for (query, expected, code) in paths {
        let request = world.client.post(world.url(&format!("/v1/verdicts{query}")));
        let request = request.header("content-type", "image/jpeg").body(mug());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{query}");
        let status = answer.status().as_u16();
        let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(
            (status, problem["code"].as_str()),
            (expected, Some(code)),
            "{query}: {problem}"
        );
    }
    let headers = [
        ("vlmgate-deadline-ms", "100", 422, "deadline_below_floor"),
        ("vlmgate-deadline-ms", "soon", 400, "bad_request"),
        ("grpc-timeout", "50m", 422, "deadline_below_floor"),
    ];
    for (name, value, expected, code) in headers {
        let (status, problem) = world.post_with(mug(), &[(name, value)]).await;
        assert_eq!((status, problem["code"].as_str()), (expected, Some(code)), "{name}: {problem}");
    }
    let (_, page) = world.get("/v1/verdicts").await;
    assert_eq!(page["verdicts"], json!([]), "none of these makes a record");
    assert!(JUDGES.iter().all(|(judge, _)| world.questions(judge) == 0), "nothing was paid");
    world.stop().await;
}

/// A PNG whose header claims 60,000 x 60,000 pixels.
fn huge_png_header() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    png.extend_from_slice(&60_000_u32.to_be_bytes());
    png.extend_from_slice(&60_000_u32.to_be_bytes());
    png.extend_from_slice(&[8, 2, 0, 0, 0]);
    let mut crc = !0_u32;
    for byte in &png[12..] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    png.extend_from_slice(&(!crc).to_be_bytes());
    png.extend_from_slice(&[0; 64]);
    png
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_deadline_of_the_caller_holds_and_a_longer_one_does_not() {
    let world = World::new().await;
    let (_, verdict) = world.post_with(mug(), &[("vlmgate-deadline-ms", "2000")]).await;
    assert_eq!(verdict["deadline_ms"], 2_000);
    let (_, verdict) = world.post_with(mug(), &[("vlmgate-deadline-ms", "60000")]).await;
    assert_eq!(verdict["deadline_ms"], 5_000);
    let both = [("vlmgate-deadline-ms", "3000"), ("x-envoy-expected-rq-timeout-ms", "1000")];
    let (_, verdict) = world.post_with(mug(), &both).await;
    assert_eq!(verdict["deadline_ms"], 1_000);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_replays_the_answer_and_refuses_another_image() {
    let world = World::new().await;
    let key = [("idempotency-key", "order-7")];
    let (_, first) = world.post_with(mug(), &key).await;
    let (status, again) = world.post_with(mug(), &key).await;
    assert_eq!((status, &again["id"]), (200, &first["id"]));
    let calls: usize = JUDGES.iter().map(|(judge, _)| world.questions(judge)).sum();
    assert_eq!(calls, 1, "the replay was not paid for");
    let other = fs::read(root().join("tests/fixtures/mug-halo.png")).unwrap();
    let (status, problem) = world.post_with(other, &key).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("idempotency_mismatch")));
    // the verdict of one question is not the answer to another about the same image
    let request = world.client.post(world.url("/v1/verdicts?vars.background=scene"));
    let request = request.header("content-type", "image/jpeg").header(key[0].0, key[0].1);
    assert_eq!(request.body(mug()).send().await.unwrap().status(), 422);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_listed_filtered_exported_and_their_images_served() {
    let world = World::new().await;
    let mut failing = crate::world::healthy();
    failing.judging = loadtest::Judging::Always(0.1);
    let (_, passed) = world.post(mug()).await;
    world.provider("openai-mini").set_behaviour(failing);
    let (_, failed) = world.post(mug()).await;
    assert_eq!((&passed["verdict"], &failed["verdict"]), (&json!("pass"), &json!("fail")));
    assert_eq!(passed["seq"], 1, "{passed}");
    let (_, page) = world.get("/v1/verdicts?verdict=fail&since=1h").await;
    assert_eq!(page["verdicts"].as_array().unwrap().len(), 1);
    assert_eq!(page["verdicts"][0]["id"], failed["id"]);
    let (_, page) = world.get("/v1/verdicts?limit=1").await;
    assert_eq!(page["verdicts"][0]["id"], failed["id"], "newest first");
    let cursor = page["next"].as_str().unwrap();
    let (_, page) = world.get(&format!("/v1/verdicts?limit=1&cursor={cursor}")).await;
    assert_eq!(page["verdicts"][0]["id"], passed["id"]);
    let (_, csv) = world.get("/v1/verdicts:export?format=csv").await;
    assert_eq!(csv["text"].as_str().unwrap().lines().count(), 3, "{csv}");
    let (_, lines) = world.get("/v1/verdicts:export?format=ndjson&verdict=fail").await;
    assert_eq!(lines["id"], failed["id"], "one line is one object: {lines}");
    // the shipped policy keeps the images of failed checks
    let id = failed["id"].as_str().unwrap();
    let image = world.client.get(world.url(&format!("/v1/verdicts/{id}/image"))).send().await;
    let image = image.unwrap();
    assert_eq!(image.headers()["content-type"], "image/jpeg");
    assert!(image.bytes().await.unwrap().starts_with(&[0xFF, 0xD8, 0xFF]));
    let id = passed["id"].as_str().unwrap();
    let (status, _) = world.get(&format!("/v1/verdicts/{id}/nothing")).await;
    assert_eq!(status, 404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_strict_a_failed_image_is_a_problem_that_carries_the_verdict() {
    let world = World::new().await;
    let mut failing = crate::world::healthy();
    failing.judging = loadtest::Judging::Always(0.1);
    world.provider("openai-mini").set_behaviour(failing);
    let request = world.client.post(world.url("/v1/verdicts?on=strict"));
    let answer = request.header("content-type", "image/jpeg").body(mug()).send().await.unwrap();
    assert_eq!(answer.status(), 422);
    let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(problem["type"], "/problems/verdict-failed");
    assert_eq!(problem["verdict"]["verdict"], "fail");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_lists_answer() {
    let world = World::new().await;
    for path in ["/livez", "/readyz", "/healthz", "/readyz?verbose", "/openapi.json", "/metrics"] {
        assert_eq!(world.get(path).await.0, 200, "{path}");
    }
    let (_, judges) = world.get("/v1/judges").await;
    let names: Vec<_> = judges["judges"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 5, "four and local: {judges}");
    let (_, policies) = world.get("/v1/policies").await;
    assert_eq!(policies["policies"][0]["name"], "product-photo");
    let (status, problem) = world.get("/v1/nothing").await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("not_found")));
    let answer = world.client.delete(world.url("/v1/verdicts")).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["allow"]),
        (405, &"GET, POST".parse().unwrap())
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_all_or_nothing_and_changes_the_revision() {
    let world = World::new().await;
    let file = world.folder.path().join("policies/product-photo.yaml");
    let (_, before) = world.post(mug()).await;
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replacen("borderline: 0.08", "borderline: 8", 1)).unwrap();
    let answer = world.client.post(world.url("/admin/reload")).send().await.unwrap();
    assert_eq!(answer.status(), 422);
    let (_, still) = world.post(mug()).await;
    assert_eq!(still["policy"], before["policy"], "a bad file keeps the last good one");
    fs::write(&file, good.replacen("borderline: 0.08", "borderline: 0.09", 1)).unwrap();
    let answer = world.client.post(world.url("/admin/reload")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let (_, after) = world.post(mug()).await;
    assert_ne!(after["policy"]["revision"], before["policy"]["revision"]);
    world.stop().await;
}

/// Keys of a caller who may check and of one who may read, each called as its secret.
fn keys() -> String {
    // the digests of "check-key" and "read-key"
    let digest = |key: &str| {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(key.as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    format!(
        "keys:\n  - {{ name: studio, sha256: \"{}\", roles: [check] }}\n  - {{ name: page, sha256: \"{}\", roles: [read] }}\n",
        digest("check-key"),
        digest("read-key")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_a_caller_needs_the_role() {
    let world = World::of(Plan { config: keys(), ..Plan::default() }).await;
    assert_eq!(world.post(mug()).await.0, 401);
    assert_eq!(world.post_with(mug(), &[("authorization", "Bearer nobody")]).await.0, 401);
    assert_eq!(world.post_with(mug(), &[("authorization", "Bearer read-key")]).await.0, 403);
    assert_eq!(world.post_with(mug(), &[("authorization", "Bearer check-key")]).await.0, 200);
    assert_eq!(world.post_with(mug(), &[("x-api-key", "check-key")]).await.0, 200);
    assert_eq!(world.get("/v1/verdicts").await.0, 401);
    assert_eq!(world.get("/livez").await.0, 200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_a_caller_who_is_still_sending() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::of(Plan { config: keys(), ..Plan::default() }).await;
    let path = "/v1/verdicts?policy=product-photo&vars.category=home&vars.background=white";
    for (path, headers, expected) in [
        (path, "Content-Type: image/jpeg\r\n", "401"),
        (path, "Authorization: Bearer read-key\r\nContent-Type: image/jpeg\r\n", "403"),
        (path, "Authorization: Bearer check-key\r\nContent-Type: text/plain\r\n", "415"),
        ("/v1/nothing", "Authorization: Bearer check-key\r\n", "404"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{headers}Connection: close\r\n\
             Content-Length: 8000000\r\n\r\n",
            world.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // more than the buffers on the way hold, and all of it before the answer is looked at
        stream.write_all(&vec![0; 8_000_000]).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{expected}: {answer}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_in_is_refused_when_it_is_too_late_to_judge() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new().await;
    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    // 700 ms to answer, of which the policy's floor (300 ms) is kept for judging
    let head = format!(
        "POST /v1/verdicts HTTP/1.1\r\nHost: {}\r\nContent-Type: image/jpeg\r\n\
         Content-Length: 100000\r\nVlmgate-Deadline-Ms: 700\r\n\r\n",
        world.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[0xFF, 0xD8, 0xFF]).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("body_late"), "{answer}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_gate_without_a_line_sheds_at_once_and_says_when_to_come_again() {
    let config = "server: { max_in_flight: 1, max_queued: 0 }\n".to_owned();
    let plan = Plan { config, ..Plan::default() };
    let world = World::of(plan).await;
    let mut slow = crate::world::healthy();
    slow.latency = loadtest::Latency::ConstantMs(1_000);
    world.provider("openai-mini").set_behaviour(slow);
    let (first, shed) = tokio::join!(world.post(mug()), async {
        world.asked("openai-mini").await;
        let request = world.client.post(world.url("/v1/verdicts"));
        request.header("content-type", "image/jpeg").body(mug()).send().await.unwrap()
    });
    assert_eq!(first.0, 200, "{}", first.1);
    assert_eq!(
        (shed.status().as_u16(), &shed.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    let (status, verdict) = world.post(mug()).await;
    assert_eq!(status, 200, "room is given back: {verdict}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_five_megabyte_image_is_an_ordinary_request() {
    // an upload of this size is the default case: trailing bytes behind the picture do no harm
    let world = World::new().await;
    let big = [mug(), vec![0; 5 << 20]].concat();
    let (status, verdict) = world.post(big.clone()).await;
    assert_eq!(status, 200, "{verdict}");
    assert_eq!(verdict["image"]["size_bytes"], big.len());
    let body = json!({ "image": { "base64": STANDARD.encode(&big) } }).to_string();
    let request = world.client.post(world.url("/v1/verdicts"));
    let answer =
        request.header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_answers_what_is_in_flight() {
    let world = World::new().await;
    let mut slow = crate::world::healthy();
    slow.latency = loadtest::Latency::ConstantMs(700);
    for provider in &world.providers {
        provider.set_behaviour(slow.clone());
    }
    let request = world.client.post(world.url("/v1/verdicts?vars.background=white"));
    let request = request.header("content-type", "image/jpeg").body(mug()).send();
    #[expect(clippy::disallowed_methods, reason = "a test owns this task and joins it")]
    let answer = tokio::spawn(request);
    world.asked("openai-mini").await;
    world.stop().await;
    let verdict = answer.await.unwrap().unwrap().text().await.unwrap();
    assert!(verdict.contains("\"recorded\":true"), "{verdict}");
}
