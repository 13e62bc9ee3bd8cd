// The keyboard: one table of what each key does, in the view and everywhere. A key never acts while a
// field has the focus or a modifier is held.
import { html, paint } from '/ui/markup.js';
import { VIEWS } from '/ui/place.js';

const EVERYWHERE = [
  ['g n', 'Now'],
  ['g w', 'Why'],
  ['g v', 'Verdicts'],
  ['g r', 'Review'],
  ['g j', 'Judges'],
  ['t', 'light or dark'],
  ['?', 'these keys'],
  ['Esc', 'close, clear'],
];
const GO = { n: 'now', w: 'why', v: 'verdicts', r: 'review', j: 'judges' };

let waitsForView = false;

const isTyping = target =>
  target.closest?.(
    'input:not([type=checkbox]):not([type=radio]), select, textarea, [contenteditable]',
  );

function isOpen(over) {
  return over.querySelector('[role=dialog]') !== null;
}

// Shows every key; Esc closes it.
function showKeys(over, own) {
  const rows = keys =>
    keys.map(
      ([key, does]) =>
        html`<dt>${key.split(' ').map(one => html`<span class="kbd">${one}</span> `)}</dt><dd>${does}</dd>`,
    );
  paint(
    over,
    html`<div class="over"><div class="sheet" role="dialog" aria-modal="true" aria-labelledby="keys-title" tabindex="-1">
    <h2 id="keys-title">Keys</h2>${own.length ? html`<h3>In this view</h3><dl>${rows(own)}</dl>` : ''}<h3>Everywhere</h3><dl>${rows(EVERYWHERE)}</dl>
    <p class="note">Esc closes this.</p></div></div>`,
  );
  over.querySelector('.sheet').focus();
}

// Listens for as long as the page lives. `view()` gives the view's `keys` (key → what it does) and
// `help`; `go(view)` opens one; `theme()` switches.
export function listen({ over, view, go, theme }) {
  let before = null;
  const open = () => {
    before = document.activeElement;
    showKeys(over, view()?.help ?? []);
  };
  const close = () => {
    paint(over, '');
    before?.focus?.();
  };
  over.addEventListener('click', event => {
    if (event.target.matches('.over') && !over.querySelector('form')) close();
  });
  addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (isOpen(over)) {
      if (event.key === 'Escape' && !over.querySelector('form')) close();
      if (event.key === 'Tab' && !over.querySelector('form')) event.preventDefault();
      return;
    }
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (waitsForView) {
      waitsForView = false;
      if (GO[key] && VIEWS.some(([name]) => name === GO[key])) {
        event.preventDefault();
        go(GO[key]);
      }
      return;
    }
    const act = view()?.keys?.[key];
    if (act) {
      if (act(event) !== false) event.preventDefault();
      return;
    }
    if (key === 'g') waitsForView = true;
    else if (key === 't') theme();
    else if (key === '?') {
      event.preventDefault();
      open();
    }
  });
  return open;
}
