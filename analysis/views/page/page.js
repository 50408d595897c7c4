"use strict";
// Walks through the steps of each opening. Everything it shows is in the page already: it marks and hides.
(() => {
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const openings = [...document.querySelectorAll(".opening")].map(walkthrough);
  document.documentElement.classList.add("js");

  function walkthrough(opening) {
    const all = (selector) => [...opening.querySelectorAll(selector)];
    const steps = all(".steps > li");
    const parts = all(".ladder [data-step]");
    const edges = all(".machine [data-edge]");
    const nodes = all(".machine [data-node]");
    const tokens = all(".machine .token");
    const [back, next, slider] = [".back", ".next", ".controls input"].map((one) => opening.querySelector(one));
    const status = opening.querySelector("[role=status]");
    const scroll = opening.querySelector(".scroll");
    const places = Object.fromEntries(nodes.map((node) => [node.dataset.node, node.dataset.place.split(" ").map(Number)]));
    let here = 0;

    function go(to, quietly) {
      const begins = here === 0;
      here = Math.max(0, Math.min(steps.length, to));
      const step = steps[here - 1];
      opening.classList.toggle("at-step", here > 0);
      for (const one of steps) one === step ? one.setAttribute("aria-current", "step") : one.removeAttribute("aria-current");
      for (const part of parts) {
        const of = Number(part.dataset.step);
        part.classList.toggle("ahead", here > 0 && of > here);
        part.classList.toggle("now", here > 0 && of === here);
      }
      const done = new Set(steps.slice(0, here).map((one) => one.dataset.edge));
      const been = new Set(steps.slice(0, here).flatMap((one) => one.dataset.at.split(" ")));
      const at = step ? step.dataset.at.split(" ") : tokens.map(() => "CLOSED");
      been.add("CLOSED");
      for (const edge of edges) {
        edge.classList.toggle("done", done.has(edge.dataset.edge));
        edge.classList.toggle("now", Boolean(step) && edge.dataset.edge === step.dataset.edge);
        for (const label of edge.querySelectorAll("[data-event]"))
          label.classList.toggle("now", Boolean(step) && label.dataset.event === step.dataset.event);
      }
      for (const node of nodes) {
        node.classList.toggle("done", been.has(node.dataset.node));
        node.classList.toggle("here", here > 0 && at.includes(node.dataset.node));
      }
      tokens.forEach((token, n) => {
        const [x, y] = places[at[n]];
        token.style.transform = `translate(${x + 58 * token.dataset.side}px, ${y}px)`;
      });
      back.setAttribute("aria-disabled", here === 0);
      next.setAttribute("aria-disabled", here === steps.length);
      slider.value = here;
      slider.setAttribute("aria-valuetext", step ? `${here} of ${steps.length}` : "overview");
      if (quietly) return;
      status.textContent = step
        ? `Step ${here} of ${steps.length}. ` + ["h4", ".states", ".reason"].map((part) => words(step, part)).join(". ")
        : "Overview";
      if (begins) settle();
      show();
    }

    // With the first step the stage comes to the top of the window, where the window is too low for all of it.
    function settle() {
      const stage = opening.querySelector(".stage");
      if (here && stage.getBoundingClientRect().bottom > innerHeight) stage.scrollIntoView({ behavior: motion() });
    }

    function words(step, part) {
      return step.querySelector(part).textContent.replace("→", "").replace(/\s+/g, " ").trim();
    }

    // Keep what happens now in the middle of the ladder's own window, where it has one.
    function show() {
      const now = parts.find((part) => part.classList.contains("now"));
      if (scroll.scrollHeight <= scroll.clientHeight) return;
      const middle = now ? now.getBoundingClientRect().top - scroll.getBoundingClientRect().top + scroll.scrollTop : 0;
      scroll.scrollTo({ top: middle - scroll.clientHeight / 2, behavior: motion() });
    }

    back.addEventListener("click", () => go(here - 1));
    next.addEventListener("click", () => go(here + 1));
    slider.addEventListener("input", () => go(Number(slider.value)));
    opening.querySelector(".ladder").addEventListener("click", (event) => {
      const part = event.target.closest("[data-step]");
      if (part) go(Number(part.dataset.step));
    });
    // A window that scrolls has to be reached by the keyboard, and to have a name.
    for (const [name, value] of [["tabindex", 0], ["role", "group"], ["aria-label", "Ladder"]]) scroll.setAttribute(name, value);
    swipes(opening.querySelector(".stage"), (way) => go(here + way));
    go(0, true);
    let paused = 0;
    return {
      opening, steps, go,
      move: (way) => go(here + way),
      pause: () => { paused = here; go(0, true); },
      resume: () => go(paused, true),
    };
  }

  function motion() {
    return calm.matches ? "auto" : "smooth";
  }

  function swipes(element, move) {
    let start = null;
    element.addEventListener("touchstart", (event) => {
      const touch = event.touches[0];
      start = event.touches.length === 1 && event.target.type !== "range" ? [touch.clientX, touch.clientY] : null;
    }, { passive: true });
    element.addEventListener("touchend", (event) => {
      if (!start) return;
      const x = event.changedTouches[0].clientX - start[0], y = event.changedTouches[0].clientY - start[1];
      if (Math.abs(x) > 40 && Math.abs(x) > 2 * Math.abs(y)) move(x < 0 ? 1 : -1);
      start = null;
    });
  }

  // The opening that the reader looks at: the one with the focus, else the one in the middle of the window.
  function current() {
    const focused = openings.find((one) => one.opening.contains(document.activeElement));
    const middle = innerHeight / 2;
    const away = ({ opening }) => {
      const { top, bottom } = opening.getBoundingClientRect();
      return Math.max(top - middle, middle - bottom, 0);
    };
    return focused || openings.reduce((best, one) => (away(one) < away(best) ? one : best), openings[0]);
  }

  document.addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way || !openings.length || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.matches("input, textarea, select")) return;
    event.preventDefault();
    current().move(way);
  });

  function follow() {
    for (const { opening, go, steps } of openings) {
      const place = steps.findIndex((step) => "#" + step.id === location.hash);
      if (place >= 0) { go(place + 1); opening.scrollIntoView(); }
    }
  }
  // On paper there is no step: all of it.
  addEventListener("beforeprint", () => openings.forEach((one) => one.pause()));
  addEventListener("afterprint", () => openings.forEach((one) => one.resume()));
  addEventListener("hashchange", follow);
  follow();
})();
