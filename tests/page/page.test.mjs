// The page in a browser, over a real gate with simulated providers.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Browser, World, ready, serious, until } from './world.mjs';

const VIEWS = {
  now: '/ui/',
  why: '/ui/why',
  verdicts: '/ui/verdicts',
  review: '/ui/review',
  judges: '/ui/judges',
};
const FLAWLESS = {};
const BAD = { cutout: 0.2 };
const DOUBTFUL = { contact_shadow: 0.2 };

let browser, world, outage;

before(async () => {
  browser = await Browser.start(process.env.CHROMIUM ?? '/usr/bin/chromium');
  world = await World.start();
});

after(async () => {
  await browser?.close();
  await world?.stop();
  await outage?.world.stop();
});

// A gate with a made-up week and an hour with a failover, made once.
async function failover() {
  if (!outage) {
    outage = { world: await World.start() };
    outage.said = await outage.world.seed('--day', '2500', '--minute', '500');
  }
  return outage;
}

const ids = page =>
  page.locator('tr[data-id]').evaluateAll(rows => rows.map(row => row.dataset.id));

test('an empty gate says in every view what to do next', async () => {
  for (const [view, path] of Object.entries(VIEWS)) {
    const page = await browser.open(world.url + path);
    await ready(page, view);
    const text = await page.locator('main').innerText();
    const says = {
      now: /No verdicts in this window[\s\S]*vlmgate check/,
      why: /needs 30 verdicts|Too few/i,
      verdicts: /No verdict matches/,
      review: /Nothing waits for a person/,
      judges: /Too few pairs|one judge/i,
    }[view];
    assert.match(text, says, view);
    assert.deepEqual(await serious(page), [], view);
    await page.context().close();
  }
});

test('a reject appears live', async () => {
  await world.judge(FLAWLESS);
  await world.check('passes');
  const page = await browser.open(`${world.url}/ui/verdicts`);
  await ready(page, 'verdicts');
  await page.locator('tr[data-id]').first().waitFor();
  await page.evaluate(() => {
    globalThis.neverReloaded = true;
  });
  await world.judge(BAD);
  const verdict = await world.check('rejected-live');
  assert.equal(verdict.verdict, 'fail');
  const row = page.locator(`tr[data-id="${verdict.id}"]`);
  await row.waitFor({ timeout: 25_000 });
  assert.match(await row.innerText(), /rejected-live[\s\S]*fail[\s\S]*cutout/);
  assert.equal(await page.evaluate(() => globalThis.neverReloaded), true);
  await page.context().close();
});

test('what a caller says never becomes markup', async () => {
  await world.judge(FLAWLESS);
  const name = '<img src=x onerror="globalThis.broken=1"><b>bold</b>';
  const { id } = await world.check(name);
  const page = await browser.open(`${world.url}/ui/verdicts?id=${id}`);
  await page.locator('.facts').waitFor();
  assert.match(
    await page.locator('.facts').innerText(),
    /<img src=x onerror="globalThis\.broken=1"><b>bold<\/b>/,
  );
  assert.match(await page.locator(`tr[data-id="${id}"]`).innerText(), /<b>bold<\/b>/);
  assert.equal(await page.evaluate(() => globalThis.broken), undefined);
  await page.context().close();
});

test('filter, open, reload: the same view', async () => {
  await world.judge(BAD);
  await world.check('fails-again');
  await world.judge(FLAWLESS);
  await world.check('passes-again');
  const page = await browser.open(`${world.url}/ui/verdicts`);
  await ready(page, 'verdicts');
  const all = await until('rows', async () => {
    const found = await ids(page);
    return found.length > 2 && found;
  });
  await page.locator('[data-filter="verdict"][data-value="fail"]').check();
  const few = await until('fewer rows', async () => {
    const found = await ids(page);
    return found.length < all.length && found;
  });
  await page.locator('tr[data-id]').first().click();
  await page.locator('.drawer .criterion').first().waitFor();
  await page.locator('.drawer img[src^="blob:"]').waitFor();
  const seen = async () => ({
    url: page.url(),
    rows: await ids(page),
    filter: await page.locator('[data-filter="verdict"][data-value="fail"]').isChecked(),
    open: await page.locator('tr[aria-selected]').getAttribute('data-id'),
    facts: await page.locator('.facts').innerText(),
  });
  const earlier = await seen();
  assert.deepEqual(earlier.rows, few);
  await page.reload();
  await page.locator('.drawer .criterion').first().waitFor();
  await until('the rows', async () => (await ids(page)).length === few.length);
  assert.deepEqual(await seen(), earlier);
  await page.keyboard.press('Escape');
  await until('the drawer to close', async () => page.locator('.drawer').isHidden());
  await page.goBack();
  await page.context().close();
});

