"""The certificate of Dask's connections: said where it ends soon, and where there is none."""

from __future__ import annotations

import logging
import ssl
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

_log = logging.getLogger(__name__)

_SOON_S = 30 * 86400.0
_HERE = ("127.0.0.1", "localhost", "::1")


def warn_of_its_end(path: str | None) -> None:
    """Warn where a certificate ends soon.

    Parameters
    ----------
    path : str or None
        The authority that Dask's configuration names, by ``deploy/README.md`` the certificate
        itself. What cannot be read is left to Dask, which says so when it connects.
    """
    ends = _end_of(path) if path else None
    if ends is not None and ends - time.time() < _SOON_S:
        _log.warning(
            "the certificate %s is good until %s: make another in time (deploy/README.md)",
            path,
            datetime.fromtimestamp(ends, UTC).date(),
        )


def warn_of_none(address: str) -> None:
    """Warn where a scheduler on another machine asks nobody for a certificate.

    Parameters
    ----------
    address : str
        ``tcp://host:8786``.
    """
    parts = urlsplit(address)
    if parts.scheme != "tls" and parts.hostname not in _HERE:
        _log.warning(
            "the scheduler at %s asks for no certificate: whoever can reach it runs code on its "
            "workers; deploy/README.md says how to make one",
            address,
        )


def _end_of(path: str) -> float | None:
    """Return when the first of the authorities in a file ends, seconds since 1970."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except OSError:
        return None
    ends = [str(one["notAfter"]) for one in context.get_ca_certs()]
    return min(map(ssl.cert_time_to_seconds, ends), default=None)
