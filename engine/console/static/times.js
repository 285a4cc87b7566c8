// Writes times in UTC or as the clock on the wall says, as the button in the footer chooses; the choice stays.
"use strict";

const LOCAL_TIMES = "maskline-local-times";

let isLocalTime = localStorage.getItem(LOCAL_TIMES) === "yes";

function writtenTime(at) {
  const shift = isLocalTime ? at.getTimezoneOffset() * 60000 : 0;
  return new Date(at.getTime() - shift).toISOString().slice(0, 19).replace("T", " ");
}

function writeTimes(within) {
  for (const one of within.querySelectorAll("time[datetime]")) {
    one.textContent = writtenTime(new Date(one.dateTime));
  }
  for (const one of within.querySelectorAll("text[data-at]")) {
    one.textContent = writtenTime(new Date(Number(one.dataset.at) * 1000)).slice(11, 16);
  }
}

function zoneName() {
  return isLocalTime ? Intl.DateTimeFormat().resolvedOptions().timeZone : "UTC";
}

{
  const button = document.getElementById("local-times");
  const zone = document.getElementById("zone");
  const live = document.getElementById("live");

  const apply = () => {
    writeTimes(document);
    zone.textContent = zoneName();
    button.textContent = isLocalTime ? "Show UTC" : "Show local times";
  };

  button.hidden = false;
  button.addEventListener("click", () => {
    isLocalTime = !isLocalTime;
    localStorage.setItem(LOCAL_TIMES, isLocalTime ? "yes" : "no");
    apply();
  });
  if (isLocalTime) {
    apply();
  }
  if (live !== null) {
    new MutationObserver(() => isLocalTime && writeTimes(live)).observe(live, { childList: true });
  }
}
