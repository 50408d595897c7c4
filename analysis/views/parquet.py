"""Openings as rows of a Parquet file, for notebooks and query engines; docs/data.md describes the columns.

The rows are written as the openings end, in groups, so that the memory does not grow with the captures.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from ..errors import UsageError, get
from ..output import opened
from .rows import COLUMNS, row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any

    from ..model import Opening

#: Rows that are collected before they are written: four times as many take a tenth more memory, and save a fortieth of
#: the file.
GROUP = 1 << 12


class _NoPandas:
    """Finds no module of that name, in sys.meta_path."""

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name == "pandas":
            raise ImportError(name)


@contextmanager
def _without_pandas() -> Iterator[None]:
    """In here pyarrow looks for pandas in vain, as it does when it is given Python's own values for the first time.

    Importing it takes 50 MB and a third of a second, which nothing here needs. pyarrow does not look for it again where
    it makes Python's own values: so this is only for a process that does nothing else with pyarrow.
    """
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class Rows:
    """A Parquet file at *path*, a row for each opening that is added; it is whole when this is closed.

    Raises UsageError where pyarrow is not installed, OSError where nothing can be written there.
    """

    def __init__(self, path: str) -> None:
        alone = "pyarrow" not in sys.modules
        try:
            import pyarrow as pa  # noqa: PLC0415 - it takes 0.2 s
            from pyarrow import parquet  # noqa: PLC0415
        except ImportError as error:
            raise UsageError(f"writing Parquet needs pyarrow ({error}): {get('pyarrow')}") from error
        pa.set_memory_pool(pa.system_memory_pool())  # its own ones keep 10 MB more
        if alone:
            with _without_pandas():
                pa.array([0])
        text = pa.dictionary(pa.int32(), pa.string())
        moment = pa.timestamp("ns", "UTC")
        number, long = pa.uint16(), pa.uint64()
        types = (
            *(text, text, pa.string(), number, pa.string(), number, pa.uint32(), long, moment, pa.uint32()),
            *(text, pa.string(), number, long, pa.string(), pa.uint8(), pa.uint8()),
            *(long, moment, pa.bool_(), long, pa.list_(long), pa.list_(pa.string())),
        )
        self._schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
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
        """Add an opening of the capture of this name; octets in the name that are no UTF-8 are escaped."""
        self._rows.append((capture.encode(errors="backslashreplace").decode(), *row(capture, opening)[1:]))
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
