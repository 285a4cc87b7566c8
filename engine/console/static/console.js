// Keeps the live part of the overview fresh: every two seconds while the page is seen, not paused, and answered.
"use strict";

const PERIOD_MILLISECONDS = 2000;
const STALE_MILLISECONDS = 10000;

const live = document.getElementById("live");
const state = document.getElementById("live-state");
const pause = document.getElementById("live-pause");
const stale = document.getElementById("stale");
const announcement = document.getElementById("announcement");

const folds = new Map(); // what was opened or closed by hand, by its id: it stays so when the part is renewed

let isPaused = false;
let hasEnded = false;
let freshAt = Date.now();
let timer = 0;

const title = document.title;

function time(at) {
  return writtenTime(new Date(at)).slice(11);
}

function isBeingRead() {
  const selection = document.getSelection();
  return selection !== null && !selection.isCollapsed && live.contains(selection.anchorNode);
}

function selectorOf(one) {
  const isFold = one.tagName === "SUMMARY";
  return isFold ? `#${one.parentElement.id} > summary` : `a[href="${CSS.escape(one.getAttribute("href"))}"]`;
}

function show(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  const focused = live.contains(document.activeElement) ? selectorOf(document.activeElement) : null;
  for (const [id, isOpen] of folds) {
    const fold = fresh.getElementById(id);
    if (fold !== null) {
      fold.open = isOpen;
    }
  }
  live.replaceChildren(...fresh.body.childNodes);
  if (focused !== null) {
    live.querySelector(focused)?.focus({ preventScroll: true });
  }
}

function end() {
  hasEnded = true;
  age("Your login session has ended.");
  const link = document.createElement("a");
  link.href = live.dataset.login;
  link.textContent = "Log in again";
  state.replaceChildren(link);
  pause.hidden = true;
}

// What is no longer true says so: in red at the top, in the title of the tab, and to screen readers.
function age(why) {
  const text = `These figures are old, as of ${time(freshAt)}. ${why}`;
  if (stale.textContent !== text) {
    stale.textContent = text;
  }
  stale.hidden = false;
  live.classList.add("stale");
  state.textContent = "not live";
  document.title = `old: ${title}`;
}

function renew() {
  freshAt = Date.now();
  stale.hidden = true;
  stale.textContent = "";
  live.classList.remove("stale");
  document.title = title;
  const heading = document.getElementById("wrong") ?? document.getElementById("verdict");
  if (announcement.textContent !== heading.textContent) {
    announcement.textContent = heading.textContent;
  }
}

async function refresh() {
  const signal = AbortSignal.timeout(STALE_MILLISECONDS);
  const answer = await fetch(live.dataset.source, { cache: "no-store", redirect: "error", signal });
  if (answer.status === 401) {
    end();
  } else if (answer.ok) {
    show(await answer.text());
    renew();
    state.textContent = `as of ${time(freshAt)}, live`;
  } else {
    throw new Error(String(answer.status));
  }
}

async function tick() {
  if (!document.hidden && !isPaused && !isBeingRead()) {
    try {
      await refresh();
    } catch {
      age("The server does not answer.");
    }
  } else if (Date.now() - freshAt > STALE_MILLISECONDS) {
    age(isPaused ? "They are paused." : document.hidden ? "Nobody looked." : "They wait while text in them is selected.");
  }
  schedule();
}

function schedule() {
  clearTimeout(timer);
  if (!hasEnded) {
    timer = setTimeout(tick, PERIOD_MILLISECONDS);
  }
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !hasEnded) {
    clearTimeout(timer);
    tick();
  }
});
live.addEventListener("click", (event) => {
  const fold = event.target.closest("summary")?.parentElement;
  if (fold) {
    folds.set(fold.id, !fold.open);
  }
});
pause.hidden = false;
pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", String(isPaused));
  pause.textContent = isPaused ? "Paused" : "Pause";
});
schedule();
