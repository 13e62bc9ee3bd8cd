// How long the first paint of *Now* takes on a store with many made-up records: `node paint.mjs [RECORDS]`,
// with the gate and the simulated providers in VLMGATE_BIN_DIR (else target/debug). Ends with 1 where the
// median misses the promise.
import { Browser, World, ready } from './world.mjs';

// In the page: when the four figures stand on the screen.
function watch() {
  new MutationObserver((_, observer) => {
    if (!document.querySelector('.four .big')) return;
    observer.disconnect();
    requestAnimationFrame(() => {
      globalThis.drawnAt = performance.now();
    });
  }).observe(document, { childList: true, subtree: true });
}

const PROMISED_MS = 500;
const OPENED = 15;
// the days that `seed.py` draws, the begun one counted whole
const DAYS = 10;

const records = Number(process.argv[2] ?? 1_000_000);
const world = await World.start();
const browser = await Browser.start(process.env.CHROMIUM ?? '/usr/bin/chromium');
const median = values => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
try {
  // few findings a record: ten million take 40 GB all the same
  const like = ['--day', String(records / DAYS), '--minute', '240', '--findings', '1'];
  const { n } = await world.seed(...like);
  // a seeding may take longer than the hour that *Now* shows
  for (let image = 0; image < 40; image += 1) await world.check('just-now');
  const figures = { paint: [], drawn: [], question: [] };
  for (let time = 0; time < OPENED; time += 1) {
    const context = await browser.inner.newContext({ viewport: { width: 1440, height: 1000 } });
    await context.addInitScript(watch);
    const page = await context.newPage();
    await page.goto(`${world.url}/ui/`);
    await ready(page, 'now');
    const seen = await page.evaluate(() => [
      performance.getEntriesByName('first-contentful-paint')[0].startTime,
      globalThis.drawnAt,
      // the slowest of what it asked the gate
      Math.max(
        ...performance
          .getEntriesByType('resource')
          .filter(one => new URL(one.name).pathname.startsWith('/v1/') && one.responseEnd !== 0)
          .map(one => one.duration),
      ),
    ]);
    figures.paint.push(seen[0]);
    figures.drawn.push(seen[1]);
    figures.question.push(seen[2]);
    await context.close();
  }
  for (const [name, values] of Object.entries(figures))
    console.log(
      `${name.padEnd(8)} median ${Math.round(median(values))} ms, slowest ${Math.round(Math.max(...values))} ms`,
    );
  console.log(
    `${n} records, opened ${OPENED} times with an empty cache; promised ${PROMISED_MS} ms`,
  );
  process.exitCode = median(figures.drawn) < PROMISED_MS ? 0 : 1;
} finally {
  await browser.close();
  await world.stop();
}
