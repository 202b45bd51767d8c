"""The same numbers on every processor: what PyTorch would otherwise choose by the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

ISA_VARIABLE = "ONEDNN_MAX_CPU_ISA"
"""Where oneDNN, which computes PyTorch's convolutions, looks for the instructions it may use; it
looks once, at the first convolution of a process, even one without voxels."""

ISA = "AVX2"
"""What all processors of the last ten years have. With AVX-512 sums are taken in another order."""

LEAST_THREADS = 2
"""A single thread takes sums in another order than several, which all agree."""


def limit_instructions() -> None:
    """Have this process, and those that it starts, compute convolutions by AVX2.

    Only before the first convolution of a process; a variable that the user has set stays.
    """
    os.environ.setdefault(ISA_VARIABLE, ISA)


@contextmanager
def same_numbers() -> Iterator[None]:
    """Compute convolutions as on any other processor, for as long as the context lasts.

    Notes
    -----
    A convolution by AVX-512 and one by AVX2 differ by about 1e-5 in the probabilities of a network
    of CryoSiam; where a network runs only with AVX2 and several threads, its numbers are equal on
    all machines. The instructions stay for the whole process; see `limit_instructions`. They cost
    up to half the speed.
    """
    limit_instructions()
    before = torch.get_num_threads()
    torch.set_num_threads(max(LEAST_THREADS, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)
