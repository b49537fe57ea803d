"""Folders of images: the statistics are those of all pixels, and what is wrong with an image names it."""

import json
import sys
import threading

import numpy as np
import PIL.Image
import pytest

from gammabeta import Extrema, Moments, data
from gammabeta.cli import main
from gammabeta.errors import DataError, FileError, KindError

rng = np.random.default_rng(11)


def put(folder, name, pixels, **options):
    """Write an image, and the folder it is in."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(folder / name, **options)


def noise(*shape, kind=np.uint8):
    return rng.integers(0, np.iinfo(kind).max + 1, shape).astype(kind)


@pytest.fixture(name="folder")
def _folder(tmp_path):
    """A folder of images of many sizes in folders, with other things among them."""
    for i in range(12):
        put(tmp_path, f"{'cat' if i % 2 else 'dog'}/{i}.png", noise(10 + i, 20, 3))
    (tmp_path / "labels.txt").write_text("cat, dog")
    (tmp_path / "cat" / "._1.png").write_bytes(b"what a desktop leaves behind")
    return tmp_path


def pixels(folder):
    paths = sorted(path for path in folder.rglob("*.png") if not path.name.startswith("."))
    return np.concatenate([np.asarray(PIL.Image.open(path)).reshape(-1, 3) for path in paths])


def test_every_pixel_counts_once(folder):
    whole = pixels(folder)
    assert data.moments(data.images(folder)) == data.moments(folder) == Moments.of(whole)
    assert data.extrema(folder) == Extrema.of(whole)
    found = data.measure(folder)
    assert found.names == ("R", "G", "B")
    assert found.rows == len(whole)
    assert {column.type for column in found.columns} == {"uint8"}
    assert data.moments(folder, ["G"]) == Moments.of(whole[:, [1]])
    np.testing.assert_array_equal(np.concatenate([chunk.array for chunk in data.scan(folder)]), whole)


def test_images_that_are_named(folder):
    paths = sorted((folder / "cat").glob("?.png"))
    assert data.moments(data.images(paths)) == data.moments(folder / "cat", ["R", "G", "B"]) - data.moments(
        data.images(sorted((folder / "cat").glob("??.png")))
    )
    assert str(data.images(paths).path) == "5 images"


def test_all_pixels_are_not_the_mean_of_images(tmp_path):
    """A dark image and a light one: each has no spread of its own."""
    put(tmp_path, "dark.png", np.full((10, 10), 50, np.uint8))
    put(tmp_path, "light.png", np.full((10, 10), 150, np.uint8))
    found = data.moments(tmp_path)
    assert (found.mean[0], found.std[0]) == (100, 50)
    assert np.mean([image.std() for image in (np.full(100, 50), np.full(100, 150))]) == 0


@pytest.mark.parametrize(
    ("name", "array", "bands"),
    [
        ("x.png", noise(9, 7), ("L",)),
        ("x.png", noise(9, 7, 4), ("R", "G", "B", "A")),
        ("x.png", noise(9, 7, kind=np.uint16), ("I",)),
        ("x.tif", rng.normal(size=(9, 7)).astype(np.float32), ("F",)),
        ("x.bmp", noise(9, 7, 3), ("R", "G", "B")),
        ("x.webp", noise(9, 7, 3), ("R", "G", "B")),
        ("x.jpg", noise(9, 7, 3), ("R", "G", "B")),
    ],
    ids=["L", "RGBA", "16 bits", "floats", "BMP", "WebP", "JPEG"],
)
def test_one_mode_of_any_kind(tmp_path, name, array, bands):
    put(tmp_path, name, array)
    stored = np.asarray(PIL.Image.open(tmp_path / name)).reshape(-1, len(bands))
    found = data.measure(tmp_path)
    assert found.names == bands
    assert found.moments == Moments.of(stored)


def mixed(folder):
    put(folder, "a.png", noise(5, 5, 3))
    put(folder, "b.png", noise(5, 5, 3))
    put(folder, "gray.png", noise(5, 5))
    put(folder, "glass.png", noise(5, 5, 4))
    PIL.Image.fromarray(noise(5, 5, 3)).quantize(8).save(folder / "palette.png")
    PIL.Image.fromarray(noise(5, 5, 4), "CMYK").save(folder / "print.jpg")


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
def test_mixed_modes_are_named_and_can_be_converted(tmp_path):
    mixed(tmp_path)
    with pytest.raises(DataError) as raised:
        data.measure(tmp_path)
    told = str(raised.value)
    assert "2 RGB ('a.png', 'b.png'); 1 RGBA ('glass.png'); 1 L ('gray.png'); 1 P ('palette.png'); 1 CMYK" in told
    assert f"convert them: gammabeta.data.images('{tmp_path}', mode='RGB')" in told
    whole = np.concatenate(
        [np.asarray(PIL.Image.open(path).convert("RGB")).reshape(-1, 3) for path in sorted(tmp_path.iterdir())]
    )
    assert data.moments(data.images(tmp_path, mode="RGB")) == Moments.of(whole)


def test_a_palette_is_no_intensity(tmp_path):
    PIL.Image.fromarray(noise(5, 5, 3)).quantize(8).save(tmp_path / "x.png")
    with pytest.raises(KindError, match=r"x\.png' is of mode P, whose numbers are no intensities; .* mode='RGB'\)"):
        data.measure(tmp_path)
    assert data.measure(data.images(tmp_path, mode="RGB")).names == ("R", "G", "B")


def test_sixteen_bits_do_not_fit_into_eight(tmp_path):
    put(tmp_path, "a.png", noise(5, 5))
    put(tmp_path, "deep.png", noise(5, 5, kind=np.uint16))
    with pytest.raises(KindError, match=r"deep\.png' is of mode I;16, more than 8 bits a value, which RGB has no room"):
        data.measure(data.images(tmp_path, mode="RGB"))


def test_a_corrupt_image_is_named(folder):
    (folder / "cat" / "7.png").write_bytes((folder / "cat" / "7.png").read_bytes()[:300])
    with pytest.raises(FileError, match=r"7\.png' cannot be read as an image: "):
        data.measure(folder)
    (folder / "cat" / "7.png").write_bytes(b"no image at all")
    with pytest.raises(FileError, match=r"7\.png' cannot be read as an image: cannot identify image file"):
        data.measure(folder)


def test_images_among_data(folder):
    (folder / "dog" / "weights.csv").write_text("a\n1\n3\n")
    assert data.moments(folder).mean.tolist() == [2]  # a folder of data, in which other files are passed by
    assert data.moments(data.images(folder)) == Moments.of(pixels(folder))


def test_images_are_not_scaled(folder, tmp_path):
    with pytest.raises(KindError, match="can be measured, and not be scaled: there is no file for the result to be"):
        data.scale(folder, tmp_path / "out.npy")
    assert data.preview(folder, bins=4).before.sum(axis=1).tolist() == [len(pixels(folder))] * 3


def test_no_thread_stays_behind(folder):
    for chunk in data.scan(folder):
        assert chunk.start == 0
        break
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gammabeta-images")]


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (
            lambda folder: data.images(folder / "labels.txt"),
            FileError,
            "at least one image is needed, there is none in",
        ),
        (lambda folder: data.images([]), FileError, "at least one image is needed, there is none in '0 images'"),
        (lambda folder: data.images(folder, mode="rgb"), DataError, "one of Pillow's, such as RGB or L, got 'rgb'"),
        (lambda folder: data.moments(folder, axis=0), DataError, "the statistics of images are by channel; got axis=0"),
        (lambda folder: data.images([folder / "none.png"]), FileError, r"none\.png' cannot be read as an image"),
    ],
)
def test_what_is_wrong_with_a_folder(folder, act, error, message):
    with pytest.raises(error, match=message):
        act(folder)


def test_images_without_pillow(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(FileError, match=r"is read with Pillow: pip install 'gammabeta\[images\]'"):
        data.measure(folder)


def test_the_command_takes_a_folder_of_images(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["stats", ".", "-o", "all.json", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    whole = Moments.of(pixels(folder))
    assert [column["mean"] for column in told["columns"]] == whole.mean.tolist()
    assert data.load("all.json").moments == whole
    assert main(["stats", "cat", "dog", "-o", "parts.json"]) == 0
    assert data.load("parts.json") == data.load("all.json")
    capsys.readouterr()
    put(folder, "cat/gray.png", noise(5, 5))
    assert main(["stats", "cat"]) == 2
    assert "images must be of one mode to be measured together, those in 'cat'" in capsys.readouterr().err
