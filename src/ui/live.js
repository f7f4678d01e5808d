// Follows what the server tells of this page and puts it in its place. HTML comes from the server, which has made it safe;
// text is put in as text.
"use strict";
(() => {
  const address = document.body.dataset.events;
  if (!address) return;
  const connection = document.getElementById("connection");
  const log = document.getElementById("log");
  // The stream of events, where there is one, and what of a log it has shown.
  let source = null;
  let shown = "";
  // Parts that are put in place once nobody is in them, by their ids.
  const waiting = new Map();
  let state = "";

  const duration = (seconds) => {
    const [minutes, hours, days] = [60, 3600, 86400].map((unit) => Math.floor(seconds / unit));
    const pair = (big, unit, small, smaller) => `${big} ${unit}` + (small ? ` ${small} ${smaller}` : "");
    if (days) return pair(days, "d", hours % 24, "h");
    if (hours) return pair(hours, "h", minutes % 60, "min");
    return minutes ? pair(minutes, "min", seconds % 60, "s") : `${seconds} s`;
  };
  const tick = () => {
    for (const time of document.querySelectorAll("[data-since]")) {
      time.textContent = duration(Math.max(0, Math.floor((Date.now() - time.dataset.since) / 1000)));
    }
  };
  const choose = () => {
    const button = document.querySelector("#runs button");
    if (button) button.disabled = document.querySelectorAll("#runs input:checked").length !== 2;
  };

  const say = () => {
    connection.textContent = state === "live" && waiting.size ? "live, but for where you are" : state;
  };
  // Whether the keyboard's focus or a selection is in an element: both would be lost with what it holds.
  const isInUse = (element) => {
    const selection = document.getSelection();
    return element.contains(document.activeElement) || (!selection.isCollapsed && selection.containsNode(element, true));
  };
  const put = (part, html) => {
    const chosen = new Set(Array.from(part.querySelectorAll("input:checked"), (input) => input.value));
    part.innerHTML = html;
    for (const input of part.querySelectorAll("input")) input.checked = chosen.has(input.value);
    tick();
    choose();
  };
  const settle = () => {
    for (const [id, html] of waiting) {
      const part = document.getElementById(id);
      if (isInUse(part)) continue;
      waiting.delete(id);
      put(part, html);
    }
    say();
  };
  const become = (now) => {
    state = now;
    say();
  };
  const heard = {
    part: ({ id, html }) => {
      waiting.set(id, html);
      settle();
    },
    anew: () => { log.textContent = ""; },
    heading: ({ text }) => { document.getElementById("log-heading").textContent = text; },
    lines: ({ text }, id) => {
      const page = document.documentElement;
      const isAtEnd = window.innerHeight + window.scrollY >= page.scrollHeight - 40;
      log.append(text);
      shown = id;
      if (log.childNodes.length > 2000) log.firstChild.remove();
      if (isAtEnd) window.scrollTo(0, page.scrollHeight);
    },
  };

  // A browser has only so many connections to a server: a page that nobody sees takes none.
  const follow = () => {
    if (document.hidden) {
      source?.close();
      source = null;
      return;
    }
    if (source && source.readyState !== EventSource.CLOSED) return;
    const url = new URL(address, location.href);
    if (shown) url.searchParams.set("from", shown);
    const opened = new EventSource(url);
    source = opened;
    opened.onopen = () => become("live");
    opened.onerror = () => {
      const isClosed = opened.readyState === EventSource.CLOSED;
      become(isClosed ? "no longer live: reload" : "connecting …");
    };
    for (const [name, act] of Object.entries(heard)) {
      opened.addEventListener(name, (event) => act(JSON.parse(event.data), event.lastEventId));
    }
  };
  document.addEventListener("visibilitychange", follow);
  document.addEventListener("change", choose);
  document.addEventListener("focusout", () => setTimeout(settle));
  document.addEventListener("selectionchange", settle);
  setInterval(tick, 1000);
  choose();
  follow();
})();
