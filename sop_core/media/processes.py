"""Work in several processes, with a bar."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import joblib
from tqdm.auto import tqdm

from ..errors import FEWER, SopError

Result = TypeVar("Result")


def in_processes(
    do: Callable[..., Result],
    work: Sequence[tuple],
    title: str,
    did: str,
    unit: str = "clip",
    jobs: int | None = None,
    progress: bool = True,
    ordered: bool = True,
) -> Iterator[Result]:
    """Yield `do(*one)` for each of `work`, computed in several processes.

    Args: `title`, `unit`: of the bar. `did`: what the processes did, for an error.
        `jobs`: processes (None: one per core). `ordered`: in the order of `work`, or as they come.
    Raises: SopError where a process died; and what `do` raises.
    """
    how = "generator" if ordered else "generator_unordered"
    run = joblib.Parallel(jobs or joblib.cpu_count(), return_as=how)
    made: Any = run(joblib.delayed(do)(*one) for one in work)  # joblib has no types
    try:
        yield from tqdm(made, title, len(work), disable=not progress, unit=unit)
    except BrokenProcessPool as e:
        died = f"a process that {did} died ({type(e).__name__})"
        raise SopError(f"{died}; {FEWER}, and run again") from None
    finally:
        made.close()  # ends the processes
