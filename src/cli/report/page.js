// The report's pictures: the page's own charts over the figures that stand in the file.
import { effects, effectsHeight } from '/ui/chart/effects.js';
import { evidence, evidenceHeight, multiple } from '/ui/chart/evidence.js';
import { fall, fallHeight } from '/ui/chart/fall.js';
import { HEIGHT, gathered, pooled, routing } from '/ui/chart/routing.js';
import { roof } from '/ui/chart/scale.js';
import { SPARK_HEIGHT, spark } from '/ui/chart/spark.js';
import { draw } from '/ui/chart/svg.js';
import { html, paint } from '/ui/markup.js';
import { deal, judge } from '/ui/palette.js';
import { effectRows, evidenceRows, fallRows } from '/ui/reading.js';
import { between, list, percent, points, pointsRange, useUtc } from '/ui/words.js';

// Under the axis the page keeps room to ask about a window; here nobody asks.
const TAB_PX = 28;

// Paper is as wide as this, whatever the window was.
const PAPER_PX = 980;

const { stats, drift, judges, deadline_ms } = JSON.parse(
  document.getElementById('figures').textContent,
);
useUtc();
deal(judges);

const bucketMs = stats.bucket_s * 1000;
const range = {
  from: Date.parse(stats.since),
  to: stats.series.start_ms.at(-1) + bucketMs,
};
const node = name => document.querySelector(`[data-chart="${name}"]`);

function drawNumbers() {
  const { series } = stats;
  const at = values => series.start_ms.map((start, place) => [start + bucketMs / 2, values[place]]);
  const tops = values => Math.max(0, ...values.map(([, value]) => value ?? 0));
  const rejects = gathered(
    pooled(series.start_ms, bucketMs, series.rated, series.rejected, 60),
    60,
  ).map(one => [(one.from + one.to) / 2, one.p]);
  let spent = 0;
  const money = at(
    series.cost_micro_usd.map(cost => {
      spent += cost;
      return spent;
    }),
  );
  const n = at(series.n);
  const p95 = at(series.p95_ms);
  const cells = [
    ['Verdicts over time', { points: n, high: roof(Math.max(1, tops(n))) }],
    [
      'p95 over time',
      {
        points: p95,
        high: deadline_ms ?? roof(Math.max(1, tops(p95))),
        rule: deadline_ms ? { at: deadline_ms, text: 'deadline' } : undefined,
      },
    ],
    [
      'Reject rate over time',
      {
        points: rejects,
        high: roof(Math.max(0.02, tops(rejects)) * 1.2),
        peak: value => (value * 100).toFixed(1),
      },
    ],
    ['Spent over time', { points: money, high: roof(Math.max(spent, 1)), filled: true }],
  ];
  cells.forEach(([label, of], place) => {
    const cell = document.querySelector(`[data-spark="${place}"]`);
    draw(cell, { height: SPARK_HEIGHT, label, body: spark({ ...of, ...range }) });
  });
}

function drawRouting() {
  if (!stats.total.n) return;
  const served = stats.judges.filter(one => one.served.count);
  draw(node('routing'), {
    height: HEIGHT - TAB_PX,
    label: `Share of images and reject rate by judge: ${list(
      served.map(one => `${one.judge} ${percent(one.served.share ?? 0)}`),
    )}`,
    body: routing({ stats, ...range, chosen: null, href: '' }),
  });
}

function drawFall() {
  const place = node('fall');
  if (!place) return;
  const rows = fallRows(drift, {
    from: Date.parse(drift.after.since),
    to: Date.parse(drift.after.until),
  });
  draw(place, {
    height: fallHeight(rows),
    label: rows
      .map(
        row => `${row.name} ${row.total === undefined ? points(row.effect) : percent(row.total)}`,
      )
      .join(', '),
    body: fall(rows),
  });
  const shown = effectRows(drift);
  draw(node('effects'), {
    height: effectsHeight(shown),
    label: shown
      .map(row => `${row.name} ${points(row.effect)} (${pointsRange(row.low, row.high)})`)
      .join(', '),
    body: effects(shown),
  });
}

function drawEvidence() {
  const place = node('evidence');
  if (!place) return;
  const rows = evidenceRows(drift.evidence);
  draw(place, {
    height: evidenceHeight(rows),
    label: `Evidence ${between(range.from, range.to)}: ${rows
      .map(row => `${row.name} peaks at ${multiple(row.peak)}`)
      .join(', ')}; the alarm is at 1`,
    body: evidence({ rows, ...range, window: [range.from, range.from] }),
  });
}

// Every judge with its colour, once: on paper no chart can be pointed at.
function drawNames() {
  paint(node('names'), html`${judges.map(name => html`${judge(name)} `)}`);
}

function drawAll() {
  drawNumbers();
  drawNames();
  drawRouting();
  drawFall();
  drawEvidence();
}

document.body.classList.add('is-drawn');
drawAll();
let width = innerWidth;
addEventListener('resize', () => {
  if (width === innerWidth) return;
  width = innerWidth;
  drawAll();
});

// Paper is light and of one width; afterwards all is as it was.
let theme = null;
let opened = [];
addEventListener('beforeprint', () => {
  opened = [...document.querySelectorAll('details:not([open])')];
  for (const one of opened) one.open = true;
  theme = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = 'light';
  document.body.style.width = `${PAPER_PX}px`;
  drawAll();
});
addEventListener('afterprint', () => {
  for (const one of opened) one.open = false;
  document.documentElement.dataset.theme = theme ?? 'light';
  document.body.style.width = '';
  drawAll();
});
