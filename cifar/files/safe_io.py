"""Reading files that nobody vouches for: no code of theirs runs, and they cannot ask for more memory than `LIMIT`."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import pickle
import tarfile
import zipfile
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar
from xml.etree import ElementTree
from xml.parsers import expat

from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np

LIMIT = 2**29
"""Bytes that one file may unpack to: 512 MiB, three times what any CIFAR file holds."""
NODES = 100_000
"""Elements that one XML file may have."""


@contextlib.contextmanager
def refusing(where: object, accepted: str) -> Iterator[None]:
    """Tell any error inside as an `InputError` about the file `where`, and what is `accepted` in its place."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a parser of hostile bytes raises nearly anything: SyntaxError, KeyError, MemoryError
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{where}: cannot be read ({reason[:200]}); accepted: {accepted}") from None


def read_file(path: Path, limit: int | None = None) -> bytes:
    """The content of `path`; raises `ValueError` beyond `limit` bytes, `LIMIT` by default."""
    limit = limit or LIMIT
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"more than {limit} bytes")
    return content


class Node(ElementTree.Element):
    """An element of an XML file, and the line that it begins in."""

    line = 0


def xml_tree(content: bytes) -> Node:
    """The root element of an XML file; raises nearly anything, also where entities are declared, which could grow.

    A document type may be named; what it refers to is not read.
    """
    parser, builder, nodes = expat.ParserCreate(), ElementTree.TreeBuilder(element_factory=Node), itertools.count(1)

    def refuse(*_: Any) -> None:
        raise ValueError(f"line {parser.CurrentLineNumber}: an entity is declared, which is forbidden")

    def start(tag: str, attributes: dict[str, str]) -> None:
        builder.start(tag, attributes).line = parser.CurrentLineNumber
        if next(nodes) > NODES:
            raise ValueError(f"line {parser.CurrentLineNumber}: more than {NODES} elements")

    parser.EntityDeclHandler, parser.SkippedEntityHandler = refuse, refuse
    parser.StartElementHandler, parser.EndElementHandler = start, builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(content, True)
    return builder.close()


def tar_members(path: Path, wanted: Container[str]) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the regular files in the `.tar.gz` at `path` whose last two path parts are `wanted`.

    The archive is read to its end, so that its checksum is checked; what comes out is valid only then.
    """
    with gzip.open(path) as unpacked:
        stream = _Bounded(unpacked)
        with tarfile.open(fileobj=stream, mode="r|", bufsize=2**20) as archive:
            for member in archive:
                name = "/".join(PurePosixPath(member.name).parts[-2:])
                if name in wanted and member.isfile():
                    if member.size > LIMIT:  # a sparse member is larger than what the stream gives for it
                        raise ValueError(f"{name} declares {member.size} bytes")
                    yield name, archive.extractfile(member).read()
        while stream.read(2**20):
            pass


class _Bounded:
    """A stream that gives `LIMIT` bytes at most: a few kilobytes of gzip can hold any number."""

    def __init__(self, stream: Any):
        self._stream = stream
        self._left = LIMIT

    def read(self, size: int) -> bytes:
        chunk = self._stream.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise ValueError(f"unpacks to more than {LIMIT} bytes")
        return chunk


def npz_arrays(path: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    """The arrays `names` of the `.npz` at `path`, none of them of objects; raises `InputError` where one is missing."""
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > LIMIT:
            raise ValueError(f"unpacks to more than {LIMIT} bytes")
    with np.load(path, allow_pickle=False) as arrays:
        missing = [name for name in names if name not in arrays.files]
        if missing:
            raise InputError(f"{path}: array {missing[0]!r} is missing; accepted: arrays {', '.join(names)}")
        return [arrays[name] for name in names]


def npy_array(path: Path) -> np.ndarray:
    """The array of numbers in the `.npy` at `path`, mapped into memory: only what is used of it is read."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "uif" or array.nbytes > LIMIT:
        raise ValueError(f"it is no array of numbers of at most {LIMIT} bytes")
    return array


def unpickle(content: bytes) -> Any:
    """What the pickle `content` holds: plain containers, numbers, strings, and `Call` for each numpy object.

    Nothing is called: neither numpy's own constructors, which trust the state that they are given, nor any other.
    Strings of Python 2 come as bytes. Raises nearly anything for what is no such pickle.
    """
    return _Unpickler(io.BytesIO(content), encoding="bytes").load()


class Call:
    """An object that a pickle asks for, as it asks: `function(*arguments)`, then `state` to set."""

    def __init__(self, function: str, arguments: tuple):
        self.function, self.arguments, self.state = function, arguments, None


def uint8_array(pickled: Any) -> np.ndarray:
    """The array that the `Call` `pickled` describes, without a copy; raises `ValueError` where it is not uint8."""
    if not isinstance(pickled, Call) or not isinstance(pickled.state, tuple) or len(pickled.state) != 5:
        raise ValueError(f"{type(pickled).__name__} where an array should be")
    _, shape, dtype, fortran_order, content = pickled.state
    if not isinstance(dtype, Call) or dtype.function != "numpy.dtype" or dtype.arguments[0] not in ("u1", b"u1"):
        raise ValueError("an array that is not uint8")
    if isinstance(content, Call) and content.function == "_codecs.encode":  # bytes, as Python 3 writes protocol 2
        content = content.arguments[0].encode("latin1")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran_order else "C")


class _Record(dict):
    """The dict of a pickle; a nested tuple as its key would crash the interpreter in its hash."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, (str, bytes)):
            raise ValueError(f"a {type(key).__name__} as a key")
        super().__setitem__(key, value)


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler, not the C one: that reserves gigabytes for ten bytes which name a large memo index."""

    _CLASSES = frozenset({
        "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype",
        "_codecs.encode",
    })  # fmt: skip
    _OPCODES = (
        "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINSTRING SHORT_BINSTRING BINUNICODE "
        "SHORT_BINUNICODE BINBYTES SHORT_BINBYTES SETITEM SETITEMS EMPTY_LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 "
        "TUPLE2 TUPLE3 GLOBAL STACK_GLOBAL BINGET LONG_BINGET BINPUT LONG_BINPUT MEMOIZE"
    )

    def find_class(self, module: str, name: str) -> str:
        function = f"{module}.{name}"
        if function not in self._CLASSES:
            raise pickle.UnpicklingError(f"it asks for {function}, which is forbidden")
        return function

    def _empty_dict(self) -> None:
        self.append(_Record())

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = Call(self.stack[-1], arguments)

    def _build(self) -> None:
        state = self.stack.pop()
        self.stack[-1].state = state

    dispatch: ClassVar = {
        **{code: pickle._Unpickler.dispatch[code] for (code,) in map(vars(pickle).__getitem__, _OPCODES.split())},
        pickle.EMPTY_DICT[0]: _empty_dict,
        pickle.REDUCE[0]: _reduce,
        pickle.BUILD[0]: _build,
    }
