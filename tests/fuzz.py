"""Fuzzers: ``make fuzz SEED=1 SECONDS=300``; one of them: ``python tests/fuzz.py --only views --seed 1 --seconds 60``.

Each takes a case after the other. What a case is follows from the seed, the fuzzer's name and the case's number alone,
so that ``--case NUMBER`` makes a finding again. A finding is written to a directory: what was found and how to make it
again (.txt), and the octets (.bin). What is mended goes to tests/found/, which test_fuzz.py reads ever after.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import itertools
import json
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import generated
from conftest import ROOT
from damaged import DAMAGED
from generated import Shot
from markup import Markup
from oracle import judge
from test_conversations import as_pcap, judgement
from test_mutants import captures, interpreted, mutant
from test_partial import ASKED, reference, tree

from analysis import engine, parallel, partial, reader
from analysis.cli import main as analyze_command
from analysis.commandline import handlers
from analysis.errors import NotACapture
from analysis.formats import compression
from analysis.formats.compression import Cut, unpacked
from analysis.model import CaptureResult, Verdict
from analysis.replay import replay
from analysis.report import Entry
from analysis.views import FORMATS
from analysis.views.json import entry_as_json, entry_as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: A case that takes longer is a finding. Seconds.
PATIENCE = 60
FOUND = ROOT / "tests" / "found"


@cache
def forms() -> dict[str, Any]:
    """The engine in each form that is here."""
    found: dict[str, Any] = {"interpreted": interpreted().Engine}
    if engine.COMPILED:
        found["compiled"] = engine.Engine
    return found


@contextlib.contextmanager
def using(form: Any) -> Iterator[None]:
    """Read captures with this form of the engine in here."""
    before, reader.Engine = reader.Engine, form  # type: ignore[misc]
    try:
        yield
    finally:
        reader.Engine = before  # type: ignore[misc]


class Case:
    """A case: its chance, and the octets with which something is tried at the moment."""

    def __init__(self, seed: str) -> None:
        self.chance = random.Random(seed)
        self.octets = b""

    def trying(self, octets: bytes) -> bytes:
        """Keep these octets, for the finding."""
        self.octets = octets
        return octets


def said(octets: bytes, portions: list[int], **asked: Any) -> CaptureResult | str:
    """All that the analysis says of octets that come in these portions; a sentence where they are no capture."""
    analysis = reader.Analysis("it", **asked)
    sizes, start = itertools.cycle(portions), 0
    try:
        while start < len(octets):
            size = next(sizes)
            analysis.feed(octets[start : start + size])
            start += size
        result = analysis.finish()
    except NotACapture as error:
        return str(error)
    for opening in result.openings:
        assert replay(opening).steps or not opening.segments
    return result


def alike(chance: random.Random, octets: bytes) -> CaptureResult | str:
    """What each form of the engine says, in any portions, which is the same."""
    asked = dict(chance.choice(ASKED), table=chance.choice((16, 1024)))
    portions = chance.choice(([len(octets) or 1], [7], [100, 1, 4096], [chance.randint(1, 5000)]))
    answers = {}
    for name, form in forms().items():
        with using(form):
            answers[name] = said(octets, [len(octets) or 1], **asked)
            assert said(octets, portions, **asked) == answers[name], f"{name}: in portions of {portions} octets"
    first, *others = answers.values()
    assert others in ([], [first]), " and ".join(answers)
    for opening in first.openings if isinstance(first, CaptureResult) else ():
        entry = Entry(0, opening)
        assert entry_as_text(entry) == json.dumps(entry_as_json(entry)), "written by its pattern"
    return first


# -- the fuzzers -----------------------------------------------------------------------------------------------------


@cache
def sources() -> list[bytes]:
    """Captures to damage."""
    made = [octets for octets in captures() if octets[:2] != b"\x1f\x8b"]
    made += [path.read_bytes() for path in sorted((ROOT / "tests" / "reported").glob("*.pcap*"))]
    made += [path.read_bytes() for path in sorted(FOUND.glob("*.pcap*"))]
    return made + [one.octets for one in DAMAGED.values() if len(one.octets) < 100_000]


def mutants(case: Case) -> str:
    """Damaged captures: read, or refused in a sentence, in either form of the engine alike."""
    octets = case.trying(mutant(case.chance.choice(sources()), case.chance))
    result = alike(case.chance, octets)
    return "refused" if isinstance(result, str) else "damaged" if result.damage else "read"


def structured(case: Case) -> str:
    """Conversations, encapsulations, pcap and pcapng, compressed, damaged: what is whole is read whole."""
    chance = case.chance
    shots = generated.traffic(chance)
    octets = case.trying(generated.as_file(chance, shots))
    if chance.random() < 0.3:
        alike(chance, case.trying(mutant(octets, chance)))
        return "damaged"
    result = alike(chance, octets)
    assert isinstance(result, CaptureResult)
    assert (result.packets, result.damage) == (len(shots), None)
    if chance.random() < 0.5:
        packed = case.trying(generated.packed(chance, octets))
        size = chance.choice((1, 7, 1000, len(packed)))
        assert _unpacked(packed, size, chance.randrange(4)) == (octets, "")
        damaged = case.trying(mutant(packed, chance))
        expected = _unpacked(damaged, size, 0)
        assert _unpacked(damaged, size, 1) == expected
        assert _unpacked(damaged, size, 3) == expected
        return "compressed"
    return "read"


def _unpacked(packed: bytes, size: int, jobs: int) -> tuple[bytes, str]:
    """What comes out on so many processors, with threads from the first octets on, and what is said at the end."""
    out = bytearray()
    pieces = (packed[start : start + size] for start in range(0, len(packed), size))
    with mock.patch.multiple(compression, ALONE=0, GROUP=2):
        try:
            for block in unpacked("it", pieces, jobs):
                out += block
        except (Cut, NotACapture) as why:
            return bytes(out), str(why)
    return bytes(out), ""


def oracle(case: Case) -> str:
    """Conversations: both forms of the engine say of each opening what tests/oracle.py says."""
    chance = case.chance
    alphabet = chance.choice(generated.sequences.ALPHABETS)
    names = list(alphabet.events)
    made = [("SYN", *chance.choices(names, k=chance.randint(1, 12))) for _ in range(chance.randint(1, 20))]
    facts = generated.sequences.capture(alphabet, made, interleaved=chance.random() < 0.5)
    octets = case.trying(as_pcap((fact.time, fact.packet) for fact in facts))
    expected = judge(facts)
    for form in forms().values():
        with using(form):
            result = said(octets, [len(octets)], collect=frozenset(Verdict))
            assert isinstance(result, CaptureResult)
            assert judgement(result) == expected
    return alphabet.name


def parts(case: Case) -> str:
    """One capture, cut anywhere, merged in any order: the report of the whole, or unsure, and read again as a whole."""
    chance = case.chance
    shots = generated.traffic(chance, 6)
    case.trying(generated.as_pcapng(chance, shots))
    ends = sorted(chance.randrange(len(shots) + 1) for _ in range(chance.randint(1, 5)))
    links = sorted({(shot.link, shot.interface) for shot in shots})
    files = []
    for start, end in itertools.pairwise([0, *ends, len(shots)]):
        piece = shots[start:end]
        if piece and chance.random() < 0.3:  # frames without a segment
            empty = piece[0]._replace(frame=b"")
            piece = [empty] * chance.randint(1, min(engine.NEAR, 100)) + piece
        files.append(_piece(piece, links))
    asked = dict(chance.choice(ASKED), table=chance.choice((16, 1024, 1024)))
    expected = reference(files, asked)
    made = [partial.part([octets], **asked) for octets in files]
    merged = partial.result(tree(list(made), chance))
    whole = partial.Whole(**asked)
    for one in made:
        whole.add(one)
    assert merged.unsure or merged == expected, "merged in any order"
    assert whole.unsure or whole.result() == expected, "one after the other"
    return "again as a whole" if merged.unsure or whole.unsure else "sure"


def _piece(shots: list[Shot], links: list[tuple[int, int]]) -> bytes:
    """A pcapng file with some of the shots; all files describe the same interfaces."""
    writers = generated.writers
    made = writers.section() + b"".join(writers.interface(link, resolution=9) for link, _ in links)
    for shot in shots:
        options = writers.option(2, bytes((shot.direction, 0, 0, 0))) if shot.direction else b""
        number = links.index((shot.link, shot.interface))
        made += writers.enhanced(shot.time, shot.frame, number=number, options=options)
    return made


def ranges(case: Case) -> str:
    """A file that threads read in ranges, side by side: what one thread says of it, or again as a whole."""
    chance = case.chance
    shots = [shot for shot in generated.traffic(chance, 40) if shot.link == generated.RAW]
    links = [(generated.RAW, interface) for interface in sorted({shot.interface for shot in shots})]
    pcapng = bool(links) and chance.random() < 0.5
    octets = case.trying(_piece(shots, links) if pcapng else as_pcap((shot.time, shot.frame) for shot in shots))
    asked: dict[str, Any] = {"table": chance.choice((16, 64, 256, 1024))}
    if chance.random() < 0.3:
        asked["only"] = frozenset({Verdict.SELF_CONNECT})
    with tempfile.NamedTemporaryFile() as file, _small_ranges():
        file.write(octets)
        file.flush()
        found = parallel.analyze_parts([file.name], chance.randint(2, 4), **asked)
        if found is not None:
            assert found == reader.analyze(file.name, **asked)
    return "again as a whole" if found is None else "sure"


@contextlib.contextmanager
def _small_ranges() -> Iterator[None]:
    """Small files are worth a thread in here, and come in small portions."""
    before = parallel.LARGE, parallel.COMPILED, compression.READ
    parallel.LARGE, parallel.COMPILED, compression.READ = 0, True, 4096
    try:
        yield
    finally:
        parallel.LARGE, parallel.COMPILED, compression.READ = before


def views(case: Case) -> str:
    """One capture in every view: none ends otherwise than it should, and all tell of the same openings."""
    chance = case.chance
    octets = (
        generated.as_file(chance, generated.traffic(chance, 3)) if chance.random() < 0.7 else chance.choice(sources())
    )
    if chance.random() < 0.5:
        octets = mutant(octets, chance)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.pcap"
        path.write_bytes(case.trying(octets))
        told = {form: _command("--all", "-v", "--format", form, str(path)) for form in (*FORMATS, "csv")}
    status, text = told["json"]
    assert {form: code for form, (code, _) in told.items()} == dict.fromkeys(told, status)
    assert status in {0, 3, 4}
    if status == 3:
        return "refused"
    report = json.loads(text)
    openings = report["openings"]
    lines = [json.loads(line) for line in told["jsonl"][1].splitlines()]
    assert [_without(line, "type", "schema", "version") for line in lines if line["type"] == "opening"] == openings
    assert [_without(line, "type", "schema", "version") for line in lines if line["type"] == "capture"] == report[
        "captures"
    ]
    expected = sorted((one["verdict"], one["source"]["address"], one["first_frame"]) for one in openings)
    rows = csv.DictReader(io.StringIO(told["csv"][1]))
    assert sorted((row["verdict"], row["source_address"], int(row["first_frame"])) for row in rows) == expected
    verdicts = [one["verdict"] for one in openings]
    assert re.findall(r"^\d+\. ([a-z-]+)(?:: | since )", told["table"][1], re.MULTILINE) == verdicts
    assert re.findall(r"^### (?:\d+\. )?([a-z-]+)(?:: | since )", told["markdown"][1], re.MULTILINE) == verdicts
    page = Markup(told["html"][1])
    assert sum("opening" in one.get("class", "").split() for one in page.all("article")) == len(verdicts)
    assert told["mermaid"][1].startswith("sequenceDiagram") or not openings
    return "shown" if openings else "no opening"


def _without(line: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in names}


def _command(*words: str) -> tuple[int, str]:
    """Run selfconn-analyze in here: its exit status and what it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        status = analyze_command([*words, "--jobs", "1"])
    return status, out.getvalue()


