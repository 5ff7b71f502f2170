// Heat maps that have too many rows for a table, painted; a pointer or the arrow keys read them.
"use strict";

wsdarts.heatMap = (() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function paint(canvas, { references, between }) {
    const count = references.length;
    canvas.width = count;
    canvas.height = count;
    const style = getComputedStyle(canvas);
    const rgb = (text) => text.match(/[\d.]+/g).slice(0, 3).map(Number);
    const [near, far] = [rgb(style.color), rgb(style.backgroundColor)];
    const values = Float64Array.from({ length: count * count }, (_, i) =>
      between(Math.floor(i / count), i % count),
    );
    const largest = values.reduce((a, b) => Math.max(a, b), 0) || 1;
    const image = new ImageData(count, count);
    values.forEach((distance, i) => {
      const share = distance / largest;
      for (let c = 0; c < 3; c += 1) image.data[4 * i + c] = near[c] + share * (far[c] - near[c]);
      image.data[4 * i + 3] = 255;
    });
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  function read(canvas, { references, between }, at) {
    canvas.parentNode.querySelector(".readout").textContent =
      `${references[at[0]]} and ${references[at[1]]}: ${between(...at).toFixed(4)}`;
  }

  async function show(canvas) {
    const data = await wsdarts.distances.load(canvas.dataset.key);
    const last = data.references.length - 1;
    const inside = (place) => Math.min(last, Math.max(0, Math.floor(place)));
    let at = [0, 0];
    paint(canvas, data);
    dark.addEventListener("change", () => paint(canvas, data));
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      at = [
        inside(((event.clientY - box.top) / box.height) * (last + 1)),
        inside(((event.clientX - box.left) / box.width) * (last + 1)),
      ];
      read(canvas, data, at);
    });
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    canvas.addEventListener("keydown", (event) => {
      if (!(event.key in moves)) return;
      event.preventDefault();
      at = at.map((place, axis) => inside(place + moves[event.key][axis]));
      read(canvas, data, at);
    });
  }

  function start() {
    for (const canvas of document.querySelectorAll("canvas[data-key]")) show(canvas);
  }

  return { start };
})();
wsdarts.heatMap.start();
