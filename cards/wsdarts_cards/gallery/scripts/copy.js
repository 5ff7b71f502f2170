// Buttons that copy commands and references. Made here: without this script they would do nothing.
"use strict";

wsdarts.copy = (() => {
  const SHOWN = 2000; // milliseconds

  // Where a browser has no clipboard for the page, such as one without HTTPS.
  function bySelection(text) {
    const area = wsdarts.element("textarea", { class: "unseen", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }

  async function write(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return bySelection(text);
    }
  }

  function add(place) {
    const name = place.dataset.name ?? place.getAttribute("aria-label");
    const button = wsdarts.element("button", { type: "button", class: "copy" });
    const text = place.dataset.text ?? "Copy";
    button.textContent = text;
    const label = `Copy: ${name}`;
    button.setAttribute("aria-label", label);
    button.addEventListener("click", async () => {
      const done = await write(place.dataset.copy || place.textContent);
      const told = done ? "Copied" : "Select and copy it";
      button.textContent = told;
      button.setAttribute("aria-label", told);
      setTimeout(() => {
        button.textContent = text;
        button.setAttribute("aria-label", label);
      }, SHOWN);
    });
    if (place.tagName !== "PRE") {
      place.append(button);
      return;
    }
    const around = wsdarts.element("div", { class: "copyable" });
    place.replaceWith(around);
    around.append(place, button);
  }

  function start() {
    for (const place of document.querySelectorAll("[data-copy]")) add(place);
  }

  return { start };
})();
wsdarts.copy.start();
