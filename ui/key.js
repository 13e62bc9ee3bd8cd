// The key: asked for in a sheet over the page when the gate wants one.
import { keep } from '/ui/api.js';
import { html, paint } from '/ui/markup.js';

// Shows the sheet until a key is entered. `again`: whether the one that was kept was refused.
export function askForKey(over, again) {
  return new Promise(done => {
    paint(
      over,
      html`<div class="over"><div class="sheet" role="dialog" aria-modal="true" aria-labelledby="key-title">
      <h2 id="key-title">This gate asks for a key</h2>
      <p class="s">${again ? 'Nobody has the key that was entered.' : 'One with the role read.'} It stays in this tab and goes to this gate alone.</p>
      <form><label>Key<input class="field" name="key" type="password" autocomplete="off" required></label>
      <button class="btn first" type="submit">Open</button></form></div></div>`,
    );
    const form = over.querySelector('form');
    form.elements.key.focus();
    form.addEventListener('submit', event => {
      event.preventDefault();
      keep(form.elements.key.value.trim());
      paint(over, '');
      done();
    });
  });
}
