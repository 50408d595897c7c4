"""The second witness: what Wireshark's dissectors say of the same frames, asked through pyshark.

Two kinds of answers. The fields of a segment (numbers, control bits, options) are facts: where Wireshark reads others
than we do, one of the two is wrong, and that is an error to report. What it makes of the segment ("TCP Retransmission")
is interpretation: Wireshark finds out the direction of a conversation by comparing its endpoints, and where they are
equal, or where SYNs crossed, it takes a SYN-ACK for a SYN sent again. There the difference is the lesson.

tshark runs without names resolved, without anybody's preferences, profiles, plugins and Lua scripts, and takes the
payload of TCP for plain data, whatever the ports. This is the only file that imports pyshark.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory

from .errors import NotACapture, UsageError
from .model import Flag
from .records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from .model import Segment

#: Frames that are asked about at most, in one capture: pyshark takes about two milliseconds for each.
FRAMES = 5_000

#: Where tshark is looked for. The caller's PATH does not count: it may lead to anybody's program.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PREFERENCES = {
    "tcp.analyze_sequence_numbers": "TRUE",
    "tcp.relative_sequence_numbers": "FALSE",  # SACK blocks are compared as they are in the packet
    "ip.defragment": "FALSE",  # a segment belongs to the frame that holds its header
    "ipv6.defragment": "FALSE",
}


class Difference(NamedTuple):
    """A field that Wireshark reads in another way; ``None`` is an absent one."""

    field: str
    ours: str
    theirs: str


class Witness(NamedTuple):
    """What Wireshark says of one frame: the remarks of its TCP analysis, and every field that it reads differently."""

    frame: int
    says: tuple[str, ...]
    differences: tuple[Difference, ...]


@dataclass(slots=True)
class Evidence:
    """What Wireshark says of all frames it was asked about: ``frames[capture, frame]``, captures counted from 0."""

    version: str
    frames: dict[tuple[int, int], Witness] = field(default_factory=dict)

    @property
    def differences(self) -> int:
        """Fields that were read differently."""
        return sum(len(witness.differences) for witness in self.frames.values())


#: Remarks of Wireshark's TCP analysis, as pyshark names the field and as the Info column words it.
REMARKS = {
    "analysis_retransmission": "TCP Retransmission",
    "analysis_fast_retransmission": "TCP Fast Retransmission",
    "analysis_spurious_retransmission": "TCP Spurious Retransmission",
    "analysis_out_of_order": "TCP Out-Of-Order",
    "analysis_reused_ports": "TCP Port numbers reused",
    "analysis_lost_segment": "TCP Previous segment not captured",
    "analysis_ack_lost_segment": "TCP ACKed unseen segment",
    "analysis_window_update": "TCP Window Update",
    "analysis_window_full": "TCP Window Full",
    "analysis_keep_alive": "TCP Keep-Alive",
    "analysis_keep_alive_ack": "TCP Keep-Alive ACK",
    "analysis_duplicate_ack": "TCP Dup ACK",
    "analysis_zero_window": "TCP ZeroWindow",
    "analysis_zero_window_probe": "TCP ZeroWindowProbe",
    "analysis_zero_window_probe_ack": "TCP ZeroWindowProbeAck",
}

#: Kinds of retransmission: the Info column leaves out that they are retransmissions.
_RETRANSMISSIONS = {"analysis_fast_retransmission", "analysis_spurious_retransmission"}


class _Layer:
    """The TCP header as Wireshark reads it."""

    def __init__(self, layer: Any) -> None:  # noqa: ANN401 - pyshark has no types
        self._layer = layer

    def texts(self, name: str, attribute: str = "show") -> list[str]:
        """Every value of a field, in order."""
        found = self._layer.get_field(name)
        return [] if found is None else [getattr(one, attribute) or "" for one in found.all_fields]

    def number(self, name: str) -> int | None:
        """The last value of a field; None where there is none."""
        numbers = self.numbers(name)
        return numbers[-1] if numbers else None

    def numbers(self, name: str) -> list[int]:
        """Every value of a field."""
        return [int(text, 0) for text in self.texts(name)]

    def ports(self) -> tuple[int | None, int | None]:
        return self.number("tcp.srcport"), self.number("tcp.dstport")

    def sack(self) -> tuple[tuple[int, int], ...]:
        return tuple(zip(self.numbers("tcp.options.sack_le"), self.numbers("tcp.options.sack_re"), strict=False))

    def fast_open(self) -> bytes | None:
        if 34 not in self.numbers("tcp.option_kind"):  # the experimental option of before RFC 7413 is none of ours
            return None
        return bytes.fromhex("".join(self.texts("tcp.options.tfo.cookie", "raw_value")))

    def remarks(self) -> Iterator[str]:
        names = dict.fromkeys(name for name in self._layer.field_names if name in REMARKS)
        if names.keys() & _RETRANSMISSIONS:
            names.pop("analysis_retransmission", None)
        for name in names:
            yield REMARKS[name] + (self._which() if name == "analysis_duplicate_ack" else "")

    def _which(self) -> str:
        """Return the frame of which this is a duplicate ACK, and its number among the duplicates of that frame."""
        return " {}#{}".format(*(self.number(f"tcp.analysis.duplicate_ack_{what}") for what in ("frame", "num")))


#: The fields that are compared: name, as we have it, as Wireshark has it.
_HEADER: tuple[tuple[str, Callable[[Segment], object], Callable[[_Layer], object]], ...] = (
    ("ports", lambda ours: (ours.source.port, ours.destination.port), _Layer.ports),
    ("seq", lambda ours: int(ours.seq), lambda theirs: theirs.number("tcp.seq_raw")),
    ("ack", lambda ours: int(ours.ack), lambda theirs: theirs.number("tcp.ack_raw")),
    ("flags", lambda ours: ours.flags, lambda theirs: (theirs.number("tcp.flags") or 0) & Flag.ALL),
    ("window", lambda ours: ours.window, lambda theirs: theirs.number("tcp.window_size_value")),
    ("payload", lambda ours: ours.payload, lambda theirs: theirs.number("tcp.len")),
)
_OPTIONS: tuple[tuple[str, Callable[[Segment], object], Callable[[_Layer], object]], ...] = (
    ("mss", lambda ours: ours.options.mss, lambda theirs: theirs.number("tcp.options.mss_val")),
    ("window scale", lambda ours: ours.options.window_scale, lambda theirs: theirs.number("tcp.options.wscale.shift")),
    (
        "sack permitted",
        lambda ours: ours.options.sack_permitted,
        lambda theirs: bool(theirs.texts("tcp.options.sack_perm")),
    ),
    ("sack", lambda ours: ours.options.sack, _Layer.sack),
    ("tsval", lambda ours: ours.options.tsval, lambda theirs: theirs.number("tcp.options.timestamp.tsval")),
    ("tsecr", lambda ours: ours.options.tsecr, lambda theirs: theirs.number("tcp.options.timestamp.tsecr")),
    ("fast open", lambda ours: ours.options.fast_open, _Layer.fast_open),
)


class Tshark:
    """Wireshark's dissectors. Raises UsageError where they, or pyshark, are not installed."""

    def __init__(self) -> None:
        path = shutil.which("tshark", path=_PATH)
        if path is None:
            raise UsageError(f"--witness needs Wireshark's tshark, which is not in {_PATH}: install it")
        try:
            import pyshark.config  # noqa: PLC0415
        except ImportError as error:
            raise UsageError(f"--witness needs pyshark, which cannot be imported: {error}") from error
        # It would take the path of the program from a config.ini in whatever directory we are.
        pyshark.config.fp_config_path = pyshark.config.pyshark_config_path
        self._path = path
        with _clean_environment():
            self.version = str(pyshark.tshark.tshark.get_tshark_version(path))

    def ask(self, capture: str, segments: Iterable[Segment]) -> dict[int, Witness]:
        """What it says of the frames of *segments* (the first FRAMES of them) in the file *capture*, by frame.

        Raises NotACapture where it cannot read the file.
        """
        wanted = dict(sorted((segment.frame, segment) for segment in segments)[:FRAMES])
        if not wanted:
            return {}
        with _clean_environment():
            answers = {number: _testify(wanted[number], layers) for number, layers in self._dissect(capture, wanted)}
        if not answers:
            raise NotACapture(f"tshark reads none of the frames of {capture} that we read: --witness has no answer")
        for frame in wanted.keys() - answers.keys():
            answers[frame] = Witness(frame, (), (Difference("frame", "there", "None"),))
        return dict(sorted(answers.items()))

    def _dissect(self, capture: str, frames: Iterable[int]) -> Iterator[tuple[int, list[Any]]]:
        """Run tshark; for each of *frames* its number and its TCP headers."""
        import pyshark  # noqa: PLC0415 - it takes half a second

        class Capture(pyshark.FileCapture):  # type: ignore[misc] # pyshark has no types
            """Waits for tshark to end by itself at the end of its output; what has ended cannot be killed cleanly."""

            async def _cleanup_subprocess(self, process: asyncio.subprocess.Process) -> None:
                if not self._eof_reached:
                    with suppress(ProcessLookupError):
                        process.kill()
                await process.wait()

        # With a loop of our own pyshark leaves the child watcher alone, which newer Pythons do not have.
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)  # what Ctrl-C leaves unfinished in it ends without a word
        try:
            with Capture(
                os.path.abspath(capture),  # noqa: PTH100 - as it is, no links followed
                keep_packets=False,
                display_filter=f"frame.number in {{{','.join(map(str, frames))}}}",
                decode_as={"tcp.port==0-65535": "data"},
                override_prefs=_PREFERENCES,
                tshark_path=self._path,
                eventloop=loop,
            ) as packets:
                for packet in packets:
                    yield int(packet.number), packet.get_multiple_layers("tcp")
        except KeyboardInterrupt:
            # It may come between the making of a coroutine and its first step: no mistake that users should read of.
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            raise
        finally:
            loop.close()


def _testify(ours: Segment, layers: list[Any]) -> Witness:
    """Compare a segment with the TCP headers that Wireshark found in its frame."""
    if not layers:
        return Witness(ours.frame, (), (Difference("segment", "TCP", "None"),))
    ports = (ours.source.port, ours.destination.port)
    headers = [_Layer(layer) for layer in layers]
    theirs = next((header for header in headers if header.ports() == ports), headers[0])
    compared = _HEADER if ours.options.damage else (*_HEADER, *_OPTIONS)
    pairs = ((name, our(ours), their(theirs)) for name, our, their in compared)
    differences = tuple(Difference(name, str(mine), str(other)) for name, mine, other in pairs if mine != other)
    return Witness(ours.frame, tuple(theirs.remarks()), differences)


@contextmanager
def _clean_environment() -> Iterator[None]:
    """An environment in which tshark finds nobody's preferences, plugins and scripts. pyshark hands on ours."""
    before = dict(os.environ)
    with TemporaryDirectory(prefix="selfconn-") as home:
        os.environ.clear()
        os.environ.update(PATH=_PATH, HOME=home, XDG_CONFIG_HOME=home, WIRESHARK_CONFIG_DIR=home, LC_ALL="C.UTF-8")
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
