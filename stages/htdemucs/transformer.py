"""HTDemucs' cross-domain transformer: two rows of tokens that look at themselves and each other."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import torch
from demucs.transformer import (
    CrossTransformerEncoderLayer,
    MyGroupNorm,
    create_2d_sin_embedding,
    create_sin_embedding,
)
from torch import Tensor, nn
from torch.nn import functional as F

from stages.htdemucs.convolutions import Linear
from stages.htdemucs.normed import RowNorm

# Of this many queries and all keys the products stay in the cache.
_QUERIES_AT_ONCE = 672
_LOG2_E = math.log2(math.e)


class Transformer(nn.Module):
    """The tokens of both branches through all layers."""

    def __init__(self, encoder: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self._period, self._weight = encoder.max_period, encoder.weight_pos_embed
        self._self_first = encoder.classic_parity == 0
        self.norm = norm_of(encoder.norm_in)
        self.norm_t = norm_of(encoder.norm_in_t)
        self.layers = nn.ModuleList(Layer(layer, dtype) for layer in encoder.layers)
        self.layers_t = nn.ModuleList(Layer(layer, dtype) for layer in encoder.layers_t)
        self._places: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor, xt: Tensor) -> tuple[Tensor, Tensor]:
        """Take and give `(batch, channels, frequencies, time)`, channels last, of both branches."""
        batch, channels, frequencies, length = x.shape
        length_t = xt.shape[-1]
        place, place_t = self._positions(x, length_t)
        tokens = x.permute(0, 2, 3, 1).reshape(batch, frequencies * length, channels).float()
        tokens_t = xt.permute(0, 2, 3, 1).reshape(batch, length_t, channels).float()
        tokens, tokens_t = self.norm(tokens) + place, self.norm_t(tokens_t) + place_t
        for number, (layer, layer_t) in enumerate(zip(self.layers, self.layers_t, strict=True)):
            if (number % 2 == 0) is self._self_first:
                tokens, tokens_t = layer(tokens, tokens), layer_t(tokens_t, tokens_t)
            else:
                tokens, tokens_t = layer(tokens, tokens_t), layer_t(tokens_t, tokens)
        pixels = tokens.view(batch, frequencies, length, channels).permute(0, 3, 1, 2)
        return pixels.to(x.dtype), tokens_t[:, None].permute(0, 3, 1, 2).to(xt.dtype)

    def _positions(self, x: Tensor, length_t: int) -> tuple[Tensor, Tensor]:
        """Return what marks the places of the tokens, made once; order: frequency, then time."""
        _, channels, frequencies, length = x.shape
        key = (channels, frequencies, length, length_t)
        if key not in self._places:
            place = create_2d_sin_embedding(  # type: ignore[no-untyped-call]
                channels, frequencies, length, "cpu", self._period
            )
            place = place.permute(0, 2, 3, 1).reshape(1, frequencies * length, channels)
            place_t = create_sin_embedding(length_t, channels, max_period=self._period)
            place_t = place_t.permute(1, 0, 2).contiguous()
            self._places[key] = (
                (self._weight * place).to(x.device),
                (self._weight * place_t).to(x.device),
            )
        return self._places[key]


class Layer(nn.Module):
    """A layer that norms first: attention, then two linear maps, each added to what came in.

    Its scales stand in the weights of the maps before them.
    """

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        super().__init__()
        crossed = isinstance(layer, CrossTransformerEncoderLayer)
        attention = layer.cross_attn if crossed else layer.self_attn
        self._heads = attention.num_heads
        self._dtype = dtype
        size = attention.embed_dim
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        if crossed:
            self.query = Linear(weight[:size], bias[:size], dtype)
            self.key_value = Linear(weight[size:], bias[size:], dtype)
            self.norm_other = norm_of(layer.norm2)
        else:
            self.query_key_value = Linear(weight, bias, dtype)
        self._crossed = crossed
        self.out = _scaled(attention.out_proj, layer.gamma_1, dtype)
        self.widen = Linear(layer.linear1.weight, layer.linear1.bias, dtype, gelu=True)
        self.narrow = _scaled(layer.linear2, layer.gamma_2, dtype)
        self.norm = norm_of(layer.norm1)
        self.norm_wide = norm_of(layer.norm3 if crossed else layer.norm2)
        self.norm_out = norm_of(layer.norm_out)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return tokens `(batch, tokens, channels)`, float32, that looked at `other`."""
        batch, tokens, size = x.shape
        queries, keys, values = self._projected(x, other)
        seen = attend(queries, keys, values).transpose(1, 2).reshape(batch, tokens, size)
        x = x + self.out(seen)
        wide = self.widen(self.norm_wide(x).to(self._dtype))
        x = x + self.narrow(wide)
        normed: Tensor = self.norm_out(x)
        return normed

    def _projected(self, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each `(batch, heads, tokens, size)`."""
        own = self.norm(x).to(self._dtype)
        if not self._crossed:
            queries, keys, values = self._split(self.query_key_value(own), 3)
            return queries, keys, values
        keys, values = self._split(self.key_value(self.norm_other(other).to(self._dtype)), 2)
        (queries,) = self._split(self.query(own), 1)
        return queries, keys, values

    def _split(self, projected: Tensor, parts: int) -> Tensor:
        batch, tokens, _ = projected.shape
        return projected.view(batch, tokens, parts, self._heads, -1).permute(2, 0, 3, 1, 4)


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return scaled dot-product attention, `(batch, heads, tokens, size)`."""
    if queries.device.type != "cpu":
        return F.scaled_dot_product_attention(queries, keys, values)
    batch, heads, tokens, size = queries.shape
    scale = size**-0.5 * (_LOG2_E if queries.dtype is torch.float32 else 1.0)
    queries, values = (queries * scale).contiguous(), values.contiguous()
    keys = keys.contiguous().transpose(2, 3)
    seen = queries.new_empty(batch, tokens, heads, size)
    likeness = queries.new_empty(min(tokens, _QUERIES_AT_ONCE), keys.shape[3])
    for row, head in itertools.product(range(batch), range(heads)):
        for start in range(0, tokens, _QUERIES_AT_ONCE):
            some = slice(start, start + _QUERIES_AT_ONCE)
            asked = queries[row, head, some]
            like = torch.mm(asked, keys[row, head], out=likeness[: len(asked)])
            seen[row, some, head] = _weighted(like, values[row, head])
    return seen.transpose(1, 2)


def _weighted(likeness: Tensor, values: Tensor) -> Tensor:
    """Return the means of values weighted by the softmax of a likeness, which is used up.

    In float32 the likeness is one to base 2: powers of two take a third of the time of those of e.
    """
    if likeness.dtype is not torch.float32:
        return torch.mm(likeness.softmax(1), values)
    likeness -= likeness.amax(1, keepdim=True)
    likeness.exp2_()
    return torch.mm(likeness, values).div_(likeness.sum(1, keepdim=True))


def norm_of(norm: nn.Module | None) -> nn.Module:
    """Return a norm of tokens `(batch, tokens, channels)`."""
    if isinstance(norm, MyGroupNorm) and norm.num_groups == 1:
        return RowNorm(norm, torch.float32)
    # A copy: a module that is moved takes its parameters along, and the network is to stay.
    return nn.Identity() if norm is None else copy.deepcopy(norm)


def _scaled(linear: nn.Linear, scale: nn.Module, dtype: torch.dtype) -> Linear:
    """Return a linear map with the layer scale after it."""
    factor = getattr(scale, "scale", torch.ones(1)).detach()
    return Linear(linear.weight * factor[:, None], linear.bias * factor, dtype)
