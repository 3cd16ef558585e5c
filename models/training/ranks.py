"""Training of one network by several processes, started by ``torchrun``.

``torchrun`` assigns each process its rank. Each takes its share of every batch; gradients are averaged
(DistributedDataParallel), so after each step all have the same weights. The backend is gloo on CPUs, NCCL on GPUs.
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
    """Processes that must have the same state differ."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """The rank of this process among those that train together; ``joined`` is False for a single process.

    rank: from 0 to ``size`` - 1, over all machines. local_rank, local_size: on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    joined: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def device(self, chosen: torch.device) -> torch.device:
        """The GPU of this process if a GPU was chosen, else ``chosen``."""
        if not self.joined or chosen.type != "cuda":
            return chosen
        return torch.device("cuda", self.local_rank)

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network to call in training, whose gradients are averaged over all processes."""
        if not self.joined:
            return network
        device = next(network.parameters()).device
        devices = [device] if device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=devices, broadcast_buffers=False)

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch (B,); all of it if the batch has fewer windows than there are processes."""
        if len(batch) < self.size:
            return batch
        return torch.tensor_split(batch, self.size)[self.rank]

    def weight(self, part: Tensor, batch: Tensor) -> Tensor:
        """Factor on the mean loss of a part, with which the mean over the processes is that of the batch.

        part (b, H) and batch (B, H): the weights of their labels.
        """
        return torch.ones((), device=batch.device) if len(batch) < self.size else part.sum() * self.size / batch.sum()

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, the same to the last bit in each."""
        if self.joined:
            value = value.clone()
            distributed.all_reduce(value)
        return value

    def agreed(self, decision: bool, device: torch.device) -> bool:
        """The decision of the first process, in all processes."""
        if not self.joined:
            return decision
        flag = torch.tensor(int(decision), device=device)
        distributed.broadcast(flag, src=0)
        return bool(flag.item())

    def check_alike(self, what: str, tensors: Mapping[str, Tensor]) -> None:
        """Raises RanksDiffer unless ``tensors`` are the same bytes in all processes."""
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
    """Joins the process group if ``torchrun`` started this process, as its environment shows; else yields ``ALONE``.

    Raises ValueError if there are more processes than GPUs.
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
