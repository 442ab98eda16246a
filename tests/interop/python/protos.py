"""Compiles the repository's .proto files and finds what came out by its protobuf name, not by its file."""

import importlib
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import grpc_tools
from grpc_tools import protoc


class Protos:
    """Generated messages and stubs, by package."""

    def __init__(self, folder: str) -> None:
        root = Path(folder).resolve()
        out = Path(os.environ["INTEROP_GENERATED"])
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        # google.rpc comes with the installed packages; a second copy would collide with it.
        files = sorted(path for path in root.rglob("*.proto") if path.relative_to(root).parts[0] != "google")
        bundled = Path(grpc_tools.__file__).parent / "_proto"
        arguments = [f"-I{root}", f"-I{bundled}", f"--python_out={out}", f"--grpc_python_out={out}"]
        if protoc.main(["protoc", *arguments, *map(str, files)]) != 0:
            raise SystemExit("protoc refused the .proto files")
        sys.path.insert(0, str(out))
        self.packages: dict[str, SimpleNamespace] = {}
        for path in files:
            self._collect(".".join(path.relative_to(root).with_suffix("").parts))

    def _collect(self, module: str) -> None:
        messages = importlib.import_module(f"{module}_pb2")
        package = self.packages.setdefault(messages.DESCRIPTOR.package, SimpleNamespace())
        for name in messages.DESCRIPTOR.message_types_by_name:
            setattr(package, name, getattr(messages, name))
        for enum in messages.DESCRIPTOR.enum_types_by_name.values():
            for value in enum.values:
                setattr(package, value.name, value.number)
        if messages.DESCRIPTOR.services_by_name:
            stubs = importlib.import_module(f"{module}_pb2_grpc")
            for name in messages.DESCRIPTOR.services_by_name:
                setattr(package, f"{name}Stub", getattr(stubs, f"{name}Stub"))

    def __getitem__(self, package: str) -> SimpleNamespace:
        return self.packages[package]
