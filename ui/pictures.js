// Pictures as the judge saw them. An `<img data-picture>` is filled when it comes into sight, by fetch,
// because an image element cannot send a key; the last ones are kept.
import { send } from '/ui/api.js';

const MOST_KEPT = 240;
const kept = new Map();

// The address of one view of a verdict's picture.
export const picture = (id, view) =>
  `/v1/verdicts/${encodeURIComponent(id)}/image?view=${encodeURIComponent(view)}`;

// A blob address of the picture; fetched once.
export function load(path) {
  if (!kept.has(path)) {
    const found = send(path)
      .then(response => response.blob())
      .then(blob => URL.createObjectURL(blob));
    found.catch(() => kept.delete(path));
    kept.set(path, found);
    if (kept.size > MOST_KEPT) drop(kept.keys().next().value);
  }
  return kept.get(path);
}

function drop(path) {
  const gone = kept.get(path);
  kept.delete(path);
  gone.then(URL.revokeObjectURL).catch(() => null);
}

async function fill(image) {
  const { picture: path } = image.dataset;
  try {
    const url = await load(path);
    if (image.dataset.picture === path) image.src = url;
  } catch {
    image.alt = 'The picture is no longer kept';
  }
}

const sight = new IntersectionObserver(
  entries => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      sight.unobserve(entry.target);
      fill(entry.target);
    }
  },
  { rootMargin: '200px' },
);

// Fills every picture of `node` that has none yet.
export function fillIn(node) {
  for (const image of node.querySelectorAll('img[data-picture]:not([src])')) sight.observe(image);
}
