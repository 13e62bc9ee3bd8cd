// Markup: text that may stand in the page as HTML. Everything put into a template is escaped unless it
// is markup itself, so a judge's words or a policy's name can never become a tag.

class Markup {
  constructor(text) {
    this.text = text;
  }
  toString() {
    return this.text;
  }
}

const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

const escaped = text => String(text).replace(/[&<>"']/g, one => ENTITIES[one]);

function shown(value) {
  if (value instanceof Markup) return value.text;
  if (Array.isArray(value)) return value.map(shown).join('');
  if (value === null || value === undefined || value === false) return '';
  return escaped(value);
}

// A template tag: html`<b>${text}</b>`. Null, undefined and false are nothing; arrays are joined.
export function html(parts, ...values) {
  return new Markup(
    parts.map((part, at) => part + (at < values.length ? shown(values[at]) : '')).join(''),
  );
}

// What was drawn last, by node: a refresh that changes nothing touches nothing.
const drawn = new WeakMap();

// Puts `markup` into `node`. The focus stays where it was: on the element with the same `data-key`.
export function paint(node, markup) {
  const text = shown(markup);
  if (drawn.get(node) === text) return;
  drawn.set(node, text);
  const held = node.contains(document.activeElement)
    ? document.activeElement.dataset.key
    : undefined;
  const top = node.scrollTop;
  node.innerHTML = text;
  node.scrollTop = top;
  if (held !== undefined) find(node, held)?.focus({ preventScroll: true });
}

// The element of `node` whose `data-key` is `key`.
export function find(node, key) {
  return node.querySelector(`[data-key="${CSS.escape(key)}"]`);
}
