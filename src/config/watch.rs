//! The watch reads the policies again when their directory changes.
//!
//! The directory is watched and not its files: an editor replaces a file, and a mounted config map
//! is swapped by a link, and either would leave a watch on a file that is gone. Events are hints;
//! what counts is the digest of the contents, and every 30 s it is taken anyway, since network
//! mounts send no events.

use std::path::Path;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::warn;

use crate::config::PolicyFolder;
use crate::config::loader::{Loaded, PolicyLoader};
use crate::config::problem::Problems;
use crate::domain::Digest;

/// The contents are compared this often, events or none.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Files change in bursts; they are read when it has been quiet for this long.
const SETTLE: Duration = Duration::from_millis(200);
/// A directory that never is quiet is read after this many settles.
const MOST_SETTLES: u32 = 25;

/// Tells `changed` whenever the contents of the loader's directory differ from `seen`, the last
/// digest: new policies, or why they cannot be used. Never returns; drop it to stop.
pub async fn watch(
    loader: PolicyLoader,
    seen: Digest,
    mut changed: impl FnMut(Result<Loaded, Problems>),
) {
    let PolicyFolder::At(dir) = loader.folder.clone() else {
        // what comes with the program does not change
        return std::future::pending().await;
    };
    let (hint, mut hints) = mpsc::channel(1);
    // held: dropping a watcher ends it
    let _watcher = watcher(&dir, hint);
    let mut last = Ok(seen);
    loop {
        // first of all: what changed between the first loading and the watch
        if let Some((now, outcome)) = look(loader.clone(), last.clone()).await {
            last = now;
            changed(outcome);
        }
        tokio::select! {
            // a closed channel means no watcher: then only the clock wakes
            Some(()) = hints.recv() => settle(&mut hints).await,
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

/// Waits until no event has come for a while.
async fn settle(hints: &mut mpsc::Receiver<()>) {
    for _ in 0..MOST_SETTLES {
        sleep(SETTLE).await;
        if hints.try_recv().is_err() {
            return;
        }
    }
}

/// Which contents were seen last: their digest, or why there was none.
type Seen = Result<Digest, Problems>;

/// Reads the directory; `None`: it is as it was.
#[expect(
    clippy::disallowed_methods,
    reason = "a directory on a network mount can hang, and the \
    threads that serve must not; one look at a time, so the number is bounded"
)]
async fn look(loader: PolicyLoader, last: Seen) -> Option<(Seen, Result<Loaded, Problems>)> {
    let read = tokio::task::spawn_blocking(move || {
        let files = match loader.files() {
            Ok(files) => files,
            Err(problems) if last.as_ref() == Err(&problems) => return None,
            Err(problems) => return Some((Err(problems.clone()), Err(problems))),
        };
        let seen = Ok(files.fingerprint());
        (seen != last).then(|| (seen, loader.load_from(&files)))
    });
    read.await.unwrap_or_else(|why| {
        warn!(%why, "looking at the policies broke off");
        None
    })
}

/// A watcher of `dir`; without one (no more inotify handles) the clock still looks.
fn watcher(dir: &Path, hint: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
            return;
        }
        // full: a hint waits already
        hint.try_send(()).ok();
    };
    let made = notify::recommended_watcher(on_event)
        .and_then(|mut watcher| watcher.watch(dir, RecursiveMode::Recursive).map(|()| watcher));
    match made {
        Ok(watcher) => Some(watcher),
        Err(why) => {
            warn!(dir = %dir.display(), %why, "policies are looked at every 30 s only");
            None
        }
    }
}