test('review by keyboard only', async () => {
  await world.judge(DOUBTFUL);
  const verdicts = [];
  for (const name of ['doubt-1', 'doubt-2', 'doubt-3']) verdicts.push(await world.check(name));
  assert.deepEqual(
    verdicts.map(one => one.verdict),
    ['review', 'review', 'review'],
  );
  const page = await browser.open(`${world.url}/ui/`);
  await ready(page, 'now');
  await page.keyboard.press('g');
  await page.keyboard.press('r');
  await ready(page, 'review');
  const current = async () => new URL(page.url()).searchParams.get('id');
  const labels = async id =>
    (await world.get(`/v1/verdicts/${id}/labels`)).labels.map(one => [one.label, one.criterion]);
  await page.locator('.queue li').nth(2).waitFor();
  const kinds = await page.locator('.queue li button > span').allInnerTexts();
  assert.match(kinds[0], /^review/);
  assert.ok(
    kinds.some(one => /^sampled fail\s+one of the newest/.test(one)),
    `plain fails of the tests before stand behind the reviews: ${JSON.stringify(kinds)}`,
  );
  await page.keyboard.press('j');
  await page.keyboard.press('k');
  const first = await until('the first', current);
  await page.keyboard.press('p');
  await until('the first label', async () => (await labels(first)).length === 1);
  const second = await until('the second', async () => {
    const id = await current();
    return id !== first && id;
  });
  await page.keyboard.press('1');
  await page.locator('.criterion-ask.is-marked b', { hasText: 'cutout' }).waitFor();
  await page.keyboard.press('r');
  await until('the second label', async () => (await labels(second)).length === 1);
  assert.deepEqual(
    [await labels(first), await labels(second)],
    [[['ok', null]], [['defect', 'cutout']]],
  );
  await page.keyboard.press('u');
  await until(
    'the label taken back',
    async () => (await labels(second)).at(-1)?.[0] === 'withdrawn',
  );
  assert.equal(await current(), second);
  await page.keyboard.press('b');
  await page.locator('.why-here', { hasText: 'Blind' }).waitFor();
  assert.equal(new URL(page.url()).searchParams.get('blind'), '1');
  await page.keyboard.press('b');
  await page.keyboard.press('z');
  await page.locator('.pic-place.is-zoomed').waitFor();
  await page.keyboard.press('?');
  await page.locator('[role=dialog]', { hasText: 'take the last answer back' }).waitFor();
  await page.keyboard.press('Escape');
  await until('the keys to close', async () => (await page.locator('[role=dialog]').count()) === 0);
  await page.context().close();
});

test('axe finds nothing serious on any view, light and dark', async () => {
  for (const theme of ['light', 'dark']) {
    for (const [view, path] of Object.entries(VIEWS)) {
      const page = await browser.open(world.url + path, { theme });
      await ready(page, view);
      if (view === 'verdicts') {
        await page.locator('tr[data-id]').first().click();
        await page.locator('.drawer .criterion').first().waitFor();
      }
      assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), theme);
      assert.deepEqual(await serious(page), [], `${view}, ${theme}`);
      await page.context().close();
    }
  }
});

