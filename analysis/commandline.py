"""What the three commands have in common: types of arguments, --version, colour, messages, signals.

It needs the standard library alone, and of that nothing heavy: it is imported before privilege is given up, and each
time that a command starts.
"""

from __future__ import annotations

import atexit
import errno
import gc
import math
import os
import re
import signal
import sys
from contextlib import contextmanager, suppress

from . import VERSION
from .text import printable
from .unneeded import without

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import IO, Any, NoReturn

    #: What signal.signal() takes.
    Handler = Callable[[int, Any], Any] | int | None

#: argparse would import gettext to have its messages in other languages: it takes a while, also for each message, and
#: Python comes with no other language.
_UNTRANSLATED: dict[str, dict[str, object]] = {
    "gettext": {"gettext": lambda text: text, "ngettext": lambda one, several, number: one if number == 1 else several}
}

with without(_UNTRANSLATED):
    import argparse

#: What an argument's type raises; the message says what is wrong with the argument.
Unfit = argparse.ArgumentTypeError

# -- arguments -----------------------------------------------------------------------------------------------------


#: Columns of what --help prints.
_WIDTH = 80


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help of one width everywhere; to ask for the terminal's, argparse would import every compressor there is."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_WIDTH)

    def short(self, action: argparse.Action) -> str:
        """An option or operand in one line: its names, and the first clause of its help."""
        value = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
        names = " ".join(filter(None, (", ".join(action.option_strings), value)))
        text = re.split(r"; | ?\(", self._expand_help(action) if action.help else "", maxsplit=1)[0]
        if action.choices and not action.metavar:
            text = f"{text}{': ' if text else ''}{'|'.join(map(str, action.choices))}"
        return f"  {names:22} {text}\n"


class _Help(argparse.Action):
    """--help: one screen. What is longer has --help-all."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002 - argparse's own
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        if sys.stdout:
            sys.stdout.write("".join(_screen(parser)))
        parser.exit()


def _screen(parser: argparse.ArgumentParser) -> Iterator[str]:
    import textwrap  # noqa: PLC0415 - as above

    yield parser.format_usage()
    about = (parser.description or "").partition(";")[0].partition(". ")[0].rstrip(".")
    yield f"\n{textwrap.fill(about, _WIDTH)}.\n"
    formatter = Formatter(parser.prog)
    for group in parser._action_groups:  # noqa: SLF001 - argparse has no other way to them
        lines = [formatter.short(one) for one in group._group_actions if one.help != argparse.SUPPRESS]  # noqa: SLF001
        if lines:
            yield f"\n{group.title}:\n"
            yield from lines
    yield "\nexamples:\n"
    for line in (parser.epilog or "").split("\n")[1:3]:
        example, _, what = line.strip().partition("  ")
        yield f"  {example}   {what.strip()}\n"
    yield f"\n{parser.prog} --help-all: all of it, with more examples and exit statuses\n"


class Parser(argparse.ArgumentParser):
    """A command's parser: options are written in full, and no file's name is taken for one."""

    def __init__(self, prog: str, *, usage: str, description: str, epilog: str) -> None:
        super().__init__(
            prog, usage, description, epilog, formatter_class=Formatter, allow_abbrev=False, add_help=False
        )
        self.add_argument("-h", "--help", action=_Help, dest=argparse.SUPPRESS, help="show this in short, and exit")
        self.add_argument("--help-all", action="help", help="show all of it, examples and exit statuses, too")

    def parsed(self, words: Sequence[str] | None = None) -> argparse.Namespace:
        """Read the command line, that of the process if None.

        In a directory where somebody put a file named -oX, ``selfconn-analyze *`` would write to X: what looks like an
        option and is a file's name is refused, unless it comes after --.
        """
        words = sys.argv[1:] if words is None else words
        for word in words[: words.index("--") if "--" in words else None]:
            if word.startswith("-") and os.path.lexists(word.partition("/")[0]):
                self.error(
                    f"'{word}' is an option, and there is a file of that name here: name the file ./{word}, or put -- "
                    "before the files; for the option, start the command in another directory"
                )
        return self.parse_args(words)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and end; what the user wrote is made safe to show."""
        super().error(printable(message))


