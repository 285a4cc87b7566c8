"""Files as editors leave them."""

import io

import pytest

from engine.cli.files import past_mark
from engine.cli.tree import Refusal


@pytest.mark.parametrize("rest", [b"", b"{}", b'{"a": 1}\n{"b": 2}\n', b"\x81\xa4kind"])
def test_a_byte_order_mark_is_passed_over_and_nothing_else(rest: bytes) -> None:
    """However short the file is."""
    assert past_mark(io.BytesIO(b"\xef\xbb\xbf" + rest), name="rides").read() == rest
    assert past_mark(io.BytesIO(rest), name="rides").read() == rest


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(encoding: str) -> None:
    """PowerShell writes it; its lines would be refused one by one for reasons that nobody understands."""
    file = io.BytesIO("\ufeff{}".encode(encoding) if encoding != "utf-16" else "{}".encode(encoding))

    with pytest.raises(Refusal, match=r"rides\.ndjson: it is in UTF-16; save it as UTF-8"):
        past_mark(file, name="rides.ndjson")
