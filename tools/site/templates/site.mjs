// The first page: takes captures, has them analysed, shows what comes out. Whatever comes from a file or its name is
// put into the page as text, or shown in a frame that may do nothing to this page.
import { Analysis, Cancelled, named } from "./analysis.mjs";

const own = document.getElementById("own");
const one = (selector) => own.querySelector(selector);
const [drop, input, work, stage, bar, result] = [".drop", "#files", ".work", ".stage-name", "progress", ".result"].map(one);
const tabs = [...own.querySelectorAll("[role=tab]")];
const view = document.getElementById("view");
const analysis = new Analysis(told);

const FORMATS = {
  html: { ending: "html", type: "text/html", words: "Save the page" },
  table: { ending: "txt", type: "text/plain", words: "Save the table" },
  json: { ending: "json", type: "application/json", words: "Save the JSON" },
};

// Characters that are shown of a table or of JSON.
const MOST = 1_000_000;

let captures = [];
let options = [];
let outputs = {}; // by format, of these captures with these options
let format = "html";
let frame = "";

one(".unserved").hidden = true;
one(".served").hidden = false;
navigator.serviceWorker?.register("sw.js");

// -- taking captures ------------------------------------------------------------------------------------------------

// Python takes some seconds to begin: it does so when it looks as if it was needed.
for (const sign of ["pointerenter", "focusin", "touchstart"]) drop.addEventListener(sign, () => analysis.begin(), { passive: true });
input.addEventListener("change", () => {
  const files = [...input.files];
  input.value = "";
  take(files);
});
const brings = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragover", (event) => {
  if (!brings(event)) return;
  event.preventDefault();
  analysis.begin();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (!brings(event)) return;
  event.preventDefault();
  take([...event.dataTransfer.files]);
});
one(".compare").addEventListener("submit", async (event) => {
  event.preventDefault();
  const names = ["one", "other"].map((id) => document.getElementById(id).value).filter(Boolean).map((name) => `${name}.pcapng`);
  analysis.begin();
  take(await Promise.all(names.map(async (name) => new File([await (await fetch(`pcaps/${name}`)).blob()], name))));
});
for (const option of own.querySelectorAll(".options input, .options select")) option.addEventListener("change", () => captures.length && take());

function take(files) {
  if (files && !files.length) return;
  if (files) captures = named(files);
  options = [...own.querySelectorAll(".options input:checked")].map(({ value }) => value);
  outputs = {};
  if (runs) analysis.cancel();
  choose(format, true);
}

// -- running --------------------------------------------------------------------------------------------------------

async function choose(wanted, first = false) {
  format = wanted;
  for (const tab of tabs) {
    tab.setAttribute("aria-selected", tab.dataset.format === format);
    tab.tabIndex = tab.dataset.format === format ? 0 : -1;
  }
  view.setAttribute("aria-labelledby", `tab-${format}`);
  if (!outputs[format]) {
    const done = await ran([...asked(), ...options]);
    if (!done) return;
    outputs[wanted] = done;
  }
  if (format === wanted) show(outputs[format], first);
}

// The options that belong to the view.
function asked() {
  const language = document.getElementById("language").value;
  const form = format === "table" ? [] : ["--format", format];
  return format === "html" && language !== "en" ? [...form, "--language", language] : form;
}

// What comes of a run; null where it was broken off, which is said.
async function ran(words, saves = "", files = captures) {
  busy(true);
  try {
    return await analysis.run(files, words, saves);
  } catch (error) {
    if (!(error instanceof Cancelled)) {
      const what = `The analysis ended: ${error.message}. A capture that is too large for this browser can be read on the command line.`;
      show({ status: null, out: "", messages: what }, true);
    }
    return null;
  } finally {
    busy(false);
  }
}

let runs = 0;
function busy(begins) {
  runs += begins ? 1 : -1;
  work.hidden = runs === 0;
  own.setAttribute("aria-busy", runs > 0);
  if (begins) {
    stage.textContent ||= "Reading";
    bar.removeAttribute("value");
  } else stage.textContent = "";
}