def whole(low: int, high: float, unfit: str, no_number: str | None = None) -> Callable[[str], int]:
    """Make an argparse type: a number from *low* to *high* (math.inf: no limit) in plain decimal digits.

    int() alone would also take 1_000 and the digits of other scripts. *unfit* is the message for other numbers and,
    unless *no_number* is given, for other text; ``{}`` in it stands for what the user wrote.
    """

    def number(text: str) -> int:
        plain = text.isascii() and text.isdigit()
        if plain and low <= int(text) <= high:
            return int(text)
        raise Unfit((unfit if plain else no_number or unfit).format(f"'{printable(text)}'"))

    return number


def positive(unfit: str) -> Callable[[str], float]:
    """Make an argparse type: a decimal number above 0, from 1e-9 to 1e9. *unfit* as with whole()."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if 1e-9 <= value <= 1e9:
            return value
        raise Unfit(unfit.format(f"'{printable(text)}'"))

    return number


class _Version(argparse.Action):
    """--version. *about* returns what else to say: what it imports is imported only for this."""

    def __init__(self, *, about: Callable[[], str] | None, **how: Any) -> None:  # noqa: ANN401 - argparse's own
        super().__init__(nargs=0, **how)
        self.about = about

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        about = f"{self.about()}; " if self.about else ""
        if sys.stdout:
            sys.stdout.write(f"{parser.prog} {VERSION} ({about}Python {sys.version.split()[0]})\n")
        parser.exit()


def add_version(group: argparse._ActionsContainer, help_: str, about: Callable[[], str] | None = None) -> None:
    """Add -V and --version: program, version, what *about* returns, Python's version."""
    group.add_argument("-V", "--version", action=_Version, about=about, help=help_)


def add_color(group: argparse._ActionsContainer, help_: str) -> None:
    """Add --color; colored() says what its value means."""
    group.add_argument("--color", choices=("auto", "always", "never"), default="auto", help=help_)


def colored(choice: str, stream: IO[str] | None) -> bool:
    """Whether to write colours to *stream* (None: to a file), by the value of --color and by the environment."""
    if choice != "auto":
        return choice == "always"
    if stream is None or not stream.isatty():
        return False
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


# -- by which name the command was called ----------------------------------------------------------------------------

#: The words with which a command was called by another name than its own (``./selfconn.pyz check``): selfconn's main().
_called: dict[str, list[str]] = {}


def call_it(program: str, words: list[str]) -> None:
    """Say that *program* was called with these *words*: a file, and what its arguments begin with."""
    _called[program] = words


def words_for(program: str) -> list[str]:
    """Return the words that call *program* again, as it was called this time, from any directory."""
    file, *rest = _called.get(program, sys.argv[:1])
    return [os.path.abspath(file), *rest]  # noqa: PTH100 - quicker than pathlib


def name_of(program: str) -> str:
    """Return *program* as a message names it for somebody who is to type it."""
    return " ".join(words_for(program)) if program in _called else program


# -- messages and exit status ----------------------------------------------------------------------------------------


def say(program: str, text: str) -> None:
    """Write a message to standard error; *text* may hold anything, it is made safe to show."""
    to_standard_error(f"{program}: {printable(text)}\n")


def to_standard_error(text: str) -> None:
    """Write there, if it is open and takes it: a full disk does not change the exit status, which is the result.

    Raises BrokenPipeError where nobody reads it any more.
    """
    if not sys.stderr:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BrokenPipeError:
        raise
    except OSError:  # what could not be written is tried again when the process ends
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


#: The exit status where the program itself fails: EX_SOFTWARE of sysexits(3), which no result of a command has.
FAILED = os.EX_SOFTWARE

#: In the environment: show where the program failed.
TRACEBACK = "SELFCONN_TRACEBACK"


#: How the dynamic linker says that there is no memory for a module.
_UNMAPPED = "failed to map|cannot allocate memory"


#: Objects that are made and kept before Python looks for garbage among them; 700 is its own choice.
_ALLOCATIONS = 50_000


