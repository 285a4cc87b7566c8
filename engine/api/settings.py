"""Settings of the REST interface."""

from dataclasses import dataclass

from engine.core.model.settings import NotNegative, Positive, SharedSettings


@dataclass(frozen=True, kw_only=True)
class ApiSettings(SharedSettings):
    """What the REST interface reads; `public_url` is never empty there."""

    rate_limit_per_second: NotNegative = 30
    """REST requests per second, endpoint and service, averaged over the window; 0 = no limit."""
    rate_limit_window_seconds: Positive = 5
    """Seconds of the sliding window of the rate limit."""
    max_api_body_bytes: Positive = 1_048_576
    """Largest REST request, in bytes."""
    max_batch_body_bytes: Positive = 16_777_216
    """Largest batch of sessions, in bytes."""

    @property
    def base(self) -> str:
        """The public URL without a trailing slash."""
        return self.public_url.rstrip("/")
