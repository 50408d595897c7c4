// node compile.mjs PYODIDE FROM TO: the archive FROM with the byte code of its modules, by the Python that will run them.
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, from, to] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(`${folder}/pyodide.mjs`).href);
const python = await loadPyodide({ indexURL: folder });
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
writeFileSync(to, python.FS.readFile("/to.zip"));
