// The palette: one colour for each judge, dealt in the order of the configuration and never again, so
// that a judge keeps its colour when another is filtered out. A colour is a mark; the name stands beside it.
import { html } from '/ui/markup.js';

const HUES = 4;

let order = [];

// The judges by name, in the order of the configuration; whoever else turns up comes after them.
export function deal(names) {
  for (const name of names) if (!order.includes(name)) order.push(name);
}

// 1 to 4 are hues; 5 and 6 are greys that need a label beside them.
function place(name) {
  if (!order.includes(name)) order.push(name);
  const at = order.indexOf(name);
  return at < HUES ? at + 1 : 5 + ((at - HUES) % 2);
}

// The judge's colour, for a fill or a stroke.
export const colour = name => `var(--j${place(name)})`;

// Swatch and name.
export const judge = name => html`<span class="j j${place(name)}">${name}</span>`;

// Names in dealt order.
export function sorted(names) {
  for (const name of names) place(name);
  return [...names].sort((a, b) => order.indexOf(a) - order.indexOf(b));
}
