"""What a segmentation writes: refused early, laid out together, gone on with, finished."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from volproc.core.arrays import PyramidSink, Sink
from volproc.core.errors import (
    AddressError,
    ClusterError,
    ExistsError,
    FormatError,
    VolprocError,
)
from volproc.core.events import Event, Observer
from volproc.core.executor import Executor
from volproc.core.model import ModelSpec
from volproc.core.types import Index, Shape
from volproc.core.volume import Volume
from volproc.graph.block_finish import LARGEST_VARIANCE
from volproc.graph.ledger import Ledger
from volproc.graph.predict import class_type, product_channels
from volproc.graph.predict_job import ProductKind
from volproc.io.create import create
from volproc.io.omezarr_write import create_channels
from volproc.io.open import inspect
from volproc.plan.storage import storage_chunks
from volproc.workflows.checksums import checksums_path
from volproc.workflows.pyramids import build_pyramid
from volproc.workflows.record import (
    file_number,
    is_gone,
    made_so,
    make_room,
    record_path,
    tidy_room,
    work_path,
)

STAGE = "predict"

STORY = "segment semantic"
"""What records say that made these outputs."""

FINISH = "finish"
"""Stage of the ledger in which outputs get their names."""

KINDS: tuple[ProductKind, ...] = ("classes", "probabilities", "maximum", "variance", "distances")

OF_CHANNELS = ("probabilities", "distances")
"""Products with an axis of channels."""

Sinks = dict[ProductKind, Sink]


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files of one segmentation.

    Parameters
    ----------
    addresses : dict
        Where each kind of product goes; class maps first.
    dtypes : dict
        Type of each product beside class maps.
    volume : Volume
        The input, whose frame they have.
    spec : ModelSpec
        The model, whose classes they hold.
    overwrite : bool
        Replace outputs that exist, once the new ones are whole.
    """

    addresses: dict[ProductKind, str]
    dtypes: dict[ProductKind, str]
    volume: Volume
    spec: ModelSpec
    overwrite: bool

    def are_finished(self, wanted: dict[str, Any]) -> bool:
        """Whether all outputs are there, and were made as they would be made now.

        Parameters
        ----------
        wanted : dict
            What the record has to say; see `made_so`.

        Raises
        ------
        ResumeError
            If they were made otherwise.
        """
        return self._are_there() and made_so(self.addresses["classes"], STORY, wanted)

    def _are_there(self) -> bool:
        """Whether all outputs can be opened and have the input's shape."""
        try:
            shapes = [
                inspect(address, c=0 if kind in OF_CHANNELS else None).source.shape
                for kind, address in self.addresses.items()
            ]
        except (AddressError, FormatError):
            return False
        return all(shape == self.volume.shape for shape in shapes)

    def refuse(self, runner: Executor) -> None:
        """Refuse outputs before anything is computed, by laying them out and discarding them.

        Raises
        ------
        ExistsError, MissingFileError, FormatError, AddressError
            If an output cannot be written.
        ClusterError
            If one process only may write it and the executor has several.
        """
        if work_path(self.addresses["classes"]).exists():
            return  # an unfinished run of ours: its ledger decides
        make_room(self.addresses["classes"])
        try:
            sinks = self._lay_out(chunks=None, is_new=True)
            _discard(sinks)
            _refuse_processes(sinks, runner)
        finally:
            tidy_room(self.addresses["classes"])

    def begin(self, description: dict[str, Any], observe: Observer) -> Ledger:
        """Begin the run, or go on with the one that was killed.

        Raises
        ------
        ResumeError
            If an unfinished run was begun with another description, and is not to be
            overwritten.
        """
        folder = work_path(self.addresses["classes"])
        ledger = Ledger.begin(folder, description, restart=self.overwrite)
        finished = self._finished(ledger)
        lost = [a for kind, a in self.addresses.items() if kind not in finished and is_gone(a)]
        if not (lost and ledger.has_any(STAGE)):
            return ledger
        # Markers without their output would leave holes where blocks were done.
        text = f"the unfinished {', '.join(lost)} is gone: all blocks are done again"
        observe(Event("note", STAGE, text=text))
        ledger.remove()
        return Ledger.begin(folder, description)

    def create(self, chunks: Shape, ledger: Ledger, runner: Executor) -> Sinks:
        """Create the outputs, or go on with them; those that are finished are left out.

        Parameters
        ----------
        chunks : tuple of int
            Blocks that will be written.
        ledger : Ledger
            Of the run; it is removed on failure if no block was done yet.
        runner : Executor
            Where blocks will run.
        """
        is_new = not ledger.has_any(STAGE)
        try:
            sinks = self._lay_out(
                chunks=storage_chunks(chunks), is_new=is_new, finished=self._finished(ledger)
            )
            _refuse_processes(sinks, runner)
        except VolprocError:
            if is_new:
                self.abandon({}, ledger)
            raise
        return sinks

    def finish(self, sinks: Sinks, ledger: Ledger, runner: Executor, observe: Observer) -> None:
        """Have the workers make the pyramids, and give the outputs their names.

        A run may be killed between two of them, or after the last. What is there then is known
        to be its own by a marker written before, which says what the file system calls it: an
        older output that it replaces is called otherwise. The older one's record goes first,
        since it would speak for the new one.
        """
        for kind, sink in sinks.items():
            if isinstance(sink, PyramidSink):
                build_pyramid(sink, kind, executor=runner, observe=observe)
        if self.overwrite:
            for path in (record_path, checksums_path):
                path(self.addresses["classes"]).unlink(missing_ok=True)
        for kind, sink in sinks.items():
            facts = {"file": file_number(self.addresses[kind], is_partial=True)}
            ledger.commit(FINISH, _number(kind), facts)
            if isinstance(sink, PyramidSink):
                sink.seal()
            else:
                sink.finish()

    def abandon(self, sinks: Sinks, ledger: Ledger) -> None:
        """Remove everything that was written."""
        _discard(sinks)
        ledger.remove()
        tidy_room(self.addresses["classes"])

    def _finished(self, ledger: Ledger) -> set[ProductKind]:
        """Products that have their names already, or were just about to get them."""
        done = dict(ledger.finished(FINISH))
        kinds = {kind for kind in self.addresses if _number(kind) in done}
        if not self.overwrite:
            return kinds
        return {
            kind
            for kind in kinds
            if (number := file_number(self.addresses[kind])) is not None
            and number == done[_number(kind)].get("file")
        }

    def _lay_out(
        self, *, chunks: Shape | None, is_new: bool, finished: Collection[ProductKind] = ()
    ) -> Sinks:
        """Create all outputs, or none if they are new."""
        sinks: Sinks = {}
        try:
            for kind in self.addresses:
                if self.overwrite and kind in finished:
                    continue
                try:
                    sinks[kind] = self._create_one(kind, chunks, resume=not is_new)
                except ExistsError:
                    if kind not in finished:
                        raise
        except BaseException:
            if is_new:
                _discard(sinks)
            raise
        return sinks

    def _create_one(self, kind: ProductKind, chunks: Shape | None, *, resume: bool) -> Sink:
        frame: dict[str, Any] = {
            "shape": self.volume.shape,
            "voxel_size": self.volume.voxel_size,
            "origin": self.volume.origin,
            "chunks": chunks,
            "overwrite": self.overwrite,
            "resume": resume,
        }
        return create_product(
            kind, self.addresses[kind], self.spec, self.dtypes.get(kind, ""), frame
        )


