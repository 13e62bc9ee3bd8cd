//! Work that is done for ever, whatever it breaks over.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time;

use crate::clock::Stopwatch;
use crate::telemetry;

/// Between two starts after it broke …
const PAUSE: Duration = Duration::from_secs(1);
/// … which grows up to this; who worked for longer begins with the shortest again.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// Runs `work` for ever. If it breaks it goes on with what it has, after a pause that grows: an
/// image that breaks it each time must not keep a core busy.
pub(super) async fn again<W: Send>(
    work: &mut W,
    run: for<'a> fn(&'a mut W) -> BoxFuture<'a, Infallible>,
) -> Infallible {
    let mut pause = PAUSE;
    loop {
        let watch = Stopwatch::start();
        let Err(_panic) = AssertUnwindSafe(run(work)).catch_unwind().await;
        if LONGEST_PAUSE < watch.elapsed() {
            pause = PAUSE;
        }
        tracing::error!(?pause, "the work behind verdicts panicked: nobody is asked meanwhile");
        telemetry::count_panic();
        time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::clock::Deadline;

    /// Breaks over some images, and then has nothing to do.
    fn look_at(images: &mut Vec<bool>) -> BoxFuture<'_, Infallible> {
        let work = async {
            while let Some(is_broken) = images.pop() {
                assert!(!is_broken, "over an image");
            }
            std::future::pending().await
        };
        work.boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_breaks_over_an_image_goes_on_with_the_others() {
        let mut images = vec![true, false, true];
        let hour = Deadline::after(Duration::from_hours(1));
        assert!(hour.bound(again(&mut images, look_at)).await.is_err(), "it never ends");
        assert_eq!(images, Vec::<bool>::new(), "every image had its turn");
    }
}
