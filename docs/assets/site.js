// What the theme leaves unnamed for a screen reader, or out of the keyboard's reach: it takes the
// latter back from blocks of code where no pointer hovers, so it is given again.
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
for (const code of document.querySelectorAll(".md-typeset pre > code")) {
  const reach = () => code.hasAttribute("tabindex") || code.setAttribute("tabindex", "0");
  new MutationObserver(reach).observe(code, { attributeFilter: ["tabindex"] });
  reach();
}
