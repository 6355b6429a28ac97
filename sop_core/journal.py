"""Long work, item by item: what is found is noted at once and never measured twice; processes share the items out.

A note is a line of JSON in `folder/<process>.jsonl`; one that was torn by a kill is none. Numbers come back as they were.
Whoever has written down the result removes the folder.
"""

import json
from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from tqdm.auto import tqdm

from .config import AnyPath
from .errors import SopError


class Journal:
    """What was found so far. With no folder nothing is kept; with no engine there is one process."""

    def __init__(self, folder: AnyPath | None = None, key: str = "", engine: Accelerator | None = None):
        """key: tells this work from any other: notes under another one don't count."""
        self.folder, self.key, self.engine = folder and Path(folder), key, engine
        self.rank, self.ranks = (engine.process_index, engine.num_processes) if engine else (0, 1)

    def each(self, name: str, count: int, measure: Callable[[int], list | dict], unit: str = "it") -> list:
        """`measure(i)`, which JSON must be able to hold, for each i below `count`, in their order; shows a progress bar.

        All processes get all of it, or the SopError that one of them raised.
        """
        found, wrong = self._noted(name, count), []
        left = [i for i in range(count) if i not in found]
        with tqdm(total=count, initial=len(found), desc=name, unit=unit, leave=False, disable=self.rank > 0) as bar:
            for turn, i in enumerate(left[self.rank :: self.ranks]):
                try:
                    found[i] = measure(i)
                except SopError as e:  # all stop together: the others would wait for this one for ever
                    wrong.append(str(e))
                    break
                self._note(name, i, found[i])
                bar.update(min(self.ranks, len(left) - turn * self.ranks))
        if self.engine:
            found, wrong = dict(gather_object(list(found.items()))), gather_object(wrong)
        if wrong:
            raise SopError(wrong[0])
        return [found[i] for i in range(count)]

    def _noted(self, name: str, count: int) -> dict:
        """What earlier runs of any number of processes noted, as the first process reads it before anything is added."""
        found = {}
        for path in sorted(self.folder.glob("*.jsonl")) if self.folder and self.rank == 0 else []:
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    key, of, i, what = json.loads(line)
                except (ValueError, TypeError):  # torn
                    continue
                if (key, of) == (self.key, name) and i < count:
                    found[i] = what
        return broadcast_object_list([found])[0] if self.engine else found

    def _note(self, name: str, i: int, found: list | dict) -> None:
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / f"{self.rank}.jsonl").open("a", encoding="utf-8") as f:
                f.write(f"\n{json.dumps([self.key, name, i, found])}\n")  # the line before may be torn
