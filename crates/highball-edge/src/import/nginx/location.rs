//! `location` blocks, which are our routes.

use std::cmp::Reverse;
use std::time::Duration;

use super::parse::Directive;
use super::pass::{Upstreams, Way};
use super::scope::Scope;
use super::upstream::{READ_TIMEOUT_DEFAULT, rate, rate_key};
use super::{headers, retry};
use crate::import::names::{Path, Site, literal, send_to, set_path};
use crate::import::report::Report;
use crate::import::toml::{File, Table, Value};
use crate::import::values::{DURATION_MAX, nginx_size, nginx_time};

/// What the server has when nothing is said.
const STREAM_IDLE_DEFAULT: Duration = Duration::from_secs(300);
const MESSAGE_SIZE_DEFAULT: u64 = 4 << 20;

/// Streams may be quiet for so long before anybody would call it a mistake.
const QUIET: Duration = Duration::from_secs(3600);

/// Everything that a location may look at.
pub(super) struct World<'a, 'b> {
    /// What `grpc_pass` may name.
    pub(super) upstreams: &'b mut Upstreams<'a>,
    /// The `http` block: zones are declared there.
    pub(super) http: &'a [Directive],
    /// Ours.
    pub(super) file: &'b mut File,
    /// What becomes of it.
    pub(super) report: &'b mut Report,
}

/// A route, and what its place depends on: how it was matched, how long, how many came before.
type Ordered = (u8, Reverse<usize>, Table);

/// Fills a site with the routes of a server.
pub(super) fn fill(site: &mut Site, server: &Directive, scope: &Scope<'_>, world: &mut World<'_, '_>) {
    let mut routes = Vec::new();
    let is_internal = |location: &Directive| {
        location.arg().starts_with('@')
            || location.block().iter().any(|directive| directive.name == "internal")
    };
    walk(server.block(), scope, &is_internal, world, &mut routes);
    routes.sort_by_key(|(class, length, _): &Ordered| (*class, *length));
    for (_, _, route) in routes {
        let is_open = ["path", "prefix", "service", "method", "headers"].iter().all(|key| !route.has(key));
        site.complete |= is_open;
        site.routes.push(route);
    }
}

fn walk(
    block: &[Directive],
    scope: &Scope<'_>,
    is_internal: &dyn Fn(&Directive) -> bool,
    world: &mut World<'_, '_>,
    routes: &mut Vec<Ordered>,
) {
    for location in block.iter().filter(|directive| directive.name == "location") {
        location.settle();
        if is_internal(location) {
            location.settle_all();
            world.report.translated(location.line, location.text(), "not needed: nobody outside can call it");
            continue;
        }
        let within = scope.within(location.block());
        let own_pass = location.block().iter().find(|directive| directive.name == "grpc_pass");
        if let Some(pass) = own_pass {
            pass.settle();
            if let Some((class, path)) = path(location, world.report) {
                let length = match &path {
                    Path::Any => 0,
                    Path::Exact(path) | Path::Prefix(path) => path.len(),
                };
                // Regular expressions keep their order.
                let length = Reverse(if class == 2 { 0 } else { length });
                for route in routes_of(location, pass, &path, &within, world) {
                    routes.push((class, length, route));
                }
            }
        }
        walk(location.block(), &within, is_internal, world, routes);
    }
}

