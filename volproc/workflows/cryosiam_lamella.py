"""``postprocessing: True`` of CryoSiam's yaml: labels of a lamella model become one clean slab."""

from __future__ import annotations

from volproc.core.arrays import Source
from volproc.core.errors import ConfigError, VoxelSizeError
from volproc.core.events import Observer, ignore
from volproc.core.executor import Executor
from volproc.core.types import Shape
from volproc.graph.lamella import find_lamella
from volproc.graph.lamella_rule import Hull, LamellaRule, make_lamella_rule


def lamella_rule(
    shape: Shape,
    *,
    threshold: float,
    num_classes: int,
    voxel_size: tuple[float, ...] | None,
    is_compatible: bool,
    has_3d: bool,
    name: str,
) -> LamellaRule:
    """What is done with the labels of a tomogram; also a check before any work.

    Parameters
    ----------
    shape : tuple of int
        Size of the tomogram, (z, y, x).
    threshold : float
        That of the yaml.
    num_classes : int
        Channels of the model; one for CryoSiam's lamella models.
    voxel_size : tuple of float or None
        Å per voxel, (z, y, x), where the tomogram says it.
    is_compatible : bool
        CryoSiam's own way. Otherwise sizes are in nm, and specks outside go.
    has_3d : bool
        ``3d_postprocessing``; only CryoSiam's way has a hull in three dimensions.
    name : str
        Of the tomogram, for messages.

    Raises
    ------
    ConfigError
        If the model has several classes: nobody says which is the lamella. CryoSiam smooths
        channel 0, the background, and so does its own way here.
    VoxelSizeError
        If the tomogram says no voxel size, and it is needed.
    """
    if is_compatible:
        hull: Hull = "volume" if has_3d else "slice"
        return make_lamella_rule(
            shape, None, threshold=threshold, hull=hull, compat="cryosiam", name=name
        )
    if num_classes > 1:
        msg = (
            f"postprocessing is for a model of one channel, and this one has {num_classes}: which "
            "class is the lamella? Set it to False, and clean one class of the prediction with "
            '"volproc lamella --class", or use --compat cryosiam.'
        )
        raise ConfigError(msg)
    if voxel_size is None:
        msg = (
            f"{name} says no voxel size, and a lamella is smoothed in nm. Give it in Å: "
            "voxel_size= (--voxel-size), or use --compat cryosiam, which counts voxels."
        )
        raise VoxelSizeError(msg)
    return make_lamella_rule(shape, voxel_size, name=name)


def lamella_labels(
    labels: Source,
    foreground: Source | None,
    *,
    folder: str,
    rule: LamellaRule,
    executor: Executor | None = None,
    observe: Observer = ignore,
) -> Source:
    """Labels of a prediction, cleaned.

    Parameters
    ----------
    labels : Source
        As the network gives them, (z, y, x).
    foreground : Source or None
        Channel 0 of the probabilities, (z, y, x), for CryoSiam's own way.
    folder : str
        Scratch storage that all workers see; it has to stay as long as the labels are read.
    rule : LamellaRule
        From `lamella_rule`.
    executor, observe
        Where blocks run, and who watches.

    Returns
    -------
    labels : Source
        uint8, (z, y, x): 1 in the lamella. In CryoSiam's own way slices without it are as in
        ``labels``.

    Raises
    ------
    ConfigError
        If there is no lamella.
    """
    source, raw = (labels, None) if foreground is None else (foreground, labels)
    return find_lamella(source, rule, folder=folder, raw=raw, executor=executor, observe=observe)
