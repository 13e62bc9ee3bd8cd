// The rate as served over the rate had the primary judged everything: the gap between them is routing,
// in the colour of the judge that received the images.
import { area, clamp, linear, roof, through, ticks, timeTicks } from '/ui/chart/scale.js';
import { box, fill, line, stroke, text } from '/ui/chart/svg.js';
import { html } from '/ui/markup.js';
import { percent, points, wilson } from '/ui/words.js';

const FOOT = 214;
export const ADJUSTED_HEIGHT = 244;

// `runs`: [{from, to, n, served, rate}] with rates as ratio (rate null: not known); `window`: [from, to];
// `gap`: {served, points}; `tone`, `primaryTone`: colours; `isModelled`: whether the rate is no measurement.
export function adjusted({ runs, from, to, window, gap, primary, tone, primaryTone, isModelled }) {
  return width => {
    const left = 34,
      right = width - 124;
    const x = linear(from, to, left, right);
    const tops = runs.map(run => Math.max(run.served, run.rate ?? 0));
    const high = roof(Math.max(0.02, ...tops) * 1.2);
    const y = value => clamp(linear(0, high, FOOT, 8)(value), 8, FOOT);
    const middle = run => x((run.from + run.to) / 2);
    const grid = ticks(0, high, 4).map(
      v =>
        html`${line(left, y(v), right, y(v))}${text(left - 8, y(v) + 4, Math.round(v * 1000) / 10, 'q', 'end')}`,
    );
    const parts = [
      box(x(window[0]), 0, Math.max(2, x(window[1]) - x(window[0])), FOOT, 'var(--mark)'),
      grid,
    ];
    const ci = run => wilson(run.served * run.n, run.n);
    parts.push(
      fill(
        area(
          runs.map(run => [middle(run), y(ci(run)[1])]),
          runs.map(run => [middle(run), y(ci(run)[0])]),
        ),
        'var(--haze)',
      ),
    );
    const both = runs.filter(run => run.rate !== null);
    if (both.length > 1) {
      parts.push(
        fill(
          area(
            both.map(run => [middle(run), y(run.served)]),
            both.map(run => [middle(run), y(run.rate)]),
          ),
          tone,
          0.4,
        ),
      );
      parts.push(
        stroke(
          through(both.map(run => [middle(run), y(run.rate)])),
          primaryTone,
          2,
          isModelled ? '5 3' : '',
        ),
      );
    }
    parts.push(stroke(through(runs.map(run => [middle(run), y(run.served)])), 'var(--ink)', 2));
    parts.push(
      ...words({ runs, both, x, y, right, width, window, gap, primary, primaryTone, isModelled }),
    );
    for (const tick of timeTicks(from, to, (right - left) / 84))
      parts.push(
        line(x(tick.at), FOOT, x(tick.at), FOOT + 5, 'var(--line-2)'),
        text(x(tick.at), FOOT + 18, tick.text, '', 'middle'),
      );
    return html`${parts}`;
  };
}

function words({ runs, both, x, y, right, window, gap, primary, primaryTone, isModelled }) {
  const inside = runs.filter(run => run.to > window[0] && run.from < window[1]);
  const peak = inside.reduce((top, run) => Math.max(top, run.served), 0);
  const isRoom = right - x(window[1]) > 150;
  const at = isRoom ? x(window[1]) + 8 : x(window[0]) - 8,
    anchor = isRoom ? 'start' : 'end';
  const top = clamp(y(peak) + 4, 20, FOOT - 40);
  const parts = [text(at, top, `served ${percent(gap.served)}`, 'k halo', anchor)];
  if (gap.points !== null && Math.abs(gap.points) >= 5e-3)
    parts.push(text(at, top + 16, `gap ${points(gap.points)} points: routing`, 'i halo', anchor));
  const served = runs.at(-1),
    last = both.at(-1);
  const first = y(served.served);
  parts.push(
    line(right + 1, first, right + 7, first - 6, 'var(--ink)'),
    text(right + 10, first - 4, 'as served', 'k'),
  );
  if (last) {
    const second = y(last.rate);
    parts.push(
      line(right + 1, second, right + 7, first + 9, primaryTone),
      text(right + 10, first + 13, primary, 'i'),
      text(right + 10, first + 26, isModelled ? 'judging all, modelled' : 'judging all', 'q'),
    );
  }
  return parts;
}
