"""Drives the reference service with grpcio, over TCP and over a Unix socket. `cargo xtask interop` starts it."""

import argparse
import sys

import grpc

import operations
import orders
import users
from checks import SECONDS, Checks
from protos import Protos


OPTIONS = [
    # Environment settings of a proxy do not concern a loopback address.
    ("grpc.enable_http_proxy", 0),
    # Told for Unix sockets only as long as `operations.authority` holds.
    ("grpc.default_authority", "localhost"),
]


def main() -> int:
    arguments = parse()
    protos = Protos(arguments.proto)
    failed = 0
    for where, target in (("tcp", arguments.grpc), ("unix", arguments.unix)):
        checks = Checks(f"python {where}")
        with grpc.insecure_channel(target, options=OPTIONS) as channel:
            grpc.channel_ready_future(channel).result(timeout=SECONDS)
            operations.greeter(checks, protos["greeter"], channel)
            operations.health(checks, channel)
            orders.run(checks, protos["ecommerce.v1"], channel)
            users.run(checks, protos["user.v1"], protos["user.v2"], channel)
            operations.health(checks, channel)
            if arguments.reflection:
                operations.reflection(checks, channel)
        failed += checks.failed
    checks = Checks("python unix")
    operations.authority(checks, protos["greeter"], arguments.unix)
    failed += checks.failed
    checks = Checks("python http")
    operations.admin(checks, arguments.admin)
    failed += checks.failed
    return 1 if failed else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grpc", required=True, help="host:port")
    parser.add_argument("--unix", required=True, help="unix:/path")
    parser.add_argument("--admin", required=True, help="host:port")
    parser.add_argument("--proto", required=True, help="folder of the .proto files")
    parser.add_argument("--reflection", action="store_true", help="the service was started with reflection")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
