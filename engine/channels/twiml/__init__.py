"""TwiML platforms: webhooks in, documents out, messages through the platform's API."""
