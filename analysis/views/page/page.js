"use strict";
// Walks through the steps of each opening. Everything it shows is in the page already: it marks, hides and places.
const selfconn = (() => {
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const heard = [];
  root.classList.add("js");
  const openings = [...document.querySelectorAll(".opening")].map(walkthrough);

  // What the page says, with {name} filled in; between two Chinese characters stands no space.
  function say(name, filled = {}) {
    return data.words[name].replace(/\{(\w+)\}/g, (_, one) => filled[one]).replace(/(\p{sc=Han}) (?=\p{sc=Han})/gu, "$1");
  }

  function walkthrough(opening) {
    const all = (selector) => [...opening.querySelectorAll(selector)];
    const steps = all(".steps > li");
    const parts = all(".ladder [data-step]");
    const boards = [board(opening.querySelector(".machine svg"), steps)];
    const [back, next, slider] = [".back", ".next", ".controls input"].map((one) => opening.querySelector(one));
    const status = opening.querySelector("[role=status]");
    const scroll = opening.querySelector(".scroll"), ladder = scroll.querySelector("svg[role]");
    const walk = { opening, steps, boards, here: 0, go, mark, show, move: (way) => go(walk.here + way), say: tell };
    let landing = 0;

    function go(to, quietly) {
      const from = walk.here;
      walk.here = Math.max(0, Math.min(steps.length, to));
      mark();
      if (quietly) return;
      tell(told());
      if (from === 0) settle();
      show();
      if (walk.here === from + 1) fly();
      heard.forEach((one) => one(walk, from));
    }

    function mark() {
      const { here } = walk, step = steps[here - 1];
      const hides = here > 0 || root.classList.contains("predict");
      opening.classList.toggle("at-step", here > 0);
      opening.classList.toggle("at-end", here === steps.length);
      for (const one of steps) one === step ? one.setAttribute("aria-current", "step") : one.removeAttribute("aria-current");
      for (const part of parts) {
        const of = Number(part.dataset.step);
        part.classList.toggle("ahead", hides && of > here);
        part.classList.toggle("now", here > 0 && of === here);
      }
      for (const one of boards) one(here);
      back.setAttribute("aria-disabled", here === 0);
      next.setAttribute("aria-disabled", here === steps.length);
      slider.value = here;
      slider.setAttribute("aria-valuetext", step ? `${here} / ${steps.length}` : say("overview"));
    }

    function tell(text) {
      status.textContent = text;
    }

    function told() {
      const step = steps[walk.here - 1];
      if (!step) return say("overview");
      const words = (part) => step.querySelector(part).textContent.replace("→", "").replace(/\s+/g, " ").trim();
      return `${say("step_of", { n: walk.here, all: steps.length })}. ` + ["h4", ".states", ".reason"].map(words).join(". ");
    }

    // With the first step the stage comes to the top of the window, where the window is too low for all of it.
    function settle() {
      const stage = opening.querySelector(".stage");
      if (walk.here && !root.classList.contains("lecture") && stage.getBoundingClientRect().bottom > innerHeight) stage.scrollIntoView({ behavior: motion() });
    }

    // The ladder as it lies in its own window, in pixels from the top of what scrolls: below the head, where it can be
    // cut between two frames without cutting a name, and where it ends.
    function lies() {
      const zero = scroll.getBoundingClientRect().top - scroll.scrollTop;
      const spans = (some) => some.map((one) => one.getBoundingClientRect()).map(({ top, bottom }) => [top - zero, bottom - zero]);
      const letters = (some) => spans(some).map(([top, bottom]) => [top * 0.86 + bottom * 0.14, top * 0.14 + bottom * 0.86]);
      const pills = spans([...ladder.querySelectorAll(".pill rect")]).map(([top, bottom]) => [top - 1, bottom + 1]);
      const names = [...letters([...ladder.querySelectorAll("text")]), ...pills];
      const [[head, end]] = spans([ladder]);
      const tops = all(".arrow").map((arrow) => Math.min(...letters([...arrow.querySelectorAll("text")]).map(([top]) => top)));
      const clear = (all) => all.filter((cut) => !names.some(([top, bottom]) => top < cut && cut < bottom)).sort((one, other) => one - other);
      const now = spans(parts.filter((part) => part.classList.contains("now")));
      const from = Math.min(...now.map(([top]) => top), end), to = Math.max(...now.map(([, bottom]) => bottom), head);
      return { head, end, from, to, now: now.length, cuts: [head, ...clear(tops), end], gaps: clear(names.map(([, bottom]) => bottom)) };
    }

    // Keep what happens now in sight, where the ladder has its own window: whole frames, and as many before it as fit.
    function show() {
      const { head, end, from, to, now, cuts } = lies(), room = scroll.clientHeight - head;
      if (!room || end - head <= room + 1) {
        ladder.style.marginBottom = "";
        return trim();
      }
      const below = cuts.find((cut) => cut >= to - 1) || end;
      const fits = cuts.find((cut) => below - cut <= room);
      const start = now ? Math.min(fits, cuts.findLast((cut) => cut <= from + 1)) : head;
      const top = fits === start ? start : Math.max(start, to - room);
      ladder.style.marginBottom = `${Math.max(0, Math.ceil(top - head + scroll.clientHeight - end))}px`;
      scroll.scrollTo({ top: Math.floor(top - head), behavior: motion() });
      trim();
    }

    // What is below the last whole frame in the window fades; where a frame is higher than that, what is below a name.
    function trim() {
      const { head, end, to, cuts, gaps } = lies(), seen = scroll.scrollTop + scroll.clientHeight;
      const frames = cuts.findLast((cut) => cut <= seen + 1);
      const whole = frames < to && to <= seen ? Math.max(to + 2, gaps.findLast((cut) => cut <= seen) || 0) : frames;
      ladder.classList.toggle("more", whole > head && whole < end);
      ladder.style.setProperty("--whole", `${whole - head}px`);
    }

    // The segment moves along its way: to the middle when it leaves, from there to the end when it arrives.
    function fly() {
      landing += 1;
      const path = parts.find((part) => part.matches(".out.now, .into.now"));
      const dot = path && path.parentNode.querySelector(".flying");
      if (!dot || calm.matches) return;
      const mine = landing, length = path.getTotalLength(), begin = performance.now();
      const home = [dot.getAttribute("cx"), dot.getAttribute("cy")];
      dot.classList.add("moving");
      requestAnimationFrame(function frame(now) {
        const share = mine === landing ? Math.min(1, Math.max(0, now - begin) / 700) : 1;
        const { x, y } = path.getPointAtLength(length * share * share * (3 - 2 * share));
        dot.setAttribute("cx", x);
        dot.setAttribute("cy", y);
        if (share < 1) return requestAnimationFrame(frame);
        dot.classList.remove("moving");
        ["cx", "cy"].forEach((name, n) => dot.setAttribute(name, home[n]));
      });
    }

    back.addEventListener("click", () => walk.move(-1));
    next.addEventListener("click", () => walk.move(1));
    slider.addEventListener("input", () => go(Number(slider.value)));
    opening.querySelector(".ladder").addEventListener("click", (event) => {
      const part = event.target.closest("[data-step]");
      if (part) go(Number(part.dataset.step));
    });
    // A window that scrolls has to be reached by the keyboard, and to have a name.
    for (const [name, value] of [["tabindex", 0], ["role", "group"], ["aria-label", say("ladder")]]) scroll.setAttribute(name, value);
    swipes(opening.querySelector(".stage"), (way) => walk.move(way));
    place(opening.querySelector(".machine svg"));
    raise(ladder);
    go(0, true);
    scroll.addEventListener("scroll", trim, { passive: true });
    new ResizeObserver(show).observe(scroll);
    return walk;
  }

  // A state diagram: returns what marks it for a step.
  function board(svg, steps) {
    const all = (selector) => [...svg.querySelectorAll(selector)];
    const badges = all(".badge text").map((text) => [text, text.textContent.split(", ")]);
    const edges = all("[data-edge]"), nodes = all("[data-node]"), tokens = all(".token");
    const [width, height] = svg.dataset.box.split(" ").map(Number);
    const places = Object.fromEntries(nodes.map((node) => [node.dataset.node, node.dataset.place.split(" ").map(Number)]));
    return (here) => {
      const step = steps[here - 1];
      const done = new Set(steps.slice(0, here).map((one) => one.dataset.edge));
      const been = new Set(["CLOSED", ...steps.slice(0, here).flatMap((one) => one.dataset.at.split(" "))]);
      const at = step ? step.dataset.at.split(" ") : tokens.map(() => "CLOSED");
      for (const edge of edges) {
        edge.classList.toggle("done", done.has(edge.dataset.edge));
        edge.classList.toggle("now", Boolean(step) && edge.dataset.edge === step.dataset.edge);
        for (const label of edge.querySelectorAll("[data-event]"))
          label.classList.toggle("now", Boolean(step) && label.dataset.event === step.dataset.event);
      }
      const shown = root.classList.contains("predict") ? here : Infinity;
      for (const [text, numbers] of badges) text.textContent = numbers.filter((one) => Number(one) <= shown).join(", ");
      for (const [text] of badges) text.parentNode.classList.toggle("now", Boolean(step) && text.parentNode.dataset.edge === step.dataset.edge);
      for (const node of nodes) {
        node.classList.toggle("done", been.has(node.dataset.node));
        node.classList.toggle("here", here > 0 && at.includes(node.dataset.node));
      }
      tokens.forEach((token, n) => {
        const [x, y] = places[at[n]];
        token.style.transform = `translate(${x + token.dataset.side * width / 2}px, ${y - height / 2}px)`;
      });
    };
  }

  // Put labels and the numbers of steps where they cover nothing: along their lines, by the widths that they have here.
  // In the wide drawing a label stands for the number of its line while it is shown: they may have the same place.
  function place(svg) {
    const wide = svg.matches(".wide");
    const all = (selector) => [...svg.querySelectorAll(selector)];
    const taken = all(".node").flatMap((node) => {
      const { x, y, width, height } = node.querySelector("rect").getBBox();
      const corner = (at) => [at - 11, y - 11, at + 11, y + 11];
      return [[x, y, x + width, y + height], corner(x), corner(x + width)];
    });
    for (const edge of [...all(".edge"), ...all(".badge")]) {
      const texts = [...edge.querySelectorAll("text")];
      if (!texts.length || !texts[0].getClientRects().length) continue;
      const path = svg.querySelector(`.edge[data-edge="${edge.dataset.edge}"] path`), length = path.getTotalLength();
      const was = texts.map((text) => Number(text.getAttribute("y")));
      const middle = (was[0] + was[was.length - 1]) / 2;
      const at = (share) => {
        if (!share) return;
        const point = path.getPointAtLength(length * share);
        texts.forEach((text, n) => {
          text.setAttribute("x", point.x);
          text.setAttribute("y", point.y + was[n] - middle);
          text.setAttribute("text-anchor", "middle");
        });
      };
      const badge = edge.matches(".badge"), own = wide && badge ? edge.dataset.edge : null;
      const others = taken.filter((box) => !own || box.edge !== own), gap = wide ? 4 : 1;
      const tries = badge ? [0.5, 0.38, 0.62, 0.27, 0.73, 0.2, 0.8, 0.14, 0.86, 0.1, 0.9] : [0, 0.5, 0.4, 0.6, 0.3, 0.7];
      let best = [Infinity, 0];
      for (const share of tries) {
        at(share);
        const cost = cover(texts.map(measured).map(([x, y, beyond, below]) => [x - gap, y - gap, beyond + gap, below + gap]), others);
        if (cost < best[0]) best = [cost, share];
        if (!cost) break;
      }
      at(best[1]);
      taken.push(...texts.map((text) => Object.assign(measured(text), { edge: edge.dataset.edge })));
    }
  }

  // The same for what stands over an arrow between two lifelines: higher or lower, where another segment passes.
  function raise(svg) {
    const all = (selector) => [...svg.querySelectorAll(selector)];
    const pills = all(".pill rect").map((one) => one.getBBox()).map(({ x, y, width, height }) => [x, y, x + width, y + height]);
    const labels = all("text.flags[text-anchor]");
    for (const label of labels) {
      const passing = all(".out, .into").flatMap((path) => {
        const length = path.getTotalLength();
        return Array.from({ length: 24 }, (_, n) => path.getPointAtLength((length * n) / 23)).map(({ x, y }) => [x - 5, y - 5, x + 5, y + 5]);
      });
      const taken = [...passing, ...pills, ...labels.filter((one) => one !== label).map(measured)];
      const home = Number(label.getAttribute("y"));
      let best = [Infinity, 0];
      for (const lift of [0, 2, 4, 6, 8, 10, 12, 14, 16]) {
        label.setAttribute("y", home - lift);
        const cost = cover([measured(label)], taken);
        if (cost < best[0]) best = [cost, lift];
        if (!cost) break;
      }
      label.setAttribute("y", home - best[1]);
    }
  }

  function cover(boxes, taken) {
    return boxes.reduce((sum, box) => sum + taken.reduce((all, other) => all + covered(box, other), 0), 0);
  }

  function measured(text) {
    const { x, y, width, height } = text.getBBox();
    const more = 2 + width * 0.05; // what happens now is bold
    return [x - more, y + height * 0.12, x + width + more, y + height * 0.88];
  }

  function covered([left, top, right, bottom], [x, y, beyond, below]) {
    return Math.max(0, Math.min(right, beyond) - Math.max(left, x)) * Math.max(0, Math.min(bottom, below) - Math.max(top, y));
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

  function made(name, inner, attributes = {}) {
    const one = document.createElement(name);
    one.append(...inner);
    for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
    return one;
  }

  if (innerWidth < 736) for (const list of document.querySelectorAll("nav details")) list.open = false;
  return { openings, board, place, current, say, made, heard, root, data };
})();
