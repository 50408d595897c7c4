"""An opening as a row: the columns of the files that have a row for every opening; docs/data.md describes them."""

from __future__ import annotations

from ..model import REMARKABLE
from ..report import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..model import Opening

#: The columns, in order. Times and durations are in nanoseconds, times since the epoch.
COLUMNS = (
    "capture",
    "verdict",
    "source_address",
    "source_port",
    "destination_address",
    "destination_port",
    "isn",
    "first_frame",
    "time",
    "syn_retransmissions",
    "evidence",
    "answered_by_address",
    "answered_by_port",
    "translated_with",
    "refused_by_sender",
    "refused_by_type",
    "refused_by_code",
    "refused_before",
    "refused_since",
    "established",
    "duration_ns",
    "frames",
    "notes",
)

#: From refused_before on: None where no more than the SYN of an opening was kept.
_KEPT = 6


def row(capture: str, opening: Opening) -> tuple[Any, ...]:
    """What COLUMNS have of an opening in the capture of this name; of an unremarkable one, no more than its SYN has."""
    more: tuple[Any, ...] = (None,) * _KEPT
    if opening.verdict in REMARKABLE:
        replay, notes, duration = Entry(0, opening).account()
        refused = (opening.refused_before, opening.refused_since)
        more = (*refused, replay.established, duration, list(replay.handshake), notes)
    answered, error = opening.answered_by, opening.refused_by
    return (
        capture,
        opening.verdict.value,
        opening.source.address,
        opening.source.port,
        opening.destination.address,
        opening.destination.port,
        None if opening.isn is None else int(opening.isn),
        opening.first_frame,
        opening.time,
        opening.syn_retransmissions,
        opening.evidence and opening.evidence.value,
        answered and answered.address,
        answered and answered.port,
        opening.translated_with,
        error and error.address,
        error and error.type,
        error and error.code,
        *more,
    )
