// Buttons and links with data-copy put their text on the clipboard, where the browser allows it.
(() => {
  "use strict";
  if (!navigator.clipboard) return;

  const reveal = () => document.querySelectorAll("button[data-copy][hidden]").forEach((b) => { b.hidden = false; });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    event.preventDefault();
    await navigator.clipboard.writeText(button.dataset.copy);
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1500);
  });

  // What htmx swaps in has its copy buttons still hidden.
  new MutationObserver(reveal).observe(document.body, { childList: true, subtree: true });
  reveal();
})();
