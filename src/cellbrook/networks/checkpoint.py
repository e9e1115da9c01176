"""What is inside a weights file: names, shapes and single values, read without torch or running code.

Three formats are understood: safetensors, the zip archives that `torch.save` writes, and the older plain
pickles that it wrote before torch 1.6 (the oldest official Cellpose models). Pickles are read by an unpickler
that knows tensors and dicts and refuses every other name, so a file that would run code is an error, not a
surprise.
"""

from __future__ import annotations

import collections
import json
import math
import pickle
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from cellbrook.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

_HEADER_LIMIT = 100_000_000
_ITEM_FORMATS = {
    "FloatStorage": "f",
    "DoubleStorage": "d",
    "HalfStorage": "e",
    "LongStorage": "q",
    "IntStorage": "i",
    "ShortStorage": "h",
    "CharStorage": "b",
    "ByteStorage": "B",
    "BoolStorage": "?",
    "BFloat16Storage": "H",  # its bits: struct knows no such number
}
_FLOATS = {"F16": "HalfStorage", "BF16": "BFloat16Storage", "F32": "FloatStorage", "F64": "DoubleStorage"}


@dataclass(frozen=True, slots=True)
class CheckpointHeader:
    """Names and shapes of the tensors in a weights file.

    Parameters
    ----------
    format : {"safetensors", "torch"}
        How the file is written.
    shapes : dict of str to tuple of int
        By name; the ``module.`` that data-parallel training puts before every name is taken off.
    scalars : dict of str to float
        Values of the float tensors of one element, where they could be read.
    metadata : dict of str to str
        The metadata of a safetensors file.
    """

    format: str
    shapes: dict[str, tuple[int, ...]]
    scalars: dict[str, float] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


def read_header(path: Path) -> CheckpointHeader:
    """Read the names and shapes of the tensors of a weights file.

    Raises
    ------
    ModelError
        If the file is missing, truncated, of another kind, or a pickle of anything but tensors by name.
    """
    try:
        with path.open("rb") as file:
            start = file.read(16)
            if start[:4] == b"PK\x03\x04":
                return _read_torch_zip(path)
            file.seek(0)
            if start[8:9] == b"{":  # before pickles: the length that comes first may begin as they do
                return _read_safetensors(path, file)
            if start[:1] == b"\x80":
                return _read_torch_legacy(path, file)
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"model file {path} cannot be read ({error.strerror or error})") from error
    except (ValueError, LookupError, TypeError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise _damaged(path, f"it does not read ({type(error).__name__})") from error
    except (struct.error, zlib.error, EOFError) as error:
        raise _damaged(path, "its tensors are cut short or broken") from error
    if not start:
        raise ModelError(f"model file {path} is empty: copy or install it again")
    looks = (
        "an HTML page"
        if start.lstrip().lower().startswith((b"<!doc", b"<html"))
        else f"bytes that begin {start[:4]!r}"
    )
    raise ModelError(f"model file {path}: expected a torch checkpoint or safetensors, got {looks}")


def _read_safetensors(path: Path, file: IO[bytes]) -> CheckpointHeader:
    file.seek(0, 2)
    size = file.tell()
    file.seek(0)
    (length,) = struct.unpack("<Q", file.read(8))
    if length > min(size - 8, _HEADER_LIMIT):
        raise _damaged(path, f"its header should have {length} bytes, the file has {size}")
    try:
        header = json.loads(file.read(length))
        metadata = {str(k): str(v) for k, v in header.pop("__metadata__", {}).items()}
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        shapes = {name: tuple(int(n) for n in entry["shape"]) for name, entry in header.items()}
        if size != 8 + length + end:
            raise _damaged(path, f"expected {8 + length + end} bytes, got {size}")
        scalars = {}
        for name, entry in header.items():
            if entry["dtype"] in _FLOATS and math.prod(entry["shape"]) == 1:
                file.seek(8 + length + entry["data_offsets"][0])
                scalars[name] = _item(file.read(8), _FLOATS[entry["dtype"]])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error) as error:
        if isinstance(error, ModelError):
            raise
        raise _damaged(path, "its header is no table of tensors") from error
    return CheckpointHeader("safetensors", *_without_module(shapes, scalars), metadata)


@dataclass(frozen=True, slots=True)
class _Storage:
    kind: str
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]


class _StorageKind(str):
    """Stands for a class such as ``torch.FloatStorage``; cannot be called."""


def _rebuild_tensor(storage: Any, offset: int, shape: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(int(n) for n in shape))


def _rebuild_parameter(tensor: _Tensor, *_: Any) -> _Tensor:
    return tensor


