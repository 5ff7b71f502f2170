// The symmetric Task2Vec distance, as wsdarts_registry/embedding/distance.py computes it.
"use strict";

wsdarts.distance = (() => {
  // part / (part + other) for each filter, scaled to length 1; 0/0 is 0.
  function unitRatio(part, other, into) {
    let largest = 0;
    for (let i = 0; i < part.length; i += 1) {
      const sum = part[i] + other[i];
      into[i] = sum > 0 ? part[i] / sum : 0;
      if (into[i] > largest) largest = into[i];
    }
    let squares = 0;
    for (let i = 0; i < into.length; i += 1) {
      into[i] /= largest; // a square of a tiny ratio would underflow
      squares += into[i] * into[i];
    }
    const length = Math.sqrt(squares);
    for (let i = 0; i < into.length; i += 1) into[i] /= length;
  }

  // From a query to each row of a matrix; rows lie one after the other.
  function distances(query, rows) {
    const width = query.length;
    const count = rows.length / width;
    const [u, v] = [new Float64Array(width), new Float64Array(width)];
    const found = new Float64Array(count);
    for (let row = 0; row < count; row += 1) {
      const key = rows.subarray(row * width, (row + 1) * width);
      unitRatio(query, key, u);
      unitRatio(key, query, v);
      let sum = 0;
      for (let i = 0; i < width; i += 1) sum += (u[i] - v[i]) * (u[i] - v[i]);
      found[row] = Math.min(1, Math.max(0, sum / 2));
    }
    return found;
  }

  return { distances };
})();
