"""Load a language model by one call: the embedded one, a folder, a GGUF file, or a hub id.

It knows nothing of attention, segments or directions.

    from foretell.reading.models.load import load_model
    model = load_model("smollm2")
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from foretell.display import Displayed, Facts
from foretell.errors import ForetellError, ModelError
from foretell.jobs.model_files import EMBEDDED, located
from foretell.reading.models.embedded import smollm2_folder
from foretell.reading.models.quiet import quiet

__all__ = ["Dtype", "Model", "device_of", "first_line", "load_model", "load_tokenizer"]

Dtype = Literal["float32", "bfloat16", "float16", "auto"]

_HUB_SECONDS = 10.0
_LOAD_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError)


@dataclass(frozen=True, repr=False)
class Model(Displayed):
    """A language model in evaluation mode, with its tokenizer and the name it was asked for."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    loader: Callable[[], Model] | None = field(default=None, repr=False, compare=False)
    """Loads the same once more, in another process; None of a model that `load_model` did not load."""

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        from foretell.reading.models.blocks import decoder_blocks

        return len(decoder_blocks(self.model))

    @property
    def n_heads(self) -> int:
        """Number of query heads per block; 0 if the configuration names none."""
        from foretell.reading.models.blocks import n_heads_of

        return n_heads_of(self.model) or 0

    @property
    def width(self) -> int:
        """Size of the residual stream."""
        return int(self.model.config.get_text_config(decoder=True).hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the model takes its tokens."""
        return device_of(self.model)

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the parameters."""
        return self.model.dtype

    @property
    def pad_id(self) -> int:
        """Token id to fill batches with: the tokenizer's padding token, else its end of sequence, else 0.

        The tokenizer itself is left as it came.
        """
        for token_id in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if isinstance(token_id, int):
                return token_id
        return 0

    def facts(self) -> Facts:
        """Return what can be said of it without running it; what an unusual one does not say is left out."""
        found = [("class", type(self.model).__name__)]
        with suppress(AttributeError, TypeError, ValueError, ForetellError):
            found.append(("parameters", f"{self.model.num_parameters():,} in {str(self.dtype).removeprefix('torch.')}"))
            found.append(("tokenizer", f"{type(self.tokenizer).__name__}, {len(self.tokenizer):,} tokens"))
            found.append(("blocks", f"{self.n_layers} of width {self.width}, {self.n_heads or 'unknown'} heads each"))
            found.append(("device", str(self.device)))
        return Facts("Model", self.name, found)


def device_of(model: PreTrainedModel) -> torch.device:
    """Return where a model takes its tokens: the device of its first parameter, or, offloaded, where that one runs."""
    device = model.device
    if device.type != "meta":
        return device
    hook = getattr(model.get_input_embeddings(), "_hf_hook", None)
    return torch.device(getattr(hook, "execution_device", None) or "cpu")


def load_model(
    name_or_path: str | Path,
    *,
    dtype: Dtype = "float32",
    device: str | None = None,
    trust_remote_code: bool = False,
) -> Model:
    """Load a causal language model and its tokenizer, ready to be read.

    Args:
        name_or_path: `"smollm2"` (embedded, needs no network), a Hugging Face folder, a `.gguf` file, or a hub id.
        dtype: type of the weights; `"auto"` keeps the one they are stored in.
        device: such as `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`; None means a GPU if there is one, else the CPU.
        trust_remote_code: run Python code that comes with the model. Off unless asked for.

    Raises:
        ModelError: Nothing that can be loaded is found there; the message says what was tried.

    Example:
        >>> load_model("no-such-folder/at-all.gguf")
        Traceback (most recent call last):
        ...
        foretell.errors.ModelError: no-such-folder/at-all.gguf: there is no such file
    """
    name = str(name_or_path)
    source, options = _source(name_or_path)
    options["trust_remote_code"] = trust_remote_code
    target = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            model = AutoModelForCausalLM.from_pretrained(
                source, dtype="auto" if dtype == "auto" else getattr(torch, dtype), **options
            )
            model.to(torch.device(target))  # type: ignore[arg-type]
            model.train(False)
    except _LOAD_ERRORS as error:
        raise ModelError(f"{name}: cannot be loaded as a language model: {first_line(error)}") from error
    loader = partial(load_model, name_or_path, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    return Model(model=model, tokenizer=tokenizer, name=name, loader=loader)


def load_tokenizer(name_or_path: str | Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer without its weights.

    Args:
        name_or_path: as for `load_model`.
        trust_remote_code: run Python code that comes with the model. Off unless asked for.

    Raises:
        ModelError: Nothing that can be loaded is found there.
    """
    source, options = _source(name_or_path)
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code, **options)
    except _LOAD_ERRORS as error:
        raise ModelError(f"{name_or_path}: its tokenizer cannot be loaded: {first_line(error)}") from error


def _source(name_or_path: str | Path) -> tuple[str, dict[str, Any]]:
    """Return what transformers is asked for and the options that go with it; a hub id is asked for on the hub first."""
    source, options = located(smollm2_folder() if str(name_or_path) == EMBEDDED else name_or_path)
    return source, options or {"local_files_only": not _on_hub(source)}


def _on_hub(name: str) -> bool:
    """Tell whether the hub must be asked for `name`; False if its files are already in the local hub cache.

    One question with a short time limit comes first, because the library's own retries take minutes offline.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    nowhere = f'{name}: there is no such folder here, and "{name}" cannot be had from the hub'
    try:
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return False
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            raise ModelError(f"{nowhere} (HF_HUB_OFFLINE is set)")
        HfApi().model_info(name, timeout=_HUB_SECONDS)
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        reason = "no public model of that name" if status in {401, 404} else f"HTTP status {status}"
        raise ModelError(f"{nowhere} ({reason})") from error
    except _unreachable() as error:
        raise ModelError(f"{nowhere} ({first_line(error)})") from error
    return True


def _unreachable() -> tuple[type[Exception], ...]:
    """Return what a failing connection raises, whichever HTTP client the hub library speaks through."""
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    clients = [import_module(name) for name in ("httpx", "httpx2") if find_spec(name)]
    return (OSError, OfflineModeIsEnabled, HFValidationError, *(client.HTTPError for client in clients))


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, of bounded length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
