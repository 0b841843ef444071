"""A transformer encoder with the norm after each step (Vaswani et al., 2017), as GeoDTR uses it."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import require


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Size of an encoder; the defaults are those of the trained GeoDTR+ models (released code)."""

    heads: int = 4
    layers: int = 2
    hidden: int = 512  # of the feed-forward step
    dropout: float = 0.3

    def __post_init__(self) -> None:
        require(self.heads >= 1, f"heads must be at least 1, got {self.heads}.")
        require(self.layers >= 0, f"layers must be at least 0, got {self.layers}.")
        require(0 <= self.dropout < 1, f"dropout must lie in [0, 1), got {self.dropout}.")


class Encoder(nn.Module):
    """Tokens [B, T, D] -> [B, T, D]: ``spec.layers`` layers and one more LayerNorm."""

    def __init__(self, dim: int, spec: EncoderSpec) -> None:
        super().__init__()
        allowed = ", ".join(str(count) for count in range(1, 17) if dim % count == 0)
        require(
            dim % spec.heads == 0,
            f"{spec.heads} attention heads do not divide tokens of {dim} numbers.\n"
            f"Choose other heads ({allowed}) or another picture size.",
        )
        self.layers = nn.ModuleList(EncoderLayer(dim, spec) for _ in range(spec.layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """See the class."""
        for layer in self.layers:
            tokens = layer(tokens)
        normed: Tensor = self.norm(tokens)
        return normed


class EncoderLayer(nn.Module):
    """Self-attention, then two linear maps with a GELU; each added to its input, then normed."""

    def __init__(self, dim: int, spec: EncoderSpec) -> None:
        super().__init__()
        self.heads, self.dropout = spec.heads, spec.dropout
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.wide, self.narrow = nn.Linear(dim, spec.hidden), nn.Linear(spec.hidden, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        tokens = self.norm1(tokens + self._dropped(self._attention(tokens)))
        hidden = self._dropped(F.gelu(self.wide(tokens)))
        normed: Tensor = self.norm2(tokens + self._dropped(self.narrow(hidden)))
        return normed

    def _attention(self, tokens: Tensor) -> Tensor:
        batch, count, dim = tokens.shape
        split = self.qkv(tokens).view(batch, count, 3, self.heads, dim // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, count, dim))
        return result

    def _dropped(self, values: Tensor) -> Tensor:
        return F.dropout(values, self.dropout, self.training)
