// node compile.mjs PYODIDE SOURCES FOLDER: into FOLDER analysis.zip, the archive SOURCES with the byte code of its modules, and
// start.bin, the memory of a Python that has begun and imported them, in gzip: to begin with it takes a sixth of the time.
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";

const [folder, from, to] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(`${folder}/pyodide.mjs`).href);
const env = { HOME: "/", PYTHONHASHSEED: "0" };

const python = await loadPyodide({ indexURL: folder, env });
python.FS.writeFile("/from.zip", readFileSync(from));
python.runPython(`
import importlib._bootstrap_external as importing
import importlib.util
import zipfile

with zipfile.ZipFile("/from.zip") as given, zipfile.ZipFile("/to.zip", "w", zipfile.ZIP_DEFLATED) as made:
    for entry in given.infolist():
        octets = given.read(entry)
        made.writestr(entry, octets)
        if entry.filename.endswith(".py"):
            code = compile(octets, f"/analysis.zip/{entry.filename}", "exec", dont_inherit=True)
            compiled = zipfile.ZipInfo(f"{entry.filename}c", entry.date_time)
            compiled.compress_type = zipfile.ZIP_DEFLATED
            # Held to the source by its hash, which is not looked at: the two lie in one archive.
            made.writestr(compiled, importing._code_to_hash_pyc(code, importlib.util.source_hash(octets), False))
`);
const archive = python.FS.readFile("/to.zip");
writeFileSync(`${to}/analysis.zip`, archive);

const begun = await loadPyodide({ indexURL: folder, env, _makeSnapshot: true });
begun.FS.writeFile("/analysis.zip", archive);
begun.runPython("import sys; sys.path.insert(0, '/analysis.zip'); import selfconn_page; selfconn_page.prepare()");
const memory = begun.makeMemorySnapshot();
writeFileSync(`${to}/start.bin`, gzipSync(memory, { level: 9 }));

// What grew beyond the memory that Python begins with could not be loaded: here, and not in the reader's browser.
const again = await loadPyodide({ indexURL: folder, env, _loadSnapshot: memory.buffer });
again.runPython("import selfconn_page");
