// Which artifacts are nearest to a task, and whether that is near: as `wsdarts-hub nearest` says.
"use strict";

wsdarts.ranking = (() => {
  const { Refusal, embedding, distance } = wsdarts;

  function spaceOf(query, spaces) {
    const wanted = embedding.identity(query.space);
    const found = spaces.find((s) => embedding.identity(embedding.known(s.space)) === wanted);
    if (!found)
      throw new Refusal(
        `the embedding of ${query.name} was made by ${embedding.words(query.space)}, but the ` +
          `artifacts here have embeddings by ${spaces.map((s) => s.text).join("; ") || "no probe at all"}: ` +
          "embed the task with one of those (--probe, --estimator)",
      );
    if (found.filters !== query.values.length)
      throw new Refusal(
        `the embedding of ${query.name} has ${query.values.length} filters, those here have ` +
          `${found.filters}; embed both with the same probe`,
      );
    return found;
  }

  // How far a distance may lie above a threshold that it equals, as in embedding_space.py.
  const ROUNDING = 1e-10;
  const isNear = (value, threshold) => value <= threshold + ROUNDING;

  // Distances and a threshold as text that orders them as their verdicts do, as in embedding_space.py.
  function figures(distances, threshold) {
    if (threshold === null) return { distances: distances.map((d) => d.toFixed(4)), threshold: null };
    const text = (d, digits) => (isNear(d, threshold) ? Math.min(d, threshold) : d).toFixed(digits);
    const digitsOf = (d, least, limit) => {
      let digits = least;
      const ordered = () => Number(text(d, digits)) <= Number(limit ?? threshold.toFixed(digits));
      while (digits < 17 && ordered() !== isNear(d, threshold)) digits += 1;
      return digits;
    };
    const own = distances.map((d) => digitsOf(d, 4));
    const limit = threshold.toFixed(Math.max(4, ...own));
    return { distances: distances.map((d, i) => text(d, digitsOf(d, own[i], limit))), threshold: limit };
  }

  function judge(neighbours, space, images) {
    const nearest = neighbours.find((n) => n.kind === "transfer") ?? neighbours[0];
    const shown = figures([nearest.distance], space.threshold);
    const found = `${nearest.reference} is at distance ${shown.distances[0]}`;
    if (space.threshold === null)
      return {
        nearest: nearest.reference,
        near: null,
        why: `${found}; no threshold was measured for this probe and estimator`,
      };
    const near = isNear(nearest.distance, space.threshold);
    return {
      nearest: nearest.reference,
      near,
      why:
        `${found}, ${near ? "within" : "beyond"} the threshold of ${shown.threshold} ` +
        `(${space.measured}; this task: ${images}): ${near ? "near" : "nothing is near"}`,
    };
  }

  // The embedding in a file's bytes, ranked against the gallery's, part by part.
  async function rank(bytes, what, progress = () => {}) {
    const query = embedding.read(bytes, what);
    const { spaces, option } = await wsdarts.load("data/spaces.js", "spaces");
    const space = spaceOf(query, spaces);
    const neighbours = [];
    for (let part = 0; part < space.shards; part += 1) {
      progress(part, space.shards);
      const key = `embeddings-${space.key}-${part}`;
      const data = await wsdarts.take(`data/${key}.js`, key);
      const found = distance.distances(query.values, wsdarts.floats(data.values));
      data.members.forEach((member, i) => neighbours.push({ ...member, distance: found[i] }));
    }
    const before = (a, b) => (a.reference < b.reference ? -1 : 1);
    neighbours.sort((a, b) => a.distance - b.distance || before(a, b));
    return { query, space, option, neighbours, ...judge(neighbours, space, query.images) };
  }

  return { rank, figures };
})();
