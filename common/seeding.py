"""Random numbers that depend on what they are for, and on nothing else."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def generator(*identity: object) -> np.random.Generator:
    """Random generator for one purpose, the same in every process and whatever ran before.

    Parameters
    ----------
    *identity : JSON values
        What the numbers are for ("split", data hash, train share, seed): equal identities give equal numbers, and
        different ones independent numbers. 1 and 1.0 are different; a tuple and a list are not.

    Returns
    -------
    numpy.random.Generator
        PCG64, seeded with the SHA-256 of the identity's canonical JSON (Python's hash() differs between processes).

    Raises
    ------
    TypeError, ValueError
        If the identity is not JSON (a NumPy number, say) or holds NaN.
    """
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    digest = hashlib.sha256(canonical.encode("ascii")).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "big"))))
