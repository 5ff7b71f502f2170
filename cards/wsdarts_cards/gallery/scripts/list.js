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

  // A large registry's list is in parts, which load with the first filter or order that needs
  // them; a page has some cards of it, and those of others load one by one.
  const shards = Number(cards?.dataset.shards ?? 0);
  const page = Number(cards?.dataset.page ?? 0);
  const opened = new Promise((done) => {
    if (document.readyState === "complete") done();
    else addEventListener("load", done);
  });
  let matched = [];
  let latest = 0;

  const items = shards ? [] : [...(cards?.children ?? [])].map((node) => ({
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

  // An artifact as the parts of the list have it.
  function item(row) {
    const [reference, kind, images, classes, seconds, date, gain, accuracy, parameters, transfer, used, text] = row;
    const operations = new Set(used.map(String));
    return { reference, kind, images, classes, seconds, date, gain, accuracy, parameters, transfer, operations, text };
  }

  async function loadItems() {
    const keys = Array.from({ length: shards }, (_, i) => `list-${i}`);
    const parts = await Promise.all(keys.map((key) => wsdarts.load(`data/${key}.js`, key)));
    if (items.length === 0) for (const rows of parts) for (const row of rows) items.push(item(row));
  }

  // The card of an artifact. Its HTML was made with the page's own template, and nothing that is
  // parsed like this runs.
  async function card({ reference }) {
    await opened; // all scripts have run by then
    const file = `artifacts/${reference.replace("@", "/v")}/card.js`;
    const html = await wsdarts.load(file, `card:${reference}`);
    const node = new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
    wsdarts.choice.add(node);
    return document.adoptNode(node);
  }

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

  function fitting() {
    const all = conditions();
    return items.filter((item) => all.every((fit) => fit(item)));
  }

  function say(found) {
    const total = items.length.toLocaleString("en");
    byId("count").textContent =
      found === items.length
        ? `${total} artifact${found === 1 ? "" : "s"}`
        : `${found.toLocaleString("en")} of ${total} artifacts`;
    if (byId("none")) byId("none").hidden = found > 0;
  }

  function show(fits) {
    const shown = new Set(fits.map((item) => item.reference));
    for (const item of items) {
      const hidden = !shown.has(item.reference);
      if (item.node && item.node.hidden !== hidden) item.node.hidden = hidden;
    }
    for (const [reference, both] of marks)
      for (const mark of both) mark.classList.toggle("out", !shown.has(reference));
    wsdarts.taskMap.update();
    say(fits.length);
  }

  function ordered(some) {
    const key = byId("order").value;
    const name = key.replace("-", "");
    const sign = key.startsWith("-") ? -1 : 1;
    const compare = (a, b) => {
      if (a[name] === null || b[name] === null) return (a[name] === null) - (b[name] === null);
      return a[name] < b[name] ? -sign : a[name] > b[name] ? sign : 0;
    };
    // By name and version as they are; sorting keeps the order of equal ones.
    return name === "name" ? some : [...some].sort(compare);
  }

  // Show the next cards of those that fit.
  async function more() {
    const number = latest;
    byId("more").disabled = true;
    const next = matched.slice(cards.children.length, cards.children.length + page);
    const nodes = await Promise.all(next.map(card));
    if (number !== latest) return;
    cards.append(...nodes);
    byId("more").disabled = false;
    byId("more").hidden = cards.children.length >= matched.length;
    nodes[0]?.querySelector("a").focus({ preventScroll: true });
  }

  // Load what is needed, and show the first cards of those that fit; a later change wins.
  async function load() {
    latest += 1;
    const number = latest;
    byId("count").textContent = "Loading the list …";
    cards.setAttribute("aria-busy", "true");
    try {
      await loadItems();
      if (number !== latest) return;
      matched = ordered(fitting());
      const first = await Promise.all(matched.slice(0, page).map(card));
      if (number !== latest) return;
      cards.replaceChildren(...first);
      show(matched);
      byId("more").disabled = false;
      byId("more").hidden = first.length >= matched.length;
      byId("pager").hidden = true;
    } catch (problem) {
      if (number === latest) byId("count").textContent = problem.message;
    } finally {
      if (number === latest) cards.removeAttribute("aria-busy");
    }
  }

  function filter() {
    if (shards) load();
    else show(fitting());
  }

  function sort() {
    if (!shards) cards?.append(...ordered(items).map((item) => item.node));
  }

  // Whether a field has another value than the page came with.
  function changed() {
    return [...form.elements].some(
      (field) =>
        (field.type === "checkbox" && field.checked !== field.defaultChecked) ||
        (field.tagName === "INPUT" && field.value !== field.defaultValue) ||
        (field.tagName === "SELECT" && field.value !== usual(field)),
    );
  }

  function usual(field) {
    return ([...field.options].find((option) => option.defaultSelected) ?? field.options[0]).value;
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
    byId("more")?.addEventListener("click", more);
    // A browser may have kept the fields of an earlier visit.
    if (!shards || changed()) filter();
    sort();
  }

  return { start };
})();
wsdarts.list.start();
