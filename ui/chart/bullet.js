// Bullets: a score against its line, with the band around the line in which the judge is not sure.
import { clamp } from '/ui/chart/scale.js';
import { box, line } from '/ui/chart/svg.js';
import { html } from '/ui/markup.js';

// One score on a track `width` wide.
export function bullet(score, passAt, band, width = 300) {
  const x = value => clamp(value, 0, 1) * width;
  const bar =
    score === null ? '' : box(0, 8, x(score), 4, score < passAt ? 'var(--fail)' : 'var(--ink-2)');
  return html`<svg class="bullet" viewBox="0 0 ${width} 20" preserveAspectRatio="none" aria-hidden="true">${box(0, 4, width, 12, 'var(--sunk)')}${
    band ? box(x(passAt - band), 4, x(passAt + band) - x(passAt - band), 12, 'var(--line-2)') : ''
  }${bar}${line(x(passAt), 1, x(passAt), 19, 'var(--ink)', 2)}</svg>`;
}

// The same, small enough for a row.
export function mini(score, passAt) {
  const x = value => clamp(value, 0, 1) * 52;
  return html`<svg width="52" height="18" aria-hidden="true">${box(0, 6, 52, 6, 'var(--sunk)')}${box(0, 7.5, x(score), 3, 'var(--ink-2)')}${line(
    x(passAt),
    3,
    x(passAt),
    15,
    'var(--ink)',
    1.6,
  )}<circle cx="${x(score)}" cy="9" r="3" fill="${score < passAt ? 'var(--fail)' : 'var(--ink)'}"/></svg>`;
}

// Several judges' scores against one line: a tick in each one's colour.
export function compared(scores, passAt, band, width = 300) {
  const x = value => clamp(value, 0, 1) * width;
  return html`<svg class="bullet" viewBox="0 0 ${width} 18" preserveAspectRatio="none" aria-hidden="true">${box(0, 7, width, 4, 'var(--sunk)')}${
    band ? box(x(passAt - band), 5, x(passAt + band) - x(passAt - band), 8, 'var(--line-2)') : ''
  }${line(x(passAt), 1, x(passAt), 17, 'var(--ink)', 2)}${scores.map(([tone, score]) =>
    line(x(score), 3, x(score), 15, tone, 5),
  )}</svg>`;
}
