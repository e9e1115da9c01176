"""What the build made of the page."""

import gzip
import re

import pytest

LIMIT = 150_000


@pytest.fixture(scope="module")
def files(static):
    return [path for path in static.rglob("*") if path.suffix in (".html", ".js", ".css")]


def test_the_bundle_is_small(files):
    sizes = {path.name: len(gzip.compress(path.read_bytes())) for path in files}
    assert sum(sizes.values()) < LIMIT, sizes


def test_addresses_are_relative_so_that_a_proxys_path_works(static):
    html = (static / "index.html").read_text()
    assert not re.search(r'(src|href)="/', html)


def test_nothing_is_fetched_from_elsewhere(files):
    for path in files:
        for address in re.findall(rb"""["'(](https?://[^"')]+)""", path.read_bytes()):
            assert address.startswith(b"http://www.w3.org/"), (path.name, address)  # names of XML namespaces
