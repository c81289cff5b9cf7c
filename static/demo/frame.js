// A page in a frame, laid out at its own device's size and scaled to the room there is.

export function fitFrames() {
  const fit = new ResizeObserver((entries) => entries.forEach(({ target }) => scale(target)));
  for (const glass of document.querySelectorAll('.glass')) fit.observe(glass);
}

function scale(glass) {
  const frame = glass.firstElementChild;
  const { width, height } = frame.dataset;
  const share = glass.clientWidth / width;
  frame.width = width;
  frame.height = height;
  frame.style.transform = `scale(${share})`;
  glass.style.height = `${height * share + glass.offsetHeight - glass.clientHeight}px`;
}
