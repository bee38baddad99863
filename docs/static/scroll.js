// What is wider than its box can be scrolled with the keyboard only when it can be reached with the keyboard.
function reachable() {
  for (const box of document.querySelectorAll("pre, .math-wrapper, .table-wrapper, .output.text_html, .math"))
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
}
addEventListener("load", reachable);
addEventListener("resize", reachable);
