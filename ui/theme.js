// The theme, set before the first paint: a stored choice, else what the system says. A classic
// script, so that nothing is drawn in the wrong colours first.
(() => {
  const asked = new URLSearchParams(location.search).get('theme');
  let kept = null;
  try {
    kept = localStorage.getItem('vlmgate.theme');
  } catch {
    /* storage may be refused: the system decides */
  }
  const system = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  const known = [asked, kept].find(one => one === 'dark' || one === 'light');
  document.documentElement.dataset.theme = known ?? system;
})();
