"""Asking the Hub: what is temporary is tried again, visibly; what is not ends in one line without the token."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, get_session, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError

__all__ = ["ask", "check_access", "check_repo_name", "redact"]

Answer = TypeVar("Answer")

WAITS = (1.0, 2.0, 4.0)  # seconds before the second, third and last try
TIMEOUTS = 6  # of a download, 10 s each unless HF_HUB_DOWNLOAD_TIMEOUT says otherwise: how long an answer may take
TRANSPORT = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")  # whose errors are those of the network


def check_repo_name(repo: str) -> None:
    """Make sure that a name has the form ORG/NAME.

    Raises:
        WavezooError: If it has not.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise WavezooError(f"--repo {repo}: {str(error).splitlines()[0]}", "ORG/NAME") from error
    if repo.count("/") != 1:
        raise WavezooError(f"--repo {repo}: names no owner", "ORG/NAME")


def check_access(api: HfApi, repo: str, note: Callable[[str], None]) -> None:
    """Make sure that there is a token that may write to a repository, before anything is sent.

    Raises:
        WavezooError: If there is none, it only reads, or the owner is somebody else.
    """
    who = ask("who the token belongs to", api.whoami, note)
    role = who.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise WavezooError(
            "the token may only read", "make one that may write at https://huggingface.co/settings/tokens"
        )
    owners = [who["name"], *(organization["name"] for organization in who.get("orgs", []))]
    owner = repo.partition("/")[0]
    if owner not in owners:
        raise WavezooError(f"{who['name']} may not publish under '{owner}'", f"owners open to it: {', '.join(owners)}")


def ask(what: str, call: Callable[[], Answer], note: Callable[[str], None]) -> Answer:
    """Call the Hub; after 429, 5xx, a time-out or a dropped connection, again, up to three times.

    Args:
        what: What is asked, for messages.
        call: Asks; it has to do no harm when done twice.
        note: Called with a line before each further try.

    Raises:
        WavezooError: If the Hub refuses, or there is no answer.
    """
    for wait in (*WAITS, None):
        try:
            with _patience():
                return call()
        except LocalTokenNotFoundError as error:
            raise WavezooError("no token for the Hub", "'hf auth login', or set HF_TOKEN") from error
        except OfflineModeIsEnabled as error:
            raise WavezooError("the Hub is switched off by HF_HUB_OFFLINE", "unset it") from error
        except Exception as error:  # of whatever network library the client uses
            reason = _reason(error)
            if wait is None or not _is_temporary(error):
                raise _refusal(what, error, reason) from error
            note(f"Hub: {what}: {reason}; trying again in {wait:g} s")
            time.sleep(wait)
    raise AssertionError  # the last try returns or raises


def redact(text: str) -> str:
    """Return ``text`` without the token."""
    token = get_token()
    return text.replace(token, "***") if token else text


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Give an answer a minute: left alone, the Hub's client waits for it for ever."""
    session = get_session()
    usual, session.timeout = session.timeout, TIMEOUTS * constants.HF_HUB_DOWNLOAD_TIMEOUT
    try:
        yield
    finally:
        session.timeout = usual


def _is_temporary(error: BaseException) -> bool:
    status = _status(error)
    if status is not None:
        return status == 429 or status >= 500
    return _is_transport(error)


def _is_transport(error: BaseException) -> bool:
    modules = {base.__module__.partition(".")[0] for base in type(error).__mro__}
    return bool(modules & set(TRANSPORT)) or isinstance(error, (ConnectionError, TimeoutError))


def _status(error: BaseException) -> int | None:
    response: Any = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _reason(error: BaseException) -> str:
    status = _status(error)
    if status is not None:
        message = getattr(error, "server_message", None) or ""
        phrase = getattr(error.response, "reason_phrase", "")  # type: ignore[attr-defined]
        return redact(" ".join(f"{status} {phrase} {message}".split()))
    lines = str(error).strip().splitlines()
    return redact(lines[0] if lines else type(error).__name__)


def _refusal(what: str, error: BaseException, reason: str) -> WavezooError:
    status = _status(error)
    text = f"{type(error).__name__} {error}".lower()
    if "xet" in text and not isinstance(error, WavezooError):
        return WavezooError(f"Hub: {what}: this Hub does not take Xet: {reason}", "set HF_HUB_DISABLE_XET=1")
    if status == 401:
        return WavezooError(f"Hub: {what}: {reason}", "the token is not valid: 'hf auth login'")
    if status == 403:
        return WavezooError(f"Hub: {what}: {reason}", "the token lacks the right to do that")
    if status == 412:
        return WavezooError(f"Hub: {what}: the repository has changed meanwhile", "run it again")
    if isinstance(error, HfHubHTTPError):
        return WavezooError(f"Hub: {what}: {reason}", exit_code=INTERNAL_FAILURE)
    if _is_transport(error):
        return WavezooError(f"Hub: {what}: no answer: {reason}", "is it reachable?", INTERNAL_FAILURE)
    return WavezooError(f"Hub: {what}: {type(error).__name__}: {reason}", exit_code=INTERNAL_FAILURE)
