//! The service's file, the environment and the flags become settings; without a file there are
//! built-in ones.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret;
use vlmgate::config::environment::Environment;
use vlmgate::config::files::PolicyFiles;
use vlmgate::config::{Config, LOCAL_JUDGE, Overrides, PolicyFolder};
use vlmgate::domain::drill::Fault;
use vlmgate::panel::Care;
use vlmgate::panel::breaker::Rules;

use crate::files::mistakes::Schema::{CannotTell, Refuses};
use crate::files::mistakes::{Mistake, check};
use crate::files::{SERVICE, SHA256, environment, service, service_schema, with};

#[test]
fn the_service_file_becomes_plain_settings() {
    let config = service(SERVICE).expect("it is right");
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.max_in_flight_bytes, 512 << 20);
    assert_eq!(config.imaging_settings().max_decoding_bytes, 512 << 20);
    assert_eq!(config.keys[0].name, "studio");
    assert_eq!(config.keys[0].sha256[..2], [0x9f, 0x86]);
    assert_eq!(config.store.sqlite, PathBuf::from("etc/data/vlmgate.db"));
    assert_eq!(config.store.images_dir(), PathBuf::from("etc/data/images"));
    assert_eq!(config.policies.folder, PolicyFolder::At(PathBuf::from("etc/policies")));
    let key = config.providers["openai"].key.as_ref().expect("a key");
    assert_eq!(key.expose_secret(), "sk-very-secret");
    assert_eq!(config.providers["own"].base_url.as_deref(), Some("http://127.0.0.1:8000/v1"));
    let mini = &config.judges["mini"];
    let price = mini.price.clone().unwrap();
    assert_eq!((price.input_nano_usd, price.output_nano_usd), (100, 500));
    assert_eq!(price.cached_nano_usd, 100, "without a price of its own cached costs as input");
    assert_eq!(mini.expect.expect("stated").p95, Duration::from_millis(900));
    assert!((config.drills.max_share - 0.3).abs() < 1e-9);
    let scheduled = &config.drills.scheduled[0];
    assert_eq!((scheduled.plan.judge.as_str(), scheduled.plan.fault), ("mini", Fault::Blackhole));
    assert_eq!(scheduled.plan.lasts, Duration::from_secs(120));
    assert_eq!(scheduled.every, Duration::from_secs(7 * 86_400));
    let follow = config.follow_settings();
    assert_eq!(follow.baseline_days, 2);
    assert!((follow.false_alarms_per_30_days - 0.25).abs() < 1e-9);
    assert_eq!(follow.checkpoint, PathBuf::from("etc/data/drift.json"));
}

#[test]
fn a_judge_s_health_is_looked_after_as_usual_unless_it_is_said_how() {
    let config = service(SERVICE).expect("it is right");
    assert_eq!(config.judges["own-vlm"].care, Care::default());
    let text = "model: qwen, max_in_flight: 8, health: { open_at: 12, hold: 5s, strike_at: 2 }";
    let care = service(&with(SERVICE, "model: qwen", text)).expect("right").judges["own-vlm"].care;
    assert_eq!(care.max_in_flight, Some(8));
    let Rules { threshold, hold, longest_hold, strike_multiple, ramp } = care.rules;
    assert_eq!((hold, longest_hold, ramp.as_secs()), (longest_hold, Duration::from_secs(5), 2));
    assert!((threshold - 12.0).abs() < 1e-9 && (strike_multiple - 2.0).abs() < 1e-9);
}

