"""user.v1.UserService and user.v2.UserService: the same users through both versions."""

import uuid
from types import SimpleNamespace

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2

from checks import SECONDS, Checks, detail, refused
from orders import other, violations

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def run(checks: Checks, v1: SimpleNamespace, v2: SimpleNamespace, channel: grpc.Channel) -> None:
    """The same flows through each version, then across them."""
    for version, api in (("v1", v1), ("v2", v2)):
        flows = Flows(checks, version, api, channel)
        checks.flows(flows.create, flows.update, flows.list)
    across(checks, v1, v2, channel)


class Flows:
    """What both versions promise."""

    def __init__(self, checks: Checks, version: str, api: SimpleNamespace, channel: grpc.Channel) -> None:
        self.check = lambda name: checks.check(f"user.{version}: {name}")
        self.api = api
        self.stub = api.UserServiceStub(channel)

    def new(self, name: str = "Ada") -> object:
        return self.stub.CreateUser(self.api.CreateUserRequest(email=new_email(), name=name), timeout=SECONDS)

    def update(self) -> None:
        api, stub = self.api, self.stub
        with self.check("UpdateUser: only what the mask names"):
            user = self.new()
            changed = api.User(id=user.id, email=new_email(), name="Grace")
            answer = stub.UpdateUser(
                api.UpdateUserRequest(user=changed, update_mask=FieldMask(paths=["name"])), timeout=SECONDS
            )
            assert (answer.id, answer.email, answer.name) == (user.id, user.email, "Grace"), answer
            assert stub.GetUser(api.GetUserRequest(id=user.id), timeout=SECONDS) == answer
        with self.check("UpdateUser: without a mask, what is not empty"):
            changed = api.User(id=user.id, email=new_email())
            answer = stub.UpdateUser(api.UpdateUserRequest(user=changed), timeout=SECONDS)
            assert (answer.email, answer.name) == (changed.email, "Grace"), answer
        with self.check("UpdateUser: a mask of something else is INVALID_ARGUMENT"):
            request = api.UpdateUserRequest(user=changed, update_mask=FieldMask(paths=["no_such_field"]))
            error = refused(INVALID, lambda: stub.UpdateUser(request, timeout=SECONDS))
            assert any(field.startswith("update_mask") for field in violations(error)), violations(error)
        with self.check("UpdateUser: somebody else's e-mail address is ALREADY_EXISTS"):
            request = api.UpdateUserRequest(user=api.User(id=self.new().id, email=changed.email))
            refused(grpc.StatusCode.ALREADY_EXISTS, lambda: stub.UpdateUser(request, timeout=SECONDS))
        with self.check("UpdateUser: NOT_FOUND with ResourceInfo"):
            request = api.UpdateUserRequest(user=api.User(id=str(uuid.uuid4()), name="Nobody"))
            error = refused(grpc.StatusCode.NOT_FOUND, lambda: stub.UpdateUser(request, timeout=SECONDS))
            assert detail(error, error_details_pb2.ResourceInfo).resource_name == request.user.id

    def create(self) -> None:
        api, stub = self.api, self.stub
        with self.check("CreateUser, GetUser: what was created is answered"):
            user = self.new()
            assert user.id and user.name == "Ada", user
            assert stub.GetUser(api.GetUserRequest(id=user.id), timeout=SECONDS) == user
        with self.check("CreateUser: a taken e-mail address is ALREADY_EXISTS, letter case aside"):
            request = api.CreateUserRequest(email=user.email.upper(), name="Eve")
            error = refused(grpc.StatusCode.ALREADY_EXISTS, lambda: stub.CreateUser(request, timeout=SECONDS))
            assert detail(error, error_details_pb2.ResourceInfo).resource_type
        with self.check("CreateUser: INVALID_ARGUMENT names every field at fault"):
            request = api.CreateUserRequest(email="not an address")
            error = refused(INVALID, lambda: stub.CreateUser(request, timeout=SECONDS))
            assert set(violations(error)) == {"email", "name"}, violations(error)
        with self.check("CreateUser: the same idempotency key answers the same user"):
            request = api.CreateUserRequest(email=new_email(), name="Ada")
            key = (("idempotency-key", uuid.uuid4().hex),)
            ids = {stub.CreateUser(request, timeout=SECONDS, metadata=key).id for _ in range(2)}
            assert len(ids) == 1, ids
        with self.check("GetUser: NOT_FOUND with ResourceInfo"):
            request = api.GetUserRequest(id=str(uuid.uuid4()))
            error = refused(grpc.StatusCode.NOT_FOUND, lambda: stub.GetUser(request, timeout=SECONDS))
            assert detail(error, error_details_pb2.ResourceInfo).resource_name == request.id

    def list(self) -> None:
        api, stub = self.api, self.stub
        tag = f"t{uuid.uuid4().hex}"
        created = [self.new(f"{tag} {number}").id for number in range(3)]
        filter = f'name : "{tag}"'

        def page(**fields: object) -> object:
            return stub.ListUsers(api.ListUsersRequest(**fields), timeout=SECONDS)

        with self.check("ListUsers: pages of two, newest first, with the total"):
            first = page(page_size=2, filter=filter)
            assert [user.id for user in first.users] == created[:0:-1] and first.total_size == 3, first
            last = page(page_size=2, filter=filter, page_token=first.next_page_token)
            assert [user.id for user in last.users] == created[:1] and last.total_size == 3, last
            assert last.next_page_token == "", last
        with self.check("ListUsers: filters by whole values, joined by AND"):
            found = page(filter=f'name = "{tag} 1" AND role = CUSTOMER')
            assert [user.id for user in found.users] == created[1:2] and found.total_size == 1, found
            assert page(filter=f'{filter} AND role = ADMIN').total_size == 0
        with self.check("ListUsers: a filter it does not know is INVALID_ARGUMENT"):
            for bad in ("colour = red", 'name = "open', "name", "role = KING", "name = \"a\" OR name = \"b\""):
                error = refused(INVALID, lambda: page(filter=bad))
                assert set(violations(error)) == {"filter"}, violations(error)
        with self.check("ListUsers: a tampered token is INVALID_ARGUMENT"):
            token = first.next_page_token
            middle = len(token) // 2
            tampered = token[:middle] + other(token[middle]) + token[middle + 1 :]
            refused(INVALID, lambda: page(page_size=2, filter=filter, page_token=tampered))
            refused(INVALID, lambda: page(page_size=2, filter="role = CUSTOMER", page_token=token))
        with self.check("ListUsers: a negative page size is INVALID_ARGUMENT"):
            error = refused(INVALID, lambda: page(page_size=-1))
            assert set(violations(error)) == {"page_size"}, violations(error)


