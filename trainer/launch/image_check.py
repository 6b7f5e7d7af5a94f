"""Check that a container image exists, at its registry, before a cluster waits for it.

Protocol: https://github.com/opencontainers/distribution-spec/blob/main/spec.md, tokens:
https://distribution.github.io/distribution/spec/auth/token/.
"""

from __future__ import annotations

import re
from typing import Any

from trainer.process.errors import UserError

_TIMEOUT_SECS = (3, 10)  # to connect, to answer
_KINDS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_GOOGLE = re.compile(r"(.+\.)?(pkg\.dev|gcr\.io)")


def parts(image: str) -> tuple[str, str, str]:
    """Split into registry (empty if the image names none), repository, and tag or digest."""
    rest, _, digest = image.partition("@")
    host, _, path = rest.partition("/")
    if not path or not ("." in host or ":" in host or host == "localhost"):
        host, path = "", rest
    name, _, tag = path.partition(":")
    return host, name, digest or tag or "latest"


def check(image: str) -> None:
    """Refuse an image that its registry does not have.

    An image is accepted if the registry cannot tell (none is named, it cannot be reached, it needs
    a login): the nodes may have the image, or the credentials.

    Raises:
        UserError: the registry answers that there is no such image.
    """
    import requests

    host, name, reference = parts(image)
    if not host:
        return
    scheme = "http" if host.partition(":")[0] in ("localhost", "127.0.0.1") else "https"
    address = f"{scheme}://{host}/v2/{name}/manifests/{reference}"
    try:
        with requests.Session() as session:
            session.trust_env = True  # a proxy; a login in ~/.netrc
            session.headers["Accept"] = _KINDS
            answer = session.head(address, timeout=_TIMEOUT_SECS, allow_redirects=True)
            if answer.status_code == 401:
                token = _token(session, host, answer.headers.get("WWW-Authenticate", ""))
                session.headers["Authorization"] = f"Bearer {token}"
                answer = session.head(address, timeout=_TIMEOUT_SECS, allow_redirects=True)
    except (requests.RequestException, ValueError, KeyError):
        return
    if answer.status_code == 404:
        raise UserError(f"--image={image}: {host} has no such image; push it, or check its tag")


def _token(session: Any, host: str, challenge: str) -> str:
    """Return a read token as the challenge demands: Google's, or the registry's own."""
    if _GOOGLE.fullmatch(host):
        return _google_token()
    parameters = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = parameters.pop("realm")
    answer = session.get(realm, params=parameters, timeout=_TIMEOUT_SECS)
    answer.raise_for_status()
    content = answer.json()
    return str(content.get("token") or content["access_token"])


def _google_token() -> str:
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request

    try:
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        credentials, _ = google.auth.default(scopes=scopes)
        credentials.refresh(Request())
    except GoogleAuthError as error:
        raise ValueError("no login") from error
    return str(credentials.token)
