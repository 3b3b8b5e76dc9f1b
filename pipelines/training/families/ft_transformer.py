"""FT-Transformer (Gorishniy et al. 2021): every input becomes a token; pre-norm blocks; the CLS token is read."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.params.training import FtTransformer
from pipelines.training.networks import Shape, head, single_task

LIBRARIES = ("torch",)


def uniform(*shape: int) -> nn.Parameter:
    """Initial values of tokens as in the paper, by the width of a token."""
    return nn.Parameter(torch.empty(shape).uniform_(-1, 1) / math.sqrt(shape[-1]))


class Tokenizer(nn.Module):
    """Tokens (N, 1 + n + m, width): CLS, a number times its vector, a string's vector, each with a bias of its input.

    A mark adds a vector to the token of its number, so that it costs no token.
    """

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        self.numbers = shape.numbers
        self.cls, self.bias = uniform(1, 1, width), uniform(shape.numbers + shape.rows, width)
        self.weight = uniform(shape.numbers, width) if shape.numbers else None
        self.mark = uniform(len(shape.marks), width) if shape.marks else None
        self.owners = list(shape.marks)
        self.embedding = nn.Embedding(shape.table, width) if shape.rows else None
        if self.embedding:
            nn.init.uniform_(self.embedding.weight, -1 / math.sqrt(width), 1 / math.sqrt(width))

    def forward(self, numbers: Tensor, rows: Tensor) -> Tensor:
        tokens = []
        if self.weight is not None:
            values = numbers[:, : self.numbers].unsqueeze(2) * self.weight
            if self.mark is not None:
                marked = torch.zeros(len(self.owners), *self.weight.shape, device=numbers.device)
                marked[range(len(self.owners)), self.owners] = self.mark  # (marks, n, width)
                values = values + (numbers[:, self.numbers :] @ marked.flatten(1)).reshape(values.shape)
            tokens.append(values)
        if self.embedding is not None:
            tokens.append(self.embedding(rows))
        inputs = torch.cat(tokens, dim=1) + self.bias
        return torch.cat([self.cls.expand(inputs.shape[0], -1, -1), inputs], dim=1)


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017); `queries` may be some of the tokens only.

    Without dropout, whose masks of all pairs of tokens would double the cost.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.both, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        key, value = self.both(tokens).chunk(2, dim=2)
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query(queries), key, value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Attention and a ReGLU layer, each on normalised tokens and added to them; the first has no norm of its own."""

    def __init__(self, settings: FtTransformer, first: bool, last: bool) -> None:
        super().__init__()
        width = settings.embedding_dim
        self.last = last  # of which CLS alone is read
        self.before = nn.Identity() if first else nn.LayerNorm(width)
        self.attention = Attention(width, settings.heads)
        self.between = nn.LayerNorm(width)
        self.gated, self.out = nn.Linear(width, 2 * settings.feedforward), nn.Linear(settings.feedforward, width)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.before(tokens)
        if self.last:
            tokens, queries = tokens[:, :1], normed[:, :1]
        else:
            queries = normed
        tokens = tokens + self.dropout(self.attention(queries, normed))
        value, gate = self.gated(self.between(tokens)).chunk(2, dim=2)
        added: Tensor = self.dropout(self.out(value * torch.relu(gate)))
        return tokens + added


class Transformer(nn.Module):
    def __init__(self, shape: Shape, settings: FtTransformer, log_odds: float) -> None:
        super().__init__()
        self.tokenizer = Tokenizer(shape, settings.embedding_dim)
        ends = 0, settings.layers - 1
        self.blocks = nn.Sequential(*(Block(settings, n == ends[0], n == ends[1]) for n in range(settings.layers)))
        self.norm, self.head = nn.LayerNorm(settings.embedding_dim), head(settings.embedding_dim, log_odds)

    def forward(self, numbers: Tensor, rows: Tensor, tasks: int) -> Tensor:
        out: Tensor = self.head(torch.relu(self.norm(self.blocks(self.tokenizer(numbers, rows))[:, 0])))
        return out


fit = single_task(Transformer)
