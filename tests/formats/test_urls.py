"""What is taken as a URL can be called by our client; what no client can call is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api.forms import CREATE_SERVICE
from engine.core.model.errors import ApiError
from engine.formats.urls import check_url
from engine.outbound.client import _target

CALLABLE = [
    "https://example.com",
    "HTTPS://Example.COM./x",
    "http://a_b.example:8080/ü?q=ä#part",
    "http://me:p%40ss@example.com/",
    "http://127.0.0.1:65535/x",
    "http://[2606:4700::1111]:443/",
    "http://bücher.example/",
    "http://xn--bcher-kva.example/",
    "http://localhost/",
    f"http://{'a' * 63}.example/",
    "http://example.com/a/../b?",
    "http://3com.example/",
]

NOT_CALLABLE = [
    "",
    "example.com",
    "//example.com/",
    "ftp://example.com/",
    "http://",
    "http://:80/",
    "http:///x",
    "http://example..com/",
    "http://.example.com/",
    "http://example.com../",
    f"http://{'a' * 64}.example/",
    f"http://{'a.' * 127}example/",
    f"http://{'ü' * 60}.example/",
    "http://-a.example/",
    "http://a-.example/",
    "http://ex ample.com/",
    "http://example.com/a b",
    "http://example.com/\n",
    "http://example.com/\x00",
    "http://example.com/\x7f",
    "http://example.com/\u3000",
    "http://example.com/\ud800",
    "http://example.com\\@evil.example/",
    "http://example.com/a\\b",
    "http:\\\\example.com",
    "http://exa%6dple.com/",
    "http://exam<ple.com/",
    "http://①②⑦.⓪.⓪.①/",
    "http://☃\u200d.example/",
    "http://\u0301a.example/",
    "http://256.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://127.000.000.001/",
    "http://[::1",
    "http://[bad]/",
    "http://[fe80::1%25lo]/",
    "http://[127.0.0.1]/",
    "http://example.com:0/",
    "http://example.com:65536/",
    "http://example.com:port/",
]


@pytest.mark.parametrize("url", CALLABLE)
def test_what_a_client_can_call_is_taken(url: str) -> None:
    """Names, addresses and international names, with anything behind them that can be encoded."""
    check_url(url)

    assert _target(url).seen.isascii()


@pytest.mark.parametrize("url", NOT_CALLABLE)
def test_what_no_client_can_call_is_refused(url: str) -> None:
    """With a sentence, not a traceback."""
    with pytest.raises(ValueError, match=r"expected|is no|URL|IPv|Port|port|netloc"):
        check_url(url)


@pytest.mark.parametrize("name", ["CallbackUrl", "InterceptCallbackUrl", "OutOfSessionCallbackUrl"])
@pytest.mark.parametrize("url", [url for url in NOT_CALLABLE if url])
def test_every_url_of_a_service_is_refused_by_its_name(name: str, url: str) -> None:
    """The application learns which one it has to mend."""
    with pytest.raises(ApiError, match=name):
        CREATE_SERVICE.read({"UniqueName": ["x"], name: [url]})


HOSTS = st.text("aZ09.-_:@[]%\\ üß。①\u00ad/?#", max_size=80) | st.text(max_size=80)


@given(HOSTS.map(lambda text: "http://" + text))
def test_what_is_taken_can_be_sent(url: str) -> None:
    """The client reads it, and what it sends is what is signed."""
    try:
        check_url(url)
    except ValueError:
        return

    sent = _target(url).seen
    assert sent.startswith("http://")
    assert sent.isascii()
    assert "#" not in sent
