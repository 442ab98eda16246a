//! For tests: descriptors, and a gRPC service that is a closure.

use std::convert::Infallible;
use std::path::Path;

use highball_core::{Body, Status, envelope};
use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;

use crate::Schema;

/// The encoded descriptors of `testdata`.
pub(crate) fn set() -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compiler = protox::Compiler::new([root.join("testdata"), root.join("../../proto")]).unwrap();
    compiler.include_source_info(true).include_imports(true).open_files(["shop/v1/shop.proto"]).unwrap();
    compiler.encode_file_descriptor_set()
}

/// The methods of `testdata`.
pub(crate) fn schema() -> Schema {
    Schema::new(&[&set()]).unwrap()
}

/// A gRPC response with these messages, each in a frame of its own.
pub(crate) fn answer(messages: &[&[u8]], status: &Status) -> Response<Body> {
    let frames = messages.iter().map(|message| Frame::data(envelope::seal(message)));
    let trailers = Frame::trailers(status.to_trailers());
    let frames: Vec<_> = frames.chain([trailers]).map(Ok::<_, Infallible>).collect();
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}
