//! The page as a browser gets it: every file with its type and tag, under a content policy, and
//! nothing in it that loads from elsewhere.

use std::fs;
use std::path::PathBuf;

use crate::world::{Plan, World, mug, root};

/// Every file that the page is made of, by its path under `ui/`.
fn files() -> Vec<String> {
    let (ui, mut open, mut found) = (root().join("ui"), vec![root().join("ui")], Vec::new());
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("screenshots") {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(&ui).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    assert!(found.len() > 20, "{found:?}");
    found
}

fn text(file: &str) -> String {
    fs::read_to_string(PathBuf::from("ui").join(file)).unwrap()
}

#[test]
fn no_file_of_the_page_loads_from_elsewhere() {
    for file in files() {
        // the name of a vocabulary is no address that anybody asks
        let text = text(&file).replace("http://www.w3.org/2000/svg", "");
        for scheme in ["http://", "https://", "ws://", "wss://", "src=\"//", "url(//"] {
            assert!(!text.contains(scheme), "ui/{file} holds {scheme}");
        }
    }
}

#[test]
fn no_file_of_the_page_holds_what_its_content_policy_refuses() {
    for file in files() {
        let text = text(&file);
        for inline in ["style=\"", " onclick=", " onload=", "javascript:", "eval(", "new Function"]
        {
            assert!(!text.contains(inline), "ui/{file} holds {inline}");
        }
    }
    let index = text("index.html");
    for script in index.split("<script").skip(1) {
        assert!(script.contains("></script>"), "an inline script: {script}");
    }
}

#[test]
fn the_page_fetches_all_its_modules_at_once_and_none_is_long() {
    let index = text("index.html");
    for file in files().into_iter().filter(|file| file.ends_with(".js") && file != "theme.js") {
        let link = format!("<link rel=\"modulepreload\" href=\"/ui/{file}\">");
        assert!(index.contains(&link), "index.html does not preload {file}");
    }
    for file in files() {
        assert!(text(&file).lines().count() <= 500, "ui/{file} is long");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_served_with_its_type_its_tag_and_a_content_policy() {
    let world = World::of(Plan { route: vec!["openai-mini"], ..Plan::default() }).await;
    for file in files() {
        let url = world.url(&format!("/ui/{file}"));
        let answer = world.client.get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{file}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        let media_type = match file.rsplit_once('.').unwrap().1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "html" => "text/html; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("no media type is expected for {other}"),
        };
        assert_eq!(header("content-type"), media_type, "{file}");
        assert_eq!(header("cache-control"), "no-cache", "{file}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{file}");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'self';"), "{file}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{file}: {policy}");
        assert!(!policy.contains("unsafe"), "{file}: {policy}");
        let tag = header("etag");
        let bytes = answer.bytes().await.unwrap();
        assert_eq!(bytes, fs::read(root().join("ui").join(&file)).unwrap(), "{file}");
        let again = world.client.get(&url).header("if-none-match", tag).send().await.unwrap();
        assert_eq!(again.status(), 304, "{file}");
        assert_eq!(again.bytes().await.unwrap().len(), 0, "{file}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_has_an_address_and_what_is_none_is_not_found() {
    let world = World::of(Plan { route: vec!["openai-mini"], ..Plan::default() }).await;
    for view in ["", "why", "verdicts", "review", "judges", "why?since=1h&policy=product-photo"] {
        let answer = world.client.get(world.url(&format!("/ui/{view}"))).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{view}");
        assert!(answer.text().await.unwrap().starts_with("<!doctype html>"), "{view}");
    }
    let bare = world.client.get(world.url("/ui")).send().await.unwrap();
    assert_eq!((bare.status().as_u16(), bare.url().path()), (200, "/ui/"));
    for none in ["/ui/nothing", "/ui/../Cargo.toml", "/ui/%2e%2e/Cargo.toml", "/ui/view"] {
        assert_eq!(world.get(none).await.0, 404, "{none}");
    }
    assert_eq!(world.client.post(world.url("/ui/")).send().await.unwrap().status(), 405);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_files_need_no_key_and_what_it_asks_does() {
    let sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    let config = format!("keys: [{{ name: reader, sha256: {sha256}, roles: [read] }}]\n");
    let world = World::of(Plan { config, ..Plan::default() }).await;
    assert_eq!(world.client.get(world.url("/ui/")).send().await.unwrap().status(), 200);
    assert_eq!(world.get("/v1/policies").await.0, 401);
    let asked = world.client.get(world.url("/v1/policies")).header("authorization", "Bearer foo");
    assert_eq!(asked.send().await.unwrap().status(), 200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_says_of_which_records_pictures_are_kept() {
    let edits = vec![(
        "images: [fail, review, borderline, { sample: 0.5% }]".to_owned(),
        "images: [fail]".to_owned(),
    )];
    let world = World::of(Plan { edits, ..Plan::default() }).await;
    let (_, passed) = world.post(mug()).await;
    let judging = loadtest::Judging::Always(0.1);
    let failing = loadtest::Behaviour { judging, ..crate::world::healthy() };
    world.provider("openai-mini").set_behaviour(failing);
    let (_, failed) = world.post(mug()).await;
    let (passed, failed) = (passed["id"].as_str().unwrap(), failed["id"].as_str().unwrap());
    let (_, page) = world.get("/v1/verdicts").await;
    assert_eq!(page["views"], serde_json::json!({ failed: ["whole", "contact"] }));
    let (status, views) = world.get(&format!("/v1/verdicts/{failed}/views")).await;
    assert_eq!((status, &views["views"]), (200, &serde_json::json!(["whole", "contact"])));
    for view in ["whole", "contact"] {
        let url = world.url(&format!("/v1/verdicts/{failed}/image?view={view}"));
        assert_eq!(world.client.get(url).send().await.unwrap().status(), 200, "{view}");
    }
    let (status, views) = world.get(&format!("/v1/verdicts/{passed}/views")).await;
    assert_eq!((status, &views["views"]), (200, &serde_json::json!([])));
    assert_eq!(world.get("/v1/verdicts/0192f3c1-0000-7000-8000-000000000000/views").await.0, 404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_says_what_people_said_of_each_record_until_they_take_it_back() {
    let world = World::of(Plan { route: vec!["openai-mini"], ..Plan::default() }).await;
    let (_, verdict) = world.post(mug()).await;
    world.post(mug()).await;
    let id = verdict["id"].as_str().unwrap();
    let labels = async || world.get("/v1/verdicts").await.1["labels"].clone();
    assert_eq!(labels().await, serde_json::json!({}));
    for (word, kept) in [("ok", Some("ok")), ("defect", Some("defect")), ("withdrawn", None)] {
        let url = world.url(&format!("/v1/verdicts/{id}/label"));
        let body = serde_json::json!({ "label": word }).to_string();
        let sent = world.client.post(url).header("content-type", "application/json").body(body);
        assert_eq!(sent.send().await.unwrap().status(), 201, "{word}");
        let expected = kept.map_or(serde_json::json!({}), |word| serde_json::json!({ id: word }));
        assert_eq!(labels().await, expected, "{word}");
    }
    world.stop().await;
}
