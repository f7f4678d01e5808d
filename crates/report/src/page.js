"use strict";
// Tooltips of the charts from their marks' titles: at once, by touch, and with the arrow keys too. Without this script the
// browser shows the same titles in its own way.
(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  document.body.append(tip);
  let shown = null;
  let byKey = false;

  const hide = () => {
    if (shown) shown.mark.prepend(shown.title);
    shown = null;
    tip.hidden = true;
  };

  const place = (x, y) => {
    const box = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, x + 14), document.documentElement.clientWidth - box.width - 8);
    const above = y - box.height - 12;
    tip.style.left = `${left}px`;
    tip.style.top = `${above < 8 ? y + 18 : above}px`;
  };

  const show = (mark, x, y) => {
    if (shown?.mark !== mark) {
      hide();
      const title = mark.querySelector(":scope > title");
      tip.textContent = title.textContent;
      title.remove();
      shown = { mark, title };
      tip.hidden = false;
    }
    place(x, y);
  };

  // The innermost mark with a title of its own; the picture's is its text alternative.
  const markAt = (target) => {
    const svg = target.closest?.("svg.chart");
    for (let at = target; svg && at !== svg; at = at.parentElement) {
      if (at === shown?.mark || at.querySelector(":scope > title")) return at;
    }
    return null;
  };

  const point = (event) => {
    byKey = false;
    const mark = markAt(event.target);
    if (mark) show(mark, event.clientX, event.clientY);
    else hide();
  };
  addEventListener("pointermove", point);
  addEventListener("pointerdown", point);

  const showAtMark = (mark) => {
    const box = mark.getBoundingClientRect();
    show(mark, box.x + box.width / 2, box.y + box.height / 2);
  };
  const scrolled = () => (shown && byKey ? showAtMark(shown.mark) : hide());
  addEventListener("scroll", scrolled, { passive: true, capture: true });

  for (const svg of document.querySelectorAll("svg.chart")) {
    const marks = [...svg.querySelectorAll("title")].map((title) => title.parentElement).filter((mark) => mark !== svg);
    if (!marks.length) continue;
    let at = -1;
    svg.tabIndex = 0;
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return hide();
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step || event.target !== svg) return;
      event.preventDefault();
      at = (at + step + marks.length) % marks.length;
      byKey = true;
      showAtMark(marks[at]);
    });
  }

  // A link inside an open provenance leads away from it.
  addEventListener("click", (event) => event.target.closest?.("[popover] a")?.closest("[popover]").hidePopover());
})();