test('a window is chosen and asked about by keyboard only', async () => {
  const page = await browser.open(`${world.url}/ui/`);
  await ready(page, 'now');
  await page.locator('[data-part="chart"]').focus();
  for (const key of ['ArrowLeft', 'Shift+ArrowLeft', 'Shift+ArrowLeft'])
    await page.keyboard.press(key);
  const href = await page.locator('[data-key="ask"]').getAttribute('href');
  await page.keyboard.press('Enter');
  await ready(page, 'why');
  assert.equal(page.url(), world.url + href);
  assert.match(page.url(), /since=.*until=/);
  await page.context().close();
});

test('a gate with keys asks for one, once, and keeps it for the tab alone', async () => {
  const locked = await World.start({ keys: ['open-sesame'] });
  try {
    await locked.judge(BAD);
    const { id } = await locked.check('behind-a-key');
    const page = await browser.open(`${locked.url}/ui/verdicts`, { isAsking: true });
    const field = page.locator('input[name=key]');
    await field.fill('wrong');
    await page.keyboard.press('Enter');
    await page.locator('[role=dialog]', { hasText: 'Nobody has the key' }).waitFor();
    await field.fill('open-sesame');
    await page.keyboard.press('Enter');
    await page.locator(`tr[data-id="${id}"]`).click();
    await page.locator('.drawer img[src^="blob:"]').waitFor();
    await page.reload();
    await page.locator(`tr[data-id="${id}"]`).waitFor();
    assert.equal(await field.count(), 0);
    assert.deepEqual(await page.evaluate(() => [Object.keys(localStorage), document.cookie]), [
      [],
      '',
    ]);
    await page.context().close();
  } finally {
    await locked.stop();
  }
});

test('a failover is told as routing in one sentence, with its size and no judge to blame', async () => {
  const { world: gate, said } = await failover();
  const page = await browser.open(`${gate.url}/ui/why?since=${said.began}&until=${said.ended}`);
  await ready(page, 'why');
  const told = await page.locator('.told').innerText();
  // routing may be a little more than the whole change: then both are told with their signs
  const part = /^(\d+\.\d) of (\d+\.\d) points are routing: (\d+).% of images went to claude-haiku/;
  const more =
    /^\+(\d+\.\d) points, of a change of \+(\d+\.\d), are routing: (\d+).% of images went to claude-haiku/;
  const [routing, total, share] = (part.exec(told) ?? more.exec(told) ?? assert.fail(told))
    .slice(1)
    .map(Number);
  const truth = 100 * said.routing;
  assert.ok(Math.abs(routing - truth) < 1.2, `${told}; the truth is ${truth}`);
  assert.ok(Math.abs(total - truth) < 2 && Math.abs(share - 41) < 5, told);
  assert.match(
    await page.locator('.told-more').innerText(),
    /No judge is to blame, none measurably changed/,
  );
  for (const [view, path] of Object.entries(VIEWS)) {
    for (const theme of ['light', 'dark']) {
      const own = await browser.open(gate.url + path, { theme });
      await ready(own, view);
      if (view === 'verdicts') await own.locator('tr[data-id]').first().click();
      assert.deepEqual(await serious(own), [], `${view}, ${theme}`);
      await own.context().close();
    }
  }
  const list = await browser.open(
    `${gate.url}/ui/verdicts?since=${said.began}&until=${said.ended}`,
  );
  await ready(list, 'verdicts');
  await list.locator('[data-filter="route"][data-value="failover"]').check();
  await list.locator('[data-filter="failed"][data-value="edge_artifacts"]').check();
  await until('the failed-over rejects', async () => {
    const rows = await list.locator('tr[data-id]').allInnerTexts();
    return rows.length > 3 && rows.every(row => /failover/.test(row) && /edge_artifacts/.test(row));
  });
  assert.match(list.url(), /route=failover&failed=edge_artifacts/);
  await list.context().close();
  const now = await browser.open(`${gate.url}/ui/`);
  await ready(now, 'now');
  assert.match(await now.locator('.say').innerText(), /% of images went to claude-haiku/);
  await page.context().close();
  await now.context().close();
});

