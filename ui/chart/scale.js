// Scales: numbers and moments to pixels, and where ticks stand.
import { behindUtc, clock, day } from '/ui/words.js';

// Maps d0..d1 to r0..r1; not clamped.
export const linear = (d0, d1, r0, r1) => value => r0 + ((value - d0) * (r1 - r0)) / (d1 - d0 || 1);

// A coordinate as text, to a tenth of a pixel.
export const px = value => String(Math.round(value * 10) / 10);

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// Path data through the points.
export const through = points =>
  points.map(([x, y], at) => `${at ? 'L' : 'M'}${px(x)} ${px(y)}`).join('');

// Path data of the area between two lines of points.
export const area = (top, bottom) =>
  `${through(top)}${[...bottom]
    .reverse()
    .map(([x, y]) => `L${px(x)} ${px(y)}`)
    .join('')}Z`;

// Steps that hold their value from one start to the next.
export const steps = points =>
  points.flatMap(([from, to, y]) => [
    [from, y],
    [to, y],
  ]);

const STEPS = [1, 2, 5, 10];

// At most `most` round ticks from low to high.
export function ticks(low, high, most = 4) {
  const span = high - low || 1;
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = STEPS.map(one => one * power).find(one => span / one <= most) ?? 10 * power;
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1)
    found.push(at * step);
  return found;
}

// The end of an axis that begins at 0 and holds `value`, with four even ticks at most.
export function roof(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  return (
    [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map(one => one * power).find(one => one >= value) ??
    10 * power
  );
}

const MINUTE = 60_000;
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 14_400].map(
  minutes => minutes * MINUTE,
);

// Moments at round times of the told clock with their text: the day where a day begins.
export function timeTicks(from, to, most) {
  const step = TIME_STEPS.find(one => (to - from) / one <= most) ?? TIME_STEPS.at(-1);
  const offset = behindUtc(from);
  const found = [];
  for (let at = Math.ceil((from - offset) / step) * step + offset; at <= to; at += step) {
    const isDay = (at - offset) % (1440 * MINUTE) === 0;
    found.push({ at, text: isDay ? day(at) : clock(at) });
  }
  return found;
}
