"""Numbers that are written as text: read as scikit-learn reads them, in frames and arrays; other text is refused."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn.preprocessing as theirs

import gammabeta as gb

TEXT = [["1.5", "2"], ["3", "4e1"], ["-2", " 7 "]]
NUMBERS = np.array([[1.5, 2], [3, 40], [-2, 7]])
AB = list("ab")
KINDS = {
    "pandas objects": pd.DataFrame(TEXT, columns=AB, dtype=object),
    "pandas str": pd.DataFrame(TEXT, columns=AB),
    "pandas string": pd.DataFrame(TEXT, columns=AB, dtype="string"),
    "pandas Arrow": pd.DataFrame(TEXT, columns=AB, dtype=pd.ArrowDtype(pa.string())),
    "pandas categories": pd.DataFrame(TEXT, columns=AB).astype("category"),
    "pandas, one column": pd.DataFrame({"a": [row[0] for row in TEXT], "b": NUMBERS[:, 1]}),
    "polars": pl.DataFrame(TEXT, schema=AB, orient="row"),
    "polars categories": pl.DataFrame(TEXT, schema=AB, orient="row").cast(pl.Categorical),
    "objects": np.array(TEXT, object),
    "U": np.array(TEXT),
    "S": np.array(TEXT).astype("S"),
    "lists": TEXT,
}


@pytest.mark.parametrize("name", ["StandardScaler", "MinMaxScaler"])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_as_text(kind, name):
    x = KINDS[kind]
    ours, other = (getattr(library, name)() for library in (gb, theirs))
    plain = getattr(gb, name)().fit(NUMBERS)
    for fitted in (ours.fit(x), getattr(gb, name)().partial_fit(x)):
        assert fitted._state()[0] == plain._state()[0]
        np.testing.assert_array_equal(fitted.transform(x), plain.transform(NUMBERS))
    # two roundings of numbers of size 40, divided by 2
    expected = other.fit(x).transform(x)
    image = ours.transform(x)
    np.testing.assert_allclose(image, expected, rtol=0, atol=40 * np.finfo(float).eps)
    assert type(image) is type(expected) and image.dtype == expected.dtype


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": ["1", None, "3"]}),
        pd.DataFrame({"a": ["1", None, "3"]}, dtype=object),
        pd.DataFrame({"a": ["1", None, "3"]}, dtype="string"),  # which scikit-learn refuses
        pl.DataFrame({"a": ["1", None, "3"]}),
        pd.DataFrame({"a": ["1", "nan", "3"]}),
    ],
    ids=str,
)
def test_what_is_missing(frame):
    np.testing.assert_array_equal(gb.MinMaxScaler().fit_transform(frame), [[0.0], [np.nan], [1.0]])
    same = gb.MinMaxScaler().set_output(transform="same").fit_transform(frame)
    assert type(same) is type(frame)
    assert same["a"].to_numpy().dtype == np.float64


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("word", ["x", "", "1,5", "None"])
def test_other_text(library, word):
    frame, numbers = library({"a": ["1", "2"], "b": ["1", word]}), library({"a": [1, 2], "b": [1.0, 2.0]})
    fitted = gb.StandardScaler().fit(numbers)
    for call in (gb.StandardScaler().fit, gb.StandardScaler().partial_fit, fitted.transform, fitted.partial_fit):
        with pytest.raises(ValueError, match=r"must be numeric, got 'b' \((str|String)\); leave them out"):
            call(frame)
    with pytest.raises(ValueError, match="could not convert string to float"):
        gb.StandardScaler().fit(np.array([["1"], [word]]))
    with pytest.raises(ValueError, match="Input X contains infinity"):
        gb.StandardScaler().fit(library({"a": ["inf", "1"]}))
