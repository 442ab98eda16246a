"""One line per check: `ok ...` when it held, `FAIL ...` with the reason when it did not."""

import contextlib
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_status import rpc_status

# Nothing here is slow. A call that takes longer than this has failed.
SECONDS = 10


class Checks:
    """Counts checks and prints them."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.passed = 0
        self.failed = 0

    @contextlib.contextmanager
    def check(self, name: str) -> Iterator[None]:
        """Runs the block as one check. A failure is printed and does not stop the next check."""
        try:
            yield
        except Exception as error:  # Whatever it was, the check did not hold.
            self.failed += 1
            print(f"FAIL {self.suite} {name}: {reason(error)}", flush=True)
        else:
            self.passed += 1
            print(f"ok   {self.suite} {name}", flush=True)


    def flows(self, *flows: Callable[[], None]) -> None:
        """Runs flows one after the other. One that cannot even prepare its checks has failed; the next one runs."""
        for flow in flows:
            try:
                flow()
            except Exception as error:  # Raised outside any check.
                self.failed += 1
                print(f"FAIL {self.suite} preparing {flow.__name__}: {reason(error)}", flush=True)


def reason(error: Exception) -> str:
    """The error and the line of the suite that raised it, in one line."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/interop/python/" in frame.filename]
    frame = frames[-1] if frames else None
    place = f" at {frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}: {frame.line}" if frame else ""
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        return f"{error.code()}: {error.details()}{place}"
    return f"{type(error).__name__}: {error}{place}".replace("\n", " ")


def refused(code: grpc.StatusCode, call: Callable[[], Any]) -> grpc.Call:
    """Runs a call that must fail with `code` and returns the failure. A stream is read until it fails."""
    try:
        answer = call()
        if isinstance(answer, grpc.Call):
            answer = list(answer)
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()}: {error.details()}, expected {code}"
        return error
    raise AssertionError(f"answered {answer!r}, expected {code}"[:300])


def detail(error: grpc.Call, kind: type[Message]) -> Any:
    """The detail of this kind, decoded from `grpc-status-details-bin`."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no details with: {error.details()}"
    for packed in status.details:
        found = kind()
        if packed.Unpack(found):
            return found
    raise AssertionError(f"no {kind.DESCRIPTOR.full_name} among {[packed.type_url for packed in status.details]}")
