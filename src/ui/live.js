// Follows what the server tells of this page and puts it in its place. HTML comes from the server, which has made it safe;
// text is put in as text.
"use strict";
(() => {
  const address = document.body.dataset.events;
  if (!address) return;
  const source = new EventSource(address);
  const connection = document.getElementById("connection");
  const log = document.getElementById("log");

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

  source.onopen = () => { connection.textContent = "live"; };
  source.onerror = () => {
    const isClosed = source.readyState === EventSource.CLOSED;
    connection.textContent = isClosed ? "no longer live: reload" : "connecting …";
  };
  source.addEventListener("part", (event) => {
    const { id, html } = JSON.parse(event.data);
    const part = document.getElementById(id);
    const chosen = new Set(Array.from(part.querySelectorAll("input:checked"), (input) => input.value));
    part.innerHTML = html;
    for (const input of part.querySelectorAll("input")) input.checked = chosen.has(input.value);
    tick();
    choose();
  });
  source.addEventListener("anew", () => { log.textContent = ""; });
  source.addEventListener("heading", (event) => {
    document.getElementById("log-heading").textContent = JSON.parse(event.data).text;
  });
  source.addEventListener("lines", (event) => {
    const page = document.documentElement;
    const isAtEnd = window.innerHeight + window.scrollY >= page.scrollHeight - 40;
    log.append(JSON.parse(event.data).text);
    if (log.childNodes.length > 2000) log.firstChild.remove();
    if (isAtEnd) window.scrollTo(0, page.scrollHeight);
  });
  document.addEventListener("change", choose);
  setInterval(tick, 1000);
  choose();
})();
