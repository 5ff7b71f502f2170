// The page that ranks a file: choosing it, and showing what is near.
"use strict";

wsdarts.nearest = (() => {
  const { Refusal, element, embedding, ranking } = wsdarts;
  const byId = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  let shown = null;
  let latest = 0;

  function rect(name, x, width) {
    const made = document.createElementNS(SVG, "rect");
    for (const [key, value] of Object.entries({ class: name, x, width, height: 8 }))
      made.setAttribute(key, value);
    return made;
  }

  // A threshold was measured between single tasks; a mean of several is near to everything.
  const isJudged = (neighbour) => neighbour.kind === "transfer";

  function bar(distance, threshold, why) {
    const svg = document.createElementNS(SVG, "svg");
    const read = why ? { role: "img" } : { "aria-hidden": "true" };
    for (const [key, value] of Object.entries({ viewBox: "0 0 100 8", preserveAspectRatio: "none", ...read }))
      svg.setAttribute(key, value);
    if (why) {
      const title = document.createElementNS(SVG, "title");
      title.textContent = why;
      svg.append(title);
    }
    svg.append(rect("ground", 0, 100), rect("reach", 0, 100 * distance));
    if (threshold !== null) svg.append(rect("limit", 100 * threshold, 0.8));
    return element("td", { class: "span" }, svg);
  }

  function row(neighbour, shown, threshold) {
    const judged = isJudged(neighbour);
    const why = threshold === null || judged ? "" : "no threshold for an artifact of several tasks";
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, element("a", { href: neighbour.page }, neighbour.reference)),
      element("td", { class: "n", "data-distance": neighbour.distance, "data-label": "distance" }, shown),
      bar(neighbour.distance, judged ? threshold : null, why),
      element("td", { "data-label": "kind" }, neighbour.kind),
      element("td", { class: "long", "data-label": "task" }, neighbour.task),
      element("td", { class: "n", "data-label": "embedded" }, neighbour.images.toLocaleString("en")),
      element("td", { class: "n", "data-label": "classes" }, neighbour.classes.toLocaleString("en")),
    );
  }

  function list() {
    const k = Math.max(1, Math.trunc(Number(byId("k").value)) || 5);
    const first = shown.neighbours.slice(0, k);
    const limit = shown.space.threshold;
    const texts = ranking.figures(first.map((n) => n.distance), limit).distances;
    byId("neighbours").replaceChildren(...first.map((n, i) => row(n, texts[i], limit)));
    byId("unjudged").hidden = limit === null || first.every(isJudged);
    byId("side").href = `compare.html#${first.slice(0, 4).map((n) => n.reference).join(",")}`;
    byId("side").hidden = first.length < 2;
  }

  // What to do with the answer: start from the nearest one where it is near, else from nothing.
  function next(found) {
    const cold = found.near === false;
    byId("then").textContent = cold
      ? "Next: search without a starting point"
      : `Next: start your search from ${found.nearest}`;
    const start = cold ? "--mode cold" : ["--from", found.nearest, found.option].filter(Boolean).join(" ");
    byId("command").textContent =
      `wsdarts-hub warm-start path/to/images ${start} --preset small --out run`;
  }

  // Files that people choose by mistake, by how they begin.
  const KINDS = [
    ["a PNG picture", "89504e47"],
    ["a JPEG picture", "ffd8ff"],
    ["a GIF picture", "47494638"],
    ["a WebP picture or other RIFF file", "52494646"],
    ["a PDF document", "25504446"],
    ["a ZIP archive, such as a PyTorch checkpoint, an .npz file or a spreadsheet", "504b0304"],
    ["a gzip archive", "1f8b"],
    ["a NumPy array", "934e554d5059"],
    ["an HDF5 file", "89484446"],
    ["a Parquet table", "50415231"],
    ["a Python pickle", "80(02|03|04|05)"],
    ["a web page", "(efbbbf)?(0a|0d|20)*3c(21|3f|68|48)"],
    ["a JSON or text file", "(0a|0d|20)*(7b|5b)(0a|0d|20|22|7b|5b)"],
  ];

  function kindOf(bytes) {
    // A short length and a brace: safetensors, whatever the length's own bytes look like.
    if (bytes.subarray(3, 8).every((byte) => byte === 0) && bytes[8] === 0x7b) return null;
    const begin = [...bytes.subarray(0, 16)].map((b) => b.toString(16).padStart(2, "0")).join("");
    return KINDS.find(([, pattern]) => new RegExp(`^${pattern}`).test(begin))?.[0] ?? null;
  }

  function show(found) {
    shown = found;
    next(found);
    const verdict = byId("verdict");
    verdict.textContent =
      found.near === null ? "No threshold was measured" : found.near ? "Near" : "Nothing is near";
    verdict.dataset.near = String(found.near);
    byId("why").textContent = found.why;
    byId("bars").textContent = found.space.threshold === null ? "as a bar" : "the line marks the threshold";
    byId("of").textContent =
      `${found.query.name}: ${found.query.images.toLocaleString("en")} images of ` +
      `${found.query.classes.toLocaleString("en")} classes, embedded by ${embedding.words(found.query.space)}.`;
    list();
    byId("answer").hidden = false;
    byId("result").focus();
  }

  function refuse(text) {
    shown = null;
    byId("answer").hidden = true;
    byId("problem").textContent = text;
    byId("problem").hidden = false;
  }

  async function take(file) {
    if (!file) return;
    latest += 1;
    const number = latest; // a file that was chosen later wins
    byId("problem").hidden = true;
    try {
      const kind = kindOf(new Uint8Array(await file.slice(0, 16).arrayBuffer()));
      if (kind !== null)
        throw new Refusal(
          `${file.name} is ${kind}, not an embedding; choose the file that ` +
            "`wsdarts-hub embed path/to/images --out images.safetensors` wrote",
        );
      if (file.size === 0) throw new Refusal(`${file.name} is empty; choose an embedding`);
      if (file.size > embedding.MAX_FILE)
        throw new Refusal(`${file.name} has ${file.size} bytes; expected at most ${embedding.MAX_FILE}`);
      const progress = (done, all) => {
        if (number !== latest || all === 1) return;
        byId("progress").hidden = false;
        byId("progress").textContent = `Ranking: part ${done + 1} of ${all} …`;
      };
      const content = new Uint8Array(await file.arrayBuffer());
      const found = await ranking.rank(content, file.name, progress);
      if (number === latest) show(found);
    } catch (problem) {
      if (number !== latest) return;
      refuse(problem instanceof Refusal ? problem.message : `${file.name} cannot be read: ${problem.message}`);
    } finally {
      if (number === latest) byId("progress").hidden = true;
    }
  }

  function start() {
    const drop = byId("drop");
    byId("query").hidden = false;
    byId("query").addEventListener("submit", (event) => event.preventDefault());
    byId("file").addEventListener("change", (event) => take(event.target.files[0]));
    byId("k").addEventListener("input", () => shown && list());
    // A file that misses the field must not replace the page.
    for (const kind of ["dragover", "drop"])
      document.addEventListener(kind, (event) => event.preventDefault());
    drop.addEventListener("dragover", () => drop.classList.add("over"));
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    document.addEventListener("drop", (event) => {
      drop.classList.remove("over");
      take(event.dataTransfer?.files[0]);
    });
  }

  return { start };
})();
wsdarts.nearest.start();