FUZZERS: dict[str, Callable[[Case], str]] = {
    one.__name__: one for one in (mutants, structured, oracle, parts, ranges, views)
}


# -- running them ----------------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """How long (seconds) or how many cases, from which seed, from which case on, and where findings go."""

    seed: str
    seconds: float
    count: int | None = None
    first: int = 0
    found: Path | None = None


def _too_long(*_: object) -> None:
    raise TimeoutError(f"longer than {PATIENCE} s")


def fuzz(
    name: str, run: Run, tell: Callable[[str], None] = lambda _: None, stopped: Callable[[], bool] = lambda: False
) -> list[str]:
    """Run a fuzzer; return what was found, a text each. *tell* is given a line of progress once a second.

    Raises KeyboardInterrupt after the case in which it is *stopped*: an analysis that it ends has a result.
    """
    began = told = time.monotonic()
    outcomes: Counter[str] = Counter()
    findings: list[str] = []
    cases = itertools.count(run.first) if run.count is None else range(run.first, run.first + run.count)
    signal.signal(signal.SIGALRM, _too_long)
    for number in cases:
        if stopped():
            raise KeyboardInterrupt
        now = time.monotonic()
        if now - began >= run.seconds:
            break
        if now - told >= 1:
            told = now
            tell(_line(name, now - began, outcomes, findings))
        case = Case(f"{run.seed}:{name}:{number}")
        signal.alarm(PATIENCE)
        try:
            outcomes[FUZZERS[name](case)] += 1
        except (Exception, SystemExit):  # noqa: BLE001 - whatever it is, it is a finding
            outcomes["found"] += 1
            again = f"python tests/fuzz.py --only {name} --seed {run.seed} --case {number}"
            findings.append(f"{again}\n\n{traceback.format_exc()}")
            if run.found:
                run.found.mkdir(parents=True, exist_ok=True)
                (run.found / f"{name}-{run.seed}-{number}.txt").write_text(findings[-1])
                (run.found / f"{name}-{run.seed}-{number}.bin").write_bytes(case.octets)
        finally:
            signal.alarm(0)
    tell(_line(name, time.monotonic() - began, outcomes, findings) + "\n")
    return findings


