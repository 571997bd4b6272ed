"""The embedded model: SmolLM2-135M-Instruct from a Python package, converted once into the user's cache.

It knows nothing of how models are read.

    from foretell.reading.models.embedded import smollm2_folder
    folder = smollm2_folder()   # a Hugging Face folder that transformers loads in a second
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from foretell.errors import ModelError, missing_extra
from foretell.jobs.model_files import EMBEDDED, packaged_gguf
from foretell.reading.models.quiet import quiet
from foretell.storage.cache_folder import cache_folder

__all__ = ["convert_gguf", "smollm2_folder"]

_MARKER = "foretell.json"
_FORMAT = 1


def smollm2_folder() -> Path:
    """Return the folder of the converted embedded model, converting it first if it is absent or damaged.

    The conversion is written beside its place and moved there whole, so an interrupted one leaves nothing
    behind that is ever loaded, and two processes may convert at once. A marker with the size of every file
    and of the source says whether what is there is complete.

    Whoever may read files of this user by the umask may read it too, so that users of one machine can share it.

    Raises:
        ModelError: The package with the weights is not installed, or its conversion cannot be kept.
    """
    source = packaged_gguf()
    target = cache_folder() / EMBEDDED
    if _complete(target, source):
        return target
    scratch = target.parent / f".smollm2-{uuid.uuid4().hex}"
    try:
        scratch.mkdir(parents=True)  # unlike a temporary folder of the standard library, not for this user alone
        convert_gguf(source, scratch)
        _write_marker(scratch, source)
        _move_into_place(scratch, target, source)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelError(
            f"{target.parent}: the converted model cannot be kept there ({reason}); "
            "set FORETELL_CACHE to a folder of yours"
        ) from error
    except ModuleNotFoundError as error:
        raise missing_extra(error, "the embedded model") or error from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.name != _MARKER}


def _write_marker(folder: Path, source: Path) -> None:
    marker = {"format": _FORMAT, "source_bytes": source.stat().st_size, "files": _sizes(folder)}
    written = folder / _MARKER
    written.write_text(json.dumps(marker), encoding="utf-8")
    for path in folder.iterdir():  # the library lets only this user read its files of weights
        path.chmod(written.stat().st_mode)


def _complete(folder: Path, source: Path) -> bool:
    """Tell whether a whole conversion of the source is there, all of it readable for this user."""
    try:
        marker = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        expected: dict[str, Any] = {"format": _FORMAT, "source_bytes": source.stat().st_size, "files": _sizes(folder)}
    except (OSError, ValueError):
        return False
    return bool(marker == expected) and all(os.access(folder / name, os.R_OK) for name in expected["files"])


def _move_into_place(scratch: Path, target: Path, source: Path) -> None:
    doomed = scratch.with_name(f"{scratch.name}-old")
    for _ in range(3):
        try:
            scratch.rename(target)
            return
        except OSError:
            if _complete(target, source):
                return
        # A damaged folder stands there: move it away whole, so that no reader sees it half deleted.
        with contextlib.suppress(FileNotFoundError):
            target.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    raise ModelError(f"{target}: cannot be replaced; delete it, or set FORETELL_CACHE to another folder")


def convert_gguf(source: Path, folder: Path) -> None:
    """Write a GGUF file as a Hugging Face folder of float32 weights.

    Args:
        source: GGUF file of any architecture that transformers reads.
        folder: existing folder; receives config, tokenizer and `model.safetensors`.
    """
    import transformers

    options: dict[str, Any] = {"gguf_file": source.name}
    with quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(source.parent), **options)
        if hasattr(transformers, "GgufConfig"):  # newer versions may keep the weights packed unless told not to
            options["quantization_config"] = transformers.GgufConfig(dequantize=True)
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(str(source.parent), dtype="float32", **options)
        model.hf_quantizer = None  # with it the library refuses to save, though the weights are whole
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
