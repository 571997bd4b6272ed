"""Time and memory of reading evaluation logs of many samples, made here.

    python benchmarks/evaluation_logs.py --samples 200000

Writes a log of each kind into a temporary folder, reads each in a process of its own, and prints seconds, the largest
memory of the process, and the share of it that the conversations themselves take.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

QUESTION = "What is {number} plus {number}? Answer with the number alone, and nothing else. " * 3
EVENT = {"event": "model", "input": "x" * 400, "call": {"request": {"messages": "y" * 400}}}
KINDS = ("lm_eval.jsonl", "inspect.eval", "inspect.json")


def document(number: int) -> dict[str, Any]:
    """Return a document of lm-evaluation-harness, with its few-shot text in the record twice."""
    question = QUESTION.format(number=number)
    return {
        "doc_id": number,
        "doc": {"question": question, "category": f"kind {number % 7}"},
        "target": str(2 * number),
        "arguments": {"gen_args_0": {"arg_0": f"Q: {question}\nA:", "arg_1": {"until": ["\n"], "do_sample": False}}},
        "resps": [[f" It is {2 * number}."]],
        "filtered_resps": [str(2 * number)],
        "filter": "strict-match",
        "metrics": ["exact_match"],
        "doc_hash": "0" * 64,
        "exact_match": float(number % 3 > 0),
    }


def sample(number: int) -> dict[str, Any]:
    """Return a sample of inspect_ai with the events that make up most of a log."""
    question = QUESTION.format(number=number)
    return {
        "id": number,
        "epoch": 1,
        "input": question,
        "target": str(2 * number),
        "messages": [
            {"role": "user", "content": question, "source": "input"},
            {"role": "assistant", "content": f"It is {2 * number}.", "source": "generate"},
        ],
        "scores": {"match": {"value": "C" if number % 3 else "I", "answer": str(2 * number)}},
        "metadata": {"category": f"kind {number % 7}"},
        "events": [EVENT] * 5,
    }


def write(path: Path, n_samples: int) -> None:
    """Write a log of the kind that the name says."""
    head = {"version": 2, "status": "success", "eval": {"task": "sums", "model": "made/up"}}
    if path.name == KINDS[0]:
        with path.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(document(number)) + "\n" for number in range(n_samples))
    elif path.name == KINDS[1]:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("header.json", json.dumps(head))
            for number in range(n_samples):
                archive.writestr(f"samples/{number}_epoch_1.json", json.dumps(sample(number)))
    else:
        with path.open("w", encoding="utf-8") as text:
            text.write(json.dumps(head)[:-1] + ', "samples": [')
            text.writelines((", " if number else "") + json.dumps(sample(number)) for number in range(n_samples))
            text.write("]}")


def read(path: Path) -> None:
    """Read one log and print what it took, as JSON."""
    import foretell
    from foretell.records.label_rows import read_label_rows

    peak = [_peak()]
    start = time.perf_counter()
    labels = read_label_rows(str(path)).frame.height
    seconds = [time.perf_counter() - start]
    peak.append(_peak())
    start = time.perf_counter()
    found = foretell.read_conversations(path)
    seconds.append(time.perf_counter() - start)
    peak.append(_peak())
    n_labelled = sum(one.behavior_label is not None for one in found)
    print(json.dumps({"n": len(found), "labels": labels, "labelled": n_labelled, "seconds": seconds, "peak": peak}))


def _peak() -> float:
    """Return the largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Write the logs and read each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.read:
        read(settings.read)
        return
    print("log                MB  samples  labels s  conversations s  MB at start  after labels  after conversations")
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            path = Path(folder, kind)
            write(path, settings.samples)
            size = path.stat().st_size / 2**20
            command = [sys.executable, __file__, "--read", str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            row = json.loads(done.stdout)
            numbers = [*row["seconds"], *row["peak"]]
            print(f"{kind:15} {size:5.0f} {row['n']:8d} " + " ".join(f"{number:12.1f}" for number in numbers))
            path.unlink()


if __name__ == "__main__":
    main()
