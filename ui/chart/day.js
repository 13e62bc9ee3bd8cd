// The day under the chart: the reject rate of the last 24 hours, and which part of it the chart shows. Drag,
// or arrow keys, move that part.
import { LEFT, RIGHT, pooled } from '/ui/chart/routing.js';
import { clamp, linear, px, roof, through, timeTicks } from '/ui/chart/scale.js';
import { box, draw, stroke, text } from '/ui/chart/svg.js';
import { html } from '/ui/markup.js';
import { between } from '/ui/words.js';

const HEIGHT = 46;
const STRIP = 28;
const LEAST_MS = 300_000;

// Makes `node` a strip. `read()` gives {stats, from, to} (the day's figures and the window shown); `move(from, to)`
// is told where the window shall be. Returns how to draw it.
export function dayStrip(node, { read, move }) {
  let dragged = null;
  const day = () => {
    const { series, bucket_s } = read().stats;
    return [series.start_ms[0], series.start_ms.at(-1) + bucket_s * 1000];
  };
  const show = () => {
    const { stats, from, to } = read();
    if (!stats) return;
    const [first, last] = day();
    const [a, b] = dragged?.window ?? [from, to];
    node.setAttribute('aria-valuetext', between(a, b));
    node.setAttribute('aria-valuemin', first);
    node.setAttribute('aria-valuemax', last);
    node.setAttribute('aria-valuenow', Math.round(clamp(a, first, last)));
    draw(node, {
      height: HEIGHT,
      label: `Reject rate of the last 24 hours; the chart shows ${between(a, b)}`,
      body: width => {
        const right = width - RIGHT;
        const x = moment => clamp(linear(first, last, LEFT, right)(moment), LEFT, right);
        const runs = pooled(
          stats.series.start_ms,
          stats.bucket_s * 1000,
          stats.series.rated,
          stats.series.rejected,
          144,
        ).filter(run => run.n >= 10);
        const high = roof(Math.max(0.02, ...runs.map(run => run.p)));
        const line = runs.map(run => [
          x((run.from + run.to) / 2),
          linear(0, high, STRIP - 3, 3)(run.p),
        ]);
        const wide = Math.max(6, x(b) - x(a));
        return html`${text(0, 18, 'the day', 'q')}${box(LEFT, 0, right - LEFT, STRIP, 'var(--sunk)', 2)}${stroke(through(line), 'var(--ink-3)', 1)}
          <rect x="${px(x(a))}" y="-2" width="${px(wide)}" height="${STRIP + 4}" rx="3" fill="var(--mark)" stroke="var(--ink)"/>
          ${timeTicks(first, last, 6).map(tick => text(x(tick.at), STRIP + 15, tick.text, 'q', 'middle'))}${text(right + 10, 18, 'drag to move', 'q')}`;
      },
    });
  };
  const at = event => {
    const [first, last] = day();
    return linear(
      LEFT,
      node.clientWidth - RIGHT,
      first,
      last,
    )(event.clientX - node.getBoundingClientRect().left);
  };
  const shifted = by => {
    const { from, to } = read();
    const [first, last] = day();
    const span = Math.max(LEAST_MS, Math.min(to, last) - from);
    const begin = clamp(from + by, first, last - span);
    return [begin, begin + span];
  };
  node.addEventListener('pointerdown', event => {
    if (event.button !== 0 || !read().stats) return;
    const { from, to } = read();
    const moment = at(event);
    // a press beside the window takes it there
    const grip = moment >= from && moment <= to ? moment : (from + to) / 2;
    dragged = { grip, window: shifted(moment - grip) };
    node.setPointerCapture(event.pointerId);
    show();
  });
  node.addEventListener('pointermove', event => {
    if (dragged) {
      dragged.window = shifted(at(event) - dragged.grip);
      show();
    }
  });
  node.addEventListener('pointerup', () => {
    if (dragged) {
      const { window } = dragged;
      dragged = null;
      move(...window);
    }
  });
  node.addEventListener('pointercancel', () => {
    dragged = null;
    show();
  });
  node.addEventListener('keydown', event => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way || !read().stats) return;
    event.preventDefault();
    event.stopPropagation();
    const { from, to } = read();
    move(...shifted((way * Math.max(LEAST_MS, to - from)) / 2));
  });
  return show;
}
