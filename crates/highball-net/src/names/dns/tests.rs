//! A name server on loopback, and machines that ask it.

use super::*;

use std::collections::HashMap;
use std::net::SocketAddr;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig};
use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, SOA, TXT};
use tokio::net::UdpSocket;

/// What the server answers to a question: records, no such name (with an SOA, when there is a TTL), or a fault.
#[derive(Clone)]
enum Reply {
    Records(Vec<Record>),
    No { code: ResponseCode, ttl: Option<u32> },
    Silence,
}

type Zone = HashMap<(&'static str, RecordType), Reply>;

fn name(text: &str) -> Name {
    Name::from_str_relaxed(text).unwrap()
}

fn a(of: &str, ttl: u32, addr: &str) -> Record {
    Record::from_rdata(name(of), ttl, RData::A(A(addr.parse().unwrap())))
}

/// A name server on loopback; what nobody scripted does not exist.
async fn serve(zone: Zone) -> SocketAddr {
    #[expect(clippy::disallowed_methods, reason = "a name server for the test")]
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    let run = async move {
        let mut buf = [0; 1500];
        loop {
            let (len, peer) = socket.recv_from(&mut buf).await.unwrap();
            let asked = Message::from_vec(&buf[..len]).unwrap();
            let query = asked.queries[0].clone();
            let key = (query.name().to_ascii(), query.query_type());
            let reply = zone.iter().find(|((name, kind), _)| *name == key.0 && *kind == key.1);
            let reply = reply.map(|(_, reply)| reply.clone());
            let mut answer = Message::response(asked.id, asked.op_code);
            answer.add_query(query.clone());
            answer.metadata.recursion_available = true;
            match reply.unwrap_or(Reply::No { code: ResponseCode::NXDomain, ttl: None }) {
                Reply::Records(records) => {
                    answer.add_answers(records);
                }
                Reply::No { code, ttl } => {
                    answer.metadata.response_code = code;
                    if let Some(ttl) = ttl {
                        let soa = SOA::new(name("ns.example."), name("admin.example."), 1, 9, 9, 9, ttl);
                        answer.add_authority(Record::from_rdata(name("example."), ttl, RData::SOA(soa)));
                    }
                }
                Reply::Silence => continue,
            }
            socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
        }
    };
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(run);
    addr
}

/// A machine that asks this server, with these lines in its files.
fn machine(server: SocketAddr, resolv: &str, hosts: &str) -> System {
    let text = format!("nameserver 127.0.0.1\n{resolv}\n");
    let (config, options) = system_conf::parse_resolv_conf(text).unwrap();
    let (domain, search, _) = config.into_parts();
    let mut udp = ConnectionConfig::udp();
    udp.port = server.port();
    let server = NameServerConfig::new(server.ip(), true, vec![udp]);
    let mut known = Hosts::default();
    known.read_hosts_conf(hosts.as_bytes()).unwrap();
    System { hosts: known, servers: Ok((ResolverConfig::from_parts(domain, search, vec![server]), options)) }
}

fn found(addrs: &[&str], ttl: Option<u64>) -> Result<Lookup, LookupError> {
    let records = addrs.iter().map(|addr| addr.parse().unwrap()).collect();
    Ok(Lookup { records, ttl: ttl.map(Duration::from_secs) })
}

#[tokio::test]
async fn both_families_are_one_answer_with_the_smallest_ttl_on_the_way() {
    let alias = Record::from_rdata(name("shop.example."), 20, RData::CNAME(CNAME(name("real.example."))));
    let v6 = RData::AAAA(AAAA("fd00::1".parse().unwrap()));
    let zone = Zone::from([
        (
            ("shop.example.", RecordType::A),
            Reply::Records(vec![
                alias,
                a("real.example.", 300, "10.0.0.2"),
                a("real.example.", 300, "10.0.0.1"),
            ]),
        ),
        (
            ("shop.example.", RecordType::AAAA),
            Reply::Records(vec![Record::from_rdata(name("shop.example."), 60, v6)]),
        ),
    ]);
    let machine = machine(serve(zone).await, "", "");
    let answer = machine.addresses("shop.example").await;
    assert_eq!(answer, found(&["10.0.0.2", "10.0.0.1", "fd00::1"], Some(20)));
}

#[tokio::test]
async fn no_such_name_is_told_from_no_answer() {
    let none = Reply::No { code: ResponseCode::NXDomain, ttl: Some(7) };
    let fault = Reply::No { code: ResponseCode::ServFail, ttl: None };
    let empty = Reply::No { code: ResponseCode::NoError, ttl: Some(7) };
    let zone = Zone::from([
        (("none.example.", RecordType::A), none.clone()),
        (("none.example.", RecordType::AAAA), none),
        (("half.example.", RecordType::A), empty),
        (("half.example.", RecordType::AAAA), fault.clone()),
        (("broken.example.", RecordType::A), fault.clone()),
        (("broken.example.", RecordType::AAAA), fault),
        (("silent.example.", RecordType::A), Reply::Silence),
        (("silent.example.", RecordType::AAAA), Reply::Silence),
    ]);
    let machine = machine(serve(zone).await, "options timeout:1 attempts:1", "");
    let none = machine.addresses("none.example.").await.unwrap_err();
    let ttl = Some(Duration::from_secs(7));
    assert_eq!(none, LookupError::NotFound { name: "none.example.".to_owned(), ttl });
    // That one family is missing says nothing while the other may be there.
    for name in ["half.example.", "broken.example.", "silent.example."] {
        let error = machine.addresses(name).await.unwrap_err();
        assert!(matches!(error, LookupError::Unavailable { .. }), "{name}: {error}");
    }
}

#[tokio::test]
async fn search_domains_are_tried_as_the_system_does() {
    let here = |of: &'static str, addr| ((of, RecordType::A), Reply::Records(vec![a(of, 9, addr)]));
    let zone = Zone::from([
        here("shop.ns.example.", "10.0.0.1"),
        here("shop.", "10.0.0.9"),
        here("a.b.example.", "10.0.0.2"),
        here("a.b.", "10.0.0.3"),
    ]);
    let machine = machine(serve(zone).await, "search ns.example example\noptions ndots:1", "");
    assert_eq!(
        machine.addresses("shop").await,
        found(&["10.0.0.1"], Some(9)),
        "the first domain that knows it"
    );
    assert_eq!(
        machine.addresses("shop.").await,
        found(&["10.0.0.9"], Some(9)),
        "a final dot means that it is whole"
    );
    assert_eq!(
        machine.addresses("a.b").await,
        found(&["10.0.0.3"], Some(9)),
        "ndots reached: by itself first"
    );
    let unknown = machine.addresses("nobody").await.unwrap_err();
    assert!(matches!(unknown, LookupError::NotFound { .. }), "{unknown}");
}

#[tokio::test]
async fn literals_hosts_and_localhost_need_no_server() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let machine = machine(nobody, "search example", "10.1.1.1 shop shop.example\nfd00::7 shop\n");
    assert_eq!(machine.addresses("10.0.0.1").await, found(&["10.0.0.1"], None));
    assert_eq!(machine.addresses("fd00::1").await, found(&["fd00::1"], None));
    assert_eq!(machine.addresses("[fd00::1]").await, found(&["fd00::1"], None));
    assert_eq!(machine.addresses("shop").await, found(&["10.1.1.1", "fd00::7"], None));
    assert_eq!(
        machine.addresses("SHOP.example").await,
        found(&["10.1.1.1"], None),
        "and no server for the rest"
    );
    for local in ["localhost", "localhost.", "api.localhost"] {
        assert_eq!(machine.addresses(local).await, found(&["127.0.0.1", "::1"], None), "{local}");
    }
    for invalid in ["", ".", "a..b", &"x".repeat(300)] {
        let error = machine.addresses(invalid).await.unwrap_err();
        assert!(matches!(error, LookupError::NotFound { ttl: None, .. }), "{invalid}: {error}");
    }
}

#[tokio::test]
async fn the_strings_of_one_text_are_put_together() {
    let text = |parts: &[&str]| {
        let txt = TXT::new(parts.iter().map(|part| (*part).to_owned()).collect());
        Record::from_rdata(name("_grpc_config.shop.example."), 30, RData::TXT(txt))
    };
    let zone = Zone::from([(
        ("_grpc_config.shop.example.", RecordType::TXT),
        Reply::Records(vec![text(&["grpc_config=", "[{}]"]), text(&["other"])]),
    )]);
    let machine = machine(serve(zone).await, "", "");
    let lookup = machine.texts("_grpc_config.shop.example").await.unwrap();
    assert_eq!(lookup.records, ["grpc_config=[{}]", "other"]);
    assert_eq!(lookup.ttl, Some(Duration::from_secs(30)));
}

#[tokio::test]
async fn without_a_server_the_operator_hears_which_file_to_mend() {
    let machine = System { hosts: Hosts::default(), servers: Err("/etc/resolv.conf is gone".to_owned()) };
    let error = machine.addresses("shop.example").await.unwrap_err();
    assert_eq!(error.to_string(), "shop.example could not be looked up: /etc/resolv.conf is gone");
}