class Failing:
    """A context that turns an unexpected error into a message and the exit status FAILED.

    The message says in a line what the error is; also where it happened, if ``verbose`` has been set or TRACEBACK is in
    the environment.
    """

    def __init__(self, program: str) -> None:
        self.program = program
        self.verbose = False

    def __enter__(self) -> Failing:
        """Itself. From here on Python looks for garbage seldom, and not among what is imported.

        There is next to none: openings are freed as they are done with. When the process ends it need not look at all.
        """
        gc.freeze()
        gc.set_threshold(_ALLOCATIONS)
        gc.enable()
        atexit.register(gc.freeze)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say what failed, and raise SystemExit."""
        if not isinstance(error, Exception):
            return  # none, or one that ends programs
        with suppress(OSError):
            self._say(error)
        raise SystemExit(FAILED)

    def _say(self, error: Exception) -> None:
        short = _short_of(error)
        if short:
            say(self.program, f"out of {short}: the system has no more for this process, and the result is lost")
        else:
            what = f"{type(error).__name__}: {error}".removesuffix(": ")
            say(self.program, f"failed, which is an error in the program, please report it: {what}")
        if self.verbose or os.environ.get(TRACEBACK):
            import traceback  # noqa: PLC0415 - it takes a while

            for line in "".join(traceback.format_exception(error)).splitlines():
                say(self.program, line)
        elif not short:
            say(self.program, f"-v shows where it failed ({TRACEBACK}=1 in the environment does, too)")


def _short_of(error: Exception) -> str | None:
    """What the system had no more of, where that is what *error* comes to."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError) or number == errno.ENOMEM or re.search(_UNMAPPED, str(error), re.IGNORECASE):
        return "memory (ulimit -v)"
    if number == errno.EAGAIN or "start new thread" in str(error):
        return "processes (ulimit -u)"
    try:  # what is open is so still: an import finds no module where it can open no directory
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return "open files (ulimit -n)"
    return "open files (ulimit -n)" if number in {errno.EMFILE, errno.ENFILE} else None


def status_after(number: int) -> int:
    """The exit status that a shell expects of a program which this signal ended."""
    return 128 + number


# -- signals ---------------------------------------------------------------------------------------------------------


def ending() -> list[signal.Signals]:
    """The signals that end a run: INT, TERM and HUP.

    Python ignores SIGINT in a process that a script started in the background; it is among them all the same. A
    SIGHUP that is ignored is not, for that is what nohup(1) is for.
    """
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]


@contextmanager
def handlers(wanted: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Have these signals handled like this, and afterwards as before. In the main thread only."""
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def waking(wanted: Mapping[signal.Signals, Handler]) -> Iterator[int]:
    """As handlers(); the file descriptor becomes readable when a signal came.

    A program that waits for it with select() misses no signal, not even one that came just before.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    former = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # before the handlers: no signal is missed
    try:
        with handlers(wanted):
            yield reader
    finally:
        signal.set_wakeup_fd(former)
        os.close(reader)
        os.close(writer)


def ended_at_once() -> AbstractContextManager[None]:
    """Let Ctrl-C, and a pipe that nobody reads, end the process at once: for as long as there is nothing to save.

    A SIGCHLD that whoever started us ignores is heard: else nothing can be learned of our own processes (wait(2)).
    """
    return handlers(dict.fromkeys((signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD), signal.SIG_DFL))


class Stop:
    """The signal that ends the run early, once one came."""

    number = 0

    def __bool__(self) -> bool:
        return self.number != 0

    @property
    def status(self) -> int:
        """The exit status; that of SIGINT where KeyboardInterrupt was raised by something else."""
        return status_after(self.number or signal.SIGINT)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Turn INT, TERM and HUP into KeyboardInterrupt, and note which it was."""
        with handlers(dict.fromkeys(ending(), self._interrupt)):
            yield

    def _interrupt(self, number: int, _frame: object) -> None:
        self.number = number
        raise KeyboardInterrupt


@contextmanager
def ending_by_pipe() -> Iterator[None]:
    """If nobody reads standard output any more, end without a message, as SIGPIPE ends other programs.

    The signal itself stays ignored: a worker that dies or a server that hangs up would send it as well.
    """
    try:
        yield
    except BrokenPipeError:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
