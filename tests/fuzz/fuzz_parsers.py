"""Coverage-guided fuzzing of everything that reads a venue's bytes; `make fuzz` runs it.

    python -m tests.fuzz.fuzz_parsers [VENUE] [--seconds N | --frames N]
    python -m tests.fuzz.fuzz_parsers VENUE --again FILE

Starts from the venues' samples. Ends with 0 when N seconds or frames a venue found nothing. An undocumented error, a
value out of bounds, a hang or a leak ends with another code and leaves the input in .fuzz/<venue>/crashes: its first
byte picks the entrance, the rest is what was read; --again reads it once more. The corpus in .fuzz/<venue>/corpus is
kept for the next run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import atheris

from tests.paths import ROOT

with atheris.instrument_imports(include=["daemon.exchanges"]):
    from tests.daemon.exchanges.contract.decoders import Entrance, entrances
    from tests.daemon.exchanges.contract.mutations import mutate
    from tests.daemon.exchanges.sample import Sample
    from tests.daemon.exchanges.samples import SAMPLES

FOLDER = ROOT / ".fuzz"


def read(ways_in: Sequence[Entrance], data: bytes) -> None:
    """One input: the first byte picks the entrance for the rest. Raises for whatever is a finding."""
    if data:
        ways_in[data[0] % len(ways_in)].check(data[1:])


def fuzz(sample: Sample, limit: str) -> None:
    """Fuzzes one venue in this process up to ``limit``, an option of libFuzzer, and ends the process."""
    ways_in = entrances(sample)
    folder = FOLDER / sample.make(None).name
    for each in ("corpus", "crashes"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    for number, entrance in enumerate(ways_in):
        for index, seed in enumerate(entrance.seeds):
            (folder / "corpus" / f"seed-{entrance.name}-{index}").write_bytes(bytes([number]) + seed)

    def check(data: bytes) -> None:
        read(ways_in, data)

    def mutated(data: bytes, most_bytes: int, seed: int) -> bytes:
        """The decoder is compiled and shows no coverage: half of the changes are to whole tokens of JSON."""
        random = Random(seed)
        if random.random() < 0.5:
            return bytes(atheris.Mutate(data, most_bytes))
        return (data[:1] + mutate(data[1:], random))[:most_bytes]

    options = [
        limit,
        "-max_len=8192",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-verbosity=0",
        "-print_final_stats=1",
        f"-artifact_prefix={folder / 'crashes'}/",
        str(folder / "corpus"),
    ]
    atheris.Setup([sys.argv[0], *options], check, custom_mutator=mutated)
    atheris.Fuzz()


def main() -> None:
    """One venue here, or each of them in a process of its own."""
    by_name = {sample.make(None).name: sample for sample in SAMPLES}
    parser = argparse.ArgumentParser(description="Fuzz everything that reads a venue's bytes.")
    parser.add_argument("venue", nargs="?", default="all", choices=[*by_name, "all"])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=int, default=60, help="for each venue (default: 60)")
    length.add_argument("--frames", type=int, help="for each venue, instead of a time")
    parser.add_argument("--again", type=Path, metavar="FILE", help="read one input that was kept, and end")
    options = parser.parse_args()
    if options.again is not None:
        if options.venue not in by_name:
            parser.error("--again needs the venue whose input it is")
        read(entrances(by_name[options.venue]), options.again.read_bytes())
        return
    by_count = options.frames is not None
    if options.venue in by_name:
        fuzz(by_name[options.venue], f"-runs={options.frames}" if by_count else f"-max_total_time={options.seconds}")
    failed = []
    length_options = ["--frames", str(options.frames)] if by_count else ["--seconds", str(options.seconds)]
    for name in by_name:
        print(f"fuzzing {name}, {' '.join(length_options)}", flush=True)
        command = [sys.executable, "-m", "tests.fuzz.fuzz_parsers", name, *length_options]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; the inputs are in {FOLDER}/<venue>/crashes")


if __name__ == "__main__":
    main()
