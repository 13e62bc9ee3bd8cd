// Choosing a window on a chart of time: drag across it, or arrows, Shift and Enter. The pointer or the
// cursor shows one bucket's figures.
import { LEFT, RIGHT } from '/ui/chart/routing.js';
import { clamp, linear, px } from '/ui/chart/scale.js';
import { html, paint } from '/ui/markup.js';

const LEAST_DRAG_PX = 6;

// Makes `node` choose. `axis()` gives {from, to, bucketMs, height}; `tip(at)` the figures of the bucket that
// holds `at`; `choose([from, to] | null)` is told; `ask()` opens what was chosen.
export function choosing(node, { axis, tip, choose, ask }) {
  const bubble = Object.assign(document.createElement('div'), { className: 'tip', hidden: true });
  node.after(bubble);
  let began = null,
    cursor = null,
    anchor = null;
  const inside = () => {
    const width = node.clientWidth;
    return [LEFT, width - RIGHT];
  };
  const at = event => {
    const [left, right] = inside();
    const { from, to } = axis();
    return clamp(
      linear(left, right, from, to)(event.clientX - node.getBoundingClientRect().left),
      from,
      to,
    );
  };
  const floor = moment => {
    const { from, bucketMs } = axis();
    return from + Math.floor((moment - from) / bucketMs) * bucketMs;
  };
  const span = (a, b) => {
    const { bucketMs, to } = axis();
    return [floor(Math.min(a, b)), Math.min(to, floor(Math.max(a, b)) + bucketMs)];
  };

  const point = moment => {
    const [left, right] = inside();
    const { from, to, height } = axis();
    const x = linear(from, to, left, right)(moment);
    const cross = node.querySelector('[data-cross]');
    if (cross)
      paint(
        cross,
        html`<line x1="${px(x)}" x2="${px(x)}" y1="2" y2="${height}" stroke="var(--edge)"/>`,
      );
    bubble.hidden = false;
    paint(bubble, tip(moment));
    bubble.style.left = `${clamp(x + 14, 0, node.clientWidth - bubble.offsetWidth - 4)}px`;
    if (x + 14 + bubble.offsetWidth > node.clientWidth)
      bubble.style.left = `${x - bubble.offsetWidth - 14}px`;
    bubble.style.top = '206px';
  };
  const leave = () => {
    bubble.hidden = true;
    const cross = node.querySelector('[data-cross]');
    if (cross) paint(cross, '');
  };

  node.addEventListener('pointermove', event => {
    const [left, right] = inside();
    const x = event.clientX - node.getBoundingClientRect().left;
    if (began === null && (x < left || x > right)) {
      leave();
      return;
    }
    if (began !== null && Math.abs(event.clientX - began.x) >= LEAST_DRAG_PX)
      choose(span(began.at, at(event)));
    point(floor(at(event)) + axis().bucketMs / 2);
  });
  node.addEventListener('pointerleave', () => {
    if (began === null) leave();
  });
  node.addEventListener('pointerdown', event => {
    if (event.button !== 0 || event.target.closest('a')) return;
    began = { x: event.clientX, at: at(event) };
    node.setPointerCapture(event.pointerId);
  });
  node.addEventListener('pointerup', () => {
    began = null;
  });
  node.addEventListener('pointercancel', () => {
    began = null;
  });

  const step = (event, by) => {
    const { from, to, bucketMs } = axis();
    cursor = clamp((cursor ?? to - bucketMs) + by * bucketMs, from, to - bucketMs);
    if (event.shiftKey) {
      anchor ??= cursor - by * bucketMs;
      choose(span(anchor, cursor));
    } else {
      anchor = null;
    }
    point(cursor + bucketMs / 2);
  };
  node.addEventListener('keydown', event => {
    if (event.key === 'ArrowLeft') step(event, -1);
    else if (event.key === 'ArrowRight') step(event, 1);
    else if (event.key === 'Enter' && event.target === node) ask();
    else if (event.key === 'Escape') {
      anchor = null;
      choose(null);
      leave();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  node.addEventListener('blur', leave);
}
