"""Long work, item by item. Each result is written down at once, so that no item is done twice.

Several processes divide the items among them. A note is a line of JSON in
`folder/<process>.jsonl`. A line that a kill cut off is ignored. Numbers come back unchanged. The
caller removes the folder when it has written the results.
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
    """The notes of one work.

    Args:
        folder: where the notes are. None: keep none.
        key: identifies the work. Notes with another key are ignored.
        engine: the processes that divide the work. None: one process.
    """

    def __init__(
        self, folder: AnyPath | None = None, key: str = "", engine: Accelerator | None = None
    ):
        self.folder = Path(folder) if folder else None
        self.key = key
        self.engine = engine
        self.rank, self.ranks = (engine.process_index, engine.num_processes) if engine else (0, 1)

    def each(
        self, name: str, count: int, measure: Callable[[int], list | dict], unit: str = "it"
    ) -> list:
        """The results of `measure(i)` for each i below `count`, in order. Shows a progress bar.

        A result is anything that JSON can hold. All processes get all results.
        Raises the SopError that `measure` raised in any process, in all of them.
        """
        results, errors = self._noted(name, count), []
        left = [i for i in range(count) if i not in results]
        options = {"unit": unit, "leave": False, "disable": self.rank > 0}
        with tqdm(desc=name, total=count, initial=len(results), **options) as bar:
            for turn, i in enumerate(left[self.rank :: self.ranks]):  # the items of this process
                try:
                    results[i] = measure(i)
                except (
                    SopError
                ) as e:  # raised below, in all processes: the others wait for this one
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

        The first process reads them for all, before any process adds one.
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