def across(checks: Checks, v1: SimpleNamespace, v2: SimpleNamespace, channel: grpc.Channel) -> None:
    """Old and new clients beside each other."""
    old, new = v1.UserServiceStub(channel), v2.UserServiceStub(channel)
    with checks.check("user: an old client reads what a new client wrote, and the other way round"):
        request = v2.CreateUserRequest(email=new_email(), name="Ada", phone_number="+44 20 7946 0000")
        user = new.CreateUser(request, timeout=SECONDS)
        assert user.phone_number == request.phone_number and not user.email_verified, user
        seen = old.GetUser(v1.GetUserRequest(id=user.id), timeout=SECONDS)
        assert (seen.id, seen.email, seen.name) == (user.id, user.email, user.name), seen
        older = old.CreateUser(v1.CreateUserRequest(email=new_email(), name="Bob"), timeout=SECONDS)
        assert new.GetUser(v2.GetUserRequest(id=older.id), timeout=SECONDS).name == "Bob"
    with checks.check("user: an old client's update leaves the new fields alone"):
        verified = v2.UpdateUserRequest(
            user=v2.User(id=user.id, email_verified=True), update_mask=FieldMask(paths=["email_verified"])
        )
        assert new.UpdateUser(verified, timeout=SECONDS).email_verified
        renamed = v1.UpdateUserRequest(user=v1.User(id=user.id, name="Countess"))
        old.UpdateUser(renamed, timeout=SECONDS)
        seen = new.GetUser(v2.GetUserRequest(id=user.id), timeout=SECONDS)
        assert (seen.name, seen.phone_number, seen.email_verified) == ("Countess", user.phone_number, True), seen
    with checks.check("user: bytes of one version are bytes of the other"):
        assert v1.User.FromString(seen.SerializeToString()).name == seen.name


def new_email() -> str:
    return f"{uuid.uuid4().hex}@example.com"
