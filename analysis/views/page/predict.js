// Predict mode: what is to come is hidden, and the reader says what it is. Why not, the table of RFC 9293 says.
(() => {
  const { openings, say, heard, made, root, data } = selfconn;
  if (!openings.length) return;
  const rules = data.rules.map(([state, event, to, sent, section]) => ({ state, event, to, sent, section }));
  const order = data.states;
  const NOTHING = "nothing";
  const SEGMENTS = ["SYN", "SYN-ACK", "ACK", "RST", NOTHING];
  const on = () => root.classList.contains("predict");
  const rule = (state, event) => rules.find((one) => one.state === state && one.event === event);
  const arrives = ({ event }) => event.startsWith("receive");
  const named = (choice) => (choice === NOTHING ? say("nothing") : choice);
  const segment = (flags) => data.events[`send ${flags}`] || named(flags);

  // What happened, as a clause: "a SYN came", or by another pair of words for the two ways "a SYN comes".
  function clause(event, letter, came = "came", sent = "sent") {
    const what = data.events[event].replace("{letter}", letter);
    return arrives({ event }) ? say(came, { what }) : /^(send|retransmit)/.test(event) ? say(sent, { what, letter }) : what;
  }

  const whenever = (event, letter) => clause(event, letter, "comes", "sends");
  const sentence = (text) => text[0].toUpperCase() + text.slice(1);

  // What is asked before step n of an opening (from 1), or null: the segment that answers what came, or the state.
  function question(steps, n) {
    const step = steps[n - 1];
    if (!step || step.querySelector(".known .unknown")) return null;
    const { who, before, after, event, flags } = step.dataset, moves = rule(before, event);
    const came = steps.slice(0, n - 1).reverse().find((one) => one.dataset.who === who);
    const answers = came && came.matches(".comes") && rule(came.dataset.before, came.dataset.event);
    const ask = (kind, it) => {
      const filled = { ...it, letter: who, happened: clause(it.event, who), when: whenever(it.event, who) };
      return { kind, answer: it.answer, choices: it.choices, filled, text: say(`ask_${kind}`, { ...filled, happened: sentence(filled.happened), now: before }) };
    };
    if (step.matches(".sends") && answers && answers.sent === flags) {
      // Section 3.5 has figures, and this row is of figure 7, in which no answer follows: then the step's own section counts.
      const drawn = answers.section === "3.5", section = drawn ? step.querySelector(".reason a").hash.slice("#section-".length) : answers.section;
      return ask("segment", { state: answers.state, event: answers.event, answer: flags, choices: SEGMENTS, section, drawn });
    }
    if (!moves || (before === after && (step.matches(".sends") || !moves.sent))) return null;
    const targets = rules.filter((one) => one.state === before && one.to !== "CLOSED").map((one) => one.to);
    const likely = [...new Set([after, before, ...targets, "ESTABLISHED", "CLOSED", "TIME-WAIT"])].slice(0, 4);
    const choices = likely.sort((one, other) => order.indexOf(one) - order.indexOf(other));
    return ask("state", { state: before, event, answer: after, choices, section: moves.section });
  }

  // Why nothing is asked before a step.
  function unasked(step) {
    if (!step) return say("all_asked");
    if (step.querySelector(".known .unknown")) return say("nobody_knows");
    if (step.querySelector(".known .finding")) return say("no_rule");
    return say(step.dataset.event === "send data" ? "program_decides" : "nothing_changes");
  }

  // Why a choice is wrong, by the rows of the table that would lead there: what comes first of all, since a socket that
  // sends does so by the choice of its program.
  function whyNot({ kind, filled }, choice) {
    const { state, event, letter } = filled;
    if (choice === state) return say("not_staying", filled);
    if (choice === NOTHING) return say(filled.drawn ? "not_as_drawn" : "not_nothing", filled);
    const to = kind === "state" ? "to" : "sent";
    const leading = rules.filter((one) => one.state === state && one[to] === choice && one.event !== event);
    const coming = leading.filter(arrives), others = coming.length || kind === "segment" ? coming : leading;
    const [other] = others, about = { ...filled, choice, segment: segment(choice), where: other && other.section };
    if (!other) return say(`never_${kind}`, about);
    const causes = [...new Set(others.map((one) => data.events[one.event]))].join(say("or"));
    return say(`not_this_${kind}`, { ...about, causes, other: whenever(other.event, letter) });
  }

  function rightly({ kind, filled }) {
    if (kind === "segment") return say(filled.drawn ? "rule_drawn" : "rule_segment", { ...filled, what: data.events[filled.event], segment: segment(filled.answer) });
    return say(filled.answer === filled.state ? "rule_stays" : "rule_state", filled);
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
      text.textContent = now ? now.text : unasked(steps[walk.here]);
      const given = now ? now.choices : walk.here < steps.length ? [null] : [];
      choices.replaceChildren(...given.map((choice, n) => {
        const key = made("kbd", [String(n + 1)], { "aria-hidden": "true" });
        const button = made("button", [key, " ", choice ? named(choice) : say("go_on")], { type: "button" });
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
        return say(how, { step, answer: right, wrong: wrong.map(named).join(", ") });
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
    return { asked, ask, box, passed: (step) => asked[step - 1] && !tried.has(step) && tried.set(step, []) };
  }

  // Whoever goes on without an answer is shown it, and what it rests on.
  heard.push((walk, from) => {
    if (!on()) return;
    const { asked, ask, passed } = quizzes.get(walk), now = asked[walk.here - 1];
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
