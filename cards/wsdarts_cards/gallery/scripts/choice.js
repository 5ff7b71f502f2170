// Which artifacts are chosen for comparison: the checkboxes of the list, and the tray below it.
"use strict";

wsdarts.choice = (() => {
  const MOST = 4;
  const chosen = new Set();
  const tray = document.getElementById("tray");
  const text = document.getElementById("chosen");
  const link = document.getElementById("compare");
  const boxes = () => document.querySelectorAll("[name=compare]");

  // Add the box of a card. It is made here, not in the page: without this script it would do nothing.
  function add(card) {
    const reference = card.dataset.r;
    const made = wsdarts.element("input", { type: "checkbox", name: "compare", value: reference });
    made.setAttribute("aria-label", `Compare ${reference}`);
    card.append(wsdarts.element("label", { class: "choice" }, made, "Compare"));
    mark(made);
  }

  function mark(box) {
    box.checked = chosen.has(box.value);
    box.disabled = chosen.size >= MOST && !box.checked;
  }

  function update() {
    boxes().forEach(mark);
    const all = [...chosen];
    tray.hidden = all.length === 0;
    document.body.classList.toggle("with-tray", all.length > 0);
    text.textContent = all.length === 1 ? `${all[0]} and …? Choose another one.` : all.join(", ");
    link.hidden = all.length < 2;
    link.href = `compare.html#${all.join(",")}`;
  }

  function start() {
    for (const card of document.querySelectorAll("#cards > li")) add(card);
    document.getElementById("cards")?.addEventListener("change", ({ target }) => {
      if (target.checked) chosen.add(target.value);
      else chosen.delete(target.value);
      update();
    });
    document.getElementById("unchoose").addEventListener("click", () => {
      chosen.clear();
      update();
      document.getElementById("list").focus();
    });
    update();
  }

  return { add, start };
})();
wsdarts.choice.start();
