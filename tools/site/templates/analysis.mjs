// The page's end of the worker: runs selfconn-analyze on files of the reader's, which never leave this page.

// What a file is called here: as there, but no name twice, and "-" would mean standard input.
export function named(files) {
  const taken = new Set();
  return files.map((file) => {
    const [, stem, ending] = /^(.*?)((?:\.[^.]{0,6}){0,2})$/su.exec(file.name);
    let name = file.name === "-" ? "./-" : file.name;
    for (let n = 2; taken.has(name); n++) name = `${stem} (${n})${ending}`;
    taken.add(name);
    return { name, file };
  });
}

export class Cancelled extends Error {}

export class Analysis {
  #worker = null;
  #waiting = new Map();
  #ids = 0;

  // *told* is called with what happens meanwhile: {kind: "stage" | "ready" | "started" | "progress", ...}.
  constructor(told = () => {}) {
    this.told = told;
  }

  // Have Python begin, if it has not: it takes some seconds.
  begin() {
    if (this.#worker) return;
    // A worker made out of a blob is held to this page's policy, and so to its own origin.
    const start = `import ${JSON.stringify(new URL("worker.mjs", import.meta.url).href)};`;
    const url = URL.createObjectURL(new Blob([start], { type: "text/javascript" }));
    const worker = new Worker(url, { type: "module" });
    this.#worker = worker;
    worker.onmessage = ({ data }) => {
      URL.revokeObjectURL(url);
      if (data.kind === "broken") this.#end(new Error(data.why));
      else if (data.kind !== "result") this.told(data);
      else {
        this.#waiting.get(data.id)?.resolve(data);
        this.#waiting.delete(data.id);
      }
    };
    worker.onerror = (event) => this.#end(new Error(event.message || "the worker could not be loaded"));
  }

  // Run `selfconn-analyze WORDS -- NAMES`; *saves*: the name of an annotated copy. Gives {status, out, messages, saved}.
  run(files, words, saves = "") {
    this.begin();
    const id = ++this.#ids;
    const names = files.map(({ name }) => name);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, saves, words: [...words, "--", ...names], files: files.map(plain) });
    });
  }

  // Break off whatever runs.
  cancel() {
    this.#end(new Cancelled("cancelled"));
  }

  #end(error) {
    this.#worker?.terminate();
    this.#worker = null;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

function plain({ name, file }) {
  return { name: name.replace(/^\.\//u, ""), file };
}
