"""Writes the lock files of this folder: every package of an installation with its version and its files' SHA-256.

Run it with a network and uv (``pip install uv``) after a change of ``constraints.txt`` or of the dependencies:
``python requirements/lock.py``. ``make`` installs from the lock files with ``pip --require-hashes``.

run.txt, dev.txt and fuzz.txt hold everything but torch. torch.txt holds PyPI's torch with the libraries of CUDA;
torch-cpu.txt holds the CPU build, whose hash is kept by hand, because PyPI does not have it.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
EXTRAS = {"run": (), "dev": ("dev",), "fuzz": ("dev", "fuzz")}
# What builds forecastd itself.
BUILD = "setuptools\n"
_OF_TORCH = re.compile(r"(torch|triton|cuda-[a-z]+|nvidia-(?!ml-py)[a-z0-9-]+)==")
_HEADER = "# Written by requirements/lock.py; do not edit.\n"


def main() -> None:
    torch: dict[str, str] = {}
    for name, extras in EXTRAS.items():
        blocks = resolved(extras)
        of_torch = {block: "" for block in blocks if _OF_TORCH.match(block)}
        torch |= of_torch
        write(HERE / f"{name}.txt", (block for block in blocks if block not in of_torch))
    write(HERE / "torch.txt", torch)


def resolved(extras: Iterable[str]) -> list[str]:
    """The packages of an installation with these extras, each as its lines of the lock file."""
    with tempfile.TemporaryDirectory() as folder:
        build = Path(folder) / "build.in"
        build.write_text(BUILD)
        command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
        command += ["--no-annotate", "--no-header", "--constraints", "constraints.txt"]
        command += [word for extra in extras for word in ("--extra", extra)]
        text = subprocess.run([*command, "pyproject.toml", str(build)], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return re.split(r"\n(?=\S)", text.stdout.decode().strip())


def write(path: Path, blocks: Iterable[str]) -> None:
    path.write_text(_HEADER + "".join(f"{block}\n" for block in sorted(blocks)))


if __name__ == "__main__":
    main()
