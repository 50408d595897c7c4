// The modes, the keys, and the address bar, which follows: #o1s4-lecture is the fourth step of the first opening.
(() => {
  const { openings, board, place, current, say, heard, root } = selfconn;
  if (!openings.length) return;
  const MODES = ["lecture", "predict", "side"];
  const WAYS = { ArrowRight: 1, ArrowLeft: -1 };
  const ENDS = { ...WAYS, Home: -Infinity, End: Infinity };
  const CLICKER = { ...ENDS, PageDown: 1, PageUp: -1, ArrowDown: 1, ArrowUp: -1, " ": 1 };
  const letters = document.querySelector(".letters");
  const buttons = [...document.querySelectorAll("[data-mode]")];
  const turned = [];
  let looked = openings[0];

  const on = (mode) => root.classList.contains(mode);

  function turn(mode, to) {
    const is = on(mode);
    looked = on("lecture") ? looked : current();
    root.classList.toggle(mode, to);
    if (to) for (const other of MODES) if (other !== mode && [other, mode].includes("side")) root.classList.remove(other);
    for (const one of buttons) one.setAttribute("aria-pressed", on(one.dataset.mode));
    if (on("lecture")) lecture(looked);
    for (const one of openings) one.mark();
    if (mode === "lecture" && !to) looked.opening.scrollIntoView();
    if (is !== to) turned.forEach((one) => one(mode, to, looked));
    write();
  }

  // One opening fills the window.
  function lecture(walk) {
    looked = walk;
    for (const one of openings) one.opening.classList.toggle("shown", one === walk);
    const section = walk.opening.querySelector(".machine");
    if (!section.querySelector(".wide")) widen(walk, section);
    walk.mark();
    count();
    walk.show();
    walk.opening.querySelector(".walkthrough h3").focus({ preventScroll: true });
  }

  // The same state diagram, drawn wider, so that its names can be read from the last row.
  function widen({ opening, steps, boards }, section) {
    const narrow = section.querySelector("svg");
    const wide = document.getElementById("wide").content.querySelector("svg").cloneNode(true);
    const walked = {};
    steps.forEach(({ dataset: { edge } }, n) => edge && (walked[edge] = [...(walked[edge] || []), n + 1]));
    wide.classList.add("wide");
    wide.setAttribute("aria-label", narrow.getAttribute("aria-label"));
    for (const edge of wide.querySelectorAll(".edge")) edge.classList.toggle("walked", edge.dataset.edge in walked);
    for (const badge of wide.querySelectorAll(".badge")) {
      if (badge.dataset.edge in walked) badge.firstChild.textContent = walked[badge.dataset.edge].join(", ");
      else badge.remove();
    }
    for (const node of narrow.querySelectorAll(".visited"))
      wide.querySelector(`[data-node="${node.dataset.node}"]`).classList.add("visited");
    [...wide.querySelectorAll(".token")].slice(narrow.querySelectorAll(".token").length).forEach((one) => one.remove());
    section.append(wide);
    boards.push(board(wide, steps));
    place(wide);
  }

  function count() {
    const { opening, here, steps } = looked, which = openings.indexOf(looked) + 1;
    const text = [say("step_of", { n: here, all: steps.length })];
    if (openings.length > 1) text.unshift(say("opening_of", { n: which, all: openings.length }));
    opening.querySelector(".count").textContent = text.join(" · ");
  }

  // Beyond the last step is the next opening.
  function move(way) {
    if (on("side")) return selfconn.pair.move(way);
    const walk = on("lecture") ? looked : current();
    const other = openings[openings.indexOf(walk) + Math.sign(way)];
    const beyond = way > 0 ? walk.here === walk.steps.length : walk.here === 0;
    if (!on("lecture") || !beyond || !other || Math.abs(way) > 1) return walk.go(walk.here + way);
    lecture(other);
    other.go(way > 0 ? 0 : other.steps.length);
  }

  document.addEventListener("keydown", (event) => {
    const { key, target } = event, within = target.matches.bind(target);
    if (event.altKey || event.ctrlKey || event.metaKey || within("textarea, select")) return;
    const mode = MODES.find((one) => one[0] === key.toLowerCase());
    if (mode && letters.checked && !event.shiftKey && buttons.some((one) => one.dataset.mode === mode)) return turn(mode, !on(mode));
    if (key === "Escape") return MODES.filter(on).forEach((one) => turn(one, false));
    const way = (on("lecture") || on("side") ? CLICKER : on("predict") ? ENDS : WAYS)[key];
    const pressed = key === " " && within("button, input, summary, a");
    if (!way || within("input") || pressed || (event.shiftKey && key !== " ")) return;
    event.preventDefault();
    move(event.shiftKey ? -way : way);
  });
  for (const one of buttons) one.addEventListener("click", () => turn(one.dataset.mode, !on(one.dataset.mode)));

  function written({ opening, here }) {
    if (on("side")) return selfconn.pair.address();
    const modes = MODES.filter(on).map((mode) => `-${mode}`).join("");
    return `#${opening.id}${here || modes ? `s${here}` : ""}${modes}`;
  }

  function write() {
    try {
      history.replaceState(null, "", written(looked));
    } catch {
      // A page inside of another page may have no address of its own.
    }
  }

  function follow() {
    if (selfconn.pair && selfconn.pair.follow()) return;
    const [, id, step, modes] = /^#(o\d+)s(\d+)((?:-[a-z]+)*)$/.exec(location.hash) || [];
    const walk = openings.find(({ opening }) => opening.id === id);
    if (!walk) return;
    walk.go(Number(step), true);
    looked = walk;
    walk.opening.scrollIntoView();
    for (const mode of ["lecture", "predict"]) turn(mode, modes.includes(`-${mode}`));
    walk.show();
  }

  heard.push((walk) => {
    looked = walk;
    count();
    write();
  });
  // On paper there is no step and no mode: all of it.
  let kept = [];
  addEventListener("beforeprint", () => {
    kept = [MODES.filter(on), openings.map((one) => one.here)];
    root.classList.remove(...MODES);
    for (const one of openings) one.go(0, true);
  });
  addEventListener("afterprint", () => {
    openings.forEach((one, n) => one.go(kept[1][n], true));
    kept[0].forEach((mode) => turn(mode, true));
    if (on("side")) selfconn.pair.go();
  });
  addEventListener("hashchange", follow);
  Object.assign(selfconn, { turned, turn, follow, write, looked: () => (on("lecture") ? looked : current()) });
})();
