// What a gate's page says of a stretch of time, as JSON: `node says.mjs URL POLICY SINCE UNTIL`, with the
// browser in CHROMIUM (else /usr/bin/chromium). *Now* is read as somebody sees it who opens it then; *Why* for
// that stretch. Ends with 1 where the page complains, or asks anybody but that gate.
import { Browser, ready } from './world.mjs';

const [url, policy, since, until] = process.argv.slice(2);
if (!until) throw new Error('usage: node says.mjs URL POLICY SINCE UNTIL');

// The words that stand there, in one line each.
const lines = (page, what) =>
  page
    .locator(what)
    .evaluateAll(all => all.map(one => one.innerText.replace(/\s+/g, ' ').trim()));

// The figures of the waterfall, which stand behind it for who does not see it.
const parts = page =>
  page
    .locator('[data-part="fall"] tbody tr')
    .evaluateAll(rows => rows.map(row => [...row.children].map(cell => cell.textContent.trim())));

const browser = await Browser.start(process.env.CHROMIUM ?? '/usr/bin/chromium');
try {
  const now = await browser.open(`${url}/ui/?${new URLSearchParams({ policy })}`);
  await ready(now, 'now');
  const why = await browser.open(`${url}/ui/why?${new URLSearchParams({ policy, since, until })}`);
  await ready(why, 'why');
  const told = {
    now: (await lines(now, '[data-part="say"]')).join(' '),
    events: await lines(now, '[data-part="events"] li'),
    why: (await lines(why, '[data-part="told"]')).join(' '),
    more: (await lines(why, '[data-part="more"]')).join(' '),
    found: await lines(why, '[data-part="found"] li'),
    parts: await parts(why),
    faults: browser.faults,
  };
  console.log(JSON.stringify(told));
  process.exitCode = browser.faults.length ? 1 : 0;
} finally {
  await browser.close();
}
