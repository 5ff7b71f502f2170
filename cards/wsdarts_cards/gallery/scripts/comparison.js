// Two to four artifacts side by side; which ones, the address says after its "#".
"use strict";

wsdarts.comparison = (() => {
  const { Refusal, element } = wsdarts;
  const byId = (id) => document.getElementById(id);
  const MOST = 4;
  const REFERENCE = /^([a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?)@([1-9][0-9]{0,8})$/;
  let latest = 0;

  function asked() {
    let text = location.hash.slice(1);
    try {
      text = decodeURIComponent(text);
    } catch {
      // Left as it is: no reference has a percent sign, so it is refused below.
    }
    return [...new Set(text.split(",").filter(Boolean))];
  }

  function load(reference) {
    const found = REFERENCE.exec(reference);
    if (!found || found[1].includes(".."))
      throw new Refusal(`${reference.slice(0, 80)} is no reference; expected one such as name@1`);
    return wsdarts.load(`artifacts/${found[1]}/v${found[2]}/compared.js`, reference).catch(() => {
      throw new Refusal(`this gallery has no artifact ${reference}`);
    });
  }

  function goTo(references) {
    location.hash = references.join(",");
  }

  function heading(item, references) {
    const remove = element("button", { type: "button", class: "link" }, "Remove");
    remove.setAttribute("aria-label", `Remove ${item.reference}`);
    remove.addEventListener("click", () => {
      goTo(references.filter((reference) => reference !== item.reference));
      byId("add").focus();
    });
    return element("th", { scope: "col" }, element("a", { href: item.page }, item.reference), " ", remove);
  }

  function picture(item, name) {
    const found = item.pictures.find((p) => p.name === name);
    const image = element("img", {
      src: found.file,
      width: found.width,
      height: found.height,
      alt: found.words,
    });
    const label = `${name} of ${item.reference}, in full size`;
    return element("td", { class: "drawn", "data-label": item.reference }, element("a", { href: found.file, "aria-label": label }, image));
  }

  // Of all operations that the masks of either have, how many both have.
  function shared(a, b) {
    if (a.space !== b.space) return "another search space";
    let [both, either] = [0, 0];
    for (let i = 0; i < a.masks.length; i += 1) {
      both += a.masks[i] === "1" && b.masks[i] === "1";
      either += a.masks[i] === "1" || b.masks[i] === "1";
    }
    return `${((100 * both) / either).toFixed(0)} % (${both} of ${either})`;
  }

  // The distances from an artifact: from the file that has all of a space, or, of a large one,
  // from the embeddings that come with the artifacts. Nothing where one of two is not ranked.
  async function listed(key, first) {
    const { references, between } = await wsdarts.distances.load(key);
    const from = references.indexOf(first.reference);
    return (item) => {
      const to = references.indexOf(item.reference);
      return from < 0 || to < 0 ? null : between(from, to);
    };
  }

  function computed(key, first) {
    return (item) => {
      const both = [first, item].map((one) => one.embeddings[key]);
      if (!both.every(Boolean)) return null;
      const [query, row] = both.map(wsdarts.floats);
      return wsdarts.distance.distances(query, row)[0];
    };
  }

  // How alike the first one and the others are: rows of a name and a text for each.
  async function alike(items) {
    const first = items[0];
    const rest = (name, read) => [name, "–", ...items.slice(1).map(read)];
    const rows = [
      rest(`operations left that it shares with ${first.reference}`, (item) => shared(first, item)),
    ];
    const { spaces } = await wsdarts.load("data/spaces.js", "spaces");
    for (const { key, space, whole } of spaces) {
      const from = whole ? await listed(key, first) : computed(key, first);
      rows.push(rest(`distance from ${first.reference}, by ${space.probe}`, (item) => from(item)?.toFixed(4) ?? "not ranked"));
    }
    return rows;
  }

  // Narrow screens show a row as a list, each text after the reference that it is of.
  function plainRow(items, [name, ...texts]) {
    const cells = texts.map((text, i) =>
      element("td", { class: "long", "data-label": items[i].reference }, text),
    );
    return element("tr", {}, element("th", { scope: "row" }, name), ...cells);
  }

  function factRow(items, name) {
    const facts = (item) => [...item.worth, ...item.facts];
    const texts = items.map((item) => (facts(item).find((fact) => fact[0] === name) ?? ["", "–"])[1]);
    const differs = new Set(texts).size > 1;
    const row = plainRow(items, [name, ...texts]);
    if (differs) row.className = "differs";
    return row;
  }

  function table(items, references, compared) {
    const names = [...new Set(items.flatMap((item) => item.facts.map((fact) => fact[0])))];
    const pictures = items[0].pictures.map((p) => p.name);
    return element(
      "table",
      { class: `of-${items.length}` },
      element("caption", {}, "Rows that differ are marked."),
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          element("td", {}),
          ...items.map((item) => heading(item, references)),
        ),
      ),
      element(
        "tbody",
        {},
        ...items[0].worth.map(([name]) => factRow(items, name)),
        ...pictures.map((name) =>
          element(
            "tr",
            {},
            element("th", { scope: "row" }, name),
            ...items.map((item) => picture(item, name)),
          ),
        ),
        ...compared.map((row) => plainRow(items, row)),
        ...names.map((name) => factRow(items, name)),
      ),
    );
  }

  async function update() {
    latest += 1;
    const number = latest;
    const all = asked();
    const references = all.slice(0, MOST);
    const found = await Promise.allSettled(references.map(async (reference) => load(reference)));
    const items = found.filter((f) => f.status === "fulfilled").map((f) => f.value);
    const compared = items.length > 1 ? await alike(items) : [];
    if (number !== latest) return;
    const problems = found.filter((f) => f.status === "rejected").map((f) => f.reason.message);
    if (all.length > MOST) problems.push(`${all.length} were asked for; the first ${MOST} are shown`);
    byId("problem").textContent = problems.join("; ");
    byId("problem").hidden = problems.length === 0;
    byId("side").hidden = items.length === 0;
    const shown = items.map((item) => item.reference);
    byId("side").replaceChildren(...(items.length ? [table(items, shown, compared)] : []));
    byId("state").textContent =
      items.length < 2 ? "Choose at least two." : `${items.length} side by side.`;
    byId("adding").querySelector("button").disabled = items.length >= MOST;
  }

  function start() {
    byId("adding").hidden = false;
    byId("adding").addEventListener("submit", (event) => {
      event.preventDefault();
      goTo([...new Set([...asked(), byId("add").value.trim()])]);
    });
    window.addEventListener("hashchange", update);
    update();
  }

  return { start };
})();
wsdarts.comparison.start();
