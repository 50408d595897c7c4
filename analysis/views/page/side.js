// Two openings side by side, stepped together: what happens in both happens at one moment, and else one of them waits.
(() => {
  const { openings, say, heard, made, root } = selfconn;
  if (openings.length < 2) return;
  const key = ({ dataset: { event, edge } }) => `${event} ${edge}`;
  const of = (walk) => openings.indexOf(walk);
  const captured = (walk) => walk.opening.closest(".capture");
  let pair = [openings[0], openings.find((one) => captured(one) !== captured(openings[0])) || openings[1]];
  let moments = [[0, 0]], here = 0, going = false;

  // How many steps of each opening are done at each moment: the longest way to go through both that has most in common.
  function together(one, other) {
    const common = Array.from({ length: one.length + 1 }, () => new Array(other.length + 1).fill(0));
    for (let i = one.length - 1; i >= 0; i -= 1)
      for (let j = other.length - 1; j >= 0; j -= 1)
        common[i][j] = key(one[i]) === key(other[j]) ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    const made = [[0, 0]];
    for (let i = 0, j = 0; i < one.length || j < other.length;) {
      const both = i < one.length && j < other.length && key(one[i]) === key(other[j]);
      if (both) [i, j] = [i + 1, j + 1];
      else if (j === other.length || (i < one.length && common[i + 1][j] >= common[i][j + 1])) i += 1;
      else j += 1;
      made.push([i, j]);
    }
    return made;
  }

  const back = made("button", ["← ", say("back")], { type: "button", class: "back" });
  const next = made("button", [say("next"), " →"], { type: "button", class: "next" });
  const slider = made("input", [], { type: "range", min: 0, "aria-label": say("moments") });
  const count = made("p", [], { class: "moment" });
  const status = made("p", [], { class: "vh", role: "status" });
  const choices = ["left", "right_side"].map((name, side) => {
    const options = openings.map(({ opening }, n) => made("option", [`${n + 1}. ${opening.querySelector("h2").textContent}`], { value: n }));
    const select = made("select", options, { "aria-label": say(name) });
    select.addEventListener("change", () => choose(pair.with(side, openings[select.value])));
    return select;
  });
  const bar = made("div", [back, slider, next, count, ...(openings.length > 2 ? choices : []), status], { class: "pair controls" });
  document.getElementById("main").prepend(bar);

  function choose(two) {
    pair = two;
    moments = together(pair[0].steps, pair[1].steps);
    slider.max = moments.length - 1;
    pair.forEach((walk, side) => { choices[side].value = of(walk); });
    for (const one of openings) {
      one.opening.classList.toggle("left", one === pair[0]);
      one.opening.classList.toggle("right", one === pair[1] && pair[1] !== pair[0]);
    }
    go(0);
  }

  function go(to = here) {
    const was = moments[Math.max(0, Math.min(moments.length, to) - 1)];
    here = Math.max(0, Math.min(moments.length - 1, to));
    going = true;
    pair.forEach((walk, side) => {
      const step = moments[here][side], waits = here > 0 && step === was[side];
      walk.go(step, waits || step !== walk.here + 1);
      walk.show();
      walk.opening.classList.toggle("waits", waits);
      walk.opening.querySelector(".count").textContent =
        say("step_of", { n: step, all: walk.steps.length }) + (waits ? ` · ${say("waits")}` : "");
    });
    going = false;
    slider.value = here;
    count.textContent = say("moment", { n: here, all: moments.length - 1 });
    slider.setAttribute("aria-valuetext", count.textContent);
    back.setAttribute("aria-disabled", here === 0);
    next.setAttribute("aria-disabled", here === moments.length - 1);
    const titles = pair.map(({ steps, here: step }) => (step ? steps[step - 1].querySelector("h4").textContent.trim() : say("overview")));
    status.textContent = `${count.textContent}. ${titles.join(". ")}`;
    if (root.classList.contains("side")) selfconn.write();
  }

  back.addEventListener("click", () => go(here - 1));
  next.addEventListener("click", () => go(here + 1));
  slider.addEventListener("input", () => go(Number(slider.value)));
  // A click into one of the two ladders takes the other along.
  heard.push((walk) => {
    const side = pair.indexOf(walk);
    if (!going && side >= 0 && root.classList.contains("side")) go(moments.findIndex((one) => one[side] === walk.here));
  });
  selfconn.turned.push((mode, to) => {
    if (mode !== "side" || !to) return;
    choose(pair);
    scrollTo(0, 0);
  });
  selfconn.pair = {
    move: (way) => go(here + way),
    go,
    address: () => `#o${of(pair[0]) + 1}-o${of(pair[1]) + 1}-m${here}-side`,
    follow: () => {
      const [, one, other, moment] = /^#o(\d+)-o(\d+)-m(\d+)-side$/.exec(location.hash) || [];
      const two = [openings[one - 1], openings[other - 1]];
      if (!two[0] || !two[1]) return false;
      pair = two;
      selfconn.turn("side", true);
      go(Number(moment));
      return true;
    },
  };
})();