def _line(name: str, seconds: float, outcomes: Counter[str], findings: list[str]) -> str:
    kinds = ", ".join(f"{outcome}: {count:,}" for outcome, count in sorted(outcomes.items()))
    return f"{name}: {outcomes.total():,} cases in {seconds:.0f} s, {len(findings)} findings ({kinds})"


def main() -> int:
    """Run the fuzzers that are asked for, one after the other; 1 where anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=FUZZERS, help="this fuzzer (repeatable); all without it")
    parser.add_argument("--seed", default="1", help="what the cases follow from")
    parser.add_argument("--seconds", type=float, default=300, help="for all of them together")
    parser.add_argument("--count", type=int, help="so many cases of each, however long it takes")
    parser.add_argument("--case", type=int, help="this case alone")
    parser.add_argument("--found", type=Path, default=Path(".cache/fuzz/found"), help="where findings are written")
    given = parser.parse_args()
    names = given.only or list(FUZZERS)
    count = 1 if given.case is not None else given.count
    seconds = float("inf") if count else given.seconds / len(names)
    run = Run(given.seed, seconds, count, given.case or 0, given.found)
    terminal = sys.stdout.isatty()

    def tell(line: str) -> None:
        if terminal or line.endswith("\n"):
            sys.stdout.write("\r\x1b[K" * terminal + line)
            sys.stdout.flush()

    findings: list[str] = []
    signals: list[int] = []
    try:
        with handlers({signal.SIGINT: lambda number, _: signals.append(number)}):
            for name in names:
                findings += fuzz(name, run, tell, lambda: bool(signals))
    except KeyboardInterrupt:
        sys.stdout.write("\nstopped\n")
        return 1 if findings else 130
    if given.case is not None:
        sys.stdout.writelines(findings)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
