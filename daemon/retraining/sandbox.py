"""What a training process gets of the daemon's environment, and its resource limits. Linux only."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from pathlib import Path

_VARIABLES = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "XDG_CACHE_HOME"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONHASHSEED", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD"),
    }
)
# Settings of the numerical libraries and of the GPU's driver.
_PREFIXES = (
    *("LC_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "POLARS_"),
    *("TORCH_", "TORCHINDUCTOR_", "TORCHDYNAMO_", "PYTORCH_", "TRITON_"),
    *("CUDA_", "CUBLAS_", "CUDNN_", "NCCL_", "NVIDIA_"),
)
MEMORY_SHARE = 0.75  # of the memory that the service may use; the daemon and the system need the rest
LARGEST_FILE_BYTES = 16 * 1024**3
OPEN_FILES = 1_024
_CGROUPS = Path("/sys/fs/cgroup")


def chosen_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that training needs, without settings and credentials of the daemon."""
    return {name: value for name, value in environment.items() if name in _VARIABLES or name.startswith(_PREFIXES)}


def limit_resources(*, memory_bytes: int | None) -> tuple[str, ...]:
    """Limits this process and its children: memory, largest file, open files, and no core dump.

    memory_bytes: of writable private memory; None for no limit. Past it an allocation fails, and with it the training.

    Returns one line for each limit that could not be set.
    """
    limits = {
        "core dumps": (resource.RLIMIT_CORE, 0),
        "largest file": (resource.RLIMIT_FSIZE, LARGEST_FILE_BYTES),
        "open files": (resource.RLIMIT_NOFILE, OPEN_FILES),
    }
    if memory_bytes is not None:
        limits["memory"] = (resource.RLIMIT_DATA, memory_bytes)
    return tuple(
        shortfall for name, (kind, value) in limits.items() if (shortfall := _limit(name, kind, value)) is not None
    )


def memory_limit(*, root: Path = Path("/")) -> int | None:
    """The share of this service's memory that training may take, in bytes.

    None beside an NVIDIA GPU: its driver maps as much address space as there is memory on the board and the machine.
    """
    if (root / "dev/nvidiactl").exists():
        return None
    return int(MEMORY_SHARE * min(_machine_bytes(root), *_cgroup_bytes(root)))


def _limit(name: str, kind: int, value: int) -> str | None:
    """Lowers one limit; a lower one of the service stays."""
    _, hard = resource.getrlimit(kind)
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(kind, (allowed, allowed))
    except (OSError, ValueError) as error:
        return f"limit of {name}: {error}"
    return None


def _machine_bytes(root: Path) -> int:
    for line in (root / "proc/meminfo").read_text("ascii").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemTotal")


def _cgroup_bytes(root: Path) -> list[int]:
    """The memory limits of this process's control groups (version 2), and the memory of the machine."""
    limits = [_machine_bytes(root)]
    try:
        membership = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return limits
    path = next((line.removeprefix("0::/") for line in membership if line.startswith("0::/")), None)
    if path is None:
        return limits
    top = root / _CGROUPS.relative_to("/")
    group = top / path
    for folder in (group, *group.parents):
        for name in ("memory.max", "memory.high"):
            try:
                text = (folder / name).read_text("ascii").strip()
            except OSError:
                continue
            if text.isdecimal():
                limits.append(int(text))
        if folder == top:
            break
    return limits
