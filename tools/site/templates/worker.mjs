// The analysis: Python with the very package that the commands are, in a worker of the page. It talks to nobody but the
// page, and reads captures where they lie, a part at a time.
import { loadPyodide } from "./pyodide/pyodide.mjs";

const SAVED = "/saved";
const here = (path) => new URL(path, import.meta.url).href;
const tell = (kind, more) => postMessage({ kind, ...more });

async function begin() {
  tell("stage");
  // Python begins with the memory that it had when it had imported everything (compile.mjs).
  const [memory, archive] = await Promise.all([
    fetch(here("start.bin")).then(({ body }) => new Response(body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer()),
    fetch(here("analysis.zip")).then((answer) => answer.arrayBuffer()),
  ]);
  const python = await loadPyodide({ indexURL: here("pyodide/"), env: { HOME: "/" }, _loadSnapshot: memory });
  python.registerJsModule("selfconn_host", { progress: (octets, total) => tell("progress", { octets, total }) });
  python.FS.writeFile("/analysis.zip", new Uint8Array(archive));
  python.FS.mkdir(SAVED);
  return { python, run: python.pyimport("selfconn_page").run };
}

const begun = begin();
begun.then(() => tell("ready"), (error) => tell("broken", { why: String(error) }));

let folders = 0;
let before = Promise.resolve();

// One after the other: each run has its captures in a folder of its own.
onmessage = ({ data }) => {
  before = before.then(() => answer(data)).catch((error) => tell("broken", { why: String(error) }));
};

async function answer({ id, files, words, saves }) {
  const { python, run } = await begun;
  const { FS } = python;
  const folder = `/captures${folders++}`;
  FS.mkdir(folder);
  FS.mount(FS.filesystems.WORKERFS, { blobs: files.map(({ name, file }) => ({ name, data: file })) }, folder);
  try {
    tell("started", { id });
    const result = run(saves ? ["--annotate", `${SAVED}/${saves}`, ...words] : words, folder);
    const [status, out, messages] = result.toJs();
    result.destroy();
    const path = `${SAVED}/${saves}`;
    const saved = saves && FS.analyzePath(path).exists ? FS.readFile(path) : null;
    if (saved) FS.unlink(path);
    postMessage({ kind: "result", id, status, out, messages, saved }, saved ? [saved.buffer] : []);
  } finally {
    FS.chdir("/");
    FS.unmount(folder);
    FS.rmdir(folder);
  }
}
