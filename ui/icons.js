// Icons: drawn on a 16 grid, always beside the word they stand for.
import { html } from '/ui/markup.js';

const line = (d, width = 1.6) =>
  html`<path d="${d}" fill="none" stroke="currentColor" stroke-width="${width}" stroke-linecap="round" stroke-linejoin="round"/>`;
const dots = html`<circle cx="4.5" cy="8" r="2" fill="currentColor"/><circle cx="11.5" cy="8" r="2" fill="currentColor"/>`;

const SHAPES = {
  pass: line('M3 8.6 6.4 12 13 4.4', 1.8),
  fail: html`<circle cx="8" cy="8" r="7" fill="currentColor"/><path class="on-icon" d="M5.4 5.4l5.2 5.2M10.6 5.4 5.4 10.6" stroke-width="1.8" stroke-linecap="round"/>`,
  review: html`<circle cx="8" cy="8" r="6.2" fill="none" stroke="currentColor" stroke-width="1.6"/><path d="M8 1.8a6.2 6.2 0 0 1 0 12.4z" fill="currentColor"/>`,
  closed: html`${line('M1 8h14')}${dots}`,
  half_open: html`${line('M1 8h3.5M11.5 8H15')}<path d="M6.5 8h3" stroke="currentColor" stroke-width="1.6" stroke-dasharray="1.2 1.2"/><circle cx="4.5" cy="8" r="2" fill="currentColor"/><circle cx="11.5" cy="8" r="2" fill="none" stroke="currentColor" stroke-width="1.4"/>`,
  open: html`${line('M1 8h3.5M11.5 8H15M4.5 8l6-4.5')}${dots}`,
  policy: line('M8 2l6 6-6 6-6-6z'),
  drill: line('M8 2.5 14 13H2z'),
  drift: line('M1.5 11h4l5-6h4', 1.8),
  backfill: line('M13 8H4m3.5-4L3.5 8l4 4'),
  cross: line('M4 4l8 8M12 4 4 12', 1.8),
  flag: line('M4 15V2h8.5l-2 3.5 2 3.5H4'),
  person: line(
    'M8 8.2a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6zM2.8 14c.4-2.7 2.4-4 5.2-4s4.8 1.3 5.2 4',
  ),
};

// One icon; its word stands beside it, so it is hidden from who listens.
export const icon = (name, extra = '') =>
  html`<svg class="icon ${extra}" viewBox="0 0 16 16" aria-hidden="true">${SHAPES[name] ?? SHAPES.drift}</svg>`;

// A verdict: icon and word, always both.
export const verdict = word => html`<span class="v v-${word}">${icon(word)}${word}</span>`;

// A breaker's state: icon and word.
export const breaker = state =>
  html`<span class="${state === 'closed' ? 's' : state === 'open' ? 'bad' : 'warn'} b">${icon(state)} ${state.replace('_', ' ')}</span>`;
