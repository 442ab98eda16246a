//! Plain HTTP by `google.api.http`: a path, a query and a JSON body become the request message, the response message becomes
//! JSON.
//!
//! Headers are metadata under their own names, both ways; `grpc-timeout` is the deadline. Trailing metadata of a unary response
//! is `grpc-trailer-NAME`. What comes of a stream: [`respond`].

mod bind;
mod matcher;
mod query;
mod refuse;
mod request;
mod respond;
mod template;

use buffa_descriptor::{FieldKind, SingularKind};
use highball_core::{Body, Status, deadline};
use http::{Request, Response};
use std::sync::Arc;

use crate::gateway::State;
use crate::grpc::{self, Fault};
use crate::{BodyRule, HttpRule, MethodInfo, Schema, Settings, error};
use bind::Target;
use matcher::{Found, Matcher};
use template::Template;

/// The methods by their templates.
#[derive(Debug)]
pub(crate) struct Routes {
    matcher: Matcher<Arc<Route>>,
    /// `GET /v1/orders/{id}`, in the order of the descriptors.
    names: Vec<String>,
    problems: Vec<String>,
}

/// One template of one method, with its fields found.
#[derive(Debug)]
pub(crate) struct Route {
    method: Arc<MethodInfo>,
    rule: HttpRule,
    template: Template,
    /// The fields of the template's variables.
    variables: Vec<Target>,
    /// The field the body is read into.
    body: Option<Target>,
    /// The number of the field the response is written from.
    response_body: Option<u32>,
}

impl Routes {
    /// Every rule of every method. Of two for the same paths the first counts; it and what cannot be followed are problems.
    pub(crate) fn new(schema: &Schema) -> Self {
        let mut routes = Self { matcher: Matcher::new(), names: Vec::new(), problems: Vec::new() };
        for method in schema.methods() {
            for rule in method.rules() {
                let name = format!("{} {}", rule.verb, rule.template);
                match routes.add(schema, method, rule) {
                    Ok(()) => routes.names.push(name),
                    Err(problem) => {
                        routes.problems.push(format!("{}: {name}: {problem}", method.full_name()))
                    }
                }
            }
        }
        routes
    }

    fn add(&mut self, schema: &Schema, method: &Arc<MethodInfo>, rule: &HttpRule) -> Result<(), String> {
        let route = Route::new(schema, method, rule)?;
        let template = route.template.clone();
        let known = self.matcher.add(&rule.verb, &template, Arc::new(route));
        known.map_err(|known| format!("{} has these paths already", known.method.full_name()))
    }

