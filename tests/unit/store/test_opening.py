"""Which store a URL names, and the words for one that cannot be used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.store.opening import store_at
from tests.redis_server import RedisServer

SECRET = "s3cr3t-pa55"


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h:6380/3",
        f"rediss://user:{SECRET}@h:6380/3?ssl_cert_reqs=none&ssl_check_hostname=false",
        "unix:///run/redis.sock?db=2",
        "redis://[::1]:6379",
        f"redis+sentinel://:{SECRET}@h1:26379,h2/master/1?sentinel_password={SECRET}",
        "rediss+sentinel://h1/master",
        f"redis+cluster://:{SECRET}@h1:6379,h2:6380",
    ],
)
async def test_each_form_makes_a_store_that_hides_its_password(url: str) -> None:
    store = store_at(url, prefix="p", timeout=0.1)
    await store.open()
    assert SECRET not in repr(store)
    await store.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "the forms are"),
        ("localhost:6379", "the forms are"),
        (f"http://:{SECRET}@h", "the forms are"),
        (f"redis://:{SECRET}@", "host or port is missing"),
        (f"redis://:{SECRET}@h:99999", "host or port is missing"),
        (f"redis://:{SECRET}@h:x", "host or port is missing"),
        (f"redis://:{SECRET}@[h", "cannot be read"),
        (f"redis://:{SECRET}@h/zero", "database is a number"),
        (f"redis://:{SECRET}@h/0/1", "database is a number"),
        (f"redis://:{SECRET}@h1,h2", "several hosts"),
        (f"redis://:{SECRET}@h?max_connections=3", "unknown option `max_connections`"),
        (f"redis://h?sentinel_password={SECRET}", "unknown option `sentinel_password`"),
        (f"rediss://:{SECRET}@h?ssl_check_hostname=perhaps", "true or false"),
        (f"rediss://:{SECRET}@h?ssl_cert_reqs=perhaps", "ssl_cert_reqs is"),
        (f"redis+sentinel://:{SECRET}@h1,h2", "name of the service"),
        (f"redis+cluster://:{SECRET}@h1/1", "one database"),
        ("unix://", "whole path"),
        (f"unix://:{SECRET}@h/socket", "whole path"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match="store_url: ") as caught:
        store_at(url, prefix="p", timeout=1)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_prefix_that_would_break_the_keys_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="store_prefix"):
        store_at("redis://h", prefix="a{b}", timeout=1)


async def test_the_database_of_the_url_is_the_one_that_is_used(redis_server: RedisServer) -> None:
    url = redis_server.url.removesuffix("/0")
    stores = [store_at(url + end, prefix="databases", timeout=3) for end in ("/5", "?db=5", "/6")]
    try:
        for store in stores:
            await store.open()
        got = [
            (await store.records.open("which", f"{i}".encode(), node="n", ttl=60)).record.data
            for i, store in enumerate(stores)
        ]
        assert got == [b"0", b"0", b"2"]
    finally:
        for store in stores:
            await store.close()


_WITHOUT = """
import sys
sys.modules["redis"] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "redis" else find(name, *rest)
from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.store.memory import MemoryStore
from ccxt_mcp.store.opening import store_at
MemoryStore()
try:
    store_at("redis://h", prefix="p", timeout=1)
except ConfigurationError as error:
    print(error)
"""


def test_without_the_extra_one_is_told_how_to_get_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT], capture_output=True, text=True, timeout=60, check=True
    )
    assert "pip install 'ccxt-mcp[redis]'" in done.stdout


def test_the_library_is_imported_only_for_a_store_that_needs_it() -> None:
    """It costs a tenth of a second and some megabytes, which a process on its own does not pay."""
    code = (
        "import sys, ccxt_mcp.store.opening, ccxt_mcp.store.memory, ccxt_mcp.cluster.cluster;"
        " print('redis' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"
