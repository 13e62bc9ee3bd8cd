// SVG parts: text, lines and boxes as markup, and a chart that is drawn at the width it has.
import { html, paint } from '/ui/markup.js';
import { px } from '/ui/chart/scale.js';

// Text at x, y. `kind`: classes (q quiet, i ink, k ink and bold, w words' size, halo); `anchor`: start, middle, end.
export const text = (x, y, words, kind = '', anchor = 'start') =>
  html`<text x="${px(x)}" y="${px(y)}" class="${kind}" text-anchor="${anchor}">${words}</text>`;

export const line = (x1, y1, x2, y2, stroke = 'var(--line)', width = 1, dash = '') =>
  html`<line x1="${px(x1)}" y1="${px(y1)}" x2="${px(x2)}" y2="${px(y2)}" stroke="${stroke}" stroke-width="${width}" ${dash ? html`stroke-dasharray="${dash}"` : ''}/>`;

export const box = (x, y, width, height, fill, radius = 0) =>
  html`<rect x="${px(x)}" y="${px(y)}" width="${px(Math.max(0, width))}" height="${px(Math.max(0, height))}" fill="${fill}" ${radius ? html`rx="${radius}"` : ''}/>`;

export const stroke = (d, colour, width = 1.5, dash = '') =>
  html`<path class="join" d="${d}" stroke="${colour}" stroke-width="${width}" ${dash ? html`stroke-dasharray="${dash}"` : ''}/>`;

export const fill = (d, colour, opacity = 1) =>
  html`<path d="${d}" fill="${colour}" opacity="${opacity}"/>`;

export const dot = (x, y, radius, colour) =>
  html`<circle cx="${px(x)}" cy="${px(y)}" r="${radius}" fill="${colour}" stroke="var(--bg)" stroke-width="1.5"/>`;

// Draws a chart into `node` at its present width. `label`: what it shows, in a sentence; `table`: its
// figures as rows of cells, for who does not see it; `role`: group where something in it can be followed.
export function draw(node, { height, label, table = [], role = 'img', body }) {
  const width = node.clientWidth;
  if (!width) return;
  const [head, ...rows] = table;
  paint(
    node,
    html`<svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="${role}" aria-label="${label}">${body(width, height)}</svg>${
      head
        ? html`<div class="sr"><table><caption>${label}</caption><thead><tr>${head.map(cell => html`<th scope="col">${cell}</th>`)}</tr></thead><tbody>${rows.map(
            row => html`<tr>${row.map(cell => html`<td>${cell}</td>`)}</tr>`,
          )}</tbody></table></div>`
        : ''
    }`,
  );
}
