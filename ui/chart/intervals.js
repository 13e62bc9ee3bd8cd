// Intervals in a table: a share with its bounds on 0..1, and a calibration's shift on a scale of points.
import { clamp, linear } from '/ui/chart/scale.js';
import { line } from '/ui/chart/svg.js';
import { html } from '/ui/markup.js';
import { colour } from '/ui/palette.js';
import { FEW, count } from '/ui/words.js';

const WIDE = 300;

// A share with its interval and its n.
export function intervalOf(judge, of) {
  if (of.share === null) return html`<span class="q">none labelled</span>`;
  const isThin = of.n < FEW;
  const tone = isThin ? 'var(--edge)' : colour(judge);
  return html`<span class="cell"><svg width="${WIDE + 4}" height="20" aria-hidden="true">${line(0, 10, WIDE, 10)}${[0, 0.5, 1].map(v => line(v * WIDE, 6, v * WIDE, 14, 'var(--line-2)'))}${line(
    of.low * WIDE,
    10,
    of.high * WIDE,
    10,
    tone,
    3,
  )}<circle cx="${of.share * WIDE}" cy="10" r="4" fill="${tone}" stroke="var(--bg)"/></svg>
    <span class="nowrap ${isThin ? 'thin' : ''}">${of.share.toFixed(2)} <span class="q">${of.low.toFixed(2)} to ${of.high.toFixed(2)}, n ${count(of.n)}</span></span></span>`;
}

const LOW = -0.08;
const HIGH = 0.12;
const x = linear(LOW, HIGH, 6, 264);
const TICKS = [-0.08, -0.04, 0, 0.04, 0.08, 0.12];

// The scale above the column.
export const SHIFT_HEAD = html`<svg width="270" height="30" aria-hidden="true"><text x="0" y="11">shift, points</text>${TICKS.map(v => html`<text x="${x(v)}" y="28" class="q" text-anchor="${v === LOW ? 'start' : v === HIGH ? 'end' : 'middle'}">${v < 0 ? '−' : v > 0 ? '+' : ''}${Math.abs(v * 100)}</text>`)}</svg>`;

// Where a judge stands against the primary, under the line that it has.
export function shift(one, isThin) {
  const at = value => x(clamp(value, LOW, HIGH));
  const tone = isThin ? 'var(--edge)' : colour(one.judge);
  const grid = TICKS.map(v => line(x(v), 2, x(v), 18, v ? 'var(--line)' : 'var(--edge)'));
  const present = html`${line(at(one.present.low), 10, at(one.present.high), 10, tone, 2)}<circle cx="${at(one.present.effect)}" cy="10" r="4" fill="${tone}" stroke="var(--bg)"/>`;
  return html`<svg width="270" height="20" aria-hidden="true">${grid}${present}</svg>`;
}
