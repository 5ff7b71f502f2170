// The list of artifacts: filters, order, and how many fit.
"use strict";

wsdarts.list = (() => {
  const byId = (id) => document.getElementById(id);
  const form = byId("filters");
  const cards = byId("cards");
  const marks = new Map();
  for (const mark of document.querySelectorAll(".map a")) {
    const known = marks.get(mark.dataset.r) ?? [];
    marks.set(mark.dataset.r, [...known, mark]); // the wide map and the narrow one
  }

  // What an artifact need not state: null, which no bound admits and every order puts last.
  function optional(text) {
    return text === undefined ? null : Number(text);
  }

  const items = [...(cards?.children ?? [])].map((node) => ({
    node,
    text: node.textContent.toLowerCase(),
    reference: node.dataset.r,
    kind: node.dataset.k,
    images: Number(node.dataset.i),
    classes: Number(node.dataset.c),
    seconds: Number(node.dataset.s),
    date: node.dataset.d,
    gain: optional(node.dataset.g),
    transfer: optional(node.dataset.t),
    accuracy: optional(node.dataset.a),
    parameters: optional(node.dataset.p),
    operations: new Set(node.dataset.o.split(" ")),
  }));

  // A bound of a range; an empty field, or one that holds no number, bounds nothing.
  function bound(id, otherwise) {
    const value = byId(id).value;
    return value === "" || Number.isNaN(Number(value)) ? otherwise : Number(value);
  }

  function within(what, scale, read) {
    const least = scale * bound(`${what}-from`, -Infinity);
    const most = scale * bound(`${what}-to`, Infinity);
    if (least === -Infinity && most === Infinity) return () => true;
    return (item) => read(item) !== null && least <= read(item) && read(item) <= most;
  }

  function conditions() {
    const words = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = byId("kind").value;
    const [first, last] = [byId("date-from").value, byId("date-to").value];
    const operations = [...form.querySelectorAll("[name=operation]:checked")].map((b) => b.value);
    return [
      (item) => words.every((word) => item.text.includes(word)),
      (item) => !kind || item.kind === kind,
      within("images", 1, (item) => item.images),
      within("classes", 1, (item) => item.classes),
      within("minutes", 60, (item) => item.seconds),
      within("accuracy", 0.01, (item) => item.accuracy),
      within("parameters", 1e6, (item) => item.parameters),
      (item) => !first || item.date.slice(0, 10) >= first,
      (item) => !last || item.date.slice(0, 10) <= last,
      (item) => operations.every((operation) => item.operations.has(operation)),
    ];
  }

  function filter() {
    const all = conditions();
    let found = 0;
    for (const item of items) {
      const fits = all.every((fit) => fit(item));
      if (item.node.hidden === fits) item.node.hidden = !fits;
      for (const mark of marks.get(item.reference) ?? []) mark.classList.toggle("out", !fits);
      if (fits) found += 1;
    }
    const total = items.length.toLocaleString("en");
    byId("count").textContent =
      found === items.length
        ? `${total} artifact${found === 1 ? "" : "s"}`
        : `${found.toLocaleString("en")} of ${total} artifacts`;
    if (byId("none")) byId("none").hidden = found > 0;
  }

  function sort() {
    const key = byId("order").value;
    const name = key.replace("-", "");
    const sign = key.startsWith("-") ? -1 : 1;
    const number = new Map(items.map((item, index) => [item, index])); // by name and version
    const compare = (a, b) => {
      if (a[name] === null || b[name] === null) return (a[name] === null) - (b[name] === null);
      return a[name] < b[name] ? -sign : a[name] > b[name] ? sign : 0;
    };
    const sorted = name === "name" ? items : [...items].sort((a, b) => compare(a, b) || number.get(a) - number.get(b));
    cards?.append(...sorted.map((item) => item.node));
  }

  function start() {
    form.hidden = false;
    form.addEventListener("input", filter);
    byId("order").addEventListener("input", sort);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => {
      setTimeout(() => {
        filter();
        sort();
      });
    });
    filter(); // a browser may have kept the fields of an earlier visit
    sort();
  }

  return { start };
})();
wsdarts.list.start();
