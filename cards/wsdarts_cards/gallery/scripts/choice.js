// Which artifacts are chosen for comparison: the checkboxes of the list, and the tray below it.
"use strict";

wsdarts.choice = (() => {
  const MOST = 4;
  const boxes = [...document.querySelectorAll("input[name=compare]")];
  const tray = document.getElementById("tray");
  const text = document.getElementById("chosen");
  const link = document.getElementById("compare");

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
    for (const label of document.querySelectorAll(".choice")) label.hidden = false;
    document.getElementById("cards")?.addEventListener("change", update);
    document.getElementById("unchoose").addEventListener("click", () => {
      for (const box of boxes) box.checked = false;
      update();
      document.getElementById("list").focus();
    });
    update(); // a browser may have kept the boxes of an earlier visit
  }

  return { start };
})();
wsdarts.choice.start();
