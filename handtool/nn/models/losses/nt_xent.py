"""NT-Xent, the contrastive loss of SimCLR, with the optional weights of SiMHand.

Shapes: N pairs, D numbers per projection, R rows of the similarity matrix on this process, A all views = 2N.
"""

import torch
from torch import Tensor

from handtool.nn.views.precision import raise_half


def nt_xent(
    z1: Tensor,
    z2: Tensor,
    temperature: float = 0.5,
    pair_weights: Tensor | None = None,
    all_weights: Tensor | None = None,
) -> Tensor:
    """Mean over the 2N views of the negative log of (exp of the partner) / (sum of exp of every other view).

    z1, z2: (N, D) unit rows, row i of each is one pair. pair_weights (N,) multiply the similarity in the numerator,
    all_weights (2N, 2N) those in the denominator (views in the order z1 then z2), both inside the exponential.
    Returns a scalar in the precision of z, half raised to float32. No gradient reaches the weights.
    Raises ValueError on shapes that do not fit or a temperature that is not positive.

    Chen et al. 2020, arXiv:2002.05709, eq. 1; weights: Lin et al. 2025, arXiv:2502.15251, eq. 4-5.
    """
    if z1.ndim != 2 or z1.shape != z2.shape or not len(z1):
        raise ValueError(f"z1 and z2 are two (N, D) tensors with N > 0, not {tuple(z1.shape)} and {tuple(z2.shape)}")
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    num = len(z1)
    if pair_weights is not None and pair_weights.shape != (num,):
        raise ValueError(f"pair_weights are ({num},), not {tuple(pair_weights.shape)}")
    if all_weights is not None and all_weights.shape != (2 * num, 2 * num):
        raise ValueError(f"all_weights are ({2 * num}, {2 * num}), not {tuple(all_weights.shape)}")
    z_AD = torch.cat((z1, z2))
    own_R = torch.arange(2 * num, device=z_AD.device)
    weights_R = None if pair_weights is None else torch.cat((pair_weights, pair_weights))
    return nt_xent_rows(z_AD, own_R, own_R.roll(num), temperature, weights_R, all_weights)


def nt_xent_rows(
    z_AD: Tensor,
    own_R: Tensor,
    partner_R: Tensor,
    temperature: float,
    pair_weights_R: Tensor | None,
    all_weights_RA: Tensor | None,
) -> Tensor:
    """The mean over those rows of NT-Xent that belong to one process, when the views of all processes are gathered.

    own_R, partner_R: places in z_AD of each row's view and of its partner. The mean of the results over processes, each
    with equally many rows, is the loss of the joined batch.
    """
    # Autocast would round the product to bfloat16: an error of 0.03 in a logit of 10, 3 % after exp.
    with torch.autocast(z_AD.device.type, enabled=False):
        z_AD = raise_half(z_AD)
        logits_RA = (z_AD[own_R] @ z_AD.T) / temperature
        positive_R = logits_RA.gather(1, partner_R[:, None])[:, 0]
        if pair_weights_R is not None:
            positive_R = positive_R * pair_weights_R.detach().to(positive_R.dtype)
        if all_weights_RA is not None:
            logits_RA = logits_RA * all_weights_RA.detach().to(logits_RA.dtype)
        itself_RA = own_R[:, None] == torch.arange(len(z_AD), device=z_AD.device)
        return (logits_RA.masked_fill(itself_RA, float("-inf")).logsumexp(1) - positive_R).mean()
