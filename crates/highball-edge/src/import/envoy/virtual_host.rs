//! `virtual_hosts`.

use super::{Making, headers, route};
use crate::import::names::{Site, is_host};
use crate::import::yaml::Node;

/// Translates the routes of a virtual host.
pub(super) fn virtual_host(host: &Node, config: &Node, sites: &mut Vec<Site>, making: &mut Making) {
    let name = host.at("name").text().unwrap_or_default().to_owned();
    let domains = host.at("domains");
    let (mut hosts, mut is_open) = (Vec::new(), false);
    for domain in domains.items() {
        let text = domain.text().unwrap_or_default().to_ascii_lowercase();
        // Hosts are compared without their port.
        let (bare, port) = match text.rsplit_once(':') {
            Some((bare, port)) if port == "*" || port.parse::<u16>().is_ok() => (bare, Some(port)),
            _ => (text.as_str(), None),
        };
        if bare == "*" {
            is_open = true;
        } else if is_host(bare) {
            if port.is_some() && !hosts.iter().any(|known| known == bare) {
                making.report.approximated(
                    domain.line,
                    format!("domain {text}"),
                    "hosts are compared without port",
                );
            }
            if !hosts.iter().any(|known| known == bare) {
                hosts.push(bare.to_owned());
            }
        } else {
            let instead = "a host is a name, or *. and a name: write them out";
            making.report.not_supported(domain.line, format!("domain {text}"), instead);
        }
    }
    if is_open {
        hosts.clear();
    } else if hosts.is_empty() {
        host.settle();
        making.report.not_supported(
            host.line,
            format!("virtual host {name}"),
            "left out: none of its domains can be said",
        );
        return;
    }
    let mut site = Site { line: host.line, hosts, ..Site::default() };
    for item in host.at("routes").items() {
        let outer = route::Outer { name: &name, host, config };
        if let Some(mut route) = route::route(item, &outer, making) {
            let conditions = ["path", "prefix", "service", "method", "headers"];
            site.complete |= conditions.iter().all(|key| !route.has(key));
            headers::headers(&[item, host, config], &mut route, &mut making.report);
            site.routes.push(route);
        }
    }
    making.report.translated(host.line, format!("virtual host {name}"), "");
    sites.push(site);
}
