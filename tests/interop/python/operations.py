"""What an operator asks: greeting, health, reflection, and the admin port."""

import re
import time
import urllib.request
from types import SimpleNamespace

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from checks import SECONDS, Checks, refused

SERVICES = ("ecommerce.v1.OrderService", "user.v1.UserService", "user.v2.UserService", "greeter.Greeter")
SERVING = health_pb2.HealthCheckResponse.SERVING


def greeter(checks: Checks, api: SimpleNamespace, channel: grpc.Channel) -> None:
    """The smallest service."""
    stub = api.GreeterStub(channel)
    with checks.check("SayHello: Hello NAME"):
        for name in ("World", "", "Z\u00fcrich \u2603"):
            assert stub.SayHello(api.HelloRequest(name=name), timeout=SECONDS).message == f"Hello {name}"
    with checks.check("SayHello: the name `invalid` is refused"):
        call = lambda: stub.SayHello(api.HelloRequest(name="invalid"), timeout=SECONDS)
        says = refused(grpc.StatusCode.INVALID_ARGUMENT, call).details()
        assert says == "name cannot be 'invalid'", says


def authority(checks: Checks, api: SimpleNamespace, target: str) -> None:
    """What grpcio does by itself on a Unix socket. It holds a defect in place until it is gone."""
    with checks.check("today, grpcio must be told an authority: its own is a path, which HTTP/2 servers in Rust refuse"):
        with grpc.insecure_channel(target) as channel:
            call = lambda: api.GreeterStub(channel).SayHello(api.HelloRequest(name="World"), timeout=SECONDS)
            says = refused(grpc.StatusCode.INTERNAL, call).details()
            assert "RST_STREAM" in says, says


def health(checks: Checks, channel: grpc.Channel) -> None:
    """grpc.health.v1, as probes use it."""
    stub = health_pb2_grpc.HealthStub(channel)
    ask = lambda service: health_pb2.HealthCheckRequest(service=service)
    for service in ("", "livez", "readyz", *SERVICES):
        with checks.check(f"Health.Check: {service or 'the whole'} is SERVING"):
            assert stub.Check(ask(service), timeout=SECONDS).status == SERVING
    with checks.check("Health.Check: an unknown service is NOT_FOUND"):
        refused(grpc.StatusCode.NOT_FOUND, lambda: stub.Check(ask("no.such.Service"), timeout=SECONDS))
    with checks.check("Health.Watch: the present status at once, then it stays open"):
        for service, status in (("", SERVING), ("no.such.Service", health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)):
            watch = stub.Watch(ask(service), timeout=SECONDS)
            assert next(watch).status == status
            assert watch.is_active()
            watch.cancel()
    if hasattr(stub, "List"):
        with checks.check("Health.List: every service with its status"):
            listed = stub.List(health_pb2.HealthListRequest(), timeout=SECONDS).statuses
            missing = {"", *SERVICES} - set(listed)
            assert not missing, f"{missing} missing from {sorted(listed)}"
            assert all(listed[service].status == SERVING for service in SERVICES), listed


def reflection(checks: Checks, channel: grpc.Channel) -> None:
    """A client that knows nothing finds a method and calls it."""
    with checks.check("reflection v1alpha: lists our services"):
        database = ProtoReflectionDescriptorDatabase(channel)
        listed = set(database.get_services())
        assert set(SERVICES) <= listed, listed
    with checks.check("reflection v1alpha: a method is found, understood and called"):
        pool = descriptor_pool.DescriptorPool(database)
        method = pool.FindServiceByName("greeter.Greeter").FindMethodByName("SayHello")
        ask, answer = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
        call = channel.unary_unary("/greeter.Greeter/SayHello", ask.SerializeToString, answer.FromString)
        assert call(ask(name="stranger"), timeout=SECONDS).message == "Hello stranger"
    with checks.check("reflection v1: lists the same services"):
        # The messages of both versions are the same on the wire.
        call = channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        (response,) = call(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=SECONDS)
        assert {service.name for service in response.list_services_response.service} == listed, response


def admin(checks: Checks, address: str) -> None:
    """The HTTP port, after the other checks have made some traffic."""
    for path in ("/livez", "/readyz"):
        with checks.check(f"admin: {path} answers 200"):
            assert get(address, path)[0] == 200
    with checks.check("admin: /metrics counts the calls by method and code"):
        requests = counter(address, "grpc_requests_total")
        created = requests(method="ecommerce.v1.OrderService/CreateOrder", code="OK")
        assert created >= 1, created
        assert requests(method="ecommerce.v1.OrderService/GetOrder", code="NOT_FOUND") >= 1
        assert counter(address, "orders_created_total")() >= created, "batches and single orders"
    with checks.check("admin: /metrics has durations"):
        assert counter(address, "grpc_request_duration_seconds_count")(method="greeter.Greeter/SayHello") >= 1
    with checks.check("admin: /metrics does not grow with what strangers call"):
        text = get(address, "/metrics")[1]
        assert "NoSuchMethod" not in text and "NoSuchService" not in text
        assert counter(address, "grpc_requests_total")(method="_OTHER", code="UNIMPLEMENTED") >= 1
    with checks.check("admin: cancelled and expired watches are not counted as active"):
        deadline = time.monotonic() + SECONDS
        active = None
        while active != 0 and time.monotonic() < deadline:
            active = counter(address, "grpc_active_requests")(method="ecommerce.v1.OrderService/WatchOrder")
            time.sleep(0.05)
        assert active == 0, active


def get(address: str, path: str) -> tuple[int, str]:
    """One request past any proxy of the environment."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{address}{path}", timeout=SECONDS) as answer:
        return answer.status, answer.read().decode()


def counter(address: str, name: str):
    """Scrapes once; the answer sums the samples of `name` whose labels include the given ones."""
    samples = []
    for line in get(address, "/metrics")[1].splitlines():
        found = re.match(r"(?P<name>\w+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)", line)
        if found and found["name"] == name:
            labels = dict(re.findall(r'(\w+)="([^"]*)"', found["labels"] or ""))
            samples.append((labels, float(found["value"])))
    assert samples, f"no {name}"
    return lambda **wanted: sum(value for labels, value in samples if wanted.items() <= labels.items())