test('shadows were no pairs, and were told as second opinions on doubtful images', async () => {
  const { world: gate } = await failover();
  const { agreement } = await gate.get('/v1/drift?policy=product-photo');
  const shadows = agreement.filter(one => one.route === 'shadow');
  assert.ok(shadows.length > 0 && shadows.every(one => one.n > 0), JSON.stringify(agreement));
  const page = await browser.open(`${gate.url}/ui/judges?policy=product-photo`);
  await ready(page, 'judges');
  const matrix = await page.locator('[data-part="matrix"]').innerText();
  for (const { n } of shadows) assert.ok(matrix.includes(n.toLocaleString('en')), `${n}: ${matrix}`);
  assert.doesNotMatch(matrix, /doubtful/);
  assert.deepEqual(await serious(page), []);
  await page.context().close();
});

test('what the loser of a hedge says, and the money of the day, are told', async t => {
  const gate = await World.start({ behind: 'losers: { share: 100%, per_day: 1 USD }\n' });
  t.after(() => gate.stop());
  await gate.judge(FLAWLESS);
  const now = await browser.open(`${gate.url}/ui/`);
  await ready(now, 'now');
  for (let n = 0; n < 12; n += 1) await gate.check(`quick-${n}`);
  await gate.slow('openai', 3000);
  const verdict = await gate.check('slow');
  assert.equal(verdict.route, 'hedge', JSON.stringify(verdict.attempts));
  await until('what the loser said', async () => (await gate.get('/v1/drift')).hedges.length);
  const { behind_verdicts: budgets } = await gate.get('/v1/budgets');
  const spent = budgets[0].spent_micro_usd;
  assert.ok(spent > 0 && spent < 10_000, JSON.stringify(budgets));
  const line = now.locator('[data-part="budgets"]');
  const tells = async words => {
    const told = (await line.innerText()).match(words);
    return told !== null && Math.abs(Number(told[1]) * 1e6 - spent) < spent / 10;
  };
  await until('the money', () =>
    tells(/^Spent behind verdicts today, UTC: losers of hedges \$(0\.00\d+) of \$1\.00\.$/),
  );
  const broken = { status: 503, contentType: 'application/json', body: '{"title":"no"}' };
  await now.route('**/v1/budgets', route => route.fulfill(broken));
  await now.reload();
  await ready(now, 'now');
  assert.ok(await now.locator('[data-part="four"]').isVisible(), 'the figures stand without it');
  assert.ok(await line.isHidden());
  const two = policy => ({ ...budgets[0], policy });
  const several = { day: '2026-01-01', behind_verdicts: [two('one'), two('other')] };
  // the browser says so, and that is all that it may say
  const said = browser.faults.splice(0).filter(fault => !/ 503 .*\/v1\/budgets/.test(fault));
  assert.deepEqual(said, []);
  await now.unroute('**/v1/budgets');
  await now.route('**/v1/budgets', route => route.fulfill({ json: several }));
  await now.reload();
  await until('whose money it is', () =>
    tells(/: one: losers of hedges \$(0\.00\d+) of \$1\.00 and other: losers of hedges \$/),
  );
  const page = await browser.open(`${gate.url}/ui/judges`);
  await ready(page, 'judges');
  assert.equal(
    await page.locator('[data-hedge]').innerText(),
    `Only 1 verdict was won by a hedge of ${verdict.judge.name} and judged by openai-mini too: too few to compare.`,
  );
  assert.deepEqual(await serious(page), []);
  assert.deepEqual(await serious(now), []);
  await page.context().close();
  await now.context().close();
});

