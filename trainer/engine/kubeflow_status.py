"""Report progress to Kubeflow Trainer, which shows it in the status of the TrainJob.

The protocol is KEP-2779: statuses are posted to KUBEFLOW_TRAINER_SERVER_URL, if the controller sets
it, with the token in the file KUBEFLOW_TRAINER_SERVER_TOKEN (which rotates, and is read each time)
and the certificates in KUBEFLOW_TRAINER_SERVER_CA_CERT.
https://github.com/kubeflow/trainer/tree/master/docs/proposals/2779-trainjob-progress
"""

from __future__ import annotations

import datetime
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_URL, _TOKEN, _CERTIFICATES = (
    f"KUBEFLOW_TRAINER_SERVER_{name}" for name in ("URL", "TOKEN", "CA_CERT")
)
MIN_SECS = 5.0  # between two posts, as the server asks
_TIMEOUT_SECS = 5.0


class StatusServer:
    """Posts the newest status in its own thread; an unreachable server does not delay the run.

    Attributes:
        problem: the error of the first failed post, until the caller clears it.
    """

    def __init__(self, url: str, token_path: str = "", certificates: str = "") -> None:
        self.problem = ""
        self._url, self._token_path, self._certificates = url, token_path, certificates
        self._metrics: dict[str, float] = {}
        self._status: dict[str, Any] | None = None
        self._is_over = self._has_failed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="kubeflow", daemon=True)
        self._thread.start()

    def update(self, done: int, total: int, secs_left: float, metrics: Mapping[str, float]) -> None:
        """Post the run's progress.

        Args:
            done: steps done.
            total: steps of the run.
            secs_left: estimate until the end; not finite if unknown.
            metrics: the newest values by name; those that are not finite are omitted.
        """
        # 100 means that the run is over; export and report follow the steps.
        self._set_status(min(99, 100 * done // total), secs_left, metrics)

    def end(self, metrics: Mapping[str, float]) -> None:
        """Post that the run is over; wait for it at most a few seconds."""
        self._set_status(100, 0.0, metrics)
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join(2 * _TIMEOUT_SECS)

    def _set_status(self, percentage: int, secs_left: float, metrics: Mapping[str, float]) -> None:
        self._metrics.update({k: float(v) for k, v in metrics.items() if math.isfinite(v)})
        now = datetime.datetime.now(datetime.timezone.utc)
        status: dict[str, Any] = {
            "progressPercentage": percentage,
            "metrics": [{"name": k, "value": f"{v:.6g}"} for k, v in self._metrics.items()],
            "lastUpdatedTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if math.isfinite(secs_left):
            status["estimatedRemainingSeconds"] = math.ceil(secs_left)
        with self._changed:
            self._status = status
            self._changed.notify()

    def _work(self) -> None:
        import requests  # only where there is such a server

        session = requests.Session()
        session.trust_env = False  # or a .netrc would replace the token
        if self._certificates:
            session.verify = self._certificates
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._status is not None or self._is_over)
                status, self._status = self._status, None
            if status is None:
                return
            try:
                headers = {}
                if self._token_path:
                    token = Path(self._token_path).read_text(encoding="ascii").strip()
                    headers["Authorization"] = f"Bearer {token}"
                response = session.post(
                    self._url,
                    json={"trainerStatus": status},
                    headers=headers,
                    timeout=_TIMEOUT_SECS,
                    allow_redirects=False,
                )
                if response.status_code != 200:
                    raise requests.HTTPError(f"{response.status_code} {response.text[:200]}")
            except (OSError, ValueError) as error:
                if not self._has_failed:
                    self._has_failed, self.problem = True, " ".join(str(error).split())
            with self._changed:
                self._changed.wait_for(lambda: self._is_over, MIN_SECS)


def status_server(environment: Mapping[str, str]) -> StatusServer | None:
    """Return the server that `environment` names, if any."""
    url = environment.get(_URL, "")
    if not url:
        return None
    return StatusServer(url, environment.get(_TOKEN, ""), environment.get(_CERTIFICATES, ""))
