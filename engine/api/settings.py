"""Settings of the REST interface."""

import msgspec


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the REST interface."""

    public_base_url: str
    """URL that clients reach us by; part of every answered URL."""
    rate_limit_per_second: int = 30
    """Requests per second, endpoint and service, averaged over the window; 0 = no limit."""
    rate_limit_window_seconds: int = 5
    """Seconds of the sliding window."""
    max_body_bytes: int = 1_048_576
    """Largest request body, in bytes."""
    max_batch_body_bytes: int = 16_777_216
    """The same of a batch."""

    @property
    def base(self) -> str:
        """The public URL without a trailing slash."""
        return self.public_base_url.rstrip("/")
