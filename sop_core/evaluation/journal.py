"""Long work, item by item. The result of an item is noted at once, and is never measured twice.

Several processes share the items. A note is a line of JSON in `folder/<process>.jsonl`. A line that
was cut off by a kill is ignored. Numbers come back as they were. The caller removes the folder when
the results are written.
"""

import json
from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from tqdm.auto import tqdm

from ..config import AnyPath
from ..errors import SopError


class Journal:
    """The notes of one work. Without a folder nothing is kept. No engine: one process."""

    def __init__(
        self,
        folder: AnyPath | None = None,
        key: str = "",
        engine: Accelerator | None = None,
    ):
        """Args: `key`: stands for this work. Notes with another key don't count."""
        self.folder, self.key, self.engine = folder and Path(folder), key, engine
        self.rank, self.ranks = (engine.process_index, engine.num_processes) if engine else (0, 1)

    def each(
        self,
        name: str,
        count: int,
        measure: Callable[[int], list | dict],
        unit: str = "it",
    ) -> list:
        """The results of `measure(i)` for each i below `count`, in order. Shows a progress bar.

        A result must be something that JSON can hold. All processes get all results, or the
        SopError that one of them raised.
        """
        results, errors = self._noted(name, count), []
        left = [i for i in range(count) if i not in results]
        options = {"unit": unit, "leave": False, "disable": self.rank > 0}
        with tqdm(desc=name, total=count, initial=len(results), **options) as bar:
            for turn, i in enumerate(left[self.rank :: self.ranks]):
                try:
                    results[i] = measure(i)
                except SopError as e:  # told to the others below: they wait for this process
                    errors.append(str(e))
                    break
                self._note(name, i, results[i])
                bar.update(min(self.ranks, len(left) - turn * self.ranks))
        if self.engine:
            results = dict(gather_object(list(results.items())))
            errors = gather_object(errors)
        if errors:
            raise SopError(errors[0])
        return [results[i] for i in range(count)]

    def _noted(self, name: str, count: int) -> dict:
        """The results that earlier runs noted, with any number of processes.

        The first process reads them for all, before a new one is added.
        """
        results = {}
        paths = sorted(self.folder.glob("*.jsonl")) if self.folder and self.rank == 0 else []
        for path in paths:
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    key, work, i, result = json.loads(line)
                except (ValueError, TypeError):  # cut off
                    continue
                if (key, work) == (self.key, name) and i < count:
                    results[i] = result
        return broadcast_object_list([results])[0] if self.engine else results

    def _note(self, name: str, i: int, result: list | dict) -> None:
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / f"{self.rank}.jsonl").open("a", encoding="utf-8") as f:
                note = json.dumps([self.key, name, i, result])
                f.write(f"\n{note}\n")  # the line before may be cut off
