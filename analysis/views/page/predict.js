// Predict mode: what is to come is hidden, and the reader says what it is. Why not, the table of RFC 9293 says.
(() => {
  const { openings, say, heard, made, root, data } = selfconn;
  if (!openings.length) return;
  const rules = data.rules.map(([state, event, to, sent, section]) => ({ state, event, to, sent, section }));
  const order = data.states;
  const SEGMENTS = ["SYN", "SYN-ACK", "ACK", "RST"];
  const on = () => root.classList.contains("predict");
  const rule = (state, event) => rules.find((one) => one.state === state && one.event === event);
  const title = (step) => step.querySelector("h4").lastChild.textContent.trim();

  // What is asked before step n of an opening (from 1), or null: the segment that answers what came, or the state.
  function question(steps, n) {
    const step = steps[n - 1];
    if (!step || step.querySelector(".known .unknown")) return null;
    const { who, before, after, event, flags } = step.dataset, moves = rule(before, event);
    const came = steps.slice(0, n - 1).reverse().find((one) => one.dataset.who === who);
    const answers = came && came.matches(".comes") && rule(came.dataset.before, came.dataset.event);
    if (step.matches(".sends") && answers && answers.sent === flags) {
      const state = answers.state, filled = { letter: who, state, event: answers.event, answer: flags, section: answers.section };
      return { kind: "segment", answer: flags, choices: SEGMENTS, filled, text: say("ask_segment", { ...filled, state: before }) };
    }
    if (!moves || (before === after && (step.matches(".sends") || !moves.sent))) return null;
    const targets = rules.filter((one) => one.state === before && one.to !== "CLOSED").map((one) => one.to);
    const likely = [...new Set([after, before, ...targets, "ESTABLISHED", "CLOSED", "TIME-WAIT"])].slice(0, 4);
    const choices = likely.sort((one, other) => order.indexOf(one) - order.indexOf(other));
    const filled = { letter: who, state: before, event, answer: after, section: moves.section };
    return { kind: "state", answer: after, choices, filled, text: say("ask_state", { ...filled, title: title(step) }) };
  }

  // Why a choice is wrong, by the rows of the table that would lead there.
  function whyNot({ kind, filled }, choice) {
    const { state, event } = filled;
    const other = rules.find((one) => one.state === state && (kind === "state" ? one.to : one.sent) === choice && one.event !== event);
    const about = { ...filled, choice, other: other && other.event, where: other && other.section };
    if (kind === "state" && choice === state) return say("not_staying", about);
    return say(other ? `not_this_${kind}` : `never_${kind}`, about);
  }

  function rightly({ kind, filled }) {
    return say(kind === "segment" ? "rule_segment" : filled.answer === filled.state ? "rule_stays" : "rule_state", filled);
  }

  const quizzes = new Map(openings.map((walk) => [walk, quiz(walk)]));

  function quiz(walk) {
    const { opening, steps } = walk, tried = new Map();
    const feedback = made("p", [], { class: "feedback", id: `${opening.id}-feedback` });
    const text = made("p", [], { class: "question", id: `${opening.id}-question` });
    const choices = made("div", [], { class: "choices", role: "group", "aria-labelledby": text.id });
    const tally = made("span", []);
    const copy = made("button", [say("copy")], { type: "button", class: "copy" });
    const score = made("textarea", [], { readonly: "", rows: 6, "aria-label": say("score_label"), hidden: "" });
    const box = made("div", [feedback, text, choices, made("p", [tally, " ", copy], { class: "tally" }), score],
      { class: "quiz", role: "group", tabindex: -1, "aria-labelledby": `${feedback.id} ${text.id}` });
    opening.querySelector(".controls").after(box);
    const asked = steps.map((_, n) => question(steps, n + 1)), all = asked.filter(Boolean).length;

    function comment(said, how) {
      feedback.textContent = said;
      feedback.className = `feedback ${how}`;
    }

    function ask(said = "") {
      const now = asked[walk.here];
      comment(said, "right");
      text.textContent = now ? now.text : say(walk.here < steps.length ? "nothing_to_ask" : "all_asked");
      const given = now ? now.choices : walk.here < steps.length ? [null] : [];
      choices.replaceChildren(...given.map((choice, n) => {
        const key = made("kbd", [String(n + 1)], { "aria-hidden": "true" });
        const button = made("button", [key, " ", choice || say("go_on")], { type: "button" });
        button.addEventListener("click", () => answer(choice, button));
        return button;
      }));
      count();
    }

    function answer(choice, button) {
      const now = asked[walk.here], step = walk.here + 1;
      if (button.getAttribute("aria-disabled")) return;
      if (now && !tried.has(step)) tried.set(step, []);
      if (now) tried.get(step).push(choice);
      if (!now || choice === now.answer) {
        walk.go(step);
        ask(now ? `${say("right")} ${rightly(now)}` : "");
        return box.focus();
      }
      button.setAttribute("aria-disabled", true);
      comment(whyNot(now, choice), "wrong");
      walk.say(feedback.textContent);
      count();
    }

    const first = () => [...tried].filter(([step, [one]]) => one === asked[step - 1].answer).length;

    function count() {
      tally.textContent = say("score", { n: first(), asked: tried.size, all });
    }

    // The score as text: in a field to copy by hand, and in the clipboard where the browser allows it.
    function report() {
      const lines = [...tried].sort(([one], [other]) => one - other).map(([step, given]) => {
        const right = asked[step - 1].answer, wrong = given.filter((one) => one !== right);
        const how = given.includes(right) ? (wrong.length ? "line_after" : "line_right") : "line_shown";
        return say(how, { step, answer: right, wrong: wrong.join(", ") });
      });
      return [`selfconn · ${opening.querySelector("h2").textContent}`, tally.textContent, ...lines].join("\n");
    }

    copy.addEventListener("click", async () => {
      score.value = report();
      score.hidden = false;
      score.select();
      try {
        await navigator.clipboard.writeText(score.value);
        walk.say(say("copied"));
      } catch {
        walk.say(say("copy_yourself"));
      }
    });
    return { ask, box, passed: (step) => asked[step - 1] && !tried.has(step) && tried.set(step, []) };
  }

  // Whoever goes on without an answer is shown it, and what it rests on.
  heard.push((walk, from) => {
    if (!on()) return;
    const { ask, passed } = quizzes.get(walk), now = question(walk.steps, walk.here);
    if (walk.here === from + 1) passed(walk.here);
    ask(walk.here === from + 1 && now ? rightly(now) : "");
  });
  document.addEventListener("keydown", (event) => {
    if (!on() || !document.querySelector(".letters").checked || event.altKey || event.ctrlKey || event.metaKey || event.target.matches("textarea")) return;
    const button = quizzes.get(selfconn.looked()).box.querySelectorAll(".choices button")[Number(event.key) - 1];
    if (button) button.click();
  });
  selfconn.turned.push((mode, to, walk) => {
    if (mode !== "predict" || !to) return;
    quizzes.forEach(({ ask }) => ask());
    quizzes.get(walk).box.focus({ preventScroll: true });
  });
})();