/// How a location matches: 0 exact, 1 a prefix before regular expressions, 2 a regular expression, 3 a prefix.
fn path(location: &Directive, report: &mut Report) -> Option<(u8, Path)> {
    let (class, path) = match location.args.as_slice() {
        [sign, path] if sign == "=" => (0, Some(Path::Exact(path.clone()))),
        [sign, path] if sign == "^~" => (1, Some(Path::Prefix(path.clone()))),
        [sign, regex] if sign == "~" || sign == "~*" => {
            let path = match (regex.strip_prefix('^'), regex.strip_suffix('$')) {
                (Some(_), Some(_)) => Path::of_regex(regex),
                // Without an end it matches what begins so.
                (Some(start), None) => Path::of_regex(regex)
                    .filter(|path| !matches!(path, Path::Exact(_)))
                    .or_else(|| literal(start).map(Path::Prefix)),
                (None, _) => None,
            };
            let how = "methods are compared with regard to case, and a point stands for a point";
            if path.is_some() {
                report.approximated(location.line, location.text(), how);
            }
            (2, path)
        }
        [path] => (3, Some(Path::Prefix(path.clone()))),
        _ => (3, None),
    };
    let path = path.filter(Path::is_valid);
    if path.is_none() {
        let instead = "its route is left out: a route is for a path, a prefix, a service or a method; write one for each";
        report.not_supported(location.line, location.text(), instead);
        location.settle_all();
    }
    path.map(|path| (class, path))
}

fn routes_of(
    location: &Directive,
    pass: &Directive,
    path: &Path,
    scope: &Scope<'_>,
    world: &mut World<'_, '_>,
) -> Vec<Table> {
    let ways = world.upstreams.ways(pass, scope, world.file, world.report);
    if ways.is_empty() {
        world.report.not_supported(
            location.line,
            location.text(),
            "it goes nowhere that is known here: left out",
        );
        return Vec::new();
    }
    let mut settings = Table::default();
    idle(location, scope, &mut settings, world.report);
    message_size(scope, world);
    retry::retry(scope, &mut settings, world.report);
    limit(scope, &mut settings, world);
    mirror(scope, &mut settings, world);
    headers::headers(scope, &mut settings, world.report);
    world.report.translated(location.line, location.text(), "");
    ways.iter().map(|way| route(location, path, way, &settings)).collect()
}

fn route(location: &Directive, path: &Path, way: &Way, settings: &Table) -> Table {
    let mut route = Table::noted(format!("nginx: {}, line {}", location.text(), location.line));
    set_path(&mut route, path);
    if let Some((name, value)) = &way.header {
        route.set("headers", Value::Map(vec![(name.clone(), value.clone())]));
    }
    send_to(&mut route, &way.to);
    route.extend(settings);
    route
}

fn idle(location: &Directive, scope: &Scope<'_>, route: &mut Table, report: &mut Report) {
    let rest = "here a stream ends when both sides are silent for `stream_idle`, and unary RPCs have a deadline, 30 s unless \
                their caller sets one";
    if let Some(send) = scope.find("grpc_send_timeout") {
        report.approximated(send.line, send.text(), rest);
    }
    let Some(read) = scope.find("grpc_read_timeout") else {
        let why = format!(
            "no grpc_read_timeout: nginx cuts every stream whose backend is quiet for 60 s; here 5 minutes, of both sides; {rest}"
        );
        report.mistake(location.line, location.text(), why);
        return;
    };
    let Some(time) = nginx_time(read.arg()).filter(|time| !time.is_zero()) else {
        report.not_supported(read.line, read.text(), "this is no time: set `stream_idle`");
        return;
    };
    if time != STREAM_IDLE_DEFAULT {
        route.set("stream_idle", time.min(DURATION_MAX));
    }
    if time < QUIET {
        let cut = if time <= READ_TIMEOUT_DEFAULT { "short; " } else { "" };
        let why = format!(
            "{cut}nginx cuts every stream whose backend is quiet for so long, also while the client speaks; {rest}: raise it for \
             streams that wait"
        );
        report.mistake(read.line, read.text(), why);
    } else {
        report.approximated(read.line, read.text(), rest);
    }
}

