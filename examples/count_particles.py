"""From a tomogram to counted particles with the lazy API, on a phantom or on a file of your own.

python examples/count_particles.py --output counted
python examples/count_particles.py --tomogram tomogram.mrc --voxel-size 10 --output counted
"""

from __future__ import annotations

import argparse
from pathlib import Path

import volproc
from volproc.phantoms.phantom import Phantom
from volproc.phantoms.spec import PhantomSpec


def main() -> None:
    """Open, predict, localize, save; nothing is computed before it is saved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tomogram")
    parser.add_argument("--voxel-size", type=float)
    parser.add_argument("--model", default="phantom-unet")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    address = options.tomogram or make_phantom(options.output / "phantom.mrc")
    tomogram = volproc.open(address, voxel_size=options.voxel_size)
    model = volproc.read_model(options.model)
    classes = volproc.predict(tomogram, model, tta="octopi4")
    points = volproc.localize(
        classes, model.radii, class_values={name: i for i, name in enumerate(model.classes)}
    )

    volproc.save(classes, options.output / "classes.zarr", overwrite=True)
    volproc.save(points, options.output / "picks.star", overwrite=True)
    found = volproc.read_points(options.output / "picks.star")
    for name in found.class_names:
        print(f"{name}: {len(found.select(name))}")


def make_phantom(path: Path) -> str:
    """Write a phantom as MRC."""
    phantom = Phantom(PhantomSpec((48, 96, 96), seed=3_000_000, noise=0.5))
    volume = volproc.from_source(phantom, voxel_size=phantom.voxel_size)
    volproc.save(volume, path, overwrite=True)
    return str(path)


if __name__ == "__main__":
    main()
