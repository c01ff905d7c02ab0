"""Calls to the Hub: transient errors are retried, others become one line without the token."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, get_session
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError, redact

__all__ = ["call_hub", "check_access", "check_repo_name", "hub_timeout"]

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

RETRY_SECONDS = (1.0, 2.0, 4.0)  # waits before the second, third and fourth attempt
TIMEOUT_FACTOR = 6  # times HF_HUB_DOWNLOAD_TIMEOUT, which is 10 seconds by default
NETWORK_LIBRARIES = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")

_session_lock = threading.RLock()  # held while the timeout of the Hub client's shared session is changed


def check_repo_name(repo: str) -> None:
    """Check that a name has the form ORG/NAME.

    Raises:
        WavezooError: If it has not.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise WavezooError(f"--repo {repo}: {str(error).splitlines()[0]}", "use ORG/NAME") from error
    if repo.count("/") != 1:
        raise WavezooError(f"--repo {repo}: has no owner", "use ORG/NAME")


def check_access(api: HfApi, repo: str) -> None:
    """Check that the token may write to a repository, before anything is uploaded.

    Raises:
        WavezooError: If the token is missing or read-only, or may not write for this owner.
    """
    user = call_hub("reading the owner of the token", api.whoami)
    role = user.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise WavezooError(
            "the token is read-only", "create one with write access: https://huggingface.co/settings/tokens"
        )
    owners = [user["name"], *(organization["name"] for organization in user.get("orgs", []))]
    owner = repo.partition("/")[0]
    if owner not in owners:
        raise WavezooError(f"{user['name']} may not publish under '{owner}'", f"use one of: {', '.join(owners)}")


def call_hub(what: str, call: Callable[[], Answer]) -> Answer:
    """Call the Hub, and retry up to three times after a transient error: 429, 5xx, a timeout or a lost connection.

    Args:
        what: Name of the call, for messages.
        call: The call; it must be safe to repeat.

    Raises:
        WavezooError: If the Hub refuses, or does not answer.
    """
    for wait in (*RETRY_SECONDS, None):
        try:
            with _session_timeout():
                return call()
        except LocalTokenNotFoundError as error:
            raise WavezooError("no token for the Hub", "run 'hf auth login', or set HF_TOKEN") from error
        except OfflineModeIsEnabled as error:
            raise WavezooError("HF_HUB_OFFLINE disables the Hub", "unset it") from error
        except Exception as error:  # the network library depends on the version of huggingface_hub
            reason = redact(_reason(error))
            if wait is None or not _is_transient(error):
                raise _refusal(what, error, reason) from error
            logger.warning("Hub: %s: %s; retrying in %g s", what, reason, wait)
            time.sleep(wait)
    raise AssertionError  # the last attempt returns or raises


def hub_timeout() -> float:
    """Return the number of seconds that an answer of the Hub may take."""
    return TIMEOUT_FACTOR * float(constants.HF_HUB_DOWNLOAD_TIMEOUT)


@contextlib.contextmanager
def _session_timeout() -> Iterator[None]:
    """Limit the time for an answer in the body; the Hub client waits without a limit by default."""
    with _session_lock:
        session = get_session()
        before, session.timeout = session.timeout, hub_timeout()
        try:
            yield
        finally:
            session.timeout = before


def _is_transient(error: BaseException) -> bool:
    status = _status(error)
    if status is not None:
        return status == 429 or status >= 500
    return _is_network_error(error)


def _is_network_error(error: BaseException) -> bool:
    modules = {base.__module__.partition(".")[0] for base in type(error).__mro__}
    return bool(modules & set(NETWORK_LIBRARIES)) or isinstance(error, (ConnectionError, TimeoutError))


def _status(error: BaseException) -> int | None:
    response: Any = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _reason(error: BaseException) -> str:
    status = _status(error)
    if status is not None:
        message = getattr(error, "server_message", None) or ""
        phrase = getattr(error.response, "reason_phrase", "")  # type: ignore[attr-defined]
        return " ".join(f"{status} {phrase} {message}".split())
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _refusal(what: str, error: BaseException, reason: str) -> WavezooError:
    status = _status(error)
    text = f"{type(error).__name__} {error}".lower()
    if "xet" in text and not isinstance(error, WavezooError):
        return WavezooError(f"Hub: {what}: this Hub does not support Xet: {reason}", "set HF_HUB_DISABLE_XET=1")
    if status == 401:
        return WavezooError(f"Hub: {what}: {reason}", "the token is invalid: run 'hf auth login'")
    if status == 403:
        return WavezooError(f"Hub: {what}: {reason}", "the token lacks the permission")
    if status == 412:
        return WavezooError(f"Hub: {what}: the repository was changed by another commit", "run the command again")
    if isinstance(error, HfHubHTTPError):
        return WavezooError(f"Hub: {what}: {reason}", exit_code=INTERNAL_FAILURE)
    if _is_network_error(error):
        return WavezooError(f"Hub: {what}: no answer: {reason}", "check the connection", INTERNAL_FAILURE)
    return WavezooError(f"Hub: {what}: {type(error).__name__}: {reason}", exit_code=INTERNAL_FAILURE)
