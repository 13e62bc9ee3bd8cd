//! The watch says when the policies' directory may have changed, so that it is read again.
//!
//! The directory is watched and not its files: an editor replaces a file, and a mounted config map
//! is swapped by a link, and either would leave a watch on a file that is gone. Events are hints;
//! what counts is the digest of the contents, which whoever is told takes, and every 30 s there is a
//! hint anyway, since network mounts send no events.

use std::path::Path;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::warn;

use crate::config::PolicyFolder;

/// The contents are compared this often, events or none.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Files change in bursts; they are read when it has been quiet for this long.
const SETTLE: Duration = Duration::from_millis(200);
/// A directory that never is quiet is read after this many settles.
const MOST_SETTLES: u32 = 25;

/// Calls `look` at once, whenever `folder` may have changed, and every 30 s, one call at a time.
/// Never returns; drop it to stop.
pub async fn watch<L: Future<Output = ()>>(folder: &PolicyFolder, mut look: impl FnMut() -> L) {
    let PolicyFolder::At(dir) = folder else {
        // what comes with the program does not change
        return std::future::pending().await;
    };
    let (hint, mut hints) = mpsc::channel(1);
    // held: dropping a watcher ends it
    let _watcher = watcher(dir, hint);
    loop {
        // first of all: what changed between the first loading and the watch
        look().await;
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
