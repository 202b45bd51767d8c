"""Synthetic tomograms with known truth, generated region by region."""

from volproc.phantoms.phantom import Phantom
from volproc.phantoms.spec import ParticleClass, PhantomSpec

__all__ = ["ParticleClass", "Phantom", "PhantomSpec"]
