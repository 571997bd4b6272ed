"""How long does the report of 10,000 samples and 1,024 heads take beyond the statistics, and how large is it.

    python benchmarks/big_report.py [--samples 10000] [--tokens 60]

The tables are made up, those of a study of so many heads; every sample has an answer with an activity per token.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.showing import conftest

from foretell.showing.report import write_report

__all__: list[str] = []


def main() -> None:
    """Write one report, and print time and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=60)
    options = parser.parse_args()
    conftest.N_LAYERS = conftest.N_HEADS = 32
    data = conftest.make_data()
    facts = replace(data.facts, conversations=conftest.make_conversations(options.samples, n_tokens=options.tokens))
    with tempfile.TemporaryDirectory() as folder:
        wall, processor = time.perf_counter(), time.process_time()
        page = write_report(replace(data, facts=facts), Path(folder) / "out", progress=False)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print(f"{wall:.1f} s by the clock, {processor:.1f} s of the processor, {page.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
