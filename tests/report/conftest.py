"""What every test of reports has: a folder of its own for the script of the charts."""

import pytest

from gammabeta.report import vega_bundle


@pytest.fixture(name="cache", scope="session")
def _cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache, monkeypatch):
    monkeypatch.setattr(vega_bundle, "folder", lambda: cache)
