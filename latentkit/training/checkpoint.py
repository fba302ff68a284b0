"""Weights and checkpoints: safetensors plus a json sidecar, never pickle.

Two kinds, kept apart. *Weights* are what the course ships: parameters and the config that rebuilds the model, small. A
*checkpoint* is what a killed run needs to go on to the same numbers: parameters, optimiser moments, EMA, carry and
random state. Both are written to a temporary name, flushed and renamed, so that a reader never sees half a file.
"""

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from latentkit import models
from latentkit.layers import BlockConfig, MixingConfig

_CONFIGS: dict[str, type] = {
    c.__name__: c for c in (*models.ARCHITECTURES, BlockConfig, MixingConfig, models.MemoryConfig)
}


class CheckpointError(ValueError):
    """A file that cannot be loaded: says which, what was found and what would be right."""


def config_to_json(config: Any) -> dict[str, Any]:
    """A model config as json data, with its type's name.

    A field that was added to a config after weights had been shipped (its metadata say so) is left out where it has its
    default, so that what was written before still describes the same model.
    """
    fields = {
        f.name: getattr(config, f.name)
        for f in dataclasses.fields(config)
        if not f.metadata.get("added") or getattr(config, f.name) != f.default
    }
    nested = {k: config_to_json(v) if dataclasses.is_dataclass(v) else v for k, v in fields.items()}
    return {"type": type(config).__name__, **nested}


def config_from_json(data: dict[str, Any]) -> Any:
    """The config that `config_to_json` described.

    Raises:
        CheckpointError: an unknown type or field.
    """
    fields = {k: config_from_json(v) if isinstance(v, dict) else v for k, v in data.items() if k != "type"}
    name = data.get("type")
    if name not in _CONFIGS:
        raise CheckpointError(f"unknown model config {name!r}; this version knows {', '.join(_CONFIGS)}")
    try:
        return _CONFIGS[name](**fields)
    except TypeError as error:
        raise CheckpointError(f"{name} of this version has other fields: {error}") from None


def save_weights(model: nn.Module, path: Path, **about: Any) -> None:
    """Writes `path` (.safetensors) and its sidecar (.json: config, and `about`: command, seed, CPU seconds ...)."""
    path = _named(path)
    _save_tensors({k: v.detach().cpu() for k, v in model.state_dict().items()}, path)
    _save_json({"config": config_to_json(model.config), **about}, path.with_suffix(".json"))


def load_weights(path: Path) -> nn.Module:
    """The model that `save_weights` wrote, rebuilt from its sidecar, in evaluation mode, on the CPU.

    Raises:
        CheckpointError: truncated, not safetensors, or weights of another model.
        FileNotFoundError: no such file, or no sidecar.
    """
    path = _named(path)
    model = models.build(config_from_json(load_sidecar(path).get("config", {})))
    load_into(model, load_tensors(path), path)
    return model.eval()


def load_sidecar(path: Path) -> dict[str, Any]:
    """The json beside a safetensors file.

    Raises:
        CheckpointError: not json.
    """
    sidecar = Path(path).with_suffix(".json")
    try:
        data = json.loads(sidecar.read_text(encoding="utf-8"))
    except ValueError as error:  # not json, or not even text
        raise CheckpointError(
            f"{sidecar} is not valid json ({error}); it is written beside the weights, take it from there"
        ) from None
    if not isinstance(data, dict):
        raise CheckpointError(
            f"{sidecar} holds a json {type(data).__name__}; expected an object with the weights' config"
        )
    return data


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: truncated, or another format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        return load_file(path)
    except SafetensorError as error:
        head = path.read_bytes()[:4]
        # A zip, or a bare pickle; safetensors may also begin with 80 (its header's length), but then has 00 as third
        # byte.
        if head.startswith(b"PK\x03\x04") or (head.startswith(b"\x80") and head[2:3] > b"\0"):
            raise CheckpointError(
                f"{path} is a pickled PyTorch file; latentkit loads safetensors only (a pickle can run code)"
            ) from None
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is truncated or not a safetensors file: {error}"
        ) from None


def load_into(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Loads tensors into a model that must have exactly these parameters.

    Raises:
        CheckpointError: the first parameter that is missing, unknown, or of another shape.
    """
    expected = model.state_dict()
    name = type(model).__name__
    for key, value in expected.items():
        if key not in tensors:
            raise CheckpointError(f"{path} has no {key!r}, which this {name} needs: these are another model's weights")
        if tensors[key].shape != value.shape:
            raise CheckpointError(
                f"{path}: {key!r} has shape {list(tensors[key].shape)}, this {name} needs {list(value.shape)}"
            )
    if extra := sorted(set(tensors) - set(expected)):
        raise CheckpointError(f"{path} has {extra[0]!r}, which this {name} does not: these are another model's weights")
    model.load_state_dict(tensors)


class RunFolder:
    """The checkpoint of one training run.

    `checkpoint.json` names the tensor file it belongs to and is replaced last, so that a run killed between the two
    still finds its previous, complete checkpoint.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.sidecar = self.folder / "checkpoint.json"

    def save(self, step: int, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        """Replaces the checkpoint by this one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"step-{step:08d}.safetensors"
        _save_tensors({k: v.detach().cpu() for k, v in tensors.items()}, self.folder / name)
        _save_json({"tensors": name, "step": step, **about}, self.sidecar)
        for old in self.folder.glob("*.safetensors*"):
            if old.name != name:
                old.unlink()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last complete checkpoint, or None where there is none yet."""
        if not self.sidecar.exists():
            return None
        about = load_sidecar(self.sidecar)
        if missing := {"tensors", "step"} - about.keys():
            raise CheckpointError(f"{self.sidecar} has no {min(missing)!r}: it is not a run's checkpoint")
        return load_tensors(self.folder / about["tensors"]), about


def _named(path: Path) -> Path:
    path = Path(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path.name}: weights are kept in a file that ends in .safetensors")
    return path


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    # Tied or expanded tensors share memory, which the format refuses: each is written as its own copy.
    _replace(path, lambda temporary: save_file({k: v.contiguous().clone() for k, v in tensors.items()}, temporary))


def _save_json(data: dict[str, Any], path: Path) -> None:
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    _replace(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))


def _replace(path: Path, write: Callable[[str], Any]) -> None:
    """Writes to a temporary file in the same folder, flushes it to disk, and renames it over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    os.close(handle)
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