test('what was told of the images is seen on Why, and then it is told no more', async t => {
  const gate = await World.start();
  t.after(() => gate.stop());
  await gate.seed('--day', '400', '--minute', '20', '--risky', '22');
  const told = async () => (await gate.get('/v1/drift')).watch.told.map(one => one.detector);
  await until('the images to be told', async () => (await told()).includes('input'), 60_000);
  const page = await browser.open(`${gate.url}/ui/why?since=30m`);
  await ready(page, 'why');
  const stands = page.locator('.stands');
  assert.match(await stands.innerText(), /Told of the images, and not seen yet/);
  assert.deepEqual(await serious(page), []);
  // who may not is told why, and nothing changes
  await page.evaluate(() => {
    const real = globalThis.fetch;
    globalThis.fetch = (path, options) => {
      if (!String(path).startsWith('/admin')) return real(path, options);
      globalThis.fetch = real;
      const problem = JSON.stringify({ detail: 'the key has no role admin' });
      const headers = { 'content-type': 'application/problem+json' };
      return Promise.resolve(new Response(problem, { status: 403, headers }));
    };
  });
  const said = page.locator('[data-part="said"]');
  await stands.getByRole('button', { name: 'Seen, watch on' }).click();
  await until('the refusal', async () => /no role admin/.test(await said.innerText()));
  assert.equal((await told()).includes('input'), true);
  // what takes days is asked twice, and by keyboard only
  const focused = () => page.evaluate(() => document.activeElement.textContent);
  await stands.getByRole('button', { name: 'This is the new normal' }).focus();
  await page.keyboard.press('Enter');
  assert.match(await stands.innerText(), /For 7 days and 2,000 verdicts at least nothing is watched/);
  assert.equal(await focused(), 'Learn it anew');
  assert.deepEqual(await serious(page), []);
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  assert.match(await focused(), /This is the new normal/);
  await page.keyboard.press('Shift+Tab');
  assert.equal(await focused(), 'Seen, watch on');
  await page.keyboard.press('Enter');
  await until('what stood to go', async () => stands.isHidden());
  assert.match(await said.innerText(), /^Seen: it is watched again from here/);
  assert.equal((await told()).includes('input'), false);
  const now = await browser.open(`${gate.url}/ui/?since=30m`);
  await ready(now, 'now');
  const seen = /seen by anonymous, watched again: the images/;
  await until('the mark', async () => seen.test(await now.locator('main').innerText()));
  for (const one of [page, now]) await one.context().close();
});

test('a report opens from a disk, draws its charts and asks nobody, in light, dark and on paper', async () => {
  const { world: gate, said } = await failover();
  const url = gate.report('--since', said.began, '--until', said.ended);
  for (const theme of ['light', 'dark']) {
    const page = await browser.open(url, { theme });
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), theme);
    for (const name of ['routing', 'fall', 'evidence']) {
      const marks = page.locator(`[data-chart="${name}"] svg`).locator('path, line, rect');
      assert.ok((await marks.count()) > 8, `${name} is drawn`);
    }
    assert.equal(await page.locator('[data-spark] svg').count(), 4);
    assert.match(await page.locator('.told').innerText(), /routing[\s\S]*went to claude-haiku/);
    // which of the two is said is for the interval to decide, and it stands beside
    const more = await page.locator('.told-more').innerText();
    const [low, high] = /([−+]?\d+\.\d) to ([−+]?\d+\.\d)/
      .exec(more)
      .slice(1)
      .map(text => Number(text.replace('−', '-')));
    const widest = Math.max(-low, high);
    if (widest <= 2) assert.match(more, widest < 2 ? /none measurably changed/ : /none|too few/);
    else assert.match(more, /too few images tell/);
    assert.match(await page.locator('.sim').innerText(), /simulated/);
    for (const details of await page.locator('details').all())
      await details.evaluate(node => {
        node.open = true;
      });
    assert.deepEqual(await serious(page), [], theme);
    assert.ok((await page.pdf({ format: 'A4' })).length > 20_000, 'it can be printed');
    await page.context().close();
  }
  const bare = await browser.open(url, { hasScript: false });
  assert.match(await bare.locator('.told').innerText(), /went to claude-haiku/);
  assert.ok((await bare.locator('tbody tr').count()) > 12, 'its tables stand without the script');
  await bare.context().close();
});

// last: what every page of the tests above did
test('no page complained, and none asked anybody else', () => {
  assert.deepEqual(browser.faults, []);
});
