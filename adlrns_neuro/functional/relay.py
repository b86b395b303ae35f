"""Relays, and the host that feeds them, over the steps of a run.

The equations are those of :class:`mapping.ir.network.Relay`, with ``sigma`` and ``delta`` set where
the threshold is above 0, and of :class:`mapping.ir.network.Dense` with a gate.
"""

from __future__ import annotations

import torch
from torch import Tensor


def relay_payloads(arriving: Tensor, threshold: float) -> Tensor:
    """What relays send that pile up their input until it passes a threshold.

    Gradients pass through what is sent, and through what is kept for later.

    Args:
        arriving: shape (steps, ...).
        threshold: magnitude that has to be exceeded; at 0 everything is sent at once.

    Returns:
        Payloads, 0 for none, shape (steps, ...).
    """
    if threshold == 0.0:
        return arriving
    piled = torch.zeros_like(arriving[0])
    sent = []
    for step in arriving:
        payload, piled = relay_step(piled, step, threshold)
        sent.append(payload)
    return torch.stack(sent)


def relay_step(piled: Tensor, arriving: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """One step of :func:`relay_payloads`.

    Args:
        piled: what was kept in the step before, shape (...).
        arriving: shape (...).
        threshold: as in :func:`relay_payloads`.

    Returns:
        Payloads and what is kept, each of shape (...).
    """
    piled = piled + arriving
    payload = torch.where(piled.abs() > threshold, piled, torch.zeros_like(piled))
    return payload, piled - payload


def host_payloads(payloads: Tensor, is_open: Tensor, *, delta: bool) -> Tensor:
    """What the host sends to a rank block that a gate opens and closes.

    Args:
        payloads: what it sends to blocks that are always open, shape (steps, batch, inputs).
        is_open: whether the block is open, shape (steps, batch), bool.
        delta: payloads are changes: a block that opens is sent the sum so far, and has it taken
            back when it closes.

    Returns:
        Shape (steps, batch, inputs).
    """
    if not delta:
        return payloads * is_open[..., None]
    told = payloads.cumsum(dim=0) * is_open[..., None]
    return torch.cat([told[:1], told.diff(dim=0)])
