// Keeps the numbers of tasks true while a page is open; without it they are those of the moment it was loaded.
"use strict";
const counters = document.querySelector("[data-counts]");
async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(counters.dataset.counts, { credentials: "same-origin" });
    if (!answer.ok) return;
    for (const [state, number] of Object.entries(await answer.json())) {
      const place = counters.querySelector(`[data-count="${CSS.escape(state)}"]`);
      if (place) place.textContent = number.toLocaleString("en-US");
    }
  } catch {
    // The server is away: the next look may find it.
  }
}
if (counters) {
  setInterval(refresh, 5000);
  document.addEventListener("visibilitychange", refresh);
}
