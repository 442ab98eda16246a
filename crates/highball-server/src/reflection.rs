//! Server reflection, `grpc.reflection.v1` and `v1alpha`: the two differ in their package name only.

use std::collections::HashSet;
use std::sync::Arc;

use buffa::Message as _;
use buffa_descriptor::DescriptorPool;
use buffa_descriptor::generated::descriptor::FileDescriptorProto;
use futures_util::stream;
use highball_core::{Body, Code, Status};
use highball_net::Draining;
use http::{Request, Response};

use crate::builtin::grpc::reflection::v1::server_reflection_request::MessageRequest;
use crate::builtin::grpc::reflection::v1::server_reflection_response::MessageResponse;
use crate::builtin::grpc::reflection::v1::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
    ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
};
use crate::message::{self, Inbound};

/// Answers one `ServerReflectionInfo` stream: each question in order, until the caller is done or the drain begins.
pub(crate) fn call(pool: &Arc<DescriptorPool>, draining: Draining, request: Request<Body>) -> Response<Body> {
    let inbound = Inbound::new(request.into_body());
    let dialogue = Dialogue { pool: pool.clone(), inbound, draining, sent: HashSet::new(), ended: false };
    message::stream(stream::unfold(dialogue, |mut dialogue| async move {
        let answer = dialogue.next().await?;
        dialogue.ended = answer.is_err();
        Some((answer, dialogue))
    }))
}

struct Dialogue {
    pool: Arc<DescriptorPool>,
    inbound: Inbound,
    draining: Draining,
    /// Files this caller has; bounded by the files in the pool.
    sent: HashSet<String>,
    ended: bool,
}

impl Dialogue {
    async fn next(&mut self) -> Option<Result<ServerReflectionResponse, Status>> {
        if self.ended {
            return None;
        }
        tokio::select! {
            biased;
            () = self.draining.begun() => Some(Err(Status::new(Code::Unavailable, "the server is shutting down"))),
            question = self.inbound.next() => match question {
                Ok(question) => question.map(|question| Ok(self.answer(question))),
                Err(status) => Some(Err(status)),
            },
        }
    }

    fn answer(&mut self, question: ServerReflectionRequest) -> ServerReflectionResponse {
        let answer = match &question.message_request {
            Some(MessageRequest::FileByFilename(name)) => self.files(|pool| pool.file_by_name(name)),
            Some(MessageRequest::FileContainingSymbol(name)) => {
                self.files(|pool| pool.file_containing_symbol(name))
            }
            Some(MessageRequest::FileContainingExtension(extension)) => self.files(|pool| {
                let number = u32::try_from(extension.extension_number).ok()?;
                let found = pool.extension_for(pool.message_index(&extension.containing_type)?, number)?;
                pool.file_containing_symbol(found.full_name())
            }),
            Some(MessageRequest::AllExtensionNumbersOfType(name)) => self.extension_numbers(name),
            Some(MessageRequest::ListServices(_)) => self.services(),
            None => refuse(Code::InvalidArgument, "the request asks nothing"),
        };
        ServerReflectionResponse {
            valid_host: question.host.clone(),
            original_request: question.into(),
            message_response: Some(answer),
            ..Default::default()
        }
    }

    /// The file that `find` finds, and what it imports as far as this caller does not have it yet.
    fn files(&mut self, find: impl Fn(&DescriptorPool) -> Option<&FileDescriptorProto>) -> MessageResponse {
        let Some(file) = find(&self.pool) else {
            return refuse(Code::NotFound, "not found");
        };
        let mut files = vec![file.encode_to_vec()];
        self.sent.extend(file.name.clone());
        let mut imports = file.dependency.clone();
        while let Some(name) = imports.pop() {
            let Some(file) = self.pool.file_by_name(&name) else {
                continue;
            };
            if self.sent.insert(name) {
                files.push(file.encode_to_vec());
                imports.extend(file.dependency.iter().cloned());
            }
        }
        FileDescriptorResponse { file_descriptor_proto: files, ..Default::default() }.into()
    }

    fn extension_numbers(&self, name: &str) -> MessageResponse {
        let Some(message) = self.pool.message_index(name) else {
            return refuse(Code::NotFound, "not found");
        };
        let numbers = self
            .pool
            .extensions_of(message)
            .filter_map(|extension| i32::try_from(extension.field().number()).ok());
        ExtensionNumberResponse {
            base_type_name: name.to_owned(),
            extension_number: numbers.collect(),
            ..Default::default()
        }
        .into()
    }

    fn services(&self) -> MessageResponse {
        let name = |service: &buffa_descriptor::ServiceDescriptor| ServiceResponse {
            name: service.full_name().to_owned(),
            ..Default::default()
        };
        ListServiceResponse { service: self.pool.services().iter().map(name).collect(), ..Default::default() }
            .into()
    }
}

fn refuse(code: Code, message: &str) -> MessageResponse {
    ErrorResponse { error_code: code as i32, error_message: message.to_owned(), ..Default::default() }.into()
}
