// Which artifacts are chosen for comparison: the checkboxes of the list, and the tray below it.
"use strict";

wsdarts.choice = (() => {
  const MOST = 4;
  const boxes = [...document.querySelectorAll("#cards > li")].map(box);
  const tray = document.getElementById("tray");
  const text = document.getElementById("chosen");
  const link = document.getElementById("compare");

  // Made here, not in the page: without this script they would do nothing.
  function box(card) {
    const reference = card.dataset.r;
    const made = wsdarts.element("input", { type: "checkbox", name: "compare", value: reference });
    made.setAttribute("aria-label", `Compare ${reference}`);
    card.append(wsdarts.element("label", { class: "choice" }, made, "Compare"));
    return made;
  }

  function update() {
    const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
    for (const box of boxes) box.disabled = chosen.length >= MOST && !box.checked;
    tray.hidden = chosen.length === 0;
    document.body.classList.toggle("with-tray", chosen.length > 0);
    text.textContent =
      chosen.length === 1 ? `${chosen[0]} and …? Choose another one.` : chosen.join(", ");
    link.hidden = chosen.length < 2;
    link.href = `compare.html#${chosen.join(",")}`;
  }

  function start() {
    document.getElementById("cards")?.addEventListener("change", update);
    document.getElementById("unchoose").addEventListener("click", () => {
      for (const box of boxes) box.checked = false;
      update();
      document.getElementById("list").focus();
    });
    update();
  }

  return { start };
})();
wsdarts.choice.start();
