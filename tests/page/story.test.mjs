// The page's sentences, of made-up figures: the page's own module is asked what it says.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Browser, World } from './world.mjs';

let browser, world;

before(async () => {
  browser = await Browser.start(process.env.CHROMIUM ?? '/usr/bin/chromium');
  world = await World.start();
});

after(async () => {
  await browser?.close();
  await world?.stop();
});

test('more of a change than all of it was told as a part of it', async () => {
  const page = await browser.open(`${world.url}/ui/`);
  const told = (own, total = 0.019) =>
    page.evaluate(
      async ([effect, all]) => {
        const { size } = await import('/ui/story.js');
        const change = { total: { effect: all }, parts: [{ cause: 'routing', effect }] };
        return size({ label: 'routing', change });
      },
      [own, total],
    );
  assert.match(await told(0.015), /moved by \+1\.9 points, \+1\.5 of them routing\.$/);
  assert.match(await told(0.036), /moved by \+1\.9 points; routing alone is worth \+3\.6\.$/);
  assert.match(await told(-0.015, -0.019), /moved by −1\.9 points, −1\.5 of them routing\.$/);
  assert.match(await told(0.015, -0.019), /moved by −1\.9 points; routing alone is worth \+1\.5/);
  await page.context().close();
});

test('lines that served none before were told of nowhere', async () => {
  const page = await browser.open(`${world.url}/ui/`);
  const told = (unseen, judges) =>
    page.evaluate(
      async ([unseen_share, rows]) => {
        const { unseen } = await import('/ui/story.js');
        const own = ([judge, before, after]) => ({
          judge,
          share_before: { count: before },
          share_after: { count: after, share: after / 1000 },
        });
        return unseen({ change: { unseen_share }, judges: rows.map(own) });
      },
      [unseen, judges],
    );
  const known = [['openai-mini', 9000, 1000]];
  assert.equal(await told(0.1, known), null);
  assert.match(await told(0.6, known), /^60\s% of the images were judged as none was in the time/);
  const fresh = [
    ['openai-mini', 9000, 500],
    ['new', 0, 500],
  ];
  assert.match(await told(0.5, fresh), /^50\s% of the images went to new, which judged none[^%]+$/);
  assert.match(await told(1, fresh), /went to new[\s\S]*50\s% of the images were judged as none was/);
  await page.context().close();
});

// What the page answers, a line each, of changes by `total` whose parts are worth what `worth` says.
async function answered(page, cases) {
  const lines = await page.evaluate(async all => {
    const { answer } = await import('/ui/story.js');
    const causes = ['input', 'routing', 'policy', 'within'];
    const part = (cause, effect) => ({ cause, effect, low: effect - 0.01, high: effect + 0.01 });
    return all.map(({ label, total, worth = {}, moved = null }) => {
      const parts = causes.map(cause => part(cause, worth[cause] ?? 0));
      const drift = {
        label,
        change: { total: part(null, total), parts },
        judges: [
          {
            judge: 'openai-mini',
            moved: moved === null ? null : { effect: moved },
            share_before: { share: 0.016 },
            share_after: { share: 0.41 },
          },
        ],
        after: { first_reject: { n: 4000 } },
      };
      const { lead, rest } = answer(drift, { from: 50_520_000, to: 50_880_000 });
      return `${lead} ${rest}`;
    });
  }, cases);
  return lines.map(line => line.replaceAll('\u00a0', ' '));
}