    /// What was left out, a sentence each.
    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl Route {
    fn new(schema: &Schema, method: &Arc<MethodInfo>, rule: &HttpRule) -> Result<Self, String> {
        let template = Template::parse(&rule.template)?;
        let find = |message, name: &str| {
            bind::find(schema, message, name)
                .ok_or_else(|| format!("{} has no field {name}", schema.name_of(message)))
        };
        let mut variables = Vec::new();
        for variable in &template.variables {
            let target = find(method.input(), &variable.field)?;
            if !matches!(target.kind, FieldKind::Singular(kind) if bind::is_textual(schema, kind)) {
                return Err(format!("the field {} is no single value", variable.field));
            }
            variables.push(target);
        }
        let body = match &rule.body {
            BodyRule::Field(name) => Some(find(method.input(), name)?),
            BodyRule::None | BodyRule::Whole => None,
        };
        let response = rule.response_body.as_deref().map(|name| find(method.output(), name)).transpose()?;
        if [&body, &response].into_iter().flatten().any(|target| target.numbers.len() > 1) {
            return Err("a body is a field of the message itself".to_owned());
        }
        let response_body = response.and_then(|target| target.numbers.first().copied());
        Ok(Self { method: Arc::clone(method), rule: rule.clone(), template, variables, body, response_body })
    }

    /// The fields that are not query parameters.
    fn taken(&self) -> Vec<Vec<u32>> {
        self.variables.iter().chain(&self.body).map(|target| target.numbers.clone()).collect()
    }

    /// What the path says, as the variables of the template want it.
    fn path_changes(&self, schema: &Schema, segments: &[&str]) -> Result<Vec<bind::Change>, Status> {
        let mut changes = Vec::new();
        for (variable, target) in self.template.variables.iter().zip(&self.variables) {
            // `**` takes what is left.
            let end = match self.template.segments.get(variable.end - 1) {
                Some(template::Segment::Rest) => segments.len(),
                _ => variable.end,
            };
            let raw = segments.get(variable.start..end).unwrap_or_default().join("/");
            let text = request::decode(&raw, variable.is_multiple)
                .ok_or_else(|| error::invalid(&variable.field, "the path is not UTF-8"))?;
            let FieldKind::Singular(kind) = target.kind else { continue };
            let value = bind::parse(schema, kind, &variable.field, &text)?;
            changes.push(bind::Change { numbers: target.numbers.clone(), value: bind::New::Set(value) });
        }
        Ok(changes)
    }

    fn body_message(&self) -> Option<buffa_descriptor::MessageIndex> {
        match (&self.rule.body, self.body.as_ref().map(|target| target.kind)) {
            (BodyRule::Whole, _) => Some(self.method.input()),
            (_, Some(FieldKind::Singular(SingularKind::Message(message)))) => Some(message),
            _ => None,
        }
    }
}

/// Answers one request.
pub(crate) async fn serve<N, F>(
    state: &State,
    settings: &Settings,
    request: Request<Body>,
    next: N,
) -> Response<Body>
where
    N: FnOnce(Request<Body>) -> F + Send,
    F: Future<Output = Response<Body>> + Send,
{
    let is_head = request.method() == http::Method::HEAD;
    let method = if is_head { "GET" } else { request.method().as_str() };
    let (found, path) = state.routes.matcher.find(method, request.uri().path());
    let route = match found {
        Found::Route(route) => Arc::clone(route),
        Found::OtherMethods(methods) => return refuse::other_methods(state, &request, &methods),
        Found::Nothing => return refuse::nothing(state, settings, &request, &state.routes.names),
    };
    let prepared = prepare(state, settings, &route, &path.segments, &request);
    let (changes, timeout) = match prepared {
        Ok(prepared) => prepared,
        Err(refused) => return refused,
    };
    let accept = respond::Format::accepted(request.headers());
    let fault = Fault::default();
    let (head, body) = request.into_parts();
    let message = request::message(&state.schema, settings, &route, &head, body, changes);
    let body = grpc::later(message, fault.clone());
    let head = request::metadata(head, settings);
    let request = match grpc::request(head, &route.method.path(), timeout, |_| false, body) {
        Ok(request) => request,
        Err(status) => return error::response(&state.schema, &status, http::HeaderMap::new()),
    };
    let answer = next(request).await;
    let answer = match fault.get() {
        Some(status) => error::response(&state.schema, status, http::HeaderMap::new()),
        None => respond::answer(&state.schema, settings, &route, accept, &fault, answer).await,
    };
    if is_head { answer.map(|_| Body::empty()) } else { answer }
}

type Prepared = (Vec<bind::Change>, Option<http::HeaderValue>);

/// What can be said before the body is read.
fn prepare(
    state: &State,
    settings: &Settings,
    route: &Route,
    segments: &[&str],
    request: &Request<Body>,
) -> Result<Prepared, Response<Body>> {
    if route.method.is_client_streaming() {
        return Err(refuse::client_streaming(state, &route.method));
    }
    if route.body_message().is_none_or(|message| state.schema.name_of(message) != request::HTTP_BODY)
        && route.rule.body != BodyRule::None
        && !request::is_json(request.headers())
    {
        return Err(refuse::content_type(state));
    }
    let checked = || {
        deadline::parse_timeout(request.headers())
            .map_err(|invalid| error::invalid("grpc-timeout", invalid.to_string()))?;
        let mut changes = route.path_changes(&state.schema, segments)?;
        let query = request.uri().query().unwrap_or_default();
        if route.rule.body == BodyRule::Whole {
            let mut pairs = query.split('&').filter(|pair| !pair.is_empty());
            if let (Some(pair), false) = (pairs.next(), settings.ignore_unknown_fields) {
                let name = query::shorten(pair.split('=').next().unwrap_or_default());
                let message =
                    format!("there is no parameter {name:?}: everything is in the path or in the body");
                return Err(error::invalid(name, message));
            }
        } else {
            changes.extend(query::read(
                &state.schema,
                route.method.input(),
                query,
                &route.taken(),
                settings,
            )?);
        }
        Ok((changes, request.headers().get(deadline::TIMEOUT_HEADER).cloned()))
    };
    checked().map_err(|status: Status| error::response(&state.schema, &status, http::HeaderMap::new()))
}

#[cfg(test)]
mod tests;
