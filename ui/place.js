// The place: which view of which records the address names. The whole state of a view is in its path and
// query, so that a link shows what its sender saw.
import { between } from '/ui/words.js';

export const VIEWS = [
  ['now', 'Now'],
  ['why', 'Why'],
  ['verdicts', 'Verdicts'],
  ['review', 'Review'],
  ['judges', 'Judges'],
];

// The windows that the bar offers, newest first.
export const SPANS = [
  ['15m', 'Last 15 minutes'],
  ['1h', 'Last hour'],
  ['6h', 'Last 6 hours'],
  ['24h', 'Last 24 hours'],
  ['7d', 'Last 7 days'],
  ['30d', 'Last 30 days'],
];

const DEFAULT_SPAN = { now: '1h', why: '1h', verdicts: '1h', review: '24h', judges: '7d' };
const UNITS = { s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5 };
const SHARED = ['policy', 'since', 'until'];

// The view and the query of an address; views that do not exist are *Now*.
export function read(url) {
  const name = url.pathname.replace(/^\/ui\/?/, '').replace(/\/$/, '') || 'now';
  const known = VIEWS.some(([view]) => view === name);
  return { view: known ? name : 'now', query: url.searchParams };
}

export const path = view => (view === 'now' ? '/ui/' : `/ui/${view}`);

// The address of `view`, with `query` as an object or as parameters.
export function address(view, query) {
  const text = new URLSearchParams(
    Object.entries(query).filter(
      ([, value]) => value !== null && value !== undefined && value !== '',
    ),
  ).toString();
  return path(view) + (text ? `?${text}` : '');
}

// What goes along from one view to the next: the policy and the window.
export function shared(query) {
  return Object.fromEntries(
    SHARED.filter(name => query.has(name)).map(name => [name, query.get(name)]),
  );
}

// Milliseconds that "6h" goes back; null where the text is none of that kind.
export function back(text) {
  const [, amount, unit] = /^(\d+)([smhdw])$/.exec(text ?? '') ?? [];
  return amount === undefined ? null : Number(amount) * UNITS[unit];
}

// The window a query names: `from` and `to` in ms, whether it ends now, and what goes to the gate.
export function window(view, query, now = Date.now()) {
  const since = query.get('since') ?? DEFAULT_SPAN[view];
  const until = query.get('until');
  const ago = back(since);
  const to = until ? Date.parse(until) : now;
  const from = ago === null ? Date.parse(since) : now - ago;
  if (!(from < to)) return window(view, new URLSearchParams(), now);
  const name = SPANS.find(([span]) => span === since && !until)?.[1];
  return {
    from,
    to,
    isLive: !until,
    since,
    until,
    label: name ?? (until ? between(from, to) : `Since ${between(from, to)}`),
  };
}

export const iso = at => new Date(at).toISOString();
