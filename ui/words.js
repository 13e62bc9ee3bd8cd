// Words: how numbers, shares, times and money read. One decimal for rates and points, two for seconds
// and scores; a real minus; thousands with a comma; a rounded zero has no sign.
import { html } from '/ui/markup.js';

// A share of fewer images than this is greyed: it says little.
export const FEW = 30;

const NBSP = '\u00a0';
const MINUS = '\u2212';

export const count = n => Math.round(n).toLocaleString('en-US');

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export const percent = (ratio, digits = 1) => `${(ratio * 100).toFixed(digits)}${NBSP}%`;

export function signed(value, digits = 1) {
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value < 0 ? MINUS : '+') + text;
}

// A plain number with a real minus.
export const plain = (value, digits = 1) => {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
};

// A difference of rates, given as ratio, in points: "+2.8".
export const points = ratio => signed(ratio * 100);

// "+2.4 to +3.2" of two ratios.
export const pointsRange = (low, high) => `${points(low)} to ${points(high)}`;

export function seconds(ms) {
  if (ms === null || ms === undefined) return '';
  if (ms < 10) return `${ms.toFixed(ms < 1 ? 1 : 0)}${NBSP}ms`;
  return ms < 100 ? `${Math.round(ms)}${NBSP}ms` : `${(ms / 1000).toFixed(2)}${NBSP}s`;
}

// A score beside its line: three decimals where two would hide on which side it lies.
export const score = (value, passAt) =>
  value.toFixed(value !== passAt && value.toFixed(2) === passAt.toFixed(2) ? 3 : 2);

export const plainSeconds = ms => (ms / 1000).toFixed(2);

export function money(microUsd, digits = 2) {
  return `$${(microUsd / 1e6).toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

export function bytes(n) {
  if (n < 1000) return `${n}${NBSP}B`;
  return n < 1e6 ? `${Math.round(n / 1000)}${NBSP}kB` : `${(n / 1e6).toFixed(1)}${NBSP}MB`;
}

const two = n => String(n).padStart(2, '0');

// Milliseconds since 1970 of an RFC 3339 text.
export const ms = text => Date.parse(text);

// Times are local, as the page's reader lives; a file that is forwarded tells everybody the same.
let isUtc = false;
export const useUtc = () => {
  isUtc = true;
};

// How far the clock that is told lies behind UTC, ms.
export const behindUtc = at => (isUtc ? 0 : new Date(at).getTimezoneOffset() * 60_000);

// A date whose UTC parts are those of the clock that is told.
const told = at => new Date(at - behindUtc(at));

// Time of day, "14:02".
export const clock = at => {
  const d = told(at);
  return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`;
};

export const clockSeconds = at => `${clock(at)}:${two(told(at).getUTCSeconds())}`;

const DAY = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' });

export const day = at => DAY.format(told(at));

const dayOf = at => Math.floor((at - behindUtc(at)) / 864e5);

// What is forwarded is read on another day.
const isToday = at => !isUtc && dayOf(at) === dayOf(Date.now());

// The time of day, with the day where that is not today.
export const when = at => (isToday(at) ? clock(at) : `${day(at)} ${clock(at)}`);

// "14:02 – 14:08", with the days where they are needed.
export function between(from, to) {
  if (dayOf(from) === dayOf(to - 1))
    return `${isToday(from) ? '' : `${day(from)} `}${clock(from)} – ${clock(to)}`;
  return `${day(from)} ${clock(from)} – ${day(to)} ${clock(to)}`;
}

const MOST_UNDATED_MS = 432e5;

// "14:02 and 14:08" behind "between", with the days where the clock alone would not tell which.
export function span(from, to) {
  if (dayOf(from) !== dayOf(to - 1))
    return `${day(from)} ${clock(from)} and ${day(to)} ${clock(to)}`;
  const isClear = isToday(from) && to - from <= MOST_UNDATED_MS;
  return `${clock(from)} and ${clock(to)}${isClear ? '' : ` on ${day(from)}`}`;
}

const utc = at =>
  new Date(at)
    .toISOString()
    .replace('T', ' ')
    .replace(/\.\d+Z$/, ' UTC');

// Local time on the page, date and UTC on hover.
export const moment = (at, read = when) =>
  html`<time datetime="${new Date(at).toISOString()}" title="${utc(at)}">${read(at)}</time>`;

// "40 s", "12 min", "3 h", "9 d".
export function age(lasted) {
  const s = Math.max(0, Math.round(lasted / 1000));
  if (s < 60) return `${s}${NBSP}s`;
  if (s < 5400) return `${Math.round(s / 60)}${NBSP}min`;
  return s < 129600 ? `${Math.round(s / 3600)}${NBSP}h` : `${Math.round(s / 86400)}${NBSP}d`;
}

// A share with the number it was taken over; under FEW images it is greyed, under ten it is a count.
export function share(k, n, of = 'of') {
  if (!n) return html`<span class="q">none</span>`;
  const body =
    n < 10
      ? html`${k} ${of} ${n}`
      : html`${percent(k / n, n < FEW ? 0 : 1)} <span class="q">${of} ${count(n)}</span>`;
  return n < FEW ? html`<span class="thin">${body}</span>` : body;
}

// The Wilson interval at 95 % of k of n, as two ratios.
export function wilson(k, n) {
  if (!n) return [0, 1];
  const z = 1.959964,
    p = k / n,
    d = 1 + (z * z) / n;
  const middle = (p + (z * z) / (2 * n)) / d;
  const half = (z * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n))) / d;
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

// The first twelve characters after "b3:": enough to tell digests apart.
export const digest = text => (text ? text.replace(/^(b3:.{8}).*$/, '$1') : '');

// "a", "a and b", "a, b and c".
export function list(words) {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} and ${words[words.length - 1]}`;
}
