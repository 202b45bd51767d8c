"""MONAI without the packages that its networks never touch.

``import monai`` loads all of MONAI, and with it whatever else it finds installed: matplotlib,
torchvision with PyTorch's compiler, scikit-image, OpenCV. That is 240 MB of each worker, and most
of the time that a small run takes. MONAI asks for these packages as optional ones.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import Lock, get_ident
from types import ModuleType

NOT_NEEDED = frozenset(
    {
        "PIL",
        "cv2",
        "h5py",
        "ignite",
        "imagecodecs",
        "itk",
        "lpips",
        "matplotlib",
        "mlflow",
        "nibabel",
        "onnx",
        "onnxruntime",
        "pandas",
        "pydicom",
        "requests",
        "scipy.signal",
        "skimage",
        "tensorboard",
        "tensorrt",
        "tifffile",
        "torchvision",
        "transformers",
        "zarr",
    }
)
"""What MONAI takes where it is installed, and none of the networks that are built here needs."""

_lock = Lock()
_own: dict[str, ModuleType] = {}


def import_monai(name: str) -> ModuleType:
    """Import a module of MONAI for its networks.

    Parameters
    ----------
    name : str
        Such as ``"monai.networks.nets"``.

    Returns
    -------
    module : module
        Of the MONAI that the process has loaded already. If there is none, of one without the
        packages in `NOT_NEEDED`, which is kept here only: who imports MONAI later gets it whole,
        and classes of his own.

    Raises
    ------
    ImportError
        If MONAI, or what this module cannot do without, is not installed.

    Notes
    -----
    A MONAI that comes to need one of these packages is loaded whole: the networks are the same,
    only memory and time are not saved.
    """
    with _lock, warnings.catch_warnings():
        # MONAI warns of its own deprecated imports; that says nothing about a model.
        warnings.simplefilter("ignore")
        if not _own and "monai" not in sys.modules:
            try:
                with without(NOT_NEEDED):
                    import_module(name)
                _own.update({key: sys.modules[key] for key in _loaded()})
            except ImportError:
                pass  # said again below, if it is not for want of a package that was hidden
            finally:
                for key in _loaded():
                    del sys.modules[key]
        return _own[name] if name in _own else import_module(name)


@contextmanager
def without(packages: Collection[str]) -> Iterator[None]:
    """Context in which this thread cannot import some packages that are not loaded yet.

    Parameters
    ----------
    packages : collection of str
        Names of packages or of modules in them.
    """
    finder = _Hidden(packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Hidden:
    """Finder that says of some packages that they are not installed."""

    def __init__(self, packages: Collection[str]) -> None:
        self._packages = packages
        self._thread = get_ident()

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in self._packages and get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _loaded() -> list[str]:
    return [key for key in sys.modules if key == "monai" or key.startswith("monai.")]