def create_product(
    kind: ProductKind, address: str, spec: ModelSpec, dtype: str, frame: dict[str, Any]
) -> Sink:
    """Begin one output of a segmentation.

    Parameters
    ----------
    kind : {"classes", "probabilities", "maximum", "variance", "distances"}
        What it will hold.
    address : str
        Where it goes.
    spec : ModelSpec
        The model, whose classes it holds.
    dtype : str
        Type of what is no class map.
    frame : dict
        ``shape``, ``voxel_size`` and what else `volproc.io.create.create` takes.
    """
    if kind == "classes":
        return create(address, dtype=class_type(spec), kind="labels", **frame)
    found = np.dtype(dtype)
    most = LARGEST_VARIANCE if kind == "variance" else 1.0
    facts = {
        "quantity": {"variance": "variance", "distances": "distance"}.get(kind, "probability"),
        "scale": np.iinfo(found).max / most if found.kind == "u" else 1.0,
        "meaning": "value = voxel / scale",
    }
    names = product_channels(kind, spec)
    return create_channels(address, names=names, dtype=found, facts=facts, **frame)


def _discard(sinks: Sinks) -> None:
    for sink in sinks.values():
        sink.discard()


def _refuse_processes(sinks: Sinks, runner: Executor) -> None:
    for sink in sinks.values():
        if not sink.is_parallel and getattr(runner, "has_processes", False):
            msg = (
                f"{sink.address} can be written by one process only, and the blocks run in "
                "several. Write OME-Zarr and convert it afterwards, or use --cluster serial or "
                "threads."
            )
            raise ClusterError(msg)


def _number(kind: ProductKind) -> Index:
    return (KINDS.index(kind),)
