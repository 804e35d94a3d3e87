"""HTDemucs whole: a batch of segments of the mix to a batch of stems."""

from __future__ import annotations

from typing import Any

import torch
from demucs.hdemucs import HDecLayer, HEncLayer
from demucs.htdemucs import HTDemucs
from demucs.transformer import LayerScale, MyGroupNorm
from torch import Tensor, nn
from torch.nn import functional as F

from stages.htdemucs.convolutions import Pointwise
from stages.htdemucs.layers import Decoder, Encoder
from stages.htdemucs.precision import EXACT, Precision
from stages.htdemucs.spectrum import Spectrum
from stages.htdemucs.transformer import Transformer

_EPS = 1e-5


class Forward(nn.Module):
    """What `HTDemucs.forward` gives for segments of the length it was trained on.

    Args:
        network: an `HTDemucs` for which `fits` is true. It is not changed; weights that are kept as they
            are stay shared with it.
        precision: of convolutions and transformer.
    """

    def __init__(self, network: Any, precision: Precision = EXACT) -> None:
        super().__init__()
        dtype = precision.convolutions
        self._dtype = dtype
        self._sources = len(network.sources)
        self.spectrum = Spectrum(network.nfft)
        self.encoders = nn.ModuleList(Encoder(layer, dtype) for layer in network.encoder)
        self.encoders_t = nn.ModuleList(Encoder(layer, dtype) for layer in network.tencoder)
        self.decoders = nn.ModuleList(Decoder(layer, dtype) for layer in network.decoder)
        self.decoders_t = nn.ModuleList(Decoder(layer, dtype) for layer in network.tdecoder)
        self.register_buffer("frequencies", _frequency_embedding(network, dtype))
        self.transformer = None
        if network.crosstransformer is not None:
            self.transformer = Transformer(network.crosstransformer, precision.transformer)
        self.bottom = nn.ModuleDict()
        if network.bottom_channels and self.transformer is not None:
            for name in ("upsampler", "upsampler_t", "downsampler", "downsampler_t"):
                conv = getattr(network, f"channel_{name}")
                self.bottom[name] = Pointwise(conv.weight[:, :, 0], conv.bias, dtype)
        self.eval().requires_grad_(False)

    frequencies: Tensor | None

    def forward(self, mix: Tensor) -> Tensor:
        """Return `(batch, sources, channels, samples)` of `(batch, channels, samples)`, float32."""
        length = mix.shape[-1]
        bins = self.spectrum(mix)
        batch, frequencies, frames, channels, _ = bins.shape
        x = bins.reshape(batch, frequencies, frames, 2 * channels)
        x, mean, deviation = _normalised(x)
        xt, mean_t, deviation_t = _normalised(mix)
        x = x.to(self._dtype).permute(0, 3, 1, 2)
        xt = xt.to(self._dtype)[:, :, None].contiguous(memory_format=torch.channels_last)
        x, xt = self._through(x, xt)
        # `(batch, frequencies, frames, sources * channels, 2)` again.
        x = x.permute(0, 2, 3, 1).float() * deviation + mean
        x = x.reshape(batch, frequencies, frames, self._sources * channels, 2)
        stems = self.spectrum.inverse(x, length)
        stems += xt[:, :, 0].float() * deviation_t + mean_t
        return stems.view(batch, self._sources, channels, length)

    def _through(self, x: Tensor, xt: Tensor) -> tuple[Tensor, Tensor]:
        saved, saved_t, lengths_t = [], [], []
        for number, (encode, encode_t) in enumerate(
            zip(self.encoders, self.encoders_t, strict=True)
        ):
            lengths_t.append(xt.shape[-1])
            x, xt = encode(x), encode_t(xt)
            if number == 0 and self.frequencies is not None:
                x = x + self.frequencies
            saved.append(x)
            saved_t.append(xt)
        x, xt = self._transformed(x, xt)
        for decode, decode_t in zip(self.decoders, self.decoders_t, strict=True):
            x = decode(x, saved.pop(), 0)
            xt = decode_t(xt, saved_t.pop(), lengths_t.pop())
        return x, xt

    def _transformed(self, x: Tensor, xt: Tensor) -> tuple[Tensor, Tensor]:
        if self.transformer is None:
            return x, xt
        if not self.bottom:
            both: tuple[Tensor, Tensor] = self.transformer(x, xt)
            return both
        x, xt = self.transformer(self.bottom["upsampler"](x), self.bottom["upsampler_t"](xt))
        return self.bottom["downsampler"](x), self.bottom["downsampler_t"](xt)


def fits(network: Any) -> bool:
    """Say whether `Forward` knows every part of a network; Demucs' own forward takes the others."""
    return (
        isinstance(network, HTDemucs)
        and network.use_train_segment
        and network.cac
        and len(network.tencoder) == network.depth == len(network.tdecoder)
        and all(_is_layer(layer, HEncLayer) for layer in (*network.encoder, *network.tencoder))
        and all(_is_layer(layer, HDecLayer) for layer in (*network.decoder, *network.tdecoder))
        and all(2 * layer.stride == layer.kernel_size for layer in network.tdecoder)
        and _is_known_transformer(network)
    )


def _is_layer(layer: Any, kind: type[nn.Module]) -> bool:
    is_known = type(layer) is kind and not layer.empty and bool(layer.rewrite)
    return is_known and all(map(_is_residual, getattr(layer.dconv, "layers", ())))


def _is_residual(layer: nn.Sequential) -> bool:
    kinds = (nn.Conv1d, nn.GroupNorm, nn.GELU, nn.Conv1d, nn.GroupNorm, nn.GLU, LayerScale)
    return len(layer) == len(kinds) and all(map(isinstance, layer, kinds))


def _is_known_transformer(network: Any) -> bool:
    encoder = network.crosstransformer
    if encoder is None:
        return True
    layers = (*encoder.layers, *encoder.layers_t)
    return (
        encoder.emb == "sin"
        and not encoder.sin_random_shift
        and all(layer.norm_first and not layer.sparse and _is_gelu(layer) for layer in layers)
        and not any(
            isinstance(norm, MyGroupNorm) and norm.num_groups > 1 for norm in encoder.modules()
        )
    )


def _is_gelu(layer: Any) -> bool:
    return layer.activation is F.gelu


def _normalised(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each row of the batch without its mean and divided by its deviation, and these two."""
    axes = tuple(range(1, x.dim()))
    mean, deviation = x.mean(axes, keepdim=True), x.std(axes, keepdim=True)
    return (x - mean) / (_EPS + deviation), mean, deviation


def _frequency_embedding(network: Any, dtype: torch.dtype) -> Tensor | None:
    """Return what the first encoder's output is shifted by, `(1, channels, frequencies, 1)`."""
    if network.freq_emb is None:
        return None
    embedding: Tensor = network.freq_emb.weight.detach() * network.freq_emb_scale
    return embedding.T[None, :, :, None].to(dtype)
