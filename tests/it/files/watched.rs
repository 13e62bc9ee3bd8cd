//! A policy directory is loaded again when it changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use vlmgate::config::loader::{PolicyLoader, Reading, Room};
use vlmgate::config::watch::watch;
use vlmgate::config::{Drain, PolicyFolder};

#[tokio::test]
async fn a_changed_directory_is_loaded_and_a_broken_one_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let least = |line: &str| {
        format!(
            "{{ format: 1, name: least, prompt: {{ system: Judge. }}, route: {{ judges: [local] }}, \
             criteria: [{{ id: fine, ask: Is it fine?, pass_at: {line} }}] }}"
        )
    };
    let path = dir.path().join("p.yaml");
    replace(&path, &least("0.5"));
    let folder = PolicyFolder::At(dir.path().to_owned());
    let drain = Drain { accept_for: Duration::ZERO, at_most: Duration::from_secs(60) };
    let room = Room { max_in_flight_bytes: 1 << 30, drain };
    let loader = PolicyLoader { folder, judges: Vec::new(), left_out: Vec::new(), room };
    let seen = loader.load().expect("it loads").fingerprint;
    let last = Arc::new(Mutex::new(Some(Ok(seen))));
    let (told, mut heard) = tokio::sync::mpsc::channel(8);
    let watched = watch(&loader.folder, async || {
        let reading = loader.load_aside(Arc::clone(&last).lock_owned().await).await;
        let Some(Reading { mut last, seen, loaded }) = reading else { return };
        *last = seen;
        let line = loaded
            .map(|loaded| loaded.policies[0].policy.criteria[0].pass_at)
            .map_err(|all| all.list()[0].message.clone());
        told.try_send(line).expect("room");
    });
    let script = async {
        // the watcher starts when the watch is first polled; the polling of it finds the rest
        tokio::task::yield_now().await;
        replace(&path, &least("0.6"));
        assert_eq!(heard.recv().await, Some(Ok(0.6)));
        replace(&path, &least("6"));
        assert_eq!(heard.recv().await, Some(Err("6 is not between 0 and 1".to_owned())));
        replace(&path, &least("0.7"));
        assert_eq!(heard.recv().await, Some(Ok(0.7)));
    };
    tokio::select! {
        () = watched => panic!("a watch does not end"),
        () = script => {}
    }
}

/// As editors and config maps do it: a reader never sees half a file.
fn replace(path: &std::path::Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("written");
    std::fs::rename(&beside, path).expect("renamed");
}
