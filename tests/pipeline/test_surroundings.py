from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import Unfit
from pipeline.surroundings import check, file_system

NETWORK = (
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs",
    "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.glusterfs", "fuse.cephfs", "fuse.davfs",
)  # fmt: skip
LOCAL = ("ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "f2fs", "bcachefs")


def _mounts(folder: Path, *lines: str | bytes) -> Path:
    """Write a mounts file: `point type` pairs as the kernel puts them, the root first."""
    file = folder / "mounts"
    wanted = [b"/ ext4", *(os.fsencode(line) for line in lines)]
    points = (line.rsplit(b" ", 1) for line in wanted)
    file.write_bytes(b"".join(b"source %s %s rw,relatime 0 0\n" % (a, b) for a, b in points))
    return file


@pytest.mark.parametrize("kind", NETWORK)
def test_a_network_file_system_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    mounts = _mounts(tmp_path, f"{tmp_path} {kind}")

    with pytest.raises(Unfit) as refused:
        check(tmp_path / "_pipeline", mounts=mounts)

    message = str(refused.value)
    assert message.startswith(f"{tmp_path / '_pipeline'} is on a network file system ({kind})")
    assert "--out" in message
    assert refused.value.exit_code == 4


@pytest.mark.parametrize("kind", LOCAL)
def test_a_local_file_system_is_fit(tmp_path: Path, kind: str) -> None:
    check(tmp_path / "_pipeline", mounts=_mounts(tmp_path, f"{tmp_path} {kind}"))

    assert not (tmp_path / "_pipeline").exists()


@pytest.mark.parametrize(
    "kind", ["fuse.gcsfuse", "fuse.juicefs", "fuse.mount-s3", "fuse.goofys", "fuse.curlftpfs"]
)
def test_buckets_mounted_as_folders_are_network_file_systems_too(tmp_path: Path, kind: str) -> None:
    with pytest.raises(Unfit, match="network file system"):
        check(tmp_path, mounts=_mounts(tmp_path, f"{tmp_path} {kind}"))


def test_this_machine_s_own_mounts_can_be_read() -> None:
    assert file_system(Path("/proc")) == "proc"


def test_the_longest_mount_point_wins_in_whatever_order_they_stand(tmp_path: Path) -> None:
    music, local = tmp_path / "music", tmp_path / "music" / "local"
    local.mkdir(parents=True)

    for lines in ((f"{local} xfs", f"{music} nfs4"), (f"{music} nfs4", f"{local} xfs")):
        mounts = _mounts(tmp_path, *lines)

        assert file_system(local / "out", mounts=mounts) == "xfs"
        assert file_system(music / "out", mounts=mounts) == "nfs4"
        assert file_system(tmp_path, mounts=mounts) == "ext4"


def test_a_mount_point_that_only_begins_alike_is_another(tmp_path: Path) -> None:
    mounts = _mounts(tmp_path, f"{tmp_path}/mus nfs4")

    assert file_system(tmp_path / "music", mounts=mounts) == "ext4"


def test_of_two_mounts_on_one_point_the_last_counts(tmp_path: Path) -> None:
    """An automounter's `autofs` stays in the list below what it mounts."""
    over = _mounts(tmp_path, f"{tmp_path} autofs", f"{tmp_path} nfs4")
    assert file_system(tmp_path, mounts=over) == "nfs4"

    under = _mounts(tmp_path, f"{tmp_path} nfs4", f"{tmp_path} tmpfs")
    assert file_system(tmp_path, mounts=under) == "tmpfs"


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("my music", r"my\040music"),
        ("tab\tname", r"tab\011name"),
        ("new\nline", r"new\012line"),
        ("back\\slash", r"back\134slash"),
        ("\\040", r"\134040"),
    ],
)
def test_a_mount_point_is_known_by_its_escaped_name(
    tmp_path: Path, name: str, escaped: str
) -> None:
    mounts = _mounts(tmp_path, f"{tmp_path}/{escaped} nfs")

    assert file_system(tmp_path / name / "out", mounts=mounts) == "nfs"


@pytest.mark.parametrize(
    "name",
    [
        "Müsik".encode(),
        pytest.param("Музыка".encode()),
        pytest.param("音楽 \U0001f3b5".replace(" ", r"\040").encode()),
        pytest.param(b"\xff\xfe"),
        pytest.param("line\u2028separator".encode()),
    ],
    ids=repr,
)
def test_a_mount_point_may_have_any_name(tmp_path: Path, name: bytes) -> None:
    point = os.fsencode(tmp_path) + b"/" + name
    mounts = _mounts(tmp_path, point + b" nfs")

    found = file_system(Path(os.fsdecode(point.replace(rb"\040", b" "))), mounts=mounts)

    assert found == "nfs"


def test_a_link_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "server")
    mounts = _mounts(tmp_path, f"{tmp_path}/server nfs")

    with pytest.raises(Unfit, match="network file system"):
        check(tmp_path / "link" / "_pipeline", mounts=mounts)


def test_where_the_mounts_cannot_be_read_nothing_is_refused(tmp_path: Path) -> None:
    assert file_system(tmp_path, mounts=tmp_path / "missing") is None
    check(tmp_path / "_pipeline", mounts=tmp_path / "missing")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)

    with pytest.raises(Unfit, match=f"{locked} cannot be written"):
        check(locked / "a" / "b", mounts=_mounts(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_folder_that_cannot_be_entered_is_refused_by_name(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o000)

    with pytest.raises(Unfit, match=f"{locked}"):
        check(locked / "a" / "b", mounts=_mounts(tmp_path))
