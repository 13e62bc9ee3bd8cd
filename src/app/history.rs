//! The file in which the judges' speed outlives the process.
//!
//! It is written every ten seconds and when the process drains, whole and beside the old one, which it
//! then replaces. What is older than a day, or damaged, is left aside with a warning: the gate
//! learns anew within a few hundred images.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::{fs, time};

use crate::clock::{Deadline, Timestamp};
use crate::panel::Panel;
use crate::panel::history::History;

/// Between two writes of a few kilobytes. A process that is killed loses what it learnt since: a judge
/// of which nothing is known is given the time of the slowest to show that it is back.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// What is older says nothing of today.
const STALE_AFTER: Duration = Duration::from_secs(86_400);
/// A file larger than this is none of ours.
const MOST_BYTES: u64 = 16 << 20;
/// Longest that reading or writing may hold up the start or the end.
const WITHIN: Duration = Duration::from_secs(1);

/// Takes up what `file` holds, if it is of use.
pub(crate) async fn take_up(panel: &Panel, file: &Path) {
    let shown = file.display();
    match Deadline::after(WITHIN).bound(read(file)).await {
        Ok(Ok(Some(history))) if is_stale(&history) => {
            tracing::info!(file = %shown, "the judges' history is more than a day old: left aside");
        }
        Ok(Ok(Some(history))) => match panel.restore(&history) {
            Ok(judges) => tracing::info!(file = %shown, judges, "took up the judges' history"),
            Err(why) => tracing::warn!(file = %shown, why, "the judges' history is damaged"),
        },
        Ok(Ok(None)) => {}
        Ok(Err(why)) => tracing::warn!(file = %shown, %why, "the judges' history cannot be read"),
        Err(_late) => tracing::warn!(file = %shown, "the judges' history cannot be read in time"),
    }
}

/// Writes what is known now.
pub(crate) async fn keep(panel: &Panel, file: &Path) {
    let shown = file.display();
    match Deadline::after(WITHIN).bound(write(panel, file)).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => tracing::warn!(file = %shown, %why, "the judges' history is not kept"),
        Err(_late) => tracing::warn!(file = %shown, "the judges' history is not kept in time"),
    }
}

/// Writes it again and again. Never returns; drop it to stop.
pub(crate) async fn keep_often(panel: &Panel, file: &Path) {
    loop {
        time::sleep(KEEP_EVERY).await;
        keep(panel, file).await;
    }
}

fn is_stale(history: &History) -> bool {
    Timestamp(history.kept_at_us) < Timestamp::now().before(STALE_AFTER)
}

async fn read(file: &Path) -> io::Result<Option<History>> {
    let size = match fs::metadata(file).await {
        Ok(metadata) => metadata.len(),
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    if MOST_BYTES < size {
        let why = format!("{size} bytes, at most {MOST_BYTES} are expected");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(Some(serde_json::from_slice(&fs::read(file).await?)?))
}

async fn write(panel: &Panel, file: &Path) -> io::Result<()> {
    let history = panel.history(Timestamp::now().0);
    let beside = file.with_extension("json.new");
    fs::write(&beside, serde_json::to_vec(&history)?).await?;
    fs::rename(&beside, file).await
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use crate::panel::script::{ScriptedJudge, answers};

    fn panel() -> Panel {
        Panel::new(vec![Arc::new(ScriptedJudge::new("a", &[answers(1)]))])
    }

    /// A panel that knows something of its judge.
    fn used() -> Panel {
        let (used, known) = (panel(), History::example(Timestamp::now().0));
        used.restore(&known).unwrap();
        used
    }

    #[tokio::test]
    async fn what_was_kept_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("panel.json");
        let before = used();
        keep(&before, &file).await;
        let after = panel();
        take_up(&after, &file).await;
        assert_eq!(after.statuses(), before.statuses());
        assert_eq!(after.statuses()[0].samples, 40);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn what_is_of_no_use_is_left_aside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("panel.json");
        let two_days_ago = Timestamp::now().before(STALE_AFTER * 2);
        let stale = serde_json::to_string(&History::example(two_days_ago.0)).unwrap();
        for text in ["", "{", "[]", &stale, &stale.replace("\"form\":1", "\"form\":2")] {
            std::fs::write(&file, text).unwrap();
            let after = panel();
            take_up(&after, &file).await;
            assert_eq!(after.statuses()[0].samples, 0, "{text}");
        }
        std::fs::remove_file(&file).unwrap();
        take_up(&panel(), &file).await;
        // a folder that is not there is no reason to stop either
        keep(&panel(), &folder.path().join("gone").join("panel.json")).await;
    }
}
