"""MONAI comes without the packages that its networks never touch, and nobody else notices."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest

from volproc.models.monai_import import NOT_NEEDED, import_monai, without

BUILD = """
import sys
before = set(sys.modules)
from volproc.models.networks import build
import volproc.models.octopi_networks
import torch
settings = {"channels": (4, 8), "strides": (2,), "num_classes": 3}
network = build("octopi-unet", **settings).eval()
assert network(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 3, 8, 8, 8)
build("octopi-segresnet", init_filters=4, resolution=(1, 1, 2))
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(loaded & {"monai", "matplotlib", "torchvision", "skimage", "cv2", "sympy"}))
"""

RECORD = """
import sys
sys.path.insert(0, sys.argv[1])
from volproc.models.monai_import import import_monai
nets = import_monai("monai.nets")
print(nets.FOUND, "monai" in sys.modules)
assert import_monai("monai.nets") is nets
import monai.nets
print(monai.nets.FOUND, monai.nets is nets)
"""


def run(code: str, *arguments: str) -> list[str]:
    """Lines that a new process prints."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def make_package(folder: Path, lines: str) -> str:
    """A package called MONAI, and one that it may use."""
    for name, text in (("monai/__init__", ""), ("monai/nets", lines), ("lpips", "")):
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return str(folder)


def test_a_network_is_built_without_what_it_never_touches() -> None:
    assert run(BUILD) == ["[]"]


def test_who_imports_monai_later_gets_it_whole(tmp_path: Path) -> None:
    lines = (
        "try:\n    import lpips\nexcept ImportError:\n    FOUND = False\nelse:\n    FOUND = True"
    )
    folder = make_package(tmp_path, lines)
    assert run(RECORD, folder) == ["False False", "True False"]


def test_a_monai_that_needs_a_hidden_package_is_loaded_whole(tmp_path: Path) -> None:
    folder = make_package(tmp_path, "import lpips\nFOUND = True")
    assert run(RECORD, folder) == ["True True", "True True"]


def test_a_monai_that_is_loaded_already_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volproc.models.monai_import._own", {})
    monkeypatch.setitem(sys.modules, "monai", sys)
    monkeypatch.setitem(sys.modules, "monai.networks.nets", pytest)
    assert import_monai("monai.networks.nets") is pytest


def test_packages_are_hidden_from_one_thread_and_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lpips.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with ThreadPoolExecutor(1) as other, without(NOT_NEEDED):
        with pytest.raises(ModuleNotFoundError, match="lpips"):
            import_module("lpips")
        assert other.submit(import_module, "lpips").result().__name__ == "lpips"
    del sys.modules["lpips"]
    assert import_module("lpips").__file__ == str(tmp_path / "lpips.py")
    del sys.modules["lpips"]
