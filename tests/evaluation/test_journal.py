"""Work is never done twice, and a note that was torn is none."""

import pytest

from sop_core.errors import SopError
from sop_core.evaluation.journal import Journal


class Killed(Exception):
    pass


def squares(dies_at=None):
    done = []

    def measure(i):
        if i == dies_at:
            raise Killed
        done.append(i)
        return [{"i": i, "square": i * i / 7, "nothing": None}]

    return done, measure


def test_what_was_noted_is_not_done_again(tmp_path):
    done, measure = squares(dies_at=3)
    with pytest.raises(Killed):
        Journal(tmp_path / "notes", "key").each("work", 6, measure)
    assert done == [0, 1, 2]
    done, measure = squares()
    journal = Journal(tmp_path / "notes", "key")
    found = journal.each("work", 6, measure)
    assert done == [3, 4, 5]
    assert found == [squares()[1](i) for i in range(6)]  # numbers come back as they were


def test_other_work_does_not_count(tmp_path):
    Journal(tmp_path, "key").each("work", 2, squares()[1])
    for key, name in (("another", "work"), ("key", "another")):
        done, measure = squares()
        Journal(tmp_path, key).each(name, 2, measure)
        assert done == [0, 1], (key, name)


def test_a_torn_note_is_no_note_and_spoils_no_other(tmp_path):
    Journal(tmp_path, "key").each("work", 2, squares()[1])
    path = tmp_path / "0.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    for left in ([1], []):
        done, measure = squares()
        Journal(tmp_path, "key").each("work", 2, measure)
        assert done == left


def test_an_error_ends_the_work_and_keeps_what_was_found(tmp_path):
    done, measure = squares()

    def fails(i):
        if i == 2:
            raise SopError("a clip that can't be read")
        return measure(i)

    with pytest.raises(SopError, match="can't be read"):
        Journal(tmp_path, "key").each("work", 4, fails)
    done.clear()
    Journal(tmp_path, "key").each("work", 4, measure)
    assert done == [2, 3]


def test_with_no_folder_nothing_is_kept():
    done, measure = squares()
    journal = Journal()
    assert len(journal.each("work", 2, measure)) == 2 and done == [0, 1]


def test_bytes_that_are_no_text_are_no_note(tmp_path):
    Journal(tmp_path).each("work", 2, lambda i: [i])
    with (tmp_path / "0.jsonl").open("ab") as f:
        f.write(b"\xff\xfe\x80\n3\n")
    assert Journal(tmp_path).each("work", 3, lambda i: [10 * i]) == [[0], [1], [20]]