class _HeaderUnpickler(pickle.Unpickler):
    """Reads tensors by name; every global that is not one of theirs is refused before anything is called."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file, encoding="utf-8")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) in {("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")}:
            return _rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _rebuild_parameter
        if module == "torch" and name in _ITEM_FORMATS:
            return _StorageKind(name)
        raise ModelError(
            f"model file {self._path} is refused: expected tensors only, it asks to run {module}.{name}"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        tag, kind, key, _location, count = pid[:5]
        if tag != "storage" or not isinstance(kind, _StorageKind):
            raise _damaged(self._path, "a tensor has no storage")
        return _Storage(str(kind), str(key), int(count))


def _read_torch_zip(path: Path) -> CheckpointHeader:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise ModelError(f"model file {path}: expected a torch checkpoint, got another zip archive")
            folder = pickles[0].removesuffix("data.pkl")
            with archive.open(pickles[0]) as file:
                tensors = _tensors(path, _unpickle(path, file))
            scalars = {}
            for name, tensor in tensors.items():
                member = f"{folder}data/{tensor.storage.key}"
                width = struct.calcsize(_ITEM_FORMATS[tensor.storage.kind])
                if member not in members or members[member].file_size < width * tensor.storage.count:
                    raise _damaged(path, f"the values of {name!r} are missing or cut short")
                if _is_scalar(tensor):
                    with archive.open(member) as file:
                        scalars[name] = _item(
                            file.read(width * tensor.storage.count), tensor.storage.kind, tensor.offset
                        )
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zipfile.LargeZipFile) as error:
        raise _damaged(path, "the archive is truncated or broken") from error
    return CheckpointHeader("torch", *_without_module({n: t.shape for n, t in tensors.items()}, scalars))


def _read_torch_legacy(path: Path, file: IO[bytes]) -> CheckpointHeader:
    """Read the layout of torch before 1.6: pickles (magic, version, system, tensors, keys), then storages."""
    head = [_unpickle(path, file) for _ in range(3)]
    if head[0] != 0x1950A86A20F9469CFC6C:
        raise ModelError(f"model file {path}: expected a torch checkpoint, got another pickle")
    tensors = _tensors(path, _unpickle(path, file))
    widths = {t.storage.key: struct.calcsize(_ITEM_FORMATS[t.storage.kind]) for t in tensors.values()}
    wanted = {t.storage.key: (name, t) for name, t in tensors.items() if _is_scalar(t)}
    scalars = {}
    for key in _unpickle(path, file):
        raw = file.read(8)
        if len(raw) < 8 or key not in widths:
            raise _damaged(path, "it ends before its tensors do")
        (count,) = struct.unpack("<q", raw)
        if key in wanted:
            name, tensor = wanted[key]
            scalars[name] = _item(file.read(count * widths[key]), tensor.storage.kind, tensor.offset)
        else:
            file.seek(count * widths[key], 1)
    end = file.tell()
    size = file.seek(0, 2)
    if size < end:
        raise _damaged(path, f"expected {end} bytes, got {size}")
    return CheckpointHeader("torch", *_without_module({n: t.shape for n, t in tensors.items()}, scalars))


def _unpickle(path: Path, file: IO[bytes]) -> Any:
    try:
        return _HeaderUnpickler(file, path).load()
    except ModelError:
        raise
    except Exception as error:  # a broken pickle raises nearly anything
        raise _damaged(path, f"its table of tensors does not read ({type(error).__name__})") from error


def _tensors(path: Path, found: Any) -> dict[str, _Tensor]:
    if not isinstance(found, dict) or not found:
        raise ModelError(
            f"model file {path}: expected tensors by name (a state dict), got {type(found).__name__}"
        )
    for name, value in found.items():
        if (
            not isinstance(name, str)
            or not isinstance(value, _Tensor)
            or not isinstance(value.storage, _Storage)
        ):
            raise ModelError(f"model file {path}: expected a state dict, {name!r} is {type(value).__name__}")
    return dict(found)


def _is_scalar(tensor: _Tensor) -> bool:
    return math.prod(tensor.shape) == 1 and tensor.storage.kind in _FLOATS.values()


def _item(raw: bytes, kind: str, offset: int = 0) -> float:
    code = _ITEM_FORMATS[kind]
    (value,) = struct.unpack_from(f"<{code}", raw, offset * struct.calcsize(code))
    if kind == "BFloat16Storage":  # the upper half of a float32
        (value,) = struct.unpack("<f", struct.pack("<I", value << 16))
    return float(value)


def _without_module(
    shapes: dict[str, tuple[int, ...]], scalars: dict[str, float]
) -> tuple[dict[str, tuple[int, ...]], dict[str, float]]:
    if all(name.startswith("module.") for name in shapes):
        strip = len("module.")
        return {n[strip:]: s for n, s in shapes.items()}, {n[strip:]: v for n, v in scalars.items()}
    return shapes, scalars


def _damaged(path: Path, what: str) -> ModelError:
    return ModelError(f"model file {path} is damaged: {what}; copy or install it again")
