// Renews the page in place, says when the server is lost, and lets the arrow keys go through
// drawings. All that is shown comes from the server as HTML that it has escaped.
"use strict";
(() => {
  const kPause = 2000;      // between two questions
  const kHiddenPause = 60000;  // the same of a tab in the background, whose title and icon still tell
  const kPatience = 8000;   // for an answer
  const kLostAfter = 2;     // questions without an answer

  const main = document.getElementById("main");
  const lost = document.getElementById("lost");
  const news = document.getElementById("news");
  const icon = document.querySelector("link[rel=icon]");
  let iconText = "";
  let etag = "";
  let parts = "";  // which parts are shown, in the server's words
  let failures = 0;
  let asked = Date.now();
  let answered = new Date();
  const sent = new Map();  // id of a part: as the server sent it
  const places = new Map();  // id of a drawing: its selected shape

  for (const part of main.children) sent.set(part.id, part.outerHTML);

  // -- what shapes say --------------------------------------------------------------------------

  const shapesOf = (box) => Array.from(box.querySelectorAll(".says"));

  const textOf = (shape) => shape.title || shape.querySelector("title").textContent;

  function point(box, index) {
    const shapes = shapesOf(box);
    if (shapes.length === 0) return;
    index = Math.max(0, Math.min(index, shapes.length - 1));
    for (const shape of box.querySelectorAll(".current")) shape.classList.remove("current");
    shapes[index].classList.add("current");
    box.querySelector(".says-now").textContent = textOf(shapes[index]);
    places.set(box.id, index);
  }

  function leave(box) {
    for (const shape of box.querySelectorAll(".current")) shape.classList.remove("current");
    box.querySelector(".says-now").textContent = "\u00a0";
    places.delete(box.id);
  }

  document.addEventListener("keydown", (event) => {
    const box = document.activeElement;
    if (!box || !box.classList.contains("explore")) return;
    const count = shapesOf(box).length;
    const at = places.get(box.id);
    const row = box.querySelector("table.hours") ? 24 : 10;
    const next = {
      ArrowRight: at === undefined ? 0 : at + 1, ArrowLeft: at === undefined ? count - 1 : at - 1,
      ArrowDown: at === undefined ? 0 : at + row, ArrowUp: at === undefined ? count - 1 : at - row,
      Home: 0, End: count - 1,
    }[event.key];
    if (event.key === "Escape") leave(box);
    if (next === undefined) return;
    point(box, next);
    event.preventDefault();
  });
  document.addEventListener("mouseover", (event) => {
    const shape = event.target.closest(".says");
    const box = shape && shape.closest(".explore");
    if (box) point(box, shapesOf(box).indexOf(shape));
  });

  // -- times that have passed -------------------------------------------------------------------

  function passed(seconds) {
    return `${duration(Math.max(0, seconds))} ago`;
  }
  function tellTimes() {
    for (const time of document.querySelectorAll("#top time, #troubles time"))
      time.title = passed((Date.now() - Date.parse(time.dateTime)) / 1000);
    for (const since of document.querySelectorAll(".since")) {
      const seconds = (Date.now() - Date.parse(since.querySelector("time").dateTime)) / 1000;
      since.querySelector(".passed").textContent = ` (${duration(Math.max(0, seconds))})`;
    }
  }

  function duration(seconds) {
    const days = Math.floor(seconds / 86400), hours = Math.floor(seconds / 3600) % 24;
    const minutes = Math.floor(seconds / 60) % 60;
    // A number and its unit stay on one line.
    if (days > 0) return `${days}\u00a0d ${hours}\u00a0h`;
    if (hours > 0) return `${hours}\u00a0h ${minutes}\u00a0min`;
    return minutes > 0 ? `${minutes}\u00a0min` : `${Math.floor(seconds)}\u00a0s`;
  }

  // -- title and icon ---------------------------------------------------------------------------

  // The title's bytes are percent-encoded, and a directory's name may be no UTF-8.
  function titleOf(header) {
    const bytes = [];
    for (let i = 0; i < header.length; ++i) {
      const escape = header[i] === "%";
      bytes.push(escape ? parseInt(header.slice(i + 1, i + 3), 16) : header.charCodeAt(i));
      if (escape) i += 2;
    }
    return new TextDecoder().decode(new Uint8Array(bytes));
  }

  const kColours = {ok: "#17734a", warning: "#b36b00", critical: "#b3202a", unknown: "#5f4b8b", lost: "#6b7680"};

  function paintIcon() {
    const verdict = document.getElementById("verdict");
    const state = failures >= kLostAfter ? "lost" : verdict && verdict.className;
    if (!iconText || !kColours[state] || icon.dataset.state === state) return;
    icon.dataset.state = state;
    icon.href = "data:image/svg+xml," + encodeURIComponent(iconText.replace(/fill="#[0-9a-f]{6}"/, `fill="${kColours[state]}"`));
  }

  // Nothing that is shown is known to be true any more.
  function tellLost() {
    const since = answered.toISOString().slice(0, 19).replace("T", " ");
    const seconds = (Date.now() - answered) / 1000;
    // Announced once: how long it lasts is for the eyes alone.
    if (lost.hidden) {
      const passed = Object.assign(document.createElement("span"), {className: "passed", ariaHidden: "true"});
      lost.replaceChildren(`\u2715 No answer since ${since} UTC`, passed, ". The displayed data is as of then.");
    }
    lost.querySelector(".passed").textContent = `, for ${duration(seconds)}`;
    lost.hidden = false;
    document.body.classList.add("lost");
    document.title = `\u2715 no answer for ${duration(seconds).replaceAll("\u00a0", " ")} \u00b7 ${knownTitle.split(" \u00b7 ").slice(1).join(" \u00b7 ")}`;
    paintIcon();
  }

  let knownTitle = document.title;

  // A screen reader announces changes of the state, not each new figure.
  let toldState = "";
  function announce() {
    const verdict = document.getElementById("verdict");
    const state = verdict && verdict.dataset.state;
    if (state && toldState && state !== toldState) news.textContent = state;
    if (state) toldState = state;
  }

  // -- renewing ---------------------------------------------------------------------------------

  function take(html, newTitle) {
    const fresh = new DOMParser().parseFromString(`<main>${html}</main>`, "text/html").querySelector("main");
    const focused = document.activeElement && document.activeElement.id;
    const ids = new Set();
    let before = main.firstElementChild;
    for (const part of Array.from(fresh.children)) {
      ids.add(part.id);
      if (part.dataset.same !== undefined) {
        const same = document.getElementById(part.id);
        if (same) before = same.nextElementSibling;
        continue;
      }
      const text = part.outerHTML;
      const old = document.getElementById(part.id);
      if (old && sent.get(part.id) === text) {
        before = old.nextElementSibling;
        continue;
      }
      sent.set(part.id, text);
      if (old) {
        for (const details of old.querySelectorAll("details[id][open]")) {
          const same = part.querySelector(`#${CSS.escape(details.id)}`);
          if (same) same.open = true;
        }
        // Before it is there: then it is not announced again.
        for (const box of part.querySelectorAll(".explore"))
          if (places.has(box.id)) point(box, places.get(box.id));
        old.replaceWith(part);
      } else {
        main.insertBefore(part, before);
      }
      before = part.nextElementSibling;
    }
    for (const part of Array.from(main.children))
      if (!ids.has(part.id)) { sent.delete(part.id); part.remove(); }
    if (focused && !(document.activeElement && document.activeElement.id === focused)) {
      const same = document.getElementById(focused);
      if (same) same.focus({preventScroll: true});
    }
    if (newTitle) knownTitle = newTitle;
    announce();
    select();
  }

  // -- which archives are shown -----------------------------------------------------------------

  const word = document.getElementById("filter");
  let kind = "";
  function select() {
    if (!word) return;
    const text = word.value.trim().toLowerCase();
    for (const row of document.querySelectorAll("#fleet tr[data-kind]"))
      row.hidden = (kind !== "" && row.dataset.kind !== kind) ||
        !row.textContent.toLowerCase().includes(text);
    for (const button of document.querySelectorAll("#kinds button"))
      button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
  }
  if (word) {
    word.parentElement.hidden = false;
    word.addEventListener("input", select);
    document.addEventListener("click", (event) => {
      const button = event.target.closest("#kinds button");
      if (!button) return;
      kind = button.dataset.kind;
      select();
    });
    select();
  }

  async function ask() {
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), kPatience);
    asked = Date.now();
    try {
      const answer = await fetch("main", {
        headers: {...(etag && {"If-None-Match": etag}), ...(parts && {"X-Parts": parts})}, signal: stop.signal, cache: "no-store"});
      if (answer.status === 401) { location.reload(); return; }
      if (answer.status !== 304) {
        if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
        const html = await answer.text();
        etag = answer.headers.get("ETag") || "";
        parts = answer.headers.get("X-Parts") || "";
        take(html, titleOf(answer.headers.get("X-Title") || ""));
      }
      failures = 0;
      answered = new Date();
      const looked = document.querySelector("#looked time");
      const at = decodeURIComponent(answer.headers.get("X-Looked") || "");
      if (looked && at) {
        looked.dateTime = at;
        looked.textContent = at.slice(0, 19).replace("T", " ") + " UTC";
      }
      tellTimes();
      lost.hidden = true;
      document.body.classList.remove("lost");
      document.title = knownTitle;
      paintIcon();
    } catch (error) {
      failures += 1;
      etag = "";
      if (failures >= kLostAfter) tellLost();
    } finally {
      clearTimeout(timer);
    }
  }

  async function turn() {
    // In the background once a minute; an unanswered request is repeated immediately.
    const rare = document.hidden && (failures === 0 || failures >= kLostAfter);
    if (!rare || Date.now() - asked >= kHiddenPause) await ask();
    setTimeout(turn, kPause);
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  tellTimes();
  announce();
  fetch("icon.svg").then((answer) => answer.ok ? answer.text() : "").then((text) => {
    iconText = text;
    paintIcon();
  }).catch(() => {});  // the icon stays as it is
  setTimeout(turn, kPause);
})();
