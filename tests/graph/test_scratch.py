"""Scratch folders: made late, removed early, owned by one process."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from volproc.graph.scratch import Scratch, use_scratch


def test_nothing_is_made_before_it_is_used(tmp_path) -> None:
    scratch = Scratch(tmp_path)
    assert scratch.path("a").startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_it_is_removed_with_the_last_reference(tmp_path) -> None:
    scratch = Scratch(tmp_path)
    Path(scratch.path("a")).mkdir(parents=True)
    other = scratch
    del scratch
    gc.collect()
    assert len(list(tmp_path.iterdir())) == 1
    del other
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_pickled_copy_knows_the_path_but_removes_nothing(tmp_path) -> None:
    scratch = Scratch(tmp_path)
    Path(scratch.path("a")).mkdir(parents=True)
    copy = pickle.loads(pickle.dumps(scratch))
    assert copy.path("a") == scratch.path("a")
    del copy
    gc.collect()
    assert Path(scratch.path("a")).is_dir()


def test_a_folder_outlives_its_object_once_a_copy_was_sent_away(tmp_path) -> None:
    code = (
        "import pickle, sys; from pathlib import Path; from volproc.graph.scratch import Scratch;"
        f"scratch = Scratch({str(tmp_path)!r}); copy = pickle.dumps(scratch); del scratch;"
        "path = Path(pickle.loads(copy).path('a')); path.mkdir(parents=True); print(path.is_dir())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
    assert list(tmp_path.iterdir()) == []


def test_two_scratches_do_not_meet(tmp_path) -> None:
    assert Scratch(tmp_path).path("a") != Scratch(tmp_path).path("a")


def test_the_temporary_folder_is_the_default() -> None:
    assert Scratch().path("a").startswith(tempfile.gettempdir())


def test_a_folder_goes_with_the_last_use_of_it(tmp_path) -> None:
    scratch = Scratch(tmp_path)
    one, other = use_scratch(scratch), use_scratch(scratch)
    Path(scratch.path("a")).mkdir()
    del one
    gc.collect()
    assert Path(scratch.path("a")).is_dir()
    del other
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    again = use_scratch(scratch)  # another computation of the same array
    assert Path(scratch.folder).is_dir()
    del again


def test_a_folder_stays_while_a_result_travels(tmp_path) -> None:
    scratch = Scratch(tmp_path)
    use = use_scratch(scratch)
    sent = pickle.dumps(use)
    del use
    gc.collect()
    assert Path(scratch.folder).is_dir()
    arrived, twice = pickle.loads(sent), pickle.loads(sent)
    del arrived
    gc.collect()
    assert Path(scratch.folder).is_dir()
    del twice
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_the_use_of_another_process_keeps_a_folder(tmp_path) -> None:
    scratch = Scratch(tmp_path)
    use = use_scratch(scratch)
    code = "import pickle, sys; held = pickle.loads(sys.stdin.buffer.read()); sys.stdout.write('x')"
    command = [sys.executable, "-c", f"{code}; sys.stdout.flush(); sys.stdin.close(); input"]
    done = subprocess.run(command, input=pickle.dumps(use), capture_output=True, check=True)
    assert done.stdout == b"x"
    assert Path(scratch.folder).is_dir()  # that process has ended, this one goes on
    del use
    gc.collect()
    assert list(tmp_path.iterdir()) == []
