// What the theme leaves unnamed for a screen reader, or out of the keyboard's reach: what scrolls
// sideways. It takes that reach back from code where no pointer hovers, so it is given again.
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
const content = document.querySelector(".md-content");
const reach = () => {
  const scrolled = content.querySelectorAll("pre > code, .md-typeset__scrollwrap");
  for (const one of scrolled) if (!one.hasAttribute("tabindex")) one.tabIndex = 0;
};
if (content) {
  const watched = { attributeFilter: ["tabindex"], childList: true, subtree: true };
  new MutationObserver(reach).observe(content, watched);
  reach();
}
