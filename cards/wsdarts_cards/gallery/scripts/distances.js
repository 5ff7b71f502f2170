// The distances of a space's tasks from each other, to four digits.
"use strict";

wsdarts.distances = (() => {
  // Those of a space by its key: the artifacts in the order of the heat map, and a function.
  async function load(space) {
    const key = `distances-${space}`;
    const found = await wsdarts.load(`data/${key}.js`, key);
    const raw = wsdarts.bytes(found.distances);
    const view = new DataView(raw.buffer);
    const length = raw.length / 2;
    const upper = Uint16Array.from({ length }, (_, i) => view.getUint16(2 * i, true));
    const count = found.references.length;

    function between(row, column) {
      if (row === column) return 0;
      const [a, b] = row < column ? [row, column] : [column, row];
      return upper[a * count - (a * (a + 1)) / 2 + (b - a - 1)] / 65_535;
    }

    return { references: found.references, between };
  }

  return { load };
})();
