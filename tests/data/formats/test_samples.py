"""Samples and batches: each is read as what it is, and what could be either is refused."""

import io
import tarfile

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from gammabeta import Moments, data
from gammabeta.data import batches
from gammabeta.errors import DataError, KindError

STATES = np.array([[i, 100.0 * i] for i in range(3)])
IMAGES = np.random.default_rng(4).integers(0, 256, (5, 3, 8, 6)).astype(np.uint8)


class Robot(Dataset):
    """A map-style data set that never raises IndexError."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, i):
        return {"state": self.values[i % len(self.values)], "step": i}


class Stream(IterableDataset):
    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


AS = {"list": np.ndarray.tolist, "array": np.asarray, "tensor": torch.from_numpy}


@pytest.mark.parametrize("kind", AS)
def test_each_place_of_a_sample_is_a_feature(kind):
    items = [{"state": AS[kind](row)} for row in STATES]
    assert data.moments(batches(items, select="state", samples=True)) == Moments.of(STATES)
    with pytest.raises(KindError, match=r"one sample of 2 features, or 2 samples of one feature; say which"):
        data.moments(batches(items, select="state"))


def test_a_vector_may_be_said_to_be_a_batch():
    assert data.moments(batches(list(STATES), samples=False)) == Moments.of(STATES.reshape(-1))
    with pytest.raises(KindError, match=r"samples=True\), or samples=False"):
        data.moments(list(STATES))
    with pytest.raises(KindError, match="'generator' gives samples or batches"):
        data.moments(row for row in STATES)


@pytest.mark.parametrize(
    "numbers", [[1.0, 2.0, 6.0], [1, 2, 6], list(np.array([1, 2, 6])), list(torch.tensor([1, 2, 6]))]
)
def test_numbers_are_samples(numbers):
    assert data.moments(batches(numbers)).mean == 3
    assert data.moments(batches(numbers, samples=True)).mean == 3


def test_numbers_are_no_batches():
    with pytest.raises(DataError, match="each chunk must have at least one dimension, 'list' gives single numbers"):
        data.moments(batches([np.float64(3)], samples=False))


def test_missing_numbers():
    assert data.moments(batches([1.0, None, 3.0], samples=True)).count == 2
    assert data.moments(batches([[1.0, None], [3.0, 4.0]], samples=True)).count.tolist() == [2, 1]
    masked = [np.ma.array([1.0, 1e20], mask=[False, True]), np.array([3.0, 5.0])]
    assert data.moments(batches(masked, samples=True)).mean.tolist() == [2, 5]


@pytest.mark.parametrize("axis", [None, (1, 2), (-1, -2), (0, 1, 2), 1, (0,)])
def test_axes_are_those_of_a_sample(axis):
    source = batches(list(IMAGES), samples=True)
    across = (0,) if axis is None else (0, *(i % 3 + 1 for i in np.atleast_1d(axis).tolist()))
    assert data.moments(source, axis=axis) == Moments.of(IMAGES, axis=across)


def test_images_of_several_sizes_and_pillow():
    sizes = [IMAGES[0], IMAGES[1, :, :4], IMAGES[2, :, :, :3]]
    whole = sum(Moments.of(image, axis=(1, 2)) for image in sizes)
    assert data.moments(batches(sizes, samples=True), axis=(1, 2)) == whole
    pictures = [{"image": PIL.Image.fromarray(image.transpose(1, 2, 0))} for image in IMAGES]
    assert data.moments(batches(pictures, select="image", samples=True), axis=(0, 1)) == Moments.of(
        IMAGES, axis=(0, 2, 3)
    )
    with pytest.raises(DataError, match="must be alike"):
        data.moments(batches(sizes, samples=True))


def test_axis_zero_of_samples_says_two_things():
    with pytest.raises(DataError, match=r"leave axis out for a statistic of each place .*, or say axis=\(0,\)"):
        data.moments(batches(list(STATES), samples=True), axis=0)


def test_torch_data_sets():
    robot = Robot(torch.from_numpy(STATES))
    for items in (robot, Subset(robot, [0, 1, 2]), DataLoader(robot, batch_size=None)):
        assert data.moments(batches(items, select="state")) == Moments.of(STATES)
    for items in (DataLoader(robot, batch_size=2), DataLoader(Robot(torch.from_numpy(IMAGES)), batch_size=2)):
        values = STATES if items.dataset is robot else IMAGES
        assert data.moments(batches(items, select="state")) == Moments.of(values)
    plain = TensorDataset(torch.from_numpy(STATES))
    assert data.moments(batches(plain, select=0)) == Moments.of(STATES)
    with pytest.raises(DataError, match=r"each chunk must be one array or table.*select='state'"):
        data.moments(robot)


def test_a_stream_of_torch_may_be_either():
    assert data.moments(batches(Stream(list(IMAGES)), samples=True)) == Moments.of(IMAGES)
    assert data.moments(batches(Stream(list(IMAGES)), samples=False)) == sum(map(Moments.of, IMAGES))
    with pytest.raises(KindError, match=r"one sample of shape \(3, 8, 6\), or a batch of 3 samples of shape \(8, 6\)"):
        data.moments(Stream(list(IMAGES)))


def test_tensorflow_data_sets():
    made = tf.data.Dataset.from_tensor_slices
    assert data.moments(made(STATES)) == Moments.of(STATES)
    assert data.moments(made(STATES).shuffle(3).prefetch(1)) == Moments.of(STATES)
    assert data.moments(made(STATES).batch(2)) == Moments.of(STATES)
    assert data.moments(made(STATES).batch(2).map(lambda x: x + 0).prefetch(1)) == Moments.of(STATES)
    assert data.moments(made(STATES).batch(2).unbatch()) == Moments.of(STATES)
    assert data.moments(made(STATES[:, 1]).batch(3, drop_remainder=True)) == Moments.of(STATES[:, 1])
    assert data.moments(made(IMAGES), axis=(1, 2)) == Moments.of(IMAGES, axis=(0, 2, 3))
    named = made({"state": STATES, "step": np.arange(3)})
    assert data.moments(batches(named, select="state")) == Moments.of(STATES)
    assert data.moments(batches(named, select="step")) == Moments.of(np.arange(3))
    of_generator = tf.data.Dataset.from_generator
    signature = tf.TensorSpec((2,), tf.float64)
    assert data.moments(of_generator(lambda: iter(STATES), output_signature=signature)) == Moments.of(STATES)
    either = of_generator(lambda: iter(IMAGES), output_signature=tf.TensorSpec((3, 8, 6), tf.uint8))
    with pytest.raises(KindError, match=r"may be one sample of shape \(3, 8, 6\)"):
        data.moments(either)


@pytest.mark.parametrize("items", [["a"], [{"a": 1.0}], [object()], [[1.0, "a"]]])
def test_what_is_no_sample(items):
    with pytest.raises(KindError, match="each sample must be a number, numbers in lists or an array, item 1 of"):
        data.moments(batches(items, samples=True))


def test_hugging_face():
    datasets = pytest.importorskip("datasets", reason="Hugging Face's datasets bring a hundred megabytes of others")
    rows = datasets.Dataset.from_dict({"state": STATES.tolist(), "reward": [1, None, 3]})
    for items in (rows, rows.with_format("numpy"), rows.with_format("torch")):
        assert data.moments(batches(items, select="state")) == Moments.of(STATES)
    assert data.moments(batches(rows, select="reward")).mean == 2
    stream = rows.to_iterable_dataset()
    assert data.moments(batches(stream, select="state", samples=True)) == Moments.of(STATES)
    for items in (stream, stream.with_format("numpy").batch(3)):
        with pytest.raises(KindError, match="it must be known whether 'IterableDataset' gives samples or batches"):
            data.moments(batches(items, select="state"))


def test_webdataset():
    webdataset = pytest.importorskip("webdataset", reason="WebDataset is one of many that read tar shards")
    items = webdataset.DataPipeline(lambda: ({"state": row} for row in STATES))
    assert data.moments(batches(items, select="state", samples=True)) == Moments.of(STATES)
    with pytest.raises(KindError, match="gives samples or batches"):
        data.moments(batches(items, select="state"))


@pytest.fixture
def tar_shard(tmp_path):
    """A tar file with an array and a number for each sample, as WebDataset's writers lay them."""
    with tarfile.open(tmp_path / "images.tar", "w") as shard:
        for number, image in enumerate(IMAGES):
            place = tmp_path / f"{number:03}.npy"
            np.save(place, image)
            shard.add(place, place.name)
            label = tmp_path / f"{number:03}.cls"
            label.write_text(str(number))
            shard.add(label, label.name)
    return tmp_path / "images.tar"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # WebDataset does not close the file
