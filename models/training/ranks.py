"""Several processes that train one network together: what they share, under plain ``torchrun``.

``torchrun`` starts them and says to each which one it is. Each takes its share of every batch; gradients are averaged
(DistributedDataParallel), so that after each step all hold the same weights. gloo joins them on CPUs, NCCL on GPUs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


class RanksDiffer(ValueError):
    """The processes that should be alike are not."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together; ``joined`` is False for one that trains alone.

    rank: from 0 to ``size`` - 1, over all machines. local_rank, local_size: on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    joined: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and reports."""
        return self.rank == 0

    def device(self, chosen: torch.device) -> torch.device:
        """The GPU that is this process's own, where GPUs were chosen."""
        if not self.joined or chosen.type != "cuda":
            return chosen
        return torch.device("cuda", self.local_rank)

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network as it is called in training: its gradients are then those of all."""
        if not self.joined:
            return network
        device = next(network.parameters()).device
        devices = [device] if device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=devices, broadcast_buffers=False)

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch (B,); all of it where there are not enough windows for everyone."""
        if len(batch) < self.size:
            return batch
        return torch.tensor_split(batch, self.size)[self.rank]

    def weight(self, part: Tensor, batch: Tensor) -> Tensor:
        """By which the mean loss of a part counts, so that the mean over the processes is that of the batch.

        part (b, H) and batch (B, H): the weights of their labels.
        """
        return torch.ones((), device=batch.device) if len(batch) < self.size else part.sum() * self.size / batch.sum()

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, the same to the last bit for each."""
        if self.joined:
            value = value.clone()
            distributed.all_reduce(value)
        return value

    def agreed(self, decision: bool, device: torch.device) -> bool:
        """What the first process decides."""
        if not self.joined:
            return decision
        said = torch.tensor(int(decision), device=device)
        distributed.broadcast(said, src=0)
        return bool(said.item())

    def check_alike(self, what: str, tensors: Mapping[str, Tensor]) -> None:
        """Raises RanksDiffer unless all processes hold the same bytes."""
        if not self.joined:
            return
        digest = hashlib.sha256()
        for name, tensor in sorted(tensors.items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        all_digests: list[str] = [""] * self.size
        distributed.all_gather_object(all_digests, digest.hexdigest())
        if others := [rank for rank, each in enumerate(all_digests) if each != all_digests[0]]:
            raise RanksDiffer(f"{what} of process {', '.join(map(str, others))} differ from those of process 0")


ALONE = Ranks()


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """Joins the other processes where ``torchrun`` started this one, by its environment; else ``ALONE``.

    Raises ValueError where there are more processes than GPUs.
    """
    if not distributed.is_torchelastic_launched():
        yield ALONE
        return
    rank, size, local_rank, local_size = (
        int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    )
    if device.type == "cuda":
        if local_size > torch.cuda.device_count():
            raise ValueError(
                f"torchrun started {local_size} processes, but there are {torch.cuda.device_count()} GPUs: "
                "--nproc-per-node must not be more"
            )
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(rank, size, local_rank, local_size, joined=True)
    finally:
        distributed.destroy_process_group()
