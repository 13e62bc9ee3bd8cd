// The bar: the views, the policy, the window, whether the figures are live, and the theme.
import { getWhereKnown } from '/ui/api.js';
import { silentFor } from '/ui/live.js';
import { html, paint } from '/ui/markup.js';
import { SPANS, VIEWS, address, shared } from '/ui/place.js';
import { age } from '/ui/words.js';

const state = { place: null, window: null, policies: [], simulated: false, waiting: null };
let bar = null;

const isDark = () => document.documentElement.dataset.theme === 'dark';

// Switches between light and dark, and keeps the choice.
export function switchTheme() {
  const next = isDark() ? 'light' : 'dark';
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem('vlmgate.theme', next);
  } catch {
    /* the choice lasts as long as the page then */
  }
  draw();
}

const brand = html`<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M2 2v12M14 2v12M2 8h4.5M9.5 8H14" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round"/></svg>`;

function views() {
  const query = shared(state.place.query);
  return VIEWS.map(
    ([name, title]) =>
      html`<a href="${address(name, query)}" data-key="nav-${name}" ${name === state.place.view ? html`aria-current="page"` : ''}>${title}${
        name === 'review' && state.waiting
          ? html`<span class="n" title="waiting for a person">${state.waiting}</span>`
          : ''
      }</a>`,
  );
}

function policies() {
  const chosen = state.place.query.get('policy') ?? '';
  const names =
    state.policies.includes(chosen) || !chosen ? state.policies : [...state.policies, chosen];
  const options = names.map(
    name => html`<option value="${name}" ${name === chosen ? html`selected` : ''}>${name}</option>`,
  );
  return html`<select class="ctl" data-key="policy" aria-label="Policy"><option value="">${names.length === 1 ? names[0] : 'All policies'}</option>${names.length === 1 ? '' : options}</select>`;
}

function spans() {
  const { since, until, label } = state.window;
  const isNamed = SPANS.some(([span]) => span === since && !until);
  const options = SPANS.map(
    ([span, name]) =>
      html`<option value="${span}" ${isNamed && span === since ? html`selected` : ''}>${name}</option>`,
  );
  return html`<select class="ctl" data-key="span" aria-label="Window">${isNamed ? '' : html`<option value="" selected>${label}</option>`}${options}</select>`;
}

// The badge: live, or for how long nothing came.
function live() {
  const silence = silentFor();
  const [late, text, title] =
    silence === null
      ? ['', 'live', 'New verdicts come in as they are recorded']
      : [
          'is-late',
          `stale for ${age(silence)}`,
          'The gate has sent nothing; the figures are the last ones',
        ];
  return html`<span class="live hide-s ${late}" title="${title}" id="live"><i></i>${text}</span>`;
}

function draw() {
  if (!bar || !state.place) return;
  paint(
    bar,
    html`<a class="brand" href="/ui/">${brand}vlmgate</a><nav class="nav" aria-label="Views">${views()}</nav>
    <div class="scope">${state.simulated ? html`<span class="sim" title="Verdicts of this window come from simulated judges">simulated</span>` : ''}
    ${policies()}${spans()}${live()}<button class="ctl" data-key="theme" aria-label="Switch to the ${isDark() ? 'light' : 'dark'} theme">${isDark() ? 'Light' : 'Dark'}</button></div>`,
  );
}

// Tells the bar where we are, or anything else it shows.
export function show(changes) {
  Object.assign(state, changes);
  draw();
}

// Starts the bar. `go(query)` takes the changed policy or window.
export function start(node, go) {
  bar = node;
  bar.addEventListener('change', event => {
    const { key } = event.target.dataset;
    if (key === 'policy') go({ policy: event.target.value || null });
    if (key === 'span' && event.target.value) go({ since: event.target.value, until: null });
  });
  bar.addEventListener('click', event => {
    if (event.target.dataset.key === 'theme') switchTheme();
  });
  setInterval(draw, 1000);
}

// Whether a judge of this record only plays one: the gate flags it.
export const isSimulated = record => record.flags?.includes('simulated') ?? false;

// Looks whether a verdict of the window is simulated.
export async function lookForSimulated({ query, window }) {
  const { since, until } = window;
  const policy = query.get('policy');
  const asked = { policy, since, until, flag: 'simulated', limit: 1 };
  const page = await getWhereKnown('/v1/verdicts', asked);
  const simulated = Boolean(page?.verdicts.length);
  if (simulated !== state.simulated) show({ simulated });
}
