"""What PyTorch has for the whole process, and how a process that is not a backend's own gets it back."""

from __future__ import annotations

from contextlib import ExitStack

import torch


def keep(put_back: ExitStack) -> None:
    """Have `put_back` restore PyTorch's threads, its way with denormal floats and its random generators as they are."""
    put_back.callback(torch.set_num_threads, torch.get_num_threads())
    put_back.callback(torch.set_flush_denormal, float(torch.tensor(1.5e-38) * 0.5) == 0)
    put_back.callback(torch.set_rng_state, torch.get_rng_state())
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        put_back.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