#[test]
fn a_secret_is_shown_nowhere() {
    let shown = format!("{:?} {:?}", service(SERVICE).expect("it is right"), environment());
    assert!(!shown.contains("sk-very-secret"));
    let wrong = with(SERVICE, "sha256: \"${STUDIO_SHA256}\"", "sha256: \"${OPENAI_KEY}\"");
    let wrong = with(&wrong, "sqlite://data/vlmgate.db", "${OPENAI_KEY}");
    let wrong = with(&wrong, "listen: 127.0.0.1:8080", "listen: \"${OPENAI_KEY}\"");
    let wrong = with(&wrong, "location: europe-west4", "location: [\"${OPENAI_KEY}\"]");
    let told = service(&wrong).unwrap_err();
    assert!(!told.contains("sk-very-secret"), "{told}");
    insta::assert_snapshot!(told, @r#"
    etc/vlmgate.yaml:2:11: server.listen: "${OPENAI_KEY}" is not an address and port such as 127.0.0.1:8080
    etc/vlmgate.yaml:6:29: keys[0].sha256: is not a SHA-256: expected 64 hex digits
    etc/vlmgate.yaml:8:8: store.url: is not sqlite:// and a path, such as sqlite://data/vlmgate.db
    etc/vlmgate.yaml:11:52: providers.vertex.location: a list is not text
    "#);
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let environment = Environment::of([
        ("STUDIO_SHA256", SHA256),
        ("OPENAI_KEY", "k"),
        ("VLMGATE_LISTEN", "127.0.0.1:1111"),
        ("VLMGATE_DATA", "/var/lib/vlmgate"),
    ]);
    let parse = |overrides: &Overrides| {
        Config::parse("vlmgate.yaml", SERVICE.as_bytes(), &environment, overrides).expect("right")
    };
    let config = parse(&Overrides::default());
    assert_eq!(config.server.listen.port(), 1111);
    assert_eq!(config.store.sqlite, PathBuf::from("/var/lib/vlmgate/vlmgate.db"));
    let overrides = Overrides {
        listen: Some("127.0.0.1:2222".to_owned()),
        policies: Some(PathBuf::from("mine")),
        ..Overrides::default()
    };
    let config = parse(&overrides);
    assert_eq!(config.server.listen.port(), 2222);
    assert_eq!(config.policies.folder, PolicyFolder::At(PathBuf::from("mine")));
}

#[test]
fn without_keys_only_loopback_is_listened_on() {
    let listen = |address: &str, insecure_no_auth: bool| {
        let listen = Some(address.to_owned());
        let overrides = Overrides { listen, insecure_no_auth, ..Overrides::default() };
        Config::built_in(&Environment::of([]), &overrides).map_err(|all| all.to_string())
    };
    assert!(listen("127.0.0.1:0", false).is_ok());
    assert!(listen("[::1]:8080", false).is_ok());
    assert!(listen("0.0.0.0:8080", true).is_ok());
    insta::assert_snapshot!(listen("0.0.0.0:8080", false).unwrap_err(), @"--listen: without keys only a loopback address may be listened on, not 0.0.0.0:8080; add keys, or start with --insecure-no-auth");
    insta::assert_snapshot!(listen("8080", false).unwrap_err(), @r#"
    --listen: "8080" is not an address and port such as 127.0.0.1:8080
    "#);
    let open = "server: { listen: \"0.0.0.0:80\" }";
    insta::assert_snapshot!(service(open).unwrap_err(), @"etc/vlmgate.yaml: without keys only a loopback address may be listened on, not 0.0.0.0:80; add keys, or start with --insecure-no-auth");
}

#[test]
fn without_a_file_judges_without_a_key_are_left_out_of_the_route() {
    let environment = Environment::of([("GEMINI_API_KEY", "k"), ("ANTHROPIC_API_KEY", "")]);
    let config = Config::built_in(&environment, &Overrides::default()).expect("right");
    assert_eq!(config.judges.keys().collect::<Vec<_>>(), ["gemini-flash"]);
    let left_out: Vec<_> =
        config.left_out.iter().map(|one| (one.judge.as_str(), one.variable)).collect();
    assert_eq!(
        left_out,
        [
            ("openai-mini", "OPENAI_API_KEY"),
            ("claude-haiku", "ANTHROPIC_API_KEY"),
            ("mistral-vision", "MISTRAL_API_KEY"),
        ]
    );
    let loaded = config.policy_loader().load().expect("it loads");
    let policy = &loaded.policies[0].policy;
    assert_eq!(policy.route.judges, ["gemini-flash"]);
    assert_eq!(policy.second_opinion.as_ref().expect("kept").ask, ["gemini-flash"]);
    let full = PolicyFiles::shipped().load(None).expect("it loads");
    assert_ne!(policy.revision, full[0].policy.revision, "the revision tells the route");
    assert_eq!(policy.judging, full[0].policy.judging);
}

#[test]
fn without_any_key_the_built_in_judge_stands_alone() {
    let config = Config::built_in(&Environment::of([]), &Overrides::default()).expect("right");
    assert_eq!(config.left_out.len(), 4);
    let loaded = config.policy_loader().load().expect("it loads");
    let policy = &loaded.policies[0].policy;
    assert_eq!(policy.route.judges, [LOCAL_JUDGE]);
    assert!(policy.second_opinion.is_none());
    assert!(policy.criteria.iter().all(|one| !one.measured_by.is_empty()));
}

#[test]
fn a_mistake_in_the_service_file_is_told_with_place_key_and_remedy() {
    check(SERVICE, CONFIG, &service_schema(), |text| service(text).err());
}

/// Mistakes in the service's file.
const CONFIG: &[Mistake] = &[
    Mistake {
        from: "server:\n",
        to: "sever:\n",
        told: "1:1: sever: is not a key here; did you mean `server`?",
        schema: Refuses,
    },
    Mistake {
        from: "listen: 127.0.0.1:8080",
        to: "listen: 8080",
        told: "2:11: server.listen: 8080 is not an address and port such as 127.0.0.1:8080",
        schema: Refuses,
    },
    Mistake {
        from: "listen: 127.0.0.1:8080",
        to: "listen: 127.0.0.1:8080\n  max_queued: 1e9",
        told: "3:15: server.max_queued: 1000000000 is not a whole number from 0 to 100000",
        schema: Refuses,
    },
    Mistake {
        from: "listen: 127.0.0.1:8080",
        to: "listen: 127.0.0.1:8080\n  admin_listen: 0.0.0.0:9090",
        told: "3:3: server.admin_listen: `admin_listen` belongs to the separate admin address, which this version does not have yet; remove it",
        schema: Refuses,
    },
    Mistake {
        from: "max_in_flight: 512",
        to: "max_in_flight: 0",
        told: "3:18: server.max_in_flight: 0 is not a whole number from 1 to 100000",
        schema: Refuses,
    },
    Mistake {
        from: "at_most: 20s",
        to: "at_most: 500ms",
        told: "4:37: server.drain.at_most: 500ms is not over accept_for, 1s",
        schema: CannotTell,
    },
    Mistake {
        from: "${STUDIO_SHA256}",
        to: "my-key",
        told: "6:29: keys[0].sha256: is not a SHA-256: expected 64 hex digits",
        schema: Refuses,
    },
    Mistake {
        from: "${STUDIO_SHA256}",
        to: "${STUDIO_SHA}",
        told: "6:29: keys[0].sha256: the environment variable STUDIO_SHA is not set",
        schema: CannotTell,
    },
    Mistake {
        from: "roles: [check]",
        to: "roles: [checks]",
        told: r#"6:57: keys[0].roles[0]: "checks" is not known here; did you mean `check`?"#,
        schema: Refuses,
    },
    Mistake {
        from: "roles: [check]",
        to: "roles: []",
        told: "6:56: keys[0].roles: lists 0, at least 1 must be given",
        schema: Refuses,
    },
    Mistake {
        from: "sqlite://data/vlmgate.db",
        to: "postgres://db/vlmgate",
        told: "8:8: store.url: postgres:// belongs to the PostgreSQL store, which this version does not have yet; use sqlite://",
        schema: CannotTell,
    },
    Mistake {
        from: "sqlite://data/vlmgate.db",
        to: "data/vlmgate.db",
        told: "8:8: store.url: is not sqlite:// and a path, such as sqlite://data/vlmgate.db",
        schema: CannotTell,
    },
    Mistake {
        from: "kind: openai, ",
        to: "kind: open-ai, ",
        told: r#"10:19: providers.openai.kind: "open-ai" is not known here; did you mean `openai`?"#,
        schema: Refuses,
    },
    Mistake {
        from: r#"kind: openai, key: "${OPENAI_KEY}""#,
        to: "kind: openai",
        told: "10:3: providers.openai: a provider of kind openai needs `key`",
        schema: CannotTell,
    },
    Mistake {
        from: "kind: openai, key:",
        to: "kind: openai, kee:",
        told: "10:3: providers.openai: a provider of kind openai needs `key`\n10:27: providers.openai.kee: is not a key here; did you mean `key`?",
        schema: Refuses,
    },
    Mistake {
        from: r#"key: "${OPENAI_KEY}""#,
        to: r#"key: "${OPEN_AI_KEY}""#,
        told: "10:32: providers.openai.key: the environment variable OPEN_AI_KEY is not set",
        schema: CannotTell,
    },
    Mistake {
        from: r#"key: "${OPENAI_KEY}""#,
        to: r#"key: "file:/no/such/secret""#,
        told: "10:32: providers.openai.key: the file /no/such/secret cannot be read: No such file or directory (os error 2)",
        schema: CannotTell,
    },
    Mistake {
        from: "auth: adc",
        to: "auth: adc, key: k",
        told: "11:82: providers.vertex.key: is of no use to a provider of kind vertex",
        schema: CannotTell,
    },
    Mistake {
        from: "http://127.0.0.1:8000/v1/",
        to: "127.0.0.1:8000/v1",
        told: "12:38: providers.own.base_url: is not an address such as https://api.example.com/v1, without user, query or #",
        schema: Refuses,
    },
    Mistake {
        from: "http://127.0.0.1:8000/v1/",
        to: "http://user:pw@127.0.0.1/v1",
        told: "12:38: providers.own.base_url: is not an address such as https://api.example.com/v1, without user, query or #",
        schema: Refuses,
    },
    Mistake {
        from: "provider: own,",
        to: "provider: owm,",
        told: r#"15:24: judges.own-vlm.provider: no provider is called "owm"; did you mean `own`?"#,
        schema: CannotTell,
    },
    Mistake {
        from: "own-vlm:",
        to: "local:",
        told: "15:3: judges.local: is the built-in judge; call yours something else",
        schema: CannotTell,
    },
    Mistake {
        from: "input: 0.10",
        to: "input: -1",
        told: "14:64: judges.mini.price.input: -1 is not a price in USD per million tokens, from 0 to 10000",
        schema: Refuses,
    },
    Mistake {
        from: "p95: 900ms",
        to: "p95: 90ms",
        told: "14:113: judges.mini.expect.p95: 90ms is under p50, 650ms",
        schema: CannotTell,
    },
    Mistake {
        from: "model: qwen",
        to: "model: qwen, max_in_flight: 0",
        told: "15:57: judges.own-vlm.max_in_flight: 0 is not a whole number from 1 to 100000",
        schema: Refuses,
    },
    Mistake {
        from: "model: qwen",
        to: "model: qwen, health: { strike_at: 0.5, open: 9 }",
        told: "15:63: judges.own-vlm.health.strike_at: 0.5 is not between 1 and 10\n15:68: judges.own-vlm.health.open: is not a key here; did you mean `open_at`?",
        schema: Refuses,
    },
    Mistake {
        from: "reload: watch",
        to: "reload: wach",
        told: r#"16:36: policies.reload: "wach" is not known here; did you mean `watch`?"#,
        schema: Refuses,
    },
    Mistake {
        from: "policies: { dir",
        to: "teams: {}\npolicies: { dir",
        told: "16:1: teams: `teams` belongs to team budgets, which this version does not have yet; remove it",
        schema: Refuses,
    },
    Mistake {
        from: "keys:\n  - { name: studio, sha256: \"${STUDIO_SHA256}\", roles: [check] }\n",
        to: "keys:\n  - { name: a, sha256: \"${STUDIO_SHA256}\", roles: [check] }\n  - { name: a, sha256: \"${STUDIO_SHA256}\", roles: [read] }\n",
        told: "7:13: keys[1].name: two keys are called \"a\"\n7:24: keys[1].sha256: is the key of \"a\" too; each caller has its own",
        schema: CannotTell,
    },
    Mistake {
        from: "{ judge: mini, fault",
        to: "{ judge: minni, fault",
        told: r#"20:16: drills.scheduled[0].judge: no judge is called "minni"; did you mean `mini`?"#,
        schema: CannotTell,
    },
    Mistake {
        from: "fault: blackhole",
        to: "fault: nuke",
        told: r#"20:29: drills.scheduled[0].fault: "nuke" is not known here; known: refuse, blackhole, overload"#,
        schema: Refuses,
    },
    Mistake {
        from: "share: 10%",
        to: "share: 40%",
        told: "20:47: drills.scheduled[0].share: is not over 0 and at most max_share, 30%",
        schema: CannotTell,
    },
    Mistake {
        from: "for: 2m",
        to: "for: 20m",
        told: "20:57: drills.scheduled[0].for: is not from 1s to 10m",
        schema: CannotTell,
    },
    Mistake {
        from: "every: 7d",
        to: "every: 2m",
        told: "20:68: drills.scheduled[0].every: 2m is shorter than the drill, 175s",
        schema: CannotTell,
    },
    Mistake {
        from: "false_alarms_per_30_days: 0.25",
        to: "false_alarms_per_30_days: 0",
        told: "21:54: drift.false_alarms_per_30_days: is 0: who never alarms falsely never alarms",
        schema: CannotTell,
    },
    Mistake {
        from: ", every: 7d",
        to: "",
        told: "20:7: drills.scheduled[0].every: is missing",
        schema: Refuses,
    },
];