fn message_size(scope: &Scope<'_>, world: &mut World<'_, '_>) {
    let Some(directive) = scope.find("client_max_body_size") else { return };
    match nginx_size(directive.arg()) {
        Some(size) if size > MESSAGE_SIZE_DEFAULT => {
            let size = size.min(1 << 30).div_ceil(1 << 20);
            let known = match world.file.limits.get("message_size_max") {
                Some(Value::Text(text)) => text.trim_end_matches("MiB").parse().unwrap_or(0),
                _ => 0,
            };
            world.file.limits.set("message_size_max", format!("{}MiB", size.max(known)));
            let how = "a limit for each message, each way, of the whole server; nginx's is for all messages of a stream together";
            world.report.approximated(directive.line, directive.text(), how);
        }
        _ => {
            let how = "each message may have 4 MiB, and a stream any number of them; nginx counts all messages of a stream \
                       together";
            world.report.approximated(directive.line, directive.text(), how);
        }
    }
}

fn limit(scope: &Scope<'_>, route: &mut Table, world: &mut World<'_, '_>) {
    let mut limits = scope.all("limit_req").into_iter();
    let Some(limit) = limits.next() else { return };
    for other in limits {
        let instead = "a route has one rate: left out";
        world.report.not_supported(other.line, other.text(), instead);
    }
    let zone = limit.option("zone").unwrap_or_default();
    let declared = world.http.iter().find(|directive| {
        directive.name == "limit_req_zone"
            && directive.option("zone").is_some_and(|name| name.split(':').next() == Some(zone))
    });
    let found = declared.and_then(|zone| Some((zone, rate(zone.option("rate")?)?)));
    let Some((zone, per_second)) = found else {
        world.report.mistake(
            limit.line,
            limit.text(),
            "no limit_req_zone of this name with a rate is in this text",
        );
        return;
    };
    zone.settle();
    let Some(per) = rate_key(zone.arg()) else {
        let instead = "rates are per caller, per address or per header: set `rate`";
        world.report.not_supported(zone.line, zone.text(), instead);
        return;
    };
    let burst: u64 = limit.option("burst").and_then(|burst| burst.parse().ok()).unwrap_or(0);
    let number = if per_second.fract() == 0.0 { Value::Whole(per_second as u64) } else { per_second.into() };
    let burst = Value::Whole(burst.saturating_add(1).min(u32::MAX.into()));
    route.set("rate", Value::map([("per_second", number), ("burst", burst), ("per", per)]));
    let note = "the burst counts the RPC that is not delayed as well";
    if limit.has("nodelay") {
        world.report.translated(limit.line, limit.text(), format!("beyond it RESOURCE_EXHAUSTED; {note}"));
    } else {
        let how = format!(
            "nothing is delayed: beyond the burst RPCs are RESOURCE_EXHAUSTED with the time to wait; {note}"
        );
        world.report.approximated(limit.line, limit.text(), how);
    }
}

fn mirror(scope: &Scope<'_>, route: &mut Table, world: &mut World<'_, '_>) {
    let Some(mirror) = scope.find("mirror").filter(|mirror| mirror.arg() != "off") else { return };
    let body = scope.find("mirror_request_body");
    let found = world
        .upstreams
        .locations
        .iter()
        .find(|location| location.args.last().map(String::as_str) == Some(mirror.arg()))
        .and_then(|location| {
            Some((*location, location.block().iter().find(|inner| inner.name == "grpc_pass")?))
        });
    let Some((location, pass)) = found else {
        let instead = "its location has no grpc_pass: set `mirror` to a cluster";
        world.report.not_supported(mirror.line, mirror.text(), instead);
        return;
    };
    let within = scope.within(location.block());
    let ways = world.upstreams.ways(pass, &within, world.file, world.report);
    if let Some((cluster, _)) = ways.first().and_then(|way| way.to.first()) {
        route.set("mirror", cluster.as_str());
        let how = "the copy keeps its method and its messages; at most 100 copies are in flight, and beyond that none is made";
        world.report.approximated(mirror.line, mirror.text(), how);
    }
    if let Some(body) = body {
        world.report.approximated(body.line, body.text(), "messages are copied");
    }
}
