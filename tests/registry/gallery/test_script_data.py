import base64
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.registry.factories import Push
from wsdarts_registry.gallery._pages import read_collection
from wsdarts_registry.gallery._scripts import (
    data_script,
    distances_data,
    embeddings_shards,
    script_json,
    spaces_data,
)
from wsdarts_registry.stores.directory import DirectoryStore

ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(ANY)
def test_data_come_back_and_nothing_in_them_can_end_a_script(data: object) -> None:
    written = script_json(data)
    assert json.loads(written) == data
    assert written.isascii()
    assert not set(written) & set("<>&\n")


def test_what_ends_a_script_is_escaped() -> None:
    assert script_json("</script>\u2028&") == r'"\u003c/script\u003e\u2028\u0026"'
    assert data_script("a", {"b": "<"}) == b'wsdarts.receive("a",{"b":"\\u003c"});\n'


def test_nan_is_no_data() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json(float("nan"))


def test_embeddings_and_distances_of_a_space(store: DirectoryStore, push: Push) -> None:
    for name in ("flowers", "birds", "textures"):
        push(name)
    (space,) = read_collection(store, lambda *_: None).spaces
    (data,) = embeddings_shards(space)
    assert [m["reference"] for m in data["members"]] == ["birds@1", "flowers@1", "textures@1"]
    values = np.frombuffer(base64.b64decode(data["values"]), "<f4").reshape(3, -1)
    np.testing.assert_array_equal(values, [e.values for e in space.embeddings])
    shown = distances_data(space)
    upper = np.frombuffer(base64.b64decode(shown["distances"]), "<u2") / 65_535
    order = [m["reference"] for m in data["members"]].index
    rows = [order(reference) for reference in shown["references"]]
    expected = [space.distances[rows[a], rows[b]] for a, b in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(upper, expected, atol=1e-5)


def test_spaces_say_where_no_threshold_was_measured(store: DirectoryStore, push: Push) -> None:
    push("flowers")
    (shown,) = spaces_data("zoo", read_collection(store, lambda *_: None).spaces)["spaces"]
    assert shown["threshold"] is None
    assert spaces_data("zoo", (), " --registry DIR")["option"] == "--registry DIR"
    assert shown["filters"] == 7
    assert json.loads(script_json(shown)) == shown
    assert Path(shown["key"]).name == shown["key"]
