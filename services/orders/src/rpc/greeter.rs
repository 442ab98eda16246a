//! `greeter.Greeter`.

use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult};

use super::errors::{self, Problem};
use super::validate;
use crate::proto::greeter::{Greeter as Contract, HelloReply, HelloRequest};

/// Greets by name.
#[derive(Debug)]
pub(crate) struct Greeter;

impl Contract for Greeter {
    async fn say_hello(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, HelloRequest>,
    ) -> ServiceResult<HelloReply> {
        validate::check(request.view())?;
        if request.name == "invalid" {
            return Err(errors::invalid(vec![Problem::new("name", "cannot be 'invalid'")]));
        }
        Response::ok(HelloReply { message: format!("Hello {}", request.name), ..Default::default() })
    }
}
