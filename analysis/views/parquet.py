"""Openings as rows of a Parquet file, for notebooks and query engines; docs/data.md describes the columns.

The rows are written as the openings end, in groups, so that memory stays flat whatever the captures hold.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..model import REMARKABLE
from ..output import opened
from ..report import Entry

if TYPE_CHECKING:
    from types import TracebackType

    from ..model import Opening

#: Rows that are collected before they are written.
GROUP = 1 << 14


class Rows:
    """A Parquet file at *path*, a row for each opening that is added; it is whole when this is closed.

    Raises UsageError where pyarrow is not installed, OSError where nothing can be written there.
    """

    def __init__(self, path: str) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415 - it takes 0.2 s
            from pyarrow import parquet  # noqa: PLC0415
        except ImportError as error:
            raise UsageError(f"Parquet is written by pyarrow ({error}): pip install 'selfconn[data]'") from error
        text = pa.dictionary(pa.int32(), pa.string())
        moment = pa.timestamp("ns", "UTC")
        self._schema = pa.schema(
            [
                ("capture", text),
                ("verdict", text),
                ("source_address", pa.string()),
                ("source_port", pa.uint16()),
                ("destination_address", pa.string()),
                ("destination_port", pa.uint16()),
                ("isn", pa.uint32()),
                ("first_frame", pa.uint64()),
                ("time", moment),
                ("syn_retransmissions", pa.uint32()),
                ("evidence", text),
                ("answered_by_address", pa.string()),
                ("answered_by_port", pa.uint16()),
                ("translated_with", pa.uint64()),
                ("refused_by_sender", pa.string()),
                ("refused_by_type", pa.uint8()),
                ("refused_by_code", pa.uint8()),
                ("refused_before", pa.uint64()),
                ("refused_since", moment),
                ("established", pa.bool_()),
                ("duration_ns", pa.uint64()),
                ("frames", pa.list_(pa.uint64())),
                ("notes", pa.list_(pa.string())),
            ]
        )
        self._pa = pa
        self._rows: list[tuple[Any, ...]] = []
        self._file = os.fdopen(opened(path), "wb")
        self._writer = parquet.ParquetWriter(self._file, self._schema, compression="zstd")

    def __enter__(self) -> Rows:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def add(self, capture: str, opening: Opening) -> None:
        """Add an opening of the capture of this name, whose octets that are no UTF-8 are escaped: strings are UTF-8.

        Of an unremarkable opening no more than its SYN was kept.
        """
        more: tuple[Any, ...] = (None,) * 6
        if opening.verdict in REMARKABLE:
            replay, notes, duration = Entry(0, opening).account()
            refused = (opening.refused_before, opening.refused_since)
            more = (*refused, replay.established, duration, list(replay.handshake), notes)
        answered, error = opening.answered_by, opening.refused_by
        self._rows.append(
            (
                capture.encode(errors="backslashreplace").decode(),
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
        )
        if len(self._rows) == GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = zip(*self._rows, strict=True)
        arrays = [self._pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._writer.write_batch(self._pa.record_batch(arrays, schema=self._schema))
        self._rows.clear()

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        self._flush()
        self._writer.close()
        self._file.close()
