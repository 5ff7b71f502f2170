// Heat maps that have too many rows for a table, painted; a pointer or the arrow keys read them.
"use strict";

wsdarts.heatMap = (() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function paint(canvas, data) {
    const count = data.references.length;
    canvas.width = count;
    canvas.height = count;
    const style = getComputedStyle(canvas);
    const rgb = (text) => text.match(/[\d.]+/g).slice(0, 3).map(Number);
    const [near, far] = [rgb(style.color), rgb(style.backgroundColor)];
    const image = new ImageData(count, count);
    const largest = Math.max(1, data.values.reduce((a, b) => Math.max(a, b), 0));
    for (let row = 0; row < count; row += 1) {
      for (let column = 0; column < count; column += 1) {
        const share = value(data, row, column) / largest;
        const place = 4 * (row * count + column);
        for (let c = 0; c < 3; c += 1) image.data[place + c] = near[c] + share * (far[c] - near[c]);
        image.data[place + 3] = 255;
      }
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  function value(data, row, column) {
    if (row === column) return 0;
    const [a, b] = row < column ? [row, column] : [column, row];
    const count = data.references.length;
    return data.values[a * count - (a * (a + 1)) / 2 + (b - a - 1)];
  }

  function read(canvas, data, at) {
    const distance = (value(data, at[0], at[1]) / 65_535).toFixed(4);
    canvas.parentNode.querySelector(".readout").textContent =
      `${data.references[at[0]]} and ${data.references[at[1]]}: ${distance}`;
  }

  async function show(canvas) {
    const key = `distances-${canvas.dataset.key}`;
    const found = await wsdarts.load(`data/${key}.js`, key);
    const raw = wsdarts.bytes(found.distances);
    const view = new DataView(raw.buffer);
    const values = Uint16Array.from({ length: raw.length / 2 }, (_, i) => view.getUint16(2 * i, true));
    const data = { references: found.references, values };
    const last = found.references.length - 1;
    let at = [0, 0];
    paint(canvas, data);
    dark.addEventListener("change", () => paint(canvas, data));
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const place = (share) => Math.min(last, Math.max(0, Math.floor(share * (last + 1))));
      at = [place((event.clientY - box.top) / box.height), place((event.clientX - box.left) / box.width)];
      read(canvas, data, at);
    });
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    canvas.addEventListener("keydown", (event) => {
      if (!(event.key in moves)) return;
      event.preventDefault();
      at = at.map((place, axis) => Math.min(last, Math.max(0, place + moves[event.key][axis])));
      read(canvas, data, at);
    });
  }

  for (const canvas of document.querySelectorAll("canvas[data-key]")) show(canvas);
  return { value };
})();
