// Messages that every gRPC user shares, written down here so that the suite needs no other package: the parts of
// google.rpc, grpc.health.v1 and grpc.reflection.v1 that it reads.
"use strict";

const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");
const protobuf = require("protobufjs");

const field = (type, id, rule) => (rule ? { type, id, rule } : { type, id });
const message = (fields) => ({ fields });

const RPC = {
  Status: message({ code: field("int32", 1), message: field("string", 2), details: field("Any", 3, "repeated") }),
  // google.protobuf.Any, by its wire format.
  Any: message({ typeUrl: field("string", 1), value: field("bytes", 2) }),
  ErrorInfo: message({ reason: field("string", 1), domain: field("string", 2) }),
  ResourceInfo: message({ resourceType: field("string", 1), resourceName: field("string", 2) }),
  BadRequest: message({ fieldViolations: field("FieldViolation", 1, "repeated") }),
  FieldViolation: message({ field: field("string", 1), description: field("string", 2) }),
};

const HEALTH = {
  ServingStatus: { values: { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 } },
  HealthCheckRequest: message({ service: field("string", 1) }),
  HealthCheckResponse: message({ status: field("ServingStatus", 1) }),
  HealthListRequest: message({}),
  HealthListResponse: message({ statuses: { keyType: "string", type: "HealthCheckResponse", id: 1 } }),
  Health: {
    methods: {
      Check: { requestType: "HealthCheckRequest", responseType: "HealthCheckResponse" },
      Watch: { requestType: "HealthCheckRequest", responseType: "HealthCheckResponse", responseStream: true },
      List: { requestType: "HealthListRequest", responseType: "HealthListResponse" },
    },
  },
};

const REFLECTION = {
  ServerReflectionRequest: message({ fileContainingSymbol: field("string", 4), listServices: field("string", 7) }),
  ServerReflectionResponse: message({
    fileDescriptorResponse: field("FileDescriptorResponse", 4),
    listServicesResponse: field("ListServiceResponse", 6),
  }),
  FileDescriptorResponse: message({ fileDescriptorProto: field("bytes", 1, "repeated") }),
  ListServiceResponse: message({ service: field("ServiceResponse", 1, "repeated") }),
  ServiceResponse: message({ name: field("string", 1) }),
  ServerReflection: {
    methods: {
      ServerReflectionInfo: {
        requestType: "ServerReflectionRequest",
        responseType: "ServerReflectionResponse",
        requestStream: true,
        responseStream: true,
      },
    },
  },
};

/** Names `a.b.c` as nested namespaces. */
const inside = (name, content) => name.split(".").reduceRight((nested, part) => ({ nested: { [part]: nested } }), content);

const LOADED = { enums: String, longs: String, defaults: true };

function client(name, content) {
  const definition = protoLoader.fromJSON(inside(name, { nested: content }), LOADED);
  return name.split(".").reduce((found, part) => found[part], grpc.loadPackageDefinition(definition));
}

const { Health } = client("grpc.health.v1", HEALTH);
const { ServerReflection } = client("grpc.reflection.v1", REFLECTION);
const rpc = protobuf.Root.fromJSON({ nested: RPC });

/** A `google.rpc.Status` from its bytes, with its detail of this kind. */
function details(bytes, kind) {
  const status = rpc.lookupType("Status").decode(bytes);
  const packed = status.details.find(({ typeUrl }) => typeUrl === `type.googleapis.com/${kind}`);
  const type = rpc.lookupType(kind.split(".").pop());
  return { code: status.code, message: status.message, found: packed && type.decode(packed.value) };
}

module.exports = { Health, ServerReflection, details };
