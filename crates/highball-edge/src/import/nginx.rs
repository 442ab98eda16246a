//! nginx sites with `grpc_pass`.

mod headers;
mod known;
mod location;
mod parse;
mod pass;
mod retry;
mod scope;
mod server;
mod upstream;

use self::known::Advice;
use self::location::World;
use self::parse::Directive;
use self::pass::Upstreams;
use self::scope::Scope;
use super::report::Report;
use super::toml::File;
use super::{ImportError, Imported, names};

/// Translates a text.
pub(super) fn translate(text: &str) -> Result<Imported, ImportError> {
    let all = parse::parse(text)?;
    let (mut file, mut report) = (File::default(), Report::default());
    file.top.comment("Translated from nginx. Read the report before using it.");
    let http = all.iter().find(|directive| directive.name == "http");
    if let Some(http) = http {
        http.settle();
    }
    let block = http.map_or(all.as_slice(), Directive::block);
    workers(&all, &mut file, &mut report);
    sites(block, &mut file, &mut report);
    settings(block, &mut file, &mut report);
    if file.routes.is_empty() {
        report.not_supported(
            1,
            "the text",
            "no location with a grpc_pass was translated, so the file has no routes",
        );
    }
    leftovers(&all, &mut report);
    Ok(Imported::new(file, report))
}

fn sites(http: &[Directive], file: &mut File, report: &mut Report) {
    let mut upstreams = Upstreams::new(http);
    let mut listening = Vec::new();
    let mut sites = Vec::new();
    let outer = Scope::default().within(http);
    for block in http.iter().filter(|directive| directive.name == "server") {
        block.settle();
        if !has_pass(block) {
            block.settle_all();
            let instead = "it has no grpc_pass: serve it from another proxy";
            report.not_supported(block.line, "server", instead);
            continue;
        }
        let scope = outer.within(block.block());
        let Some(mut site) = server::server(block, &scope, &mut listening, report) else {
            block.settle_all();
            continue;
        };
        upstreams.locations = locations(block);
        let mut world = World { upstreams: &mut upstreams, http, file, report };
        location::fill(&mut site, block, &scope, &mut world);
        sites.push(site);
    }
    if listening.len() > 1 && sites.len() > 1 {
        let how =
            "routes are for all listeners: what was told apart by its port here is told apart by its host";
        report.approximated(1, "several addresses", how);
    }
    server::place(listening, file, report);
    names::place(sites, file, report);
    for upstream in http.iter().filter(|directive| directive.name == "upstream" && !directive.is_settled()) {
        upstream.settle_all();
        report.translated(upstream.line, upstream.text(), "left out: no grpc_pass goes there");
    }
}

fn has_pass(block: &Directive) -> bool {
    block.block().iter().any(|directive| directive.name == "grpc_pass" || has_pass(directive))
}

/// Every location below.
fn locations(block: &Directive) -> Vec<&Directive> {
    let mut found = Vec::new();
    for directive in block.block().iter().filter(|directive| directive.name == "location") {
        found.push(directive);
        found.extend(locations(directive));
    }
    found
}

fn workers(all: &[Directive], file: &mut File, report: &mut Report) {
    let Some(workers) = all.iter().find(|directive| directive.name == "worker_processes") else { return };
    workers.settle();
    if let Some(count) = workers.arg().parse::<u64>().ok().filter(|count| (1..=1024).contains(count)) {
        file.top.set("workers", count);
    }
    report.translated(workers.line, workers.text(), "threads, one for each core by default");
}

/// What is said once for the server.
fn settings(http: &[Directive], file: &mut File, report: &mut Report) {
    let servers = http.iter().filter(|directive| directive.name == "server").flat_map(Directive::block);
    for directive in http.iter().chain(servers) {
        match directive.name.as_str() {
            "http2_max_concurrent_streams" => {
                directive.settle();
                if let Some(count) =
                    directive.arg().parse::<u64>().ok().filter(|n| (1..=1_000_000).contains(n))
                {
                    file.limits.set("concurrent_streams_max", count);
                    report.translated(directive.line, directive.text(), "for all listeners");
                }
            }
            "http2" => {
                directive.settle();
                report.translated(directive.line, directive.text(), "");
            }
            "ssl" => directive.settle(),
            _ => {}
        }
    }
}

/// Says of everything else what became of it.
fn leftovers(block: &[Directive], report: &mut Report) {
    for directive in block {
        if directive.is_settled() {
            leftovers(directive.block(), report);
            continue;
        }
        match known::advice(&directive.name) {
            Advice::Needless(why) => {
                report.translated(directive.line, directive.text(), format!("not needed: {why}"))
            }
            Advice::Missing(instead) => report.not_supported(directive.line, directive.text(), instead),
        }
    }
}
