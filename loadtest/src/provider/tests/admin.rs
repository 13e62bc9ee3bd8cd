//! The admin port, over its socket.

use super::*;
use crate::admin::Admin;
use crate::log::Page;

struct Port {
    providers: Vec<SimulatedProvider>,
    admin: Admin,
}

impl Port {
    async fn open() -> Self {
        let start = |(name, dialect): (&str, Dialect)| {
            let judging = Judging::latent(name, 0.08, 0.0);
            let settings = Settings {
                name: name.to_owned(),
                behaviour: Behaviour { judging, ..Behaviour::default() },
                ..Settings::new(dialect)
            };
            SimulatedProvider::start(settings).unwrap()
        };
        let all = [("a", Dialect::OpenAi), ("b", Dialect::OpenAi), ("c", Dialect::Gemini)];
        let providers: Vec<SimulatedProvider> = all.into_iter().map(start).collect();
        let admin = Admin::start((Ipv4Addr::LOCALHOST, 0).into(), &providers).await.unwrap();
        Self { providers, admin }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.admin.address()).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, "").await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn now_ns(&self) -> u64 {
        self.get("/clock").await["now_ns"].as_u64().unwrap()
    }
}

#[tokio::test]
async fn a_behaviour_that_is_put_acts_at_once_and_says_when() {
    let port = Port::open().await;
    let before_ns = port.now_ns().await;
    let fault = r#"{"fault":{"status":{"code":529}},"slots":60,"latency":{"law":"A"}}"#;
    let (status, switched) = port.ask("PUT", "/providers/b/behaviour", fault).await;
    assert_eq!(status, 200, "{switched}");
    assert_eq!(ask(&port.providers[1], &image(1)).await.status, 529);
    assert_eq!(ask(&port.providers[0], &image(1)).await.status, 200);
    let at_ns = switched["at_ns"].as_u64().unwrap();
    assert!(before_ns < at_ns && at_ns < port.now_ns().await);
    let told = port.get("/providers/b/behaviour").await;
    assert_eq!((&told["slots"], &told["fault"]["status"]["code"]), (&json!(60), &json!(529)));
    // What another process reads, it can put back.
    let (status, _) = port.ask("PUT", "/providers/b/behaviour", &told.to_string()).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn the_log_comes_in_pages_with_times_that_compare() {
    let port = Port::open().await;
    let before_ns = port.now_ns().await;
    for number in 0..5 {
        ask(&port.providers[0], &image(number)).await;
    }
    let after_ns = port.now_ns().await;
    let page = |body: Value| serde_json::from_value::<Page>(body).unwrap();
    let first = page(port.get("/providers/a/calls?since=0&limit=3").await);
    let rest = page(port.get(&format!("/providers/a/calls?since={}", first.next)).await);
    assert_eq!((first.calls.len(), rest.calls.len(), rest.next), (3, 2, 5));
    for (number, call) in (0..).zip(first.calls.iter().chain(&rest.calls)) {
        assert!(before_ns < call.began_ns && call.ended_ns.unwrap() < after_ns, "{call:?}");
        assert_eq!(call.image, Some(format!("b3:{}", blake3::hash(&image(number)).to_hex())));
        assert_eq!((call.status, call.outcome), (Some(200), Outcome::Answered));
        assert!(call.request_id.as_ref().unwrap().starts_with("req_"));
    }
    let gone = json!({"calls": 0, "connections": 0, "slots": 0});
    while port.get("/open").await["a"] != gone {
        tokio::task::yield_now().await; // a closed connection is counted until it is reaped
    }
    let (status, reset) = port.ask("POST", "/reset", "").await;
    assert!(status == 200 && after_ns < reset["at_ns"].as_u64().unwrap());
    assert_eq!(page(port.get("/providers/a/calls").await).calls, []);
}

#[tokio::test]
async fn what_a_judge_says_of_an_image_can_be_asked_and_is_what_it_said() {
    let port = Port::open().await;
    for number in 0..30 {
        ask(&port.providers[2], &image(number)).await;
    }
    let log = serde_json::from_value::<Page>(port.get("/providers/c/calls").await).unwrap();
    for call in &log.calls {
        let image = call.image.as_ref().unwrap();
        let path = format!("/providers/c/expected?image={image}&criteria=cutout,halo");
        let scores: BTreeMap<String, f64> = serde_json::from_value(port.get(&path).await).unwrap();
        assert_eq!(scores.values().copied().min_by(f64::total_cmp), call.lowest_score);
        let here = crate::expected_scores_by_digest(
            image,
            &CRITERIA,
            &port.providers[2].behaviour().judging,
        );
        assert_eq!(here, Some(scores));
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_a_word() {
    let port = Port::open().await;
    for (method, path, body, expected, word) in [
        ("GET", "/providers/z/behaviour", "", 404, "\"z\""),
        ("GET", "/nothing", "", 404, "/nothing"),
        ("DELETE", "/providers/a/behaviour", "", 404, "DELETE"),
        ("PUT", "/providers/a/behaviour", r#"{"fualt":"reset"}"#, 400, "fualt"),
        ("GET", "/providers/a/calls?since=x", "", 400, "\"x\""),
        ("GET", "/providers/a/expected?image=b3:12", "", 400, "b3:12"),
    ] {
        let (status, body) = port.ask(method, path, body).await;
        let problem = body["problem"].as_str().unwrap();
        assert!(status == expected && problem.contains(word), "{path}: {status} {problem}");
    }
    let names = port.get("/providers").await;
    let names: Vec<&str> =
        names.as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}
