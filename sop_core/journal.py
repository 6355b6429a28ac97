"""Long work, item by item: what is found is noted at once and never measured twice; processes share the items out.

A note is a line of JSON in `folder/<process>.jsonl`; one that was torn by a kill is not one. Numbers come back as they were.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from tqdm.auto import tqdm


class Journal:
    """What was found so far. With no folder nothing is kept; with no engine there is one process."""

    def __init__(self, folder: Path | None = None, key: str = "", engine: Accelerator | None = None):
        """key: tells this work from any other: notes under another one don't count."""
        self.folder, self.key, self.engine = folder, key, engine
        self.rank, self.ranks = (engine.process_index, engine.num_processes) if engine else (0, 1)

    def each(self, name: str, count: int, measure: Callable[[int], list | dict], unit: str = "it") -> list:
        """`measure(i)`, which JSON must be able to hold, for each i below `count`, in their order; shows a progress bar.

        All processes get all of it.
        """
        found = self._noted(name, count)
        left = [i for i in range(count) if i not in found]
        with tqdm(total=count, initial=len(found), desc=name, unit=unit, leave=False, disable=self.rank > 0) as bar:
            for turn, i in enumerate(left[self.rank :: self.ranks]):
                found[i] = measure(i)
                self._note(name, i, found[i])
                bar.update(min(self.ranks, len(left) - turn * self.ranks))
        if self.engine:
            found = dict(gather_object(list(found.items())))
        return [found[i] for i in range(count)]

    def close(self) -> None:
        """The work is done and written elsewhere: no note is needed any more."""
        if self.folder and self.rank == 0:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _noted(self, name: str, count: int) -> dict:
        """What earlier runs of any number of processes noted, as the first process reads it before anything is added."""
        found = {}
        for path in sorted(self.folder.glob("*.jsonl")) if self.folder and self.rank == 0 else []:
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    key, of, i, what = json.loads(line)
                except ValueError:  # torn
                    continue
                if (key, of) == (self.key, name) and i < count:
                    found[i] = what
        return broadcast_object_list([found])[0] if self.engine else found

    def _note(self, name: str, i: int, found: list | dict) -> None:
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / f"{self.rank}.jsonl").open("a", encoding="utf-8") as f:
                f.write(f"\n{json.dumps([self.key, name, i, found])}\n")  # the line before may be torn
