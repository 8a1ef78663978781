"""A folder and its archives read alike; archives that are damaged or hostile are refused."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

from cifar.files.tree import archives, open_tree
from cifar.runtime.errors import InputError
from helpers.data_files import build, write_folder

FILES = {
    "b/2.txt": b"two",
    "b/1.txt": b"one",
    "a.txt": b"",
    ".hidden/x": b"x",
    "b/._1.txt": b"",
    "__MACOSX/b/1.txt": b"",
}
KINDS = pytest.mark.parametrize("kind", ["folder", ".zip", ".tar", ".tar.gz"])


def pack(root, target):
    """An archive at `target` of the files below `root`."""
    if target.name.endswith(".zip"):
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(root.rglob("*")):
                archive.write(file, file.relative_to(root.parent))
    else:
        with tarfile.open(target, "w:gz" if target.name.endswith("gz") else "w") as archive:
            archive.add(root, root.name)
    return target


@KINDS
def test_folder_and_archives_read_alike(kind, tmp_path):
    for name, content in FILES.items():
        (tmp_path / "top" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "top" / name).write_bytes(content)
    root = open_tree(tmp_path / "top" if kind == "folder" else pack(tmp_path / "top", tmp_path / f"x{kind}"))
    assert root.name == "top" and root.is_dir() and not root.is_file()
    assert [child.name for child in root.iterdir()] == ["a.txt", "b"]
    assert [file.path for file in root.walk()] == ["a.txt", "b/1.txt", "b/2.txt"]
    file = root.member("./b/2.txt")
    assert file.read() == b"two" and (file.stem, file.suffix, file.parent.name) == ("2", ".txt", "b")
    assert file.tree.version(file.path) == file.tree.version(file.path)
    with pytest.raises(ValueError, match="more than 2 bytes"):
        file.read(2)
    with pytest.raises(OSError, match="No such file"):
        (root / "c").iterdir()
    with pytest.raises(OSError, match="No such file"):
        (root / "c").read()
    with pytest.raises(InputError, match=r"'\.\./x' is no name"):
        root.member("../x")


@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz"])
def test_data_set_in_an_archive(kind, tmp_path):
    root = write_folder(tmp_path)
    packed, unpacked = (build("folder", path, size=8) for path in (pack(root, tmp_path / f"photos{kind}"), root))
    assert packed.fingerprint == unpacked.fingerprint and packed.name == unpacked.name
    assert packed.train.ids.tolist() == unpacked.train.ids.tolist()


def zipped(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")


def tarred(path, *infos):
    with tarfile.open(path, "w") as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(bytes(info.size)))


def info(name, size=0, **attributes):
    found = tarfile.TarInfo(name)
    found.size = size
    for key, value in attributes.items():
        setattr(found, key, value)
    return found


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd"])
def test_names_that_lead_out_are_refused(name, tmp_path):
    zipped(tmp_path / "x.zip", ["a", name])
    tarred(tmp_path / "x.tar", info("a"), info(name))
    for path in (tmp_path / "x.zip", tmp_path / "x.tar"):
        with pytest.raises(InputError, match="leads out of it"):
            open_tree(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_archives(tmp_path, monkeypatch):
    zipped(tmp_path / "twice.zip", ["a", "./a"])
    with pytest.raises(InputError, match="two members are called 'a'"):
        open_tree(tmp_path / "twice.zip")
    link = info("link", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    hard, copy = (
        info(name, type=tarfile.LNKTYPE, linkname=to) for name, to in (("hard", "/etc/passwd"), ("copy", "a"))
    )
    tarred(tmp_path / "links.tar", info("a", 3), link, hard, copy)
    root = open_tree(tmp_path / "links.tar")
    assert (root / "copy").read() == bytes(3)
    for name in ("link", "hard"):
        with pytest.raises(ValueError, match="a link"):
            (root / name).read()
    monkeypatch.setattr(archives, "LIMIT", 1000)
    monkeypatch.setattr(archives, "AT_LEAST", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(2000))
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        (open_tree(tmp_path / "bomb.zip") / "a").read()
    (tmp_path / "big").write_bytes(bytes(10**6))
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "big", "big")
    with pytest.raises(InputError, match="unpacks to more than"):
        open_tree(tmp_path / "bomb.tar.gz")


@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz"])
def test_damaged_archives(kind, tmp_path):
    whole = pack(write_folder(tmp_path), tmp_path / f"x{kind}").read_bytes()
    for size in (0, 100, len(whole) // 2):
        (tmp_path / f"cut{kind}").write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"cut.*; accepted"):
            build("folder", tmp_path / f"cut{kind}", size=8)
    (tmp_path / "notes.txt").write_bytes(b"")
    with pytest.raises(InputError, match=r"notes\.txt: is a file; accepted: a folder, \.zip"):
        open_tree(tmp_path / "notes.txt")
