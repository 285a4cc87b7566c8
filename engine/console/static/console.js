// Keeps the live part of the overview fresh: every two seconds while the page is seen, not paused, and answered.
"use strict";

const PERIOD_MILLISECONDS = 2000;

const live = document.getElementById("live");
const state = document.getElementById("live-state");
const pause = document.getElementById("live-pause");

let isPaused = false;
let hasEnded = false;
let timer = 0;

function isBeingRead() {
  const selection = document.getSelection();
  return selection !== null && !selection.isCollapsed && live.contains(selection.anchorNode);
}

function show(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  const focused = live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  live.replaceChildren(...fresh.body.childNodes);
  if (focused !== null) {
    live.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }
}

function end() {
  hasEnded = true;
  live.classList.add("stale");
  const link = document.createElement("a");
  link.href = live.dataset.login;
  link.textContent = "Log in again";
  state.replaceChildren("Your visit has ended. ", link);
  pause.hidden = true;
}

async function refresh() {
  const answer = await fetch(live.dataset.source, { cache: "no-store", redirect: "error" });
  if (answer.status === 401) {
    end();
  } else if (answer.ok) {
    show(await answer.text());
    live.classList.remove("stale");
    state.textContent = `as of ${new Date().toISOString().slice(11, 19)}, live`;
  } else {
    throw new Error(String(answer.status));
  }
}

async function tick() {
  if (!document.hidden && !isPaused && !isBeingRead()) {
    try {
      await refresh();
    } catch {
      live.classList.add("stale");
      state.textContent = `no answer at ${new Date().toISOString().slice(11, 19)}: the figures are old`;
    }
  }
  schedule();
}

function schedule() {
  clearTimeout(timer);
  if (!hasEnded) {
    timer = setTimeout(tick, PERIOD_MILLISECONDS);
  }
}

pause.hidden = false;
pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", String(isPaused));
  pause.textContent = isPaused ? "Paused" : "Pause";
});
schedule();