def test_a_tar_shard_by_webdataset(tar_shard):
    webdataset = pytest.importorskip("webdataset", reason="WebDataset is one of many that read tar shards")
    shards = webdataset.WebDataset(str(tar_shard), shardshuffle=False, empty_check=False).decode()
    found = data.moments(batches(shards, select="npy", samples=True), axis=(1, 2))
    assert found == Moments.of(IMAGES, axis=(0, 2, 3))


def test_a_tar_shard_by_python(tar_shard):
    def samples():
        with tarfile.open(tar_shard) as shard:
            for member in shard:
                if member.name.endswith(".npy"):
                    yield np.load(io.BytesIO(shard.extractfile(member).read()))

    assert data.moments(batches(samples(), samples=True), axis=(1, 2)) == Moments.of(IMAGES, axis=(0, 2, 3))


def test_records_of_tensorflow(tmp_path):
    place = str(tmp_path / "images.tfrecord")
    with tf.io.TFRecordWriter(place) as writer:
        for image in IMAGES:
            writer.write(tf.io.serialize_tensor(image).numpy())
    records = tf.data.TFRecordDataset(place).map(lambda record: tf.io.parse_tensor(record, tf.uint8))
    assert data.moments(batches(records, samples=True), axis=(1, 2)) == Moments.of(IMAGES, axis=(0, 2, 3))
    batched = records.map(lambda image: tf.ensure_shape(image, IMAGES.shape[1:])).batch(2)
    assert data.moments(batched, axis=(0, 2, 3)) == Moments.of(IMAGES, axis=(0, 2, 3))
