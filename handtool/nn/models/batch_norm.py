"""Batch norm over the batch of all processes. torch's own SyncBatchNorm does it on GPUs and refuses CPU tensors.

Shapes: B rows on this process, C channels.
"""

import torch
from torch import Tensor, nn

from handtool.nn.models.collectives import total
from handtool.nn.views.precision import raise_half


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """nn.BatchNorm1d and 2d whose training statistics are those of the joined batch. Parameters and names are the same.

    Half precision is summed in float32 and returned in its own type, as torch's own do under autocast.
    """

    def _check_input_dim(self, images: Tensor) -> None:
        assert images.ndim >= 2

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return super().forward(images)
        axes = [axis for axis in range(images.ndim) if axis != 1]
        shape = (1, -1) + (1,) * (images.ndim - 2)
        values = raise_half(images)
        count = total(values.new_tensor([values.numel() / values.shape[1]]))
        mean_C = total(values.sum(axes)) / count
        # Two passes: the mean of squares less the square of the mean would cancel in float32.
        centred = values - mean_C.view(shape)
        variance_C = total((centred * centred).sum(axes)) / count
        self._remember(mean_C.detach(), (variance_C * count / (count - 1)).detach())
        scaled = centred * (torch.rsqrt(variance_C + self.eps) * self.weight).view(shape) + self.bias.view(shape)
        return scaled.to(images.dtype)

    @torch.no_grad()
    def _remember(self, mean_C: Tensor, variance_C: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean_C, self.momentum)
        self.running_var.lerp_(variance_C, self.momentum)


def share_batch_norm(model: nn.Module, device: str) -> nn.Module:
    """The model with every batch norm replaced by one over all processes. Parameters and buffers stay the same
    tensors, and frozen ones stay frozen."""
    if device == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for name, module in model.named_children():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            shared = SharedBatchNorm(module.num_features, module.eps, module.momentum)
            shared._parameters, shared._buffers, shared.training = module._parameters, module._buffers, module.training
            setattr(model, name, shared)
        else:
            share_batch_norm(module, device)
    return model