test('a rate that fell was told as harder images and as more rejects', async () => {
  const page = await browser.open(`${world.url}/ui/`);
  const both = (label, total, worth, moved = null) =>
    [1, -1].map(sign => ({
      label,
      total: sign * total,
      worth: Object.fromEntries(Object.entries(worth).map(([cause, own]) => [cause, sign * own])),
      moved: moved === null ? null : sign * moved,
    }));
  const told = await answered(page, [
    ...both('input_drift', 0.04, { within: 0.038, input: 0.002 }),
    ...both('input_drift', 0.04, { within: 0.001, input: 0.039 }),
    ...both('provider_drift:openai-mini', 0.04, { within: 0.04 }, 0.05),
    ...both('provider_drift:openai-mini', 0.04, { within: 0.04 }),
    ...both('policy_change', 0.04, { policy: 0.035 }),
    ...both('mixed_drift', 0.04, { input: 0.03, within: 0.01 }),
  ]);
  assert.deepEqual(told, [
    'The images got harder: every judge rejects more, 3.8 points in all.',
    'The images got easier: every judge rejects fewer, 3.8 points in all.',
    'The images got harder: every judge rejects more, 3.9 points in all.',
    'The images got easier: every judge rejects fewer, 3.9 points in all.',
    'openai-mini itself changed: it rejects 5.0 points more than it did; the others do not.',
    'openai-mini itself changed: it rejects 5.0 points fewer than it did; the others do not.',
    'openai-mini itself changed: it rejects 4.0 points more than it did; the others do not.',
    'openai-mini itself changed: it rejects 4.0 points fewer than it did; the others do not.',
    'The policy moved it: a revision is worth +3.5 points.',
    'The policy moved it: a revision is worth −3.5 points.',
    '+4.0 points, from more than one cause: harder images +3.0 and the judges themselves +1.0.',
    '−4.0 points, from more than one cause: easier images −3.0 and the judges themselves −1.0.',
  ]);
  await page.context().close();
});

test('routing that moved the rate down says that it did', async () => {
  const page = await browser.open(`${world.url}/ui/`);
  const [up, down, against] = await answered(page, [
    { label: 'routing', total: 0.031, worth: { routing: 0.028 } },
    { label: 'routing', total: -0.031, worth: { routing: -0.028 } },
    { label: 'routing', total: -0.005, worth: { routing: -0.028, within: 0.023 } },
  ]);
  assert.match(up, /^2\.8 of 3\.1 points are routing: 41 % of images went to openai-mini/);
  assert.match(down, /^Of 3\.1 points fewer, 2\.8 are routing: 41 % of images went to openai-mini/);
  assert.match(against, /^−2\.8 points, of a change of −0\.5, are routing: 41 % of images/);
  await page.context().close();
});

test('an event is named by which way the rate moved, and keeps its sign', async () => {
  const page = await browser.open(`${world.url}/ui/`);
  const told = await page.evaluate(async () => {
    const { event, label } = await import('/ui/story.js');
    const mark = (name, severity, moved) =>
      event({
        kind: 'drift',
        at: '2026-11-23T14:02:00Z',
        text: `${name}: ${moved} since 23 Nov 14:02:04 UTC, known at 23 Nov 14:02:34 UTC`,
        detail: { label: name, severity },
      }).words.toString();
    return {
      marks: [
        mark('input_drift', 'notice', '+5.5 points (−1.5 to +9.5)'),
        mark('input_drift', 'warn', '−6.1 points (−9.5 to −2.7)'),
        mark('input_drift', 'info', '0.0 points (−0.1 to +0.1)'),
        mark('provider_drift:openai-mini', 'warn', '−5.0 points (−6.5 to −3.5)'),
        mark('routing', 'warn', '−3.1 points (−3.8 to −2.5)'),
      ],
      labels: [0.05, -0.05, undefined].map(effect => label('input_drift', effect)),
    };
  });
  assert.deepEqual(told.marks, [
    '<b>harder images</b>, notice: +5.5 points (−1.5 to +9.5)',
    '<b>easier images</b>, warn: −6.1 points (−9.5 to −2.7)',
    '<b>other images</b>, info: 0.0 points (−0.1 to +0.1)',
    '<b>openai-mini itself</b>, warn: −5.0 points (−6.5 to −3.5)',
    '<b>routing</b>, warn: −3.1 points (−3.8 to −2.5)',
  ]);
  assert.deepEqual(told.labels, ['harder images', 'easier images', 'other images']);
  await page.context().close();
});
