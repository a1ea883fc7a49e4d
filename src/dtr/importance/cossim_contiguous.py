r"""CosSim contiguous: how little a whole span of blocks turns the stream.

    d(i, j) = E_x  mean over tokens  [ 1 - cos(h_{i-1}, h_j) ]                      the span of blocks i .. j
    a cut of k blocks takes the span of k that has the least d; of several towers one span each, together k blocks, of least sum

A block's values are d(i, i), d(i, i+1), ...: (n, spans), and its score is d(i, i), that of CosSim. Parts of blocks have other parts
between them; with u_l what part l adds to the stream, and without changing the rule for whole blocks,

    d(i, j) = E_x mean [ 1 - cos(h_{i-1}, h_{i-1} + u_i + ... + u_j) ]

Unit, tokens and zeros as in `dtr.importance.cossim`. A dead block adds nothing: d(i, j) = 0 for a span of dead blocks, and
a span that ends in one costs what it costs without. Ties: `dtr.dropping.spans`.

Source: the paper's baseline "CosSim contiguous"; "the unreasonable ineffectiveness of the deeper layers" (Gromov et al., arXiv 2403.17887,
eq. 7), which takes the angle arccos(cos)/pi at the last token. Here the read-out is no last token, so the mean over tokens is taken.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dtr.importance.calibration import Values
from dtr.importance.cossim import TINY, by_sample, token_mean
from dtr.importance.shared_pass import Gates, Reader


def span_turns(gates: Gates, samples: int, valid: Tensor | None) -> Values:
    """d(i, j) of every gate i and all j >= i of the stack, sample by sample: name -> (B, spans)."""
    ran = [name for name, gate in gates.items() if gate.h_in is not None]
    depth, distance = len(gates), torch.zeros(samples, len(gates), len(gates), dtype=torch.float64)
    if ran:
        live = distances([by_sample(gates[name].h_in, samples) for name in ran], [added(gates, name, samples) for name in ran], valid)  # type: ignore[arg-type]
        distance[:, : len(ran), : len(ran)] = live
        distance[:, : len(ran), len(ran) :] = live[:, :, -1:]
    return {name: distance[:, i, i:depth] for i, name in enumerate(gates)}


def added(gates: Gates, name: str, samples: int) -> Tensor:
    """u of one gate: (B, M, D)."""
    gate = gates[name]
    assert gate.h_in is not None and gate.h_out is not None
    return by_sample(gate.h_out, samples) - by_sample(gate.h_in, samples)


def distances(inputs: list[Tensor], updates: list[Tensor], valid: Tensor | None) -> Tensor:
    """L inputs and L updates, each (B, M, D) -> (B, L, L); only j >= i means something.

    With C_j = u_1 + ... + u_j and w_i = a_i - C_{i-1} the stream behind the span is w_i + C_j: all inner products are two matrix products.
    """
    a, C = torch.stack(inputs, dim=2), torch.stack(updates, dim=2).cumsum(dim=2)  # (B, M, L, D)
    w = a - C + torch.stack(updates, dim=2)
    aw, aa, ww, cc = (a * w).sum(-1), (a * a).sum(-1), (w * w).sum(-1), (C * C).sum(-1)  # (B, M, L)
    inner = aw.unsqueeze(-1) + a @ C.transpose(-1, -2)
    length = ww.unsqueeze(-1) + 2 * (w @ C.transpose(-1, -2)) + cc.unsqueeze(-2)
    cosine = inner / (aa.unsqueeze(-1) * length.clamp_min(0)).sqrt().clamp_min(TINY)
    return token_mean(1 - cosine, valid).cpu()


cossim_contiguous = Reader("cossim_contiguous", backward=False, gates=span_turns)
"""The metric."""
