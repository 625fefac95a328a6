from __future__ import annotations

import gzip
import hashlib
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from data.idx_files import idx_bytes, small_mnist, write_files
from tensorc.data import download, load_images, load_mnist
from tensorc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
REAL = os.environ.get("TENSORC_DATA_DIR")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test may find the user's files, nor reach past this machine."""
    monkeypatch.delenv("TENSORC_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "MIRRORS", ())


@contextmanager
def mirror(files: dict[str, bytes], asked: list[str] | None = None) -> Iterator[str]:
    """Serve `files` over HTTP from this machine, noting in `asked` what was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/")
            if asked is not None:
                asked.append(name)
            if name not in files:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(files[name])))
            self.end_headers()
            self.wfile.write(files[name])

        def log_message(self, format: str, *args: object) -> None:
            """Keep silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def dead_mirror() -> Iterator[str]:
    with mirror({}) as url:
        pass
    yield url


def publish(monkeypatch: pytest.MonkeyPatch, contents: dict[str, bytes]) -> dict[str, bytes]:
    """Make `contents` what the checksums stand for; return the files as a mirror packs them."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(download, "CHECKSUMS", sums)
    return {f"{name}.gz": gzip.compress(content) for name, content in contents.items()}


# ---------------------------------------------------------------- a folder that the user names


@pytest.mark.parametrize("packed", [True, False])
def test_a_named_folder_is_read_plain_or_packed(tmp_path: Path, packed: bool) -> None:
    write_files(tmp_path, small_mnist(train=7, test=3), packed=packed)
    mnist = load_mnist(tmp_path)
    assert mnist.train_images.shape == (7, 784)
    assert mnist.test_images.shape == (3, 784)
    assert mnist.train_images.dtype == np.float32
    assert mnist.train_labels.dtype == mnist.test_labels.dtype == np.int32
    np.testing.assert_array_equal(
        mnist.train_images[:, 0], np.arange(7, dtype=np.float32) / np.float32(255)
    )
    assert mnist.train_images[:, -1].tolist() == [1.0] * 7
    assert mnist.train_labels.tolist() == list(range(7))
    assert (mnist.image_shape, mnist.classes) == ((28, 28), 10)
    assert mnist.source == f"MNIST, from {tmp_path}"


def test_the_argument_goes_before_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "argument", small_mnist(train=4))
    write_files(tmp_path / "variable", small_mnist(train=5))
    monkeypatch.setenv("TENSORC_DATA_DIR", str(tmp_path / "variable"))
    assert len(load_images().train_labels) == 5
    assert len(load_images(tmp_path / "argument").train_labels) == 4


def test_a_folder_without_the_files_is_refused_by_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORC_DATA_DIR", str(tmp_path))
    expected = f"MNIST: neither {TRAIN_IMAGES} nor {TRAIN_IMAGES}.gz is in {tmp_path}"
    for load in (load_mnist, load_images):
        with pytest.raises(DataError) as caught:
            load()
        assert str(caught.value) == expected


def refusal(folder: Path, name: str, content: bytes) -> str:
    write_files(folder, {**small_mnist(), name: content})
    with pytest.raises(DataError) as caught:
        load_images(folder)
    return str(caught.value)


def test_a_corrupt_file_of_a_named_folder_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path, small_mnist())
    path = tmp_path / f"{TRAIN_LABELS}.gz"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError) as caught:
        load_images(tmp_path)
    assert str(caught.value).startswith(f"{path}: the gzip stream of ")


def test_counts_must_agree(tmp_path: Path) -> None:
    labels = idx_bytes(np.zeros(6, np.uint8))
    assert refusal(tmp_path, TRAIN_LABELS, labels) == (
        f"MNIST, from {tmp_path}: train: 7 images and 6 labels; "
        "there must be as many of both, and at least one"
    )


def test_labels_must_be_classes(tmp_path: Path) -> None:
    labels = idx_bytes(np.array([0, 1, 2, 10, 4, 5, 6], np.uint8))
    assert refusal(tmp_path, TRAIN_LABELS, labels) == (
        f"MNIST, from {tmp_path}: train: label 10 of image 3 is not one of 0 to 9"
    )


def test_images_must_be_28x28_bytes(tmp_path: Path) -> None:
    assert refusal(tmp_path, TRAIN_IMAGES, idx_bytes(np.zeros((7, 28, 27), np.uint8))) == (
        f"MNIST, from {tmp_path}: {TRAIN_IMAGES}: images are (28, 27), not (28, 28)"
    )
    assert refusal(tmp_path, TRAIN_IMAGES, idx_bytes(np.zeros((7, 28, 28), np.int16))) == (
        f"MNIST, from {tmp_path}: train: expected uint8 images (n, height, width) and uint8 "
        "labels (n,), got int16 (7, 28, 28) and uint8 (7,)"
    )


# ---------------------------------------------------------------- the cache and the network


def test_a_download_is_kept_for_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, asked = publish(monkeypatch, small_mnist()), list[str]()
    with mirror(files, asked) as url:
        monkeypatch.setattr(download, "MIRRORS", (url,))
        first, second = load_images(), load_images()
    assert asked == list(files)
    np.testing.assert_array_equal(first.train_images, second.train_images)
    folder = tmp_path / "cache" / "tensorc" / "mnist"
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    assert first.source == f"MNIST, from the cache {folder}"


def test_the_second_mirror_helps_where_the_first_is_dead_or_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = publish(monkeypatch, small_mnist())
    tampered = {**files, f"{TRAIN_LABELS}.gz": gzip.compress(idx_bytes(np.ones(7, np.uint8)))}
    with dead_mirror() as dead, mirror(tampered) as wrong, mirror(files) as right:
        monkeypatch.setattr(download, "MIRRORS", (dead, wrong, right))
        assert load_mnist().train_labels.tolist() == list(range(7))


@pytest.mark.parametrize(
    "damage", [b"", b"\x1f\x8b garbage", gzip.compress(b"another file", mtime=0)]
)
def test_a_damaged_cache_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    contents = small_mnist()
    files, asked = publish(monkeypatch, contents), list[str]()
    folder = tmp_path / "cache" / "tensorc" / "mnist"
    write_files(folder, contents)
    (folder / f"{TRAIN_LABELS}.gz").write_bytes(damage)
    with mirror(files, asked) as url:
        monkeypatch.setattr(download, "MIRRORS", (url,))
        load_mnist()
    assert asked == [f"{TRAIN_LABELS}.gz"]
    assert (folder / f"{TRAIN_LABELS}.gz").read_bytes() == files[f"{TRAIN_LABELS}.gz"]


def test_without_a_network_the_embedded_digits_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    with dead_mirror() as dead:
        monkeypatch.setattr(download, "MIRRORS", (dead,))
        images = load_images()
        with pytest.raises(DataError, match=r"cannot download train-images-idx3-ubyte\.gz from"):
            load_mnist()
    assert images.train_images.shape == (1437, 64)
    assert images.source.startswith("UCI handwritten digits, 8x8, from inside the package, since ")
    assert f"{dead}{TRAIN_IMAGES}.gz: <urlopen error [Errno 111] Connection refused>" in (
        images.source
    )


def test_a_mirror_without_the_file_or_with_a_wrong_one_is_quoted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = publish(monkeypatch, small_mnist())
    with mirror({}) as empty, mirror({f"{TRAIN_IMAGES}.gz": files[f"{TRAIN_LABELS}.gz"]}) as wrong:
        monkeypatch.setattr(download, "MIRRORS", (empty, wrong))
        with pytest.raises(DataError) as caught:
            load_mnist()
    found = hashlib.sha256(small_mnist()[TRAIN_LABELS]).hexdigest()
    assert str(caught.value) == (
        f"cannot download {TRAIN_IMAGES}.gz from any mirror:\n"
        f"  {empty}{TRAIN_IMAGES}.gz: HTTP Error 404: Not Found\n"
        f"  {wrong}{TRAIN_IMAGES}.gz: {TRAIN_IMAGES}: SHA-256 of the 15 unpacked bytes is {found}, "
        f"and should be {download.CHECKSUMS[TRAIN_IMAGES]}"
    )


def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    files = publish(monkeypatch, small_mnist())
    monkeypatch.setattr(download, "MAX_PACKED_BYTES", 10)
    with mirror(files) as url:
        monkeypatch.setattr(download, "MIRRORS", (url,))
        with pytest.raises(DataError, match="longer than 10 bytes"):
            load_mnist()


def test_a_slow_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    files = publish(monkeypatch, small_mnist())
    monkeypatch.setattr(download, "FILE_SECONDS", -1.0)
    with mirror(files) as url:
        monkeypatch.setattr(download, "MIRRORS", (url,))
        with pytest.raises(DataError, match=r"bytes came in -1 s, too slow"):
            load_mnist()


def test_a_cache_that_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = publish(monkeypatch, small_mnist())
    (tmp_path / "cache").write_text("a file where a folder should be")
    with mirror(files) as url:
        monkeypatch.setattr(download, "MIRRORS", (url,))
        with pytest.warns(RuntimeWarning, match="will download it again: Not a directory"):
            mnist = load_mnist()
    assert len(mnist.train_labels) == 7


def test_a_relative_cache_folder_is_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert download.cache_folder() == tmp_path / ".cache" / "tensorc" / "mnist"


def test_a_user_without_a_home_gets_the_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert load_images().source.endswith(
        "no cache folder: Could not determine home directory.; set XDG_CACHE_HOME"
    )


# ---------------------------------------------------------------- the real files


@pytest.mark.skipif(REAL is None, reason="TENSORC_DATA_DIR does not name the MNIST files")
def test_the_real_files_are_mnist() -> None:
    assert REAL is not None
    mnist = load_mnist(REAL)
    assert mnist.train_images.shape == (60000, 784)
    assert mnist.test_images.shape == (10000, 784)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(mnist.train_labels).tolist() == counts
    assert abs(mnist.train_images.mean(dtype=np.float64) - 0.13066) < 5e-6
    assert abs(mnist.train_images.std(dtype=np.float64) - 0.30811) < 5e-6


@pytest.mark.skipif(REAL is None, reason="TENSORC_DATA_DIR does not name the MNIST files")
def test_the_published_checksums_are_those_of_the_real_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert REAL is not None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "tensorc").mkdir()
    (tmp_path / "tensorc" / "mnist").symlink_to(Path(REAL).absolute())
    assert len(load_mnist().train_labels) == 60000