function told({ kind, octets, total }) {
  if (kind === "stage") stage.textContent = "Python is loading";
  if (kind === "started") stage.textContent = "Reading";
  if (kind !== "progress") return;
  stage.textContent = total ? `Reading: ${Math.floor((100 * octets) / total)} %` : `Reading: ${Math.round(octets / 1e6)} MB`;
  if (total) Object.assign(bar, { max: total, value: Math.min(octets, total) });
}

one(".cancel").addEventListener("click", () => {
  analysis.cancel();
  analysis.begin(); // for the next one
  input.focus();
});

// -- showing --------------------------------------------------------------------------------------------------------

function show({ status, out, messages }, first) {
  const names = captures.map(({ name }) => name);
  result.hidden = false;
  one("#result-title").textContent = names.length > 3 ? `${names.length} captures` : names.join(", ");
  const lines = messages.split("\n").filter(Boolean);
  one(".messages").replaceChildren(...lines.map((line) => element("li", line)));
  const command = ["selfconn-analyze", ...asked(), ...options, ...names.map(quoted)].join(" ");
  one(".command").textContent = status === null ? "" : `$ ${command}   # exit status ${status}`;
  one(".views").hidden = !out;
  if (out) format === "html" ? showPage(out) : view.replaceChildren(element("pre", shortened(out)));
  offer(out);
  if (first) {
    one("#result-title").focus({ preventScroll: true });
    result.scrollIntoView({ block: "start" });
  }
}

// Of very long text only the beginning is shown: all of it is saved.
function shortened(text) {
  if (text.length <= MOST) return text;
  return `${text.slice(0, text.lastIndexOf("\n", MOST))}\n\n... ${text.length - MOST} more characters are not shown here: save them.\n`;
}

// The page as it is, but that its links to the RFC open beside it; saved, it has not even that difference.
function showPage(out) {
  URL.revokeObjectURL(frame);
  frame = URL.createObjectURL(new Blob([out.replaceAll('rel="noreferrer"', 'rel="noreferrer" target="_blank"')], { type: "text/html" }));
  const page = document.createElement("iframe");
  page.setAttribute("sandbox", "allow-scripts allow-popups allow-popups-to-escape-sandbox");
  page.allow = "fullscreen; clipboard-write";
  page.title = "The page of the captures";
  page.src = frame;
  view.replaceChildren(page);
}

function offer(out) {
  if (!out) return;
  const { ending, type, words } = FORMATS[format];
  const stem = captures.length === 1 ? captures[0].name.replace(/(\.[^.]{0,6}){1,2}$/u, "") : "captures";
  const buttons = [button(words, () => save(new Blob([out], { type }), `${stem}.${ending}`))];
  if (format === "html" && document.fullscreenEnabled) buttons.push(button("Full screen", () => view.firstElementChild.requestFullscreen()));
  if (!options.includes("--rotated"))
    for (const capture of captures.slice(0, 12))
      buttons.push(button(captures.length > 1 ? `Annotated copy of ${capture.name}` : "Save an annotated copy", () => annotate(capture)));
  one(".saves").replaceChildren(...buttons);
}

async function annotate(capture) {
  const done = await ran(options, "annotated.pcapng", [capture]);
  if (!done) return;
  if (done.saved) save(new Blob([done.saved]), `${capture.name.replace(/(\.[^.]{0,6}){1,2}$/u, "")}-annotated.pcapng`);
  else one(".messages").append(...done.messages.split("\n").filter(Boolean).map((line) => element("li", line)));
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function button(words, does) {
  const made = element("button", words);
  made.type = "button";
  made.className = "quiet";
  made.addEventListener("click", does);
  return made;
}

function quoted(name) {
  return /^[\w@%+=:,./-]+$/u.test(name) ? name : `'${name.replaceAll("'", `'"'"'`)}'`;
}

for (const tab of tabs) {
  tab.addEventListener("click", () => choose(tab.dataset.format));
  tab.addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way) return;
    event.preventDefault();
    const next = tabs[(tabs.indexOf(tab) + way + tabs.length) % tabs.length];
    next.focus();
    choose(next.dataset.format);
  });
}
