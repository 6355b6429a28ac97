"""The command line: `python -m sop_core VERB`. Each verb is a file of `verbs/`, loaded when used.

Exit codes: 0, done. 2, something that the user can mend, in one line on stderr. 130 and 143,
stopped by Ctrl-C and by SIGTERM.
"""

import inspect
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cyclopts
from cyclopts.help import DefaultFormatter, PanelSpec, TableSpec
from rich.box import SIMPLE

from . import __version__
from .errors import SopError, Terminated, mend
from .untrusted import printable

VERBS = {
    "demo": "All steps on the toy orchestra: render, preprocess, index, train, evaluate.",
    "collect": "Lists of videos -> VIDEOS/<label>/<id>.mp4; photos -> silent scenes.",
    "compose": "Photos and recordings -> VIDEOS/<label>/<id>.mp4, with stems and boxes.",
    "preprocess": "Videos -> DATA/frames and DATA/audio.",
    "index": "DATA -> train.csv, val.csv, test.csv, all.csv; or a check of them.",
    "train": "Learn to separate sounds, from an index of solo clips.",
    "names": "Names for what a model sees: the means of the labels of an index.",
    "evaluate": "SDR, SIR, SAR of a checkpoint, of the mixture itself, and of ideal masks.",
    "separate": "The sound of a pixel, of a box, or of all instruments, of any video.",
    "weights": "The authors' released model, as a checkpoint.",
}

app = cyclopts.App(
    name="sop",
    help="The Sound of Pixels, from videos to a pixel that can be heard.",
    version=__version__,
    version_flags="--version",
    help_format="plaintext",
    group_arguments=cyclopts.Group("Arguments", sort_key=0),
    group_parameters=cyclopts.Group("Options", sort_key=2),
    help_formatter=DefaultFormatter(
        panel_spec=PanelSpec(box=SIMPLE, padding=0, expand=False),
        table_spec=TableSpec(padding=(0, 2, 0, 0)),
    ),
    default_parameter=cyclopts.Parameter(
        negative=(),  # no --no-resume
        consume_multiple=(1, None),  # --sources 2 3
        allow_repeating=True,  # of one value, the last counts; of several, all do
        json_list=False,  # a file may be called "[1].json"
        show_default=lambda value: None if value is False or value == () else value,
    ),
)
for position, (name, text) in enumerate(VERBS.items()):
    app.command(f"sop_core.verbs.{name}:{name}", name=name, help=text, sort_key=position)


def parse(words: list[str]) -> tuple[Callable[..., None], inspect.BoundArguments]:
    """What a command line would run, without running it.

    Returns: the verb's function and its arguments: `run(*given.args, **given.kwargs)`.
    Raises: SopError where the words are not a command.
    """
    if not words:
        raise SopError(f"expected a verb: {', '.join(VERBS)}")
    try:
        run, given, _ = app.parse_args(words, print_error=False, exit_on_error=False)
    except cyclopts.MissingArgumentError as e:
        option = e.argument.name if e.argument else "an option"
        raise SopError(f"expected a value for {option}") from None
    except cyclopts.ValidationError as e:
        raise SopError(e.exception_message) from None
    except cyclopts.CycloptsError as e:
        raise SopError(e) from None
    return run, given


def main(words: list[str] | None = None) -> int:
    """Run one verb; the exit code. Raises SystemExit(2), as argparse does, where `parse` fails."""
    words = sys.argv[1:] if words is None else words
    sop = f"sop {words[0]}" if words and words[0] in VERBS else "sop"
    warnings.showwarning = lambda message, *_: note(f"note: {message}")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack a name's letters
    try:
        run, given = parse(words)
    except SopError as e:
        note(f"{sop}: {e}")
        sys.exit(2)
    try:
        with _terminable():
            run(*given.args, **given.kwargs)
    except SopError as e:
        # Of several processes each speaks: an error of one alone ends them all.
        process = "" if is_main() else f" (process {os.environ['RANK']})"
        note(f"{sop}{process}: {e}")
        return 2
    except KeyboardInterrupt as e:
        note(f"{sop}: stopped; what was finished is kept")
        return 143 if isinstance(e, Terminated) else 130
    except BrokenPipeError:  # `sop ... | head`
        return 0
    except (OSError, MemoryError) as e:
        if not (hint := mend(e)):
            raise
        what = "out of memory"
        if isinstance(e, OSError) and e.strerror:
            what = f"{e.filename or 'a file'}: {e.strerror.lower()}"
        note(f"{sop}: {what}; {hint}")
        return 2
    return 0


def note(text: str) -> None:
    """One line on stderr."""
    print(printable(" ".join(text.split())), file=sys.stderr)


def is_main() -> bool:
    """Of the processes that were launched together, the first one speaks and writes."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does, so that no file is left half written.

    A second SIGTERM ends it at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return

    def stop(*_) -> None:
        signal.signal(signal.SIGTERM, before)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop) or signal.SIG_DFL
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
