"""Find photos by what annotation files call them: paths of other machines, backslashes, other suffixes."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from cifar.data.photos.listing import is_image
from cifar.files.safe_io import refusing
from cifar.files.tree import TreePath
from cifar.images.io import SUFFIXES
from cifar.runtime.errors import InputError


class Finder:
    """The photos below `folder`, but those in folders called one of `others`."""

    def __init__(self, folder: TreePath, others: Collection[str] = ()):
        self._folder = folder
        self._others = others

    @functools.cached_property
    def photos(self) -> list[TreePath]:
        """All of them; raises `InputError`."""
        with refusing(self._folder, "a folder of photos"):
            return [
                file
                for file in self._folder.walk()
                if is_image(file) and not {*file.path.split("/")[:-1]} & {*self._others}
            ]

    @functools.cached_property
    def _by_stem(self) -> dict[str, list[TreePath]]:
        found: dict[str, list[TreePath]] = {}
        for photo in self.photos:
            found.setdefault(photo.stem.lower(), []).append(photo)
        return found

    def photo(self, name: str, where: str) -> TreePath:
        """Return the photo that `name` means: a path below the folder, or the file with the most last parts alike.

        Upper and lower case are alike; so are the suffixes of photos, and none, where nothing else fits. Raises
        `InputError` about `where`.
        """
        path = PurePosixPath(re.sub(r"^[A-Za-z]:", "", name.replace("\\", "/")).lstrip("/"))
        if not path.name or "\0" in name:
            raise InputError(f"{where}: {name[:80]!r} names no file; accepted: the name of a photo")
        if ".." not in path.parts:
            photo = self._folder / str(path)
            if photo.is_file():
                return photo
        found = self._alike(path)
        if not found:
            raise InputError(
                f"{self._folder / path.name[:80]}: no such file, referenced in {where}; accepted: existing files"
            )
        if len(found) > 1:
            raise InputError(
                f"{where}: {name[:80]!r} may be {found[0]} or {found[1]}; accepted: one file whose last parts are those"
            )
        return found[0]

    def _alike(self, path: PurePosixPath) -> list[TreePath]:
        """The files that have the most last parts in common with `path`, the name at least."""
        found = self._by_stem.get(path.stem.lower(), [])
        same = [file for file in found if file.name.lower() == path.name.lower()]
        found = same or (found if path.suffix.lower() in (*SUFFIXES, "") else [])
        common = [_common(path.parent.parts, file.parent.path.split("/")) for file in found]
        return [file for file, count in zip(found, common, strict=True) if count == max(common)]


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Number of equal parts at the end, in any case."""
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one.lower() != other.lower():
            break
        count += 1
    return count
