"""NT-Xent with soft targets: hands of similar pose share the target instead of being pushed apart.

Shapes: R rows of the similarity matrix on this process, A all views, D numbers per projection.
"""

import torch
from torch import Tensor

from handtool.nn.views.precision import raise_half


def soft_nt_xent_rows(z_AD: Tensor, own_R: Tensor, distance_RA: Tensor, sigma: Tensor, temperature: float) -> Tensor:
    """The mean over the own rows i of -sum_k q_ik log p_ik, k != i: p is the softmax of similarity / temperature, q
    that of -distance / sigma.

    z_AD: unit rows of all views. own_R: places in it of each row's view. distance_RA: of the poses, any unit; sigma: a
    scalar of that unit. No gradient reaches the targets. As sigma goes to 0, this is NT-Xent whose positive is the
    nearest view. The mean of the results over processes is the loss of the joined batch.
    """
    with torch.autocast(z_AD.device.type, enabled=False):
        z_AD = raise_half(z_AD)
        itself_RA = own_R[:, None] == torch.arange(len(z_AD), device=z_AD.device)
        target_RA = (-distance_RA.detach().to(z_AD.dtype) / sigma).masked_fill(itself_RA, float("-inf")).softmax(1)
        logits_RA = ((z_AD[own_R] @ z_AD.T) / temperature).masked_fill(itself_RA, float("-inf"))
        log_share_RA = logits_RA.log_softmax(1).masked_fill(itself_RA, 0)
        return -(target_RA * log_share_RA).sum(1).mean()
