//! Targets as they are written, with what they mean or how they fail.

use super::*;

/// The canonical spelling and the default authority.
#[track_caller]
fn check(text: &str, canonical: &str, authority: &str) {
    let target = Target::parse(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((target.to_string().as_str(), target.authority().as_str()), (canonical, authority), "{text}");
    assert_eq!(
        canonical.parse::<Target>().unwrap(),
        target,
        "the canonical spelling of {text} means something else"
    );
}

#[track_caller]
fn refused(text: &str, problem: &str) {
    match Target::parse(text) {
        Ok(target) => panic!("{text} was read as {target}"),
        Err(error) => assert_eq!(error.to_string(), format!("target {text:?}: {problem}")),
    }
}

#[test]
fn names_are_looked_up_in_dns() {
    for (text, canonical, authority) in [
        ("orders", "dns:///orders", "orders"),
        ("orders:50051", "dns:///orders:50051", "orders:50051"),
        ("dns:orders:50051", "dns:///orders:50051", "orders:50051"),
        ("dns:///orders:50051", "dns:///orders:50051", "orders:50051"),
        ("DNS:///Orders.example.", "dns:///Orders.example.", "Orders.example."),
        ("dns:/orders", "dns:///orders", "orders"),
        ("dns://8.8.8.8/orders:1", "dns://8.8.8.8:53/orders:1", "orders:1"),
        ("127.0.0.1:80", "dns:///127.0.0.1:80", "127.0.0.1:80"),
        ("[::1]:80", "dns:///[::1]:80", "[::1]:80"),
        ("[::1]", "dns:///[::1]", "[::1]"),
        ("dns:///::1", "dns:///[::1]", "[::1]"),
        (
            "my_service.ns.svc.cluster.local",
            "dns:///my_service.ns.svc.cluster.local",
            "my_service.ns.svc.cluster.local",
        ),
    ] {
        check(text, canonical, authority);
    }
    let Target::Dns { host, .. } = Target::parse("orders").unwrap() else { panic!() };
    assert_eq!((host.host(), host.port(), host.literal()), ("orders", 443, None));
}

#[test]
fn lists_and_sockets_are_read() {
    for (text, canonical, authority) in [
        ("static:///a:1,b:2", "static:///a:1,b:2", "a:1"),
        ("static:a", "static:///a", "a"),
        ("static:///10.0.0.1:1,[::1]:2", "static:///10.0.0.1:1,[::1]:2", "10.0.0.1:1"),
        ("ipv4:10.0.0.1,10.0.0.2:80", "ipv4:10.0.0.1:443,10.0.0.2:80", "10.0.0.1:443"),
        ("ipv4:///10.0.0.1:80", "ipv4:10.0.0.1:80", "10.0.0.1:80"),
        ("ipv6:[2001:db8::1]:80,::1", "ipv6:[2001:db8::1]:80,[::1]:443", "[2001:db8::1]:80"),
        ("unix:run/a.sock", "unix:run/a.sock", "localhost"),
        ("unix:/run/a.sock", "unix:///run/a.sock", "localhost"),
        ("unix:///run/a%20b.sock", "unix:///run/a%20b.sock", "localhost"),
        ("unix-abstract:a/b", "unix-abstract:a/b", "localhost"),
        ("file:///etc/app/orders.json", "file:///etc/app/orders.json", "orders"),
        ("consul://10.0.0.1/orders", "consul://10.0.0.1:8500/orders", "orders"),
        (
            "consul:///or%20ders?tag=a&tag=b&dc=eu",
            "consul://127.0.0.1:8500/or%20ders?tag=a&tag=b&dc=eu",
            "or%20ders",
        ),
        ("etcd://etcd.example:1/svc/orders", "etcd://etcd.example:1/svc/orders", "svc%2Forders"),
        ("etcd:///svc", "etcd://127.0.0.1:2379/svc", "svc"),
    ] {
        check(text, canonical, authority);
    }
    assert_eq!(Target::parse("unix:/run/a").unwrap(), Target::Unix("/run/a".into()));
    assert_eq!(Target::parse("unix-abstract:a b").unwrap(), Target::UnixAbstract(Bytes::from_static(b"a b")));
}

#[test]
fn the_missing_slash_is_explained() {
    refused(
        "dns://orders:50051",
        "names \"orders:50051\" as the DNS server to ask, and no host: two slashes start the server, a third one ends it; \
         write dns:///orders:50051",
    );
    refused(
        "static://a:1,b:2",
        "has \"a:1,b:2\" between two slashes and the next, where static takes nothing; write static:///a:1,b:2",
    );
    refused(
        "unix://run/a.sock",
        "has \"run\" between two slashes and the next, where unix takes nothing; write unix:run/a.sock for a relative path, \
         unix:///run/a.sock for an absolute one",
    );
}

#[test]
fn what_cannot_be_called_is_refused_with_the_reason() {
    for (text, problem) in [
        ("", "is empty; write dns:///host:port"),
        ("dns:///", "there is no host"),
        (":80", "there is no host"),
        ("orders:http", "\"http\" is not a port; write a number of 1 to 65535"),
        ("orders:0", "\"0\" is not a port; write a number of 1 to 65535"),
        ("orders:+80", "\"+80\" is not a port; write a number of 1 to 65535"),
        ("orders:70000", "\"70000\" is not a port; write a number of 1 to 65535"),
        ("orders:", "\"\" is not a port; write a number of 1 to 65535"),
        ("a..b", "\"a..b\" is not the name of a host"),
        ("a b", "\"a b\" is not the name of a host"),
        ("orders/v1", "\"orders/v1\" is not the name of a host"),
        (
            "b\u{fc}cher.example",
            "\"b\u{fc}cher.example\" is not ASCII; write the name as DNS has it, starting with xn--",
        ),
        (
            "::1:x",
            "\"::1:x\" has more than one colon; an IPv6 address with a port stands in brackets: [::1]:443",
        ),
        ("[::1", "\"[::1\" has a bracket that is not closed"),
        ("[::1]80", "\"80\" follows the bracket; only a port may, such as [::1]:443"),
        ("[orders]:80", "\"orders\" is not an IPv6 address, and only those stand in brackets"),
        (
            "https://orders.example/v1",
            "is a URL; write dns:///orders.example, and choose TLS or plaintext on the channel",
        ),
        (
            "xds:///orders",
            "has the unknown scheme \"xds\"; known are dns, static, ipv4, ipv6, unix, unix-abstract, file, consul, etcd",
        ),
        ("static:///a:1,,b:2", "entry 2: there is no host"),
        (
            "ipv4:10.0.0.1,[::1]:80",
            "entry 2: \"[::1]:80\" is not an IPv4 address with or without a port, such as 192.0.2.1:443",
        ),
        (
            "ipv6:10.0.0.1",
            "entry 1: \"10.0.0.1\" is not an IPv6 address with or without a port, such as [2001:db8::1]:443",
        ),
        ("unix:", "names no file; write unix:///absolute/path"),
        ("unix-abstract:a%00b", "the name of a Unix socket is not empty and holds no NUL"),
        ("file:///dir/", "names no file; write file:///absolute/path"),
        ("consul://10.0.0.1:8500", "names no service; write consul://agent:8500/service?tag=..&dc=.."),
        (
            "consul:///a?token=b",
            "\"token\" is neither tag nor dc; write consul://agent:8500/service?tag=..&dc=..",
        ),
        ("etcd://10.0.0.1:2379/", "names no prefix; write etcd://host:2379/prefix"),
    ] {
        refused(text, problem);
    }
    let long = format!("unix:/{}", "a".repeat(107));
    refused(&long, "the name of a Unix socket has at most 107 bytes, not 108");
    let many = format!("static:///{}", vec!["a"; 257].join(","));
    assert!(Target::parse(&many).unwrap_err().to_string().ends_with("lists 257 hosts; 256 are the limit"));
    assert!(Target::parse(&"a".repeat(TARGET_SIZE_BYTES_MAX + 1)).is_err());
}

proptest::proptest! {
    #[test]
    fn what_is_read_is_written_and_read_again(text in "(dns|static|ipv4|ipv6|unix|unix-abstract|file|consul|etcd)?:?/{0,3}[a-z0-9.:,/%?=&\\[\\] \\-]{0,40}") {
        if let Ok(target) = Target::parse(&text) {
            proptest::prop_assert_eq!(Target::parse(&target.to_string()), Ok(target));
        }
    }
}
