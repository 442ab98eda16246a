"""ecommerce.v1.OrderService: all six methods, and what they refuse."""

import math
import queue
import re
import time
import uuid
from types import SimpleNamespace

import grpc
from google.rpc import error_details_pb2

from checks import SECONDS, Checks, detail, refused

KEY = "idempotency-key"
NEXT = "next-page-token"
MIB = 1024 * 1024


def run(checks: Checks, api: SimpleNamespace, channel: grpc.Channel) -> None:
    """Every flow, each with orders of its own."""
    flows = Flows(checks, api, channel)
    checks.flows(
        flows.create,
        flows.create_refuses,
        flows.create_once,
        flows.get,
        flows.watch_and_process,
        flows.process_refuses,
        flows.list,
        flows.list_refuses,
        flows.batch,
        flows.sizes,
        flows.deadline_and_cancel,
        flows.unknown_method,
    )


class Flows:
    """The checks share a channel and nothing else."""

    def __init__(self, checks: Checks, api: SimpleNamespace, channel: grpc.Channel) -> None:
        self.check = checks.check
        self.api = api
        self.channel = channel
        self.stub = api.OrderServiceStub(channel)

    def request(self, user: str | None = None, **item: object) -> object:
        """A good request, for a new user unless told otherwise."""
        item = {"product_id": "tea", "quantity": 3, "price": 19.99} | item
        return self.api.CreateOrderRequest(user_id=user or new_user(), items=[self.api.OrderItem(**item)])

    def place(self, user: str | None = None) -> object:
        return self.stub.CreateOrder(self.request(user), timeout=SECONDS)

    def create(self) -> None:
        with self.check("CreateOrder: a pending order with its exact total"):
            request = self.request()
            request.items.add(product_id="cup", quantity=1, price=0.01)
            order = self.stub.CreateOrder(request, timeout=SECONDS)
            assert order.id and order.user_id == request.user_id, order
            assert list(order.items) == list(request.items), order
            assert order.total_amount == 59.98, order.total_amount
            assert order.status == self.api.ORDER_STATUS_PENDING, order.status
            assert abs(order.created_at.ToSeconds() - time.time()) < 300, order.created_at
        with self.check("CreateOrder: a gzip request is understood"):
            order = self.stub.CreateOrder(self.request(), timeout=SECONDS, compression=grpc.Compression.Gzip)
            assert order.id, order

    def create_refuses(self) -> None:
        with self.check("CreateOrder: INVALID_ARGUMENT names every field at fault"):
            item = self.api.OrderItem(product_id="", quantity=0, price=-1.0)
            request = self.api.CreateOrderRequest(items=[item])
            error = refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.stub.CreateOrder(request, timeout=SECONDS))
            assert error.details(), "no message"
            fields = violations(error)
            expected = {"user_id", "items[0].product_id", "items[0].quantity", "items[0].price"}
            assert set(fields) == expected, fields
            assert all(fields.values()), fields
        with self.check("CreateOrder: INVALID_ARGUMENT for the second item is about items[1]"):
            request = self.request()
            request.items.add(product_id="cup", quantity=-1, price=1)
            error = refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.stub.CreateOrder(request, timeout=SECONDS))
            assert set(violations(error)) == {"items[1].quantity"}, violations(error)
        with self.check("CreateOrder: at least one item required"):
            request = self.api.CreateOrderRequest(user_id=new_user())
            error = refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.stub.CreateOrder(request, timeout=SECONDS))
            assert violations(error) == {"items": "at least one item required"}, violations(error)
        for price in (math.nan, math.inf):
            with self.check(f"CreateOrder: a price of {price} is refused"):
                bad = self.request(price=price)
                error = refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.stub.CreateOrder(bad, timeout=SECONDS))
                assert set(violations(error)) == {"items[0].price"}, violations(error)

    def create_once(self) -> None:
        key = ((KEY, uuid.uuid4().hex),)
        request = self.request()
        with self.check("idempotency: the same key and request answer the same order"):
            ids = {self.stub.CreateOrder(request, timeout=SECONDS, metadata=key).id for _ in range(3)}
            assert len(ids) == 1, ids
        with self.check("idempotency: calls at the same time answer one order"):
            key_of_all = ((KEY, uuid.uuid4().hex),)
            calls = [self.stub.CreateOrder.future(request, timeout=SECONDS, metadata=key_of_all) for _ in range(8)]
            ids = {call.result().id for call in calls}
            assert len(ids) == 1, ids
        with self.check("idempotency: the same key for another request is FAILED_PRECONDITION with ErrorInfo"):
            other = self.request(request.user_id, quantity=4)
            call = lambda: self.stub.CreateOrder(other, timeout=SECONDS, metadata=key)
            info = detail(refused(grpc.StatusCode.FAILED_PRECONDITION, call), error_details_pb2.ErrorInfo)
            assert info.reason == "IDEMPOTENCY_KEY_REUSED" and info.domain, info
        with self.check("idempotency: another user's key is another key"):
            first = self.stub.CreateOrder(request, timeout=SECONDS, metadata=key)
            assert self.stub.CreateOrder(self.request(), timeout=SECONDS, metadata=key).id != first.id

    def get(self) -> None:
        with self.check("GetOrder: the order as it was created"):
            order = self.place()
            assert self.stub.GetOrder(self.api.GetOrderRequest(order_id=order.id), timeout=SECONDS) == order
        with self.check("GetOrder: NOT_FOUND with ResourceInfo"):
            request = self.api.GetOrderRequest(order_id=str(uuid.uuid4()))
            error = refused(grpc.StatusCode.NOT_FOUND, lambda: self.stub.GetOrder(request, timeout=SECONDS))
            info = detail(error, error_details_pb2.ResourceInfo)
            assert info.resource_type and info.resource_name == request.order_id, info
        with self.check("GetOrder: an empty id is INVALID_ARGUMENT"):
            call = lambda: self.stub.GetOrder(self.api.GetOrderRequest(), timeout=SECONDS)
            error = refused(grpc.StatusCode.INVALID_ARGUMENT, call)
            assert set(violations(error)) == {"order_id"}, violations(error)

    def watch_and_process(self) -> None:
        api = self.api
        with self.check("WatchOrder, ProcessOrders: each change in lock step, then the watch ends with OK"):
            order = self.place()
            updates = self.stub.WatchOrder(api.WatchOrderRequest(order_id=order.id), timeout=SECONDS)
            first = next(updates)
            assert first.order == order, first
            process = LockStep(self.stub, api)
            for status in (api.ORDER_STATUS_CONFIRMED, api.ORDER_STATUS_SHIPPED, api.ORDER_STATUS_DELIVERED):
                answer = process.move(order.id, status)
                assert answer.success and not answer.error_message, answer
                update = next(updates)
                assert update.order.id == order.id and update.order.status == status, update
                assert update.updated_at.ToNanoseconds() >= order.created_at.ToNanoseconds(), update
            process.finish()
            assert list(updates) == [] and updates.code() == grpc.StatusCode.OK, updates.code()
            delivered = self.stub.GetOrder(api.GetOrderRequest(order_id=order.id), timeout=SECONDS)
            assert delivered.status == api.ORDER_STATUS_DELIVERED, delivered
        with self.check("WatchOrder: two watchers see a cancellation and end"):
            order = self.place()
            request = api.WatchOrderRequest(order_id=order.id)
            watchers = [self.stub.WatchOrder(request, timeout=SECONDS) for _ in range(2)]
            for watcher in watchers:
                assert next(watcher).order.status == api.ORDER_STATUS_PENDING
            process = LockStep(self.stub, api)
            assert process.move(order.id, api.ORDER_STATUS_CANCELLED).success
            process.finish()
            for watcher in watchers:
                seen = [update.order.status for update in watcher]
                assert seen == [api.ORDER_STATUS_CANCELLED] and watcher.code() == grpc.StatusCode.OK, seen
        with self.check("WatchOrder: a final order is answered once, then OK"):
            request = api.WatchOrderRequest(order_id=order.id)
            updates = list(self.stub.WatchOrder(request, timeout=SECONDS))
            assert [update.order.status for update in updates] == [api.ORDER_STATUS_CANCELLED], updates
        with self.check("WatchOrder: NOT_FOUND with ResourceInfo"):
            request = api.WatchOrderRequest(order_id=str(uuid.uuid4()))
            error = refused(grpc.StatusCode.NOT_FOUND, lambda: self.stub.WatchOrder(request, timeout=SECONDS))
            assert detail(error, error_details_pb2.ResourceInfo).resource_name == request.order_id

    def process_refuses(self) -> None:
        api = self.api
        with self.check("ProcessOrders: an illegal step is refused with a sentence and the stream goes on"):
            order = self.place()
            process = LockStep(self.stub, api)
            for status in (api.ORDER_STATUS_SHIPPED, api.ORDER_STATUS_PENDING, api.ORDER_STATUS_UNSPECIFIED, 77):
                answer = process.move(order.id, status)
                assert answer.order_id == order.id and not answer.success, answer
                assert is_sentence(answer.error_message), answer
            assert process.move(order.id, api.ORDER_STATUS_CONFIRMED).success
            process.finish()
        with self.check("ProcessOrders: an unknown order is refused with a sentence"):
            process = LockStep(self.stub, api)
            unknown = str(uuid.uuid4())
            answer = process.move(unknown, api.ORDER_STATUS_CONFIRMED)
            assert answer.order_id == unknown and not answer.success, answer
            assert is_sentence(answer.error_message), answer
            process.finish()
        with self.check("ProcessOrders: a stream without requests ends with OK"):
            call = self.stub.ProcessOrders(iter(()), timeout=SECONDS)
            assert list(call) == [] and call.code() == grpc.StatusCode.OK

    def page(self, user: str, size: int, token: str = "") -> tuple[list[str], str | None]:
        request = self.api.ListOrdersRequest(user_id=user, page_size=size, page_token=token)
        call = self.stub.ListOrders(request, timeout=SECONDS)
        ids = [order.id for order in call]
        trailers = dict(call.trailing_metadata())
        return ids, trailers.get(NEXT)

    def list(self) -> None:
        with self.check("ListOrders: pages of two, newest first, until there is no token"):
            user = new_user()
            placed = [self.place(user).id for _ in range(5)]
            pages, token = [], ""
            while token is not None:
                ids, token = self.page(user, 2, token)
                pages.append(ids)
                assert len(pages) <= 3, pages
            newest = placed[::-1]
            assert pages == [newest[0:2], newest[2:4], newest[4:5]], pages
        with self.check("ListOrders: the default page holds them all, without a token"):
            assert self.page(user, 0) == (newest, None)
        with self.check("ListOrders: a page size may change between pages"):
            _, token = self.page(user, 1)
            assert self.page(user, 100, token) == (newest[1:], None)
        with self.check("ListOrders: a user without orders has an empty page"):
            assert self.page(new_user(), 10) == ([], None)

    def list_refuses(self) -> None:
        user = new_user()
        for _ in range(2):
            self.place(user)
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        with self.check("ListOrders: a tampered token is INVALID_ARGUMENT"):
            _, token = self.page(user, 1)
            assert token
            middle = len(token) // 2
            for tampered in (token[:middle] + other(token[middle]) + token[middle + 1 :], token[:-4], "x", "\u00e9"):
                error = refused(invalid, lambda: self.page(user, 1, tampered))
                assert set(violations(error)) == {"page_token"}, violations(error)
        with self.check("ListOrders: another user's token is INVALID_ARGUMENT"):
            refused(invalid, lambda: self.page(new_user(), 1, token))
        with self.check("ListOrders: a negative page size is INVALID_ARGUMENT"):
            error = refused(invalid, lambda: self.page(user, -1))
            assert set(violations(error)) == {"page_size"}, violations(error)

    def batch(self) -> None:
        with self.check("BatchCreateOrders: good and bad are counted, the good stay in sequence"):
            user = new_user()
            batch = [self.request(user, quantity=quantity) for quantity in (1, 0, 2, -5, 3)]
            answer = self.stub.BatchCreateOrders(iter(batch), timeout=SECONDS)
            assert (answer.success_count, answer.failure_count) == (3, 2), answer
            assert [order.items[0].quantity for order in answer.orders] == [1, 2, 3], answer
            assert self.page(user, 10)[0] == [order.id for order in answer.orders][::-1]
        with self.check("BatchCreateOrders: an empty batch creates nothing"):
            answer = self.stub.BatchCreateOrders(iter(()), timeout=SECONDS)
            assert answer == self.api.BatchCreateOrdersResponse(), answer
        with self.check("BatchCreateOrders: 200 messages, gzip"):
            batch = (self.request(quantity=1) for _ in range(200))
            answer = self.stub.BatchCreateOrders(batch, timeout=3 * SECONDS, compression=grpc.Compression.Gzip)
            assert (answer.success_count, len(answer.orders)) == (200, 200), answer.success_count

    def sizes(self) -> None:
        big = self.request(product_id="x" * (5 * MIB))
        exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
        with self.check("a request over 4 MiB is RESOURCE_EXHAUSTED and names both sizes and the setting"):
            says = refused(exhausted, lambda: self.stub.CreateOrder(big, timeout=SECONDS)).details()
            assert len(re.findall(r"\d+", says)) >= 2, f"not both sizes: {says}"
            assert "message_size" in says, f"not the setting: {says}"
        with self.check("a gzip request that would be over 4 MiB is RESOURCE_EXHAUSTED and names the limit"):
            # How large it would have become is not known when it is refused.
            gzip = grpc.Compression.Gzip
            says = refused(exhausted, lambda: self.stub.CreateOrder(big, timeout=SECONDS, compression=gzip)).details()
            assert re.search(r"\d+", says), f"not the limit: {says}"
        with self.check("the connection survives a request that was too big"):
            assert self.place().id

    def deadline_and_cancel(self) -> None:
        order = self.place()
        request = self.api.WatchOrderRequest(order_id=order.id)
        with self.check("WatchOrder: a deadline of 50 ms ends it with DEADLINE_EXCEEDED"):
            started = time.monotonic()
            refused(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: self.stub.WatchOrder(request, timeout=0.05))
            assert time.monotonic() - started < 5
        with self.check("WatchOrder: a cancelled watch leaves the service well"):
            watches = [self.stub.WatchOrder(request, timeout=SECONDS) for _ in range(20)]
            for watch in watches:
                assert next(watch).order.id == order.id
            for watch in watches:
                watch.cancel()
                assert watch.code() == grpc.StatusCode.CANCELLED, watch.code()
            assert self.stub.GetOrder(self.api.GetOrderRequest(order_id=order.id), timeout=SECONDS) == order

    def unknown_method(self) -> None:
        for path in ("/ecommerce.v1.OrderService/NoSuchMethod", "/ecommerce.v9.NoSuchService/CreateOrder"):
            with self.check(f"{path} is UNIMPLEMENTED"):
                call = self.channel.unary_unary(path)
                refused(grpc.StatusCode.UNIMPLEMENTED, lambda: call(b"", timeout=SECONDS))


class LockStep:
    """A ProcessOrders stream that sends one request and reads its answer before it sends the next."""

    def __init__(self, stub: object, api: SimpleNamespace) -> None:
        self.api = api
        self.requests: queue.SimpleQueue = queue.SimpleQueue()
        self.call = stub.ProcessOrders(iter(self.requests.get, None), timeout=SECONDS)

    def move(self, order_id: str, status: int) -> object:
        self.requests.put(self.api.ProcessOrderRequest(order_id=order_id, new_status=status))
        return next(self.call)

    def finish(self) -> None:
        """Closes the sending side. The service must have nothing more to say."""
        self.requests.put(None)
        assert list(self.call) == [] and self.call.code() == grpc.StatusCode.OK, self.call.code()


def new_user() -> str:
    return f"user-{uuid.uuid4()}"


def violations(error: grpc.Call) -> dict[str, str]:
    """Field -> description, of a google.rpc.BadRequest."""
    found = detail(error, error_details_pb2.BadRequest).field_violations
    return {violation.field: violation.description for violation in found}


def is_sentence(text: str) -> bool:
    return len(text.split()) >= 3


def other(character: str) -> str:
    return "A" if character != "A" else "B"
