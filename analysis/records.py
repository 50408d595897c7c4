"""NamedTuple and TypedDict without typing: to import that is an eighth of the time that a small capture takes.

NamedTuple is made in two fifths of the time, too: typing's compiles each field's annotation, which nothing asks for
here. For modules with "from __future__ import annotations". To a type checker all of them are typing's own; and a
module that needs typing for its annotations alone sets TYPE_CHECKING itself, which type checkers take as true.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from typing import NamedTuple as NamedTuple  # noqa: PLC0414 - for others to import
    from typing import TypedDict as TypedDict  # noqa: PLC0414 - as above
else:

    class _Maker(type):
        """Makes a named tuple of a class that has NamedTuple as its base."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            """Return the class: its fields are those with annotations, all else of *body* is added as it is."""
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = body["__annotations__"]
            defaults = [body[field] for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
            for key, value in body.items():
                if key not in fields:
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Maker):
        """The base of a class whose instances are tuples with names for their items."""

    class TypedDict:
        """The base of a class whose annotations name the keys of dicts: to call it makes a plain dict."""

        def __init_subclass__(cls, *, total: bool = True) -> None:
            """Whether all keys have to be there, type checkers see to."""

        def __new__(cls, *items: object, **named: object) -> dict[str, object]:
            """Return a dict."""
            return dict(*items, **named)
