"""Attention whose projections are layers of their own, so that each can be replaced."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.layers import Ranked


class SeparateAttention(nn.Module):
    """What :class:`torch.nn.MultiheadAttention` computes, by four linear layers.

    torch keeps the three input projections in one bare parameter and reads the weights of the
    fourth past its ``forward``, so neither can be replaced there. Calls and results are the same;
    nested tensors are not supported.

    Args:
        source: what it is made from; the weights are copied.

    Attributes:
        q_proj, k_proj, v_proj, out_proj: the projections, :class:`torch.nn.Linear`.
        embed_dim, num_heads, head_dim, dropout, batch_first: those of ``source``.
        in_proj_bias: None; tells :class:`torch.nn.TransformerEncoderLayer` to keep off its fast
            path, which would read weights past the layers.
    """

    in_proj_bias: None = None

    def __init__(self, source: nn.MultiheadAttention) -> None:
        super().__init__()
        self.embed_dim = source.embed_dim
        self.num_heads = source.num_heads
        self.head_dim = source.head_dim
        self.dropout = source.dropout
        self.batch_first = source.batch_first
        weights = (
            source.in_proj_weight.chunk(3)
            if source.in_proj_weight is not None
            else (source.q_proj_weight, source.k_proj_weight, source.v_proj_weight)
        )
        biases = (None,) * 3 if source.in_proj_bias is None else source.in_proj_bias.chunk(3)
        self.q_proj, self.k_proj, self.v_proj = map(_linear, weights, biases)
        self.out_proj = _linear(source.out_proj.weight, source.out_proj.bias)
        self.train(source.training)

    @classmethod
    def obstacle(cls, source: nn.MultiheadAttention) -> str | None:
        """Why ``source`` has no such form, or None."""
        if type(source).forward is not nn.MultiheadAttention.forward:
            return "an attention with a forward of its own"
        if source.bias_k is not None or source.add_zero_attn:
            return "an attention with keys and values of its own"
        return None

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """See :meth:`torch.nn.MultiheadAttention.forward`.

        ``is_causal`` is a hint there, that ``attn_mask`` is the causal one, and is not needed here.
        """
        batched = query.ndim == 3
        batch_axis = 0 if self.batch_first or not batched else 1
        q, k, v = (
            self._heads(projection(x), batch_axis, batched)
            for projection, x in (
                (self.q_proj, query),
                (self.k_proj, key),
                (self.v_proj, value),
            )
        )
        mask = self._mask(attn_mask, key_padding_mask, q)
        dropout = self.dropout if self.training else 0.0
        weights: Tensor | None = None
        if need_weights:
            scores = q @ k.mT * self.head_dim**-0.5
            weights = F.dropout((scores if mask is None else scores + mask).softmax(-1), dropout)
            mixed = weights @ v
            weights = weights.mean(dim=1) if average_attn_weights else weights
            weights = weights if batched else weights[0]
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        joined = mixed.transpose(1, 2).flatten(2)
        joined = joined.movedim(0, batch_axis) if batched else joined[0]
        return self.out_proj(joined), weights

    def _heads(self, x: Tensor, batch_axis: int, batched: bool) -> Tensor:
        """Projected inputs as (batch, heads, length, head_dim)."""
        x = x.movedim(batch_axis, 0) if batched else x[None]
        return x.reshape(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

    def _mask(
        self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, q: Tensor
    ) -> Tensor | None:
        """Both masks as one that is added to the scores; True and -inf shut a key out."""
        total: Tensor | None = None
        if attn_mask is not None:
            total = _additive(attn_mask, q)
            if total.ndim == 3:
                total = total.reshape(-1, self.num_heads, *total.shape[1:])
        if key_padding_mask is not None:
            padding = _additive(key_padding_mask, q)
            padding = (
                padding[..., None, None, :] if padding.ndim == 2 else padding[None, None, None]
            )
            total = padding if total is None else total + padding
        return total


def open_attentions(model: nn.Module) -> tuple[dict[SeparateAttention, nn.Module], dict[str, str]]:
    """Put :class:`SeparateAttention` in the place of torch's, wherever there is such a form.

    Args:
        model: changed in place.

    Returns:
        What was there before, by what is there now; and, by name, why the others stay.
    """
    opened: dict[nn.Module, SeparateAttention] = {}
    reasons: dict[str, str] = {}
    for name, part in model.named_modules():
        if isinstance(part, nn.MultiheadAttention):
            reason = SeparateAttention.obstacle(part)
            if reason is None:
                opened[part] = SeparateAttention(part)
            else:
                reasons[name] = reason
    replace_modules(model, opened)
    return {new: old for old, new in opened.items()}, reasons


def close_attentions(model: nn.Module, opened: Mapping[SeparateAttention, nn.Module]) -> None:
    """Put torch's attentions back wherever no low-rank layer needs the open form, in place.

    One is needed where a projection is low-rank, and throughout a transformer layer with any
    low-rank part: torch's own would lead it onto its fast path, which reads weights directly.
    """
    needed: set[nn.Module] = set()
    for part in model.modules():
        whole = isinstance(
            part,
            SeparateAttention
            | nn.TransformerEncoderLayer
            | nn.TransformerDecoderLayer
            | nn.TransformerEncoder,
        )
        if whole and any(isinstance(inner, Ranked) for inner in part.modules()):
            needed |= set(part.modules())
            if isinstance(part, nn.TransformerEncoder):
                part.use_nested_tensor = False  # they come with the fast path
    replace_modules(model, {new: old for new, old in opened.items() if new not in needed})


def replace_modules(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    """Put other modules in the place of some, at all of their places, in place."""
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is not None and child in new:
                setattr(parent, name, new[child])


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer with copies of these weights."""
    made = nn.Linear(
        weight.shape[1],
        weight.shape[0],
        bias=bias is not None,
        device=weight.device,
        dtype=weight.dtype,
    )
    with torch.no_grad():
        made.weight.copy_(weight)
        if bias is not None:
            made.bias.copy_(bias)
    return made


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(like)
    return torch.zeros(mask.shape, dtype=like.dtype, device=mask.device).masked_fill(
        mask, float("-inf")
    )
