// The page: reads the address, opens the view it names, and keeps it fresh.
import { get, onKeyWanted } from '/ui/api.js';
import { askForKey } from '/ui/key.js';
import * as keys from '/ui/keys.js';
import * as live from '/ui/live.js';
import { html, paint } from '/ui/markup.js';
import { deal } from '/ui/palette.js';
import * as place from '/ui/place.js';
import * as shell from '/ui/shell.js';
import * as judges from '/ui/view/judges.js';
import * as now from '/ui/view/now.js';
import * as review from '/ui/view/review.js';
import * as verdicts from '/ui/view/verdicts.js';
import * as why from '/ui/view/why.js';

const OPEN = { now, why, verdicts, review, judges };
const REFRESH_MS = 15_000;
const TOGETHER_MS = 1_500;

const main = document.getElementById('main');
const over = document.getElementById('over');
const known = { policies: [], judges: [] };
let view = null;
let here = null;
let busy = null;

// Opens what the address names; a view that is open already takes the new query itself.
async function open() {
  const next = place.read(new URL(location.href));
  const isOther = here?.view !== next.view;
  here = next;
  shell.show({ place: here, window: place.window(here.view, here.query) });
  document.title = `${place.VIEWS.find(([name]) => name === here.view)[1]} · vlmgate`;
  if (isOther) {
    view?.close?.();
    const root = Object.assign(document.createElement('div'), { className: `view-${here.view}` });
    main.className = `is-${here.view}`;
    main.replaceChildren(root);
    view = OPEN[here.view].open({ root, known, go, push, keep, seen, complain, again: refresh });
  }
  await refresh();
}

// Asks the view to fetch and draw. One at a time; what went wrong stands above the last figures.
async function refresh() {
  busy?.abort();
  const mine = new AbortController();
  busy = mine;
  const place_ = { ...here, window: place.window(here.view, here.query) };
  try {
    await view.refresh(place_, mine.signal);
    complain(null);
    live.answered();
    main.dataset.ready = here.view;
    await shell.lookForSimulated(place_);
  } catch (why) {
    if (why.name !== 'AbortError' && busy === mine) complain(why);
  }
}

function complain(why) {
  const node =
    document.getElementById('trouble') ??
    Object.assign(document.createElement('p'), { id: 'trouble', className: 'trouble' });
  if (!why) {
    node.remove();
    return;
  }
  node.setAttribute('role', 'alert');
  paint(
    node,
    html`The gate could not be asked: ${why.message}. The figures below are the last ones.`,
  );
  main.prepend(node);
}

// Puts `query` (null takes a name away) into the address of the view, in place of the entry.
function go(query) {
  move(query, 'replaceState');
}

// The same with an entry of its own, so that Back leads here.
function push(query) {
  move(query, 'pushState');
}

// The same without asking anything anew: where the view already shows what the address will say.
function keep(query) {
  move(query, 'replaceState', false);
}

function move(query, how, asks = true) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === '') url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  history[how](null, '', url);
  if (asks) open();
  else here = place.read(url);
}

// Follows a link within the page.
function follow(href) {
  history.pushState(null, '', href);
  open();
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

// What a view saw of the records: how many wait for a person.
function seen(changes) {
  shell.show(changes);
}

function listen() {
  document.addEventListener('click', event => {
    const link = event.target.closest('a[href]');
    const isPlain =
      !event.defaultPrevented &&
      event.button === 0 &&
      !event.metaKey &&
      !event.ctrlKey &&
      !event.shiftKey;
    if (
      !link ||
      !isPlain ||
      link.origin !== location.origin ||
      !link.pathname.startsWith('/ui/') ||
      link.getAttribute('href').startsWith('#')
    )
      return;
    event.preventDefault();
    follow(link.getAttribute('href'));
  });
  addEventListener('popstate', open);
  let width = innerWidth;
  addEventListener('resize', () => {
    if (width !== innerWidth) {
      width = innerWidth;
      view?.redraw?.();
    }
  });
  keys.listen({
    over,
    view: () => view,
    theme: shell.switchTheme,
    go: name => follow(place.address(name, place.shared(here.query))),
  });
}

// Fetches anew at a calm pace: on what the stream tells, and now and then where it tells nothing.
function keepFresh() {
  let waits = null;
  let last = Date.now();
  const fresh = () => {
    waits = null;
    last = Date.now();
    if (place.window(here.view, here.query).isLive) refresh();
  };
  live.subscribe((event, data) => {
    view?.tell?.(event, data);
    waits ??= setTimeout(fresh, TOGETHER_MS);
  });
  setInterval(() => {
    if (Date.now() - last >= REFRESH_MS && document.visibilityState === 'visible') fresh();
  }, 1_000);
}

// Who may be asked, and by which policies: the bar and the colours need them first.
async function learn() {
  const [policies, judges_] = await Promise.all([get('/v1/policies'), get('/v1/judges')]);
  known.policies = policies.policies;
  known.judges = judges_.judges;
  // a route's order is the order of preference: its first judges get the clearest colours
  deal([...known.policies.flatMap(one => one.judges), ...known.judges.map(one => one.name)]);
  shell.show({ policies: known.policies.map(one => one.name) });
}

async function start() {
  onKeyWanted(again => askForKey(over, again));
  here = null;
  shell.start(document.getElementById('bar'), go);
  shell.show({
    place: place.read(new URL(location.href)),
    window: place.window(
      place.read(new URL(location.href)).view,
      new URL(location.href).searchParams,
    ),
  });
  await learn();
  listen();
  await open();
  live.start();
  keepFresh();
}

start().catch(complain);
