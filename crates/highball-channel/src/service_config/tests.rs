//! The rules of the service config, as tables.

use std::time::Duration;

use highball_core::{Code, Method};
use http::uri::PathAndQuery;

use super::balancing::*;
use super::*;

#[track_caller]
fn parse(json: &str) -> ServiceConfig {
    ServiceConfig::parse(json).unwrap_or_else(|error| panic!("{json}\n{error}"))
}

#[track_caller]
fn invalid(json: &str, expected: &str) {
    match ServiceConfig::parse(json) {
        Ok(config) => panic!("{json} was read as {config:?}"),
        Err(error) => assert_eq!(error.to_string(), expected, "{json}"),
    }
}

fn method(path: &'static str) -> Method {
    Method::parse(&PathAndQuery::from_static(path)).unwrap()
}

#[test]
fn nothing_said_is_valid_and_so_are_fields_of_the_future() {
    let default = ServiceConfig::default();
    for json in [
        "{}",
        r#"{"futureField":{"methodConfig":7},"methodConfig":[]}"#,
        r#"{"loadBalancingConfig":null,"methodConfig":null,"retryThrottling":null,"healthCheckConfig":null}"#,
        r#"{"loadBalancingPolicy":"","healthCheckConfig":{},"connectionScaling":{}}"#,
        // Without names it says nothing.
        r#"{"methodConfig":[{"waitForReady":true},{"name":[],"timeout":"1s"}]}"#,
    ] {
        assert_eq!(parse(json), default, "{json}");
    }
}

#[test]
fn the_whole_must_be_an_object_of_json() {
    invalid("[]", "service config: expected an object, found a list");
    assert!(ServiceConfig::parse("").is_err());
    assert!(ServiceConfig::parse("{").unwrap_err().to_string().starts_with("service config: is not JSON"));
    let long = format!("{{}}{}", " ".repeat(JSON_SIZE_BYTES_MAX));
    assert!(ServiceConfig::parse(&long).is_err());
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(ServiceConfig::parse(&deep).is_err());
}

#[test]
fn the_most_specific_name_wins() {
    let config = parse(
        r#"{"methodConfig":[
            {"name":[{}],"timeout":"1s"},
            {"name":[{"service":"shop.Orders","method":""}],"timeout":"2s"},
            {"name":[{"service":"shop.Orders","method":"Get"},{"service":"shop.Stock","method":null}],"timeout":"3s"}
        ]}"#,
    );
    for (path, seconds) in [
        ("/shop.Orders/Get", 3),
        ("/shop.Orders/List", 2),
        ("/shop.Stock/Any", 3),
        ("/shop.Order/Get", 1),
        ("/shop/Orders", 1),
    ] {
        assert_eq!(config.method(&method(path)).timeout, Some(Duration::from_secs(seconds)), "{path}");
    }
    assert_eq!(**ServiceConfig::default().method(&method("/a/b")), MethodConfig::default());
}

#[test]
fn a_name_appears_once() {
    for (names, shown) in [
        (r#"{"service":"s","method":"m"},{"service":"s","method":"m"}"#, "s/m"),
        (r#"{"service":"s"},{"service":"s","method":""}"#, "s"),
        (r#"{},{"service":null}"#, "the default of all methods"),
    ] {
        let problem = format!("methodConfig[0].name[1]: {shown} has an entry already");
        invalid(&format!(r#"{{"methodConfig":[{{"name":[{names}]}}]}}"#), &problem);
        let (first, second) = names.split_once("},").unwrap();
        let apart = format!(r#"{{"methodConfig":[{{"name":[{first}}}]}},{{"name":[{second}]}}]}}"#);
        invalid(&apart, &problem.replace("[0].name[1]", "[1].name[0]"));
    }
    invalid(
        r#"{"methodConfig":[{"name":[{"method":"m"}]}]}"#,
        r#"methodConfig[0].name[0]: method "m" has no service"#,
    );
}

#[test]
fn limits_of_a_method_are_read() {
    let config = parse(
        r#"{"methodConfig":[{"name":[{}],"waitForReady":false,"timeout":"1.5s","maxRequestMessageBytes":"0",
            "maxResponseMessageBytes":1048576}]}"#,
    );
    let expected = MethodConfig {
        wait_for_ready: Some(false),
        timeout: Some(Duration::from_millis(1500)),
        request_size_bytes_max: Some(0),
        response_size_bytes_max: Some(1 << 20),
        repeat: Repeat::Never,
    };
    assert_eq!(**config.method(&method("/a/b")), expected);
}

#[test]
fn an_invalid_field_of_a_method_names_its_place() {
    for (field, expected) in [
        (r#""waitForReady":"true""#, r#"waitForReady: expected true or false, found "true""#),
        (
            r#""timeout":"1""#,
            r#"timeout: "1" is not a duration: write seconds that are not negative, with up to nine decimals and an s, such as "1.5s""#,
        ),
        (
            r#""maxRequestMessageBytes":-1"#,
            "maxRequestMessageBytes: expected a whole number that is not negative, found -1",
        ),
        (r#""retryPolicy":[]"#, "retryPolicy: expected an object, found a list"),
        (r#""retryPolicy":{}"#, "retryPolicy.retryableStatusCodes: is required"),
        (r#""hedgingPolicy":{}"#, "hedgingPolicy.maxAttempts: is required"),
    ] {
        // Entries without names count too.
        invalid(&format!(r#"{{"methodConfig":[{{}},{{{field}}}]}}"#), &format!("methodConfig[1].{expected}"));
    }
}

/// A retry policy with one field replaced, or removed where it is empty.
fn retry(field: &str, value: &str) -> String {
    let fields = [
        ("maxAttempts", "3"),
        ("initialBackoff", r#""0.1s""#),
        ("maxBackoff", r#""1s""#),
        ("backoffMultiplier", "2"),
        ("retryableStatusCodes", r#"["UNAVAILABLE"]"#),
        ("perAttemptRecvTimeout", ""),
    ];
    let chosen = fields.map(|(name, usual)| (name, if name == field { value } else { usual }));
    let written: Vec<_> = chosen
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!(r#"{{"methodConfig":[{{"name":[{{}}],"retryPolicy":{{{}}}}}]}}"#, written.join(","))
}

#[track_caller]
fn retry_policy(json: &str) -> RetryPolicy {
    match &parse(json).method(&method("/a/b")).repeat {
        Repeat::Retry(policy) => policy.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_retry_policy_is_read() {
    let expected = RetryPolicy {
        max_attempts: 3,
        initial_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(1),
        backoff_multiplier: 2.0,
        retryable_codes: Codes::from_iter([Code::Unavailable]),
        per_attempt_timeout: None,
    };
    assert_eq!(retry_policy(&retry("", "")), expected);
    assert_eq!(retry_policy(&retry("maxAttempts", "100")).max_attempts, ATTEMPTS_MAX);
    let timeout = retry_policy(&retry("perAttemptRecvTimeout", "\"2s\"")).per_attempt_timeout;
    assert_eq!(timeout, Some(Duration::from_secs(2)));
    let codes =
        retry_policy(&retry("retryableStatusCodes", r#"["unavailable",8,"Aborted",16]"#)).retryable_codes;
    let expected = [Code::ResourceExhausted, Code::Aborted, Code::Unavailable, Code::Unauthenticated];
    assert_eq!(codes.iter().collect::<Vec<_>>(), expected);
    assert!(codes.contains(Code::Aborted) && !codes.contains(Code::Internal) && !codes.is_empty());
}

#[test]
fn an_invalid_retry_policy_is_refused() {
    for (field, value, problem) in [
        ("maxAttempts", "1", "must be at least 2: the first attempt counts"),
        ("maxAttempts", "2.5", "expected a whole number that is not negative, found 2.5"),
        ("maxAttempts", "", "is required"),
        ("initialBackoff", r#""0s""#, "must be more than 0s"),
        ("initialBackoff", "", "is required"),
        ("maxBackoff", r#""0s""#, "must be more than 0s"),
        ("maxBackoff", "", "is required"),
        ("backoffMultiplier", "0", "must be more than 0"),
        ("backoffMultiplier", "-1", "must be more than 0"),
        ("backoffMultiplier", "", "is required"),
        ("perAttemptRecvTimeout", r#""0s""#, "must be more than 0s"),
        ("retryableStatusCodes", "[]", "must name at least one code"),
        ("retryableStatusCodes", "", "is required"),
        ("retryableStatusCodes", "14", "expected a list, found 14"),
    ] {
        invalid(&retry(field, value), &format!("methodConfig[0].retryPolicy.{field}: {problem}"));
    }
    for (code, problem) in [
        (r#""OK""#, "OK is not a failure"),
        ("0", "OK is not a failure"),
        ("17", "17 is not a status code: write a name such as \"UNAVAILABLE\", or 1 to 16"),
        (r#""GONE""#, "\"GONE\" is not a status code: write a name such as \"UNAVAILABLE\", or 1 to 16"),
    ] {
        let expected = format!("methodConfig[0].retryPolicy.retryableStatusCodes[1]: {problem}");
        invalid(&retry("retryableStatusCodes", &format!("[14,{code}]")), &expected);
    }
}

#[test]
fn retries_wait_longer_each_time_give_or_take_a_fifth() {
    let policy = retry_policy(&retry("maxBackoff", r#""0.5s""#));
    for (nth, millis) in [(1, 100), (2, 200), (3, 400), (4, 500), (1000, 500), (u32::MAX, 500)] {
        let wait = Duration::from_millis(millis);
        assert_eq!(policy.delay(nth, 1 << 63), wait, "{nth}");
        assert_eq!(policy.delay(nth, 0), wait.mul_f64(0.8), "{nth}");
        assert!(policy.delay(nth, u64::MAX) <= wait.mul_f64(1.2), "{nth}");
    }
}

#[test]
fn a_hedging_policy_is_read() {
    let read = |fields: &str| {
        let json = format!(r#"{{"methodConfig":[{{"name":[{{}}],"hedgingPolicy":{{{fields}}}}}]}}"#);
        match &parse(&json).method(&method("/a/b")).repeat {
            Repeat::Hedge(policy) => policy.clone(),
            other => panic!("{other:?}"),
        }
    };
    let least = HedgingPolicy {
        max_attempts: 2,
        delay: Duration::ZERO,
        non_fatal_codes: Codes::default(),
        per_attempt_timeout: None,
    };
    assert_eq!(read(r#""maxAttempts":2"#), least);
    assert_eq!(read(r#""maxAttempts":2,"nonFatalStatusCodes":[]"#), least);
    let full = read(
        r#""maxAttempts":"9","hedgingDelay":".5s","nonFatalStatusCodes":["INTERNAL"],"perAttemptRecvTimeout":"1s""#,
    );
    assert_eq!((full.max_attempts, full.delay), (ATTEMPTS_MAX, Duration::from_millis(500)));
    assert!(full.non_fatal_codes.contains(Code::Internal));
    invalid(
        r#"{"methodConfig":[{"hedgingPolicy":{"maxAttempts":1}}]}"#,
        "methodConfig[0].hedgingPolicy.maxAttempts: must be at least 2: the first attempt counts",
    );
    let both =
        retry("", "").replace("\"retryPolicy\"", "\"hedgingPolicy\":{\"maxAttempts\":2},\"retryPolicy\"");
    invalid(&both, "methodConfig[0]: has both a retryPolicy and a hedgingPolicy; keep one of them");
}

#[test]
fn channel_settings_are_read() {
    let health = |json: &str| parse(json).health_check_service;
    assert_eq!(health(r#"{"healthCheckConfig":{"serviceName":""}}"#), Some(String::new()));
    assert_eq!(health(r#"{"healthCheckConfig":{"serviceName":"a"}}"#), Some("a".to_owned()));
    invalid(
        r#"{"healthCheckConfig":{"serviceName":1}}"#,
        "healthCheckConfig.serviceName: expected a string, found 1",
    );
    for (value, connections) in [("2", 2), ("10", 10), ("11", 10), ("\"3\"", 3)] {
        let json = format!(r#"{{"connectionScaling":{{"maxConnectionsPerSubchannel":{value}}}}}"#);
        assert_eq!(parse(&json).connections_per_subchannel_max, connections, "{value}");
    }
    invalid(
        r#"{"connectionScaling":{"maxConnectionsPerSubchannel":0}}"#,
        "connectionScaling.maxConnectionsPerSubchannel: must be at least 1",
    );
    let throttling = parse(r#"{"retryThrottling":{"maxTokens":10,"tokenRatio":0.1}}"#).throttling;
    assert_eq!(throttling, ThrottleSettings::new(10, 0.1));
    for (fields, expected) in [
        (r#""tokenRatio":0.1"#, "maxTokens: is required"),
        (r#""maxTokens":0,"tokenRatio":0.1"#, "maxTokens: 0 is not one of 1 to 1000"),
        (r#""maxTokens":1001,"tokenRatio":0.1"#, "maxTokens: 1001 is not one of 1 to 1000"),
        (r#""maxTokens":10"#, "tokenRatio: is required"),
        (r#""maxTokens":10,"tokenRatio":0"#, "tokenRatio: must be at least 0.001"),
        (r#""maxTokens":10,"tokenRatio":0.0009"#, "tokenRatio: must be at least 0.001"),
    ] {
        invalid(&format!(r#"{{"retryThrottling":{{{fields}}}}}"#), &format!("retryThrottling.{expected}"));
    }
}

mod policies {
    use super::*;

    #[track_caller]
    fn balancing(list: &str) -> Balancing {
        parse(&format!(r#"{{"loadBalancingConfig":[{list}]}}"#)).balancing.unwrap()
    }

    #[track_caller]
    fn policy(entry: &str) -> PolicyConfig {
        balancing(entry).policy
    }

    #[track_caller]
    fn refused(list: &str, expected: &str) {
        invalid(&format!(r#"{{"loadBalancingConfig":[{list}]}}"#), &format!("loadBalancingConfig{expected}"));
    }

    #[test]
    fn the_first_known_policy_is_taken() {
        assert_eq!(policy(r#"{"rls":{}},{"round_robin":{}},{"pick_first":{}}"#), PolicyConfig::RoundRobin);
        // What comes after it is for other clients, whatever it is.
        assert_eq!(policy(r#"{"round_robin":{}},7"#), PolicyConfig::RoundRobin);
        // The first one that is known must be valid; the next one is no way out.
        refused(
            r#"{"pick_first":{"shuffleAddressList":1}},{"round_robin":{}}"#,
            "[0].pick_first.shuffleAddressList: expected true or false, found 1",
        );
        refused(r#"{"round_robin":7}"#, "[0].round_robin: expected an object, found 7");
        refused(r#"{"a":{},"b":{}}"#, "[0]: has 2 policies; each entry has exactly one");
        refused("{}", "[0]: has 0 policies; each entry has exactly one");
        for (list, found) in
            [("", "the list is empty"), (r#"{"grpclb":{}},{"Round_Robin":{}}"#, "grpclb, Round_Robin")]
        {
            let json = format!(r#"{{"loadBalancingConfig":[{list}]}}"#);
            let error = ServiceConfig::parse(&json).unwrap_err().to_string();
            let expected = format!(
                "loadBalancingConfig: no policy of the list is known ({found}); known are pick_first, "
            );
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn the_deprecated_name_is_used_without_a_config() {
        let named = |name: &str| parse(&format!(r#"{{"loadBalancingPolicy":"{name}"}}"#)).balancing;
        assert_eq!(named("ROUND_robin").unwrap().policy, PolicyConfig::RoundRobin);
        assert_eq!(named("pick_first").unwrap().policy, PolicyConfig::PickFirst { shuffle: false });
        assert_eq!(named("UNSPECIFIED"), None);
        let both =
            parse(r#"{"loadBalancingPolicy":"pick_first","loadBalancingConfig":[{"round_robin":{}}]}"#);
        assert_eq!(both.balancing.unwrap().policy, PolicyConfig::RoundRobin);
        // gRFC A21 gives an unknown one as its example of an invalid value.
        let error = ServiceConfig::parse(r#"{"loadBalancingPolicy":"grpclb"}"#).unwrap_err().to_string();
        assert!(error.starts_with("loadBalancingPolicy: grpclb is not a known policy"), "{error}");
        invalid(
            r#"{"loadBalancingPolicy":"outlier_detection_experimental"}"#,
            "loadBalancingPolicy: outlier_detection_experimental needs a configuration: write it as loadBalancingConfig",
        );
    }

    #[test]
    fn leaves_have_the_defaults_of_their_specifications() {
        for (entry, expected) in [
            (r#"{"pick_first":{}}"#, PolicyConfig::PickFirst { shuffle: false }),
            (r#"{"pick_first":{"shuffleAddressList":true}}"#, PolicyConfig::PickFirst { shuffle: true }),
            (r#"{"least_request_experimental":{}}"#, PolicyConfig::LeastRequest { choice_count: 2 }),
            (
                r#"{"least_request_experimental":{"choiceCount":3}}"#,
                PolicyConfig::LeastRequest { choice_count: 3 },
            ),
            (
                r#"{"least_request_experimental":{"choiceCount":99}}"#,
                PolicyConfig::LeastRequest { choice_count: 10 },
            ),
            (
                r#"{"peak_ewma":{}}"#,
                PolicyConfig::PeakEwma {
                    decay: Duration::from_secs(10),
                    default_rtt: Duration::from_millis(30),
                },
            ),
            (
                r#"{"peak_ewma":{"decay":"5s","defaultRtt":"0.001s"}}"#,
                PolicyConfig::PeakEwma {
                    decay: Duration::from_secs(5),
                    default_rtt: Duration::from_millis(1),
                },
            ),
        ] {
            assert_eq!(policy(entry), expected, "{entry}");
        }
        refused(
            r#"{"least_request_experimental":{"choiceCount":1}}"#,
            "[0].least_request_experimental.choiceCount: must be at least 2",
        );
        refused(r#"{"peak_ewma":{"decay":"0s"}}"#, "[0].peak_ewma.decay: must be more than 0s");
    }

    #[test]
    fn ring_hash_is_read() {
        let ring = |fields: &str| match policy(&format!(r#"{{"ring_hash_experimental":{{{fields}}}}}"#)) {
            PolicyConfig::RingHash(ring) => (ring.ring_size_min, ring.ring_size_max, ring.header),
            other => panic!("{other:?}"),
        };
        assert_eq!(ring(""), (1024, 4096, None));
        assert_eq!(ring(r#""minRingSize":0,"maxRingSize":"0","requestHashHeader":"""#), (1024, 4096, None));
        assert_eq!(ring(r#""minRingSize":"10","maxRingSize":20"#), (10, 20, None));
        assert_eq!(ring(r#""minRingSize":8388608,"maxRingSize":8388608"#), (4096, 4096, None));
        let header = http::HeaderName::from_static("user-id");
        assert_eq!(ring(r#""requestHashHeader":"User-Id""#), (1024, 4096, Some(header)));
        for (fields, expected) in [
            (r#""maxRingSize":8388609"#, ".maxRingSize: 8388609 is more than 8388608"),
            (r#""maxRingSize":1000"#, ": minRingSize 1024 is more than maxRingSize 1000"),
            (
                r#""requestHashHeader":"a-bin""#,
                ".requestHashHeader: a-bin carries bytes; only headers of text can be hashed",
            ),
            (r#""requestHashHeader":":path""#, r#".requestHashHeader: ":path" is not the name of a header"#),
        ] {
            let entry = format!(r#"{{"ring_hash_experimental":{{{fields}}}}}"#);
            refused(&entry, &format!("[0].ring_hash_experimental{expected}"));
        }
    }

    #[test]
    fn weighted_round_robin_is_read() {
        let least = WeightedRoundRobinConfig {
            blackout_period: Duration::from_secs(10),
            weight_expiration_period: Duration::from_secs(180),
            weight_update_period: Duration::from_secs(1),
            error_utilization_penalty: 1.0,
            metric_names: Vec::new(),
            oob_load_report: false,
            oob_reporting_period: Duration::from_secs(10),
        };
        assert_eq!(policy(r#"{"weighted_round_robin":{}}"#), PolicyConfig::WeightedRoundRobin(least));
        let full = policy(
            r#"{"weighted_round_robin":{"blackoutPeriod":"0s","weightExpirationPeriod":"60s","weightUpdatePeriod":"0.01s",
                "errorUtilizationPenalty":0.5,"metricNamesForComputingUtilization":["named_metrics.q"],
                "enableOobLoadReport":true,"oobReportingPeriod":"5s"}}"#,
        );
        let expected = WeightedRoundRobinConfig {
            blackout_period: Duration::ZERO,
            weight_expiration_period: Duration::from_secs(60),
            weight_update_period: Duration::from_millis(100),
            error_utilization_penalty: 0.5,
            metric_names: vec!["named_metrics.q".to_owned()],
            oob_load_report: true,
            oob_reporting_period: Duration::from_secs(5),
        };
        assert_eq!(full, PolicyConfig::WeightedRoundRobin(expected));
        refused(
            r#"{"weighted_round_robin":{"errorUtilizationPenalty":-0.1}}"#,
            "[0].weighted_round_robin.errorUtilizationPenalty: must not be negative",
        );
    }

    #[test]
    fn slow_start_is_read_with_policies_that_weigh() {
        for name in ["round_robin", "least_request_experimental", "weighted_round_robin", "peak_ewma"] {
            let slow_start = |fields: &str| {
                balancing(&format!(r#"{{"{name}":{{"slowStartConfig":{{{fields}}}}}}}"#)).slow_start.unwrap()
            };
            let window = Duration::from_secs(30);
            assert_eq!(
                slow_start(r#""slowStartWindow":"30s""#),
                SlowStart { window, aggression: 1.0, min_weight_percent: 10 }
            );
            assert_eq!(
                slow_start(r#""slowStartWindow":"30s","aggression":2.5,"minWeightPercent":0"#),
                SlowStart { window, aggression: 2.5, min_weight_percent: 0 }
            );
            for (fields, expected) in [
                ("", "slowStartWindow: is required"),
                (r#""slowStartWindow":"0s""#, "slowStartWindow: must be more than 0s"),
                (r#""slowStartWindow":"1s","aggression":0"#, "aggression: must be more than 0"),
                (
                    r#""slowStartWindow":"1s","minWeightPercent":101"#,
                    "minWeightPercent: 101 is more than 100 per cent",
                ),
            ] {
                let entry = format!(r#"{{"{name}":{{"slowStartConfig":{{{fields}}}}}}}"#);
                refused(&entry, &format!("[0].{name}.slowStartConfig.{expected}"));
            }
        }
    }

    fn outlier(fields: &str) -> String {
        format!(r#"{{"outlier_detection_experimental":{{{fields}"childPolicy":[{{"round_robin":{{}}}}]}}}}"#)
    }

    #[test]
    fn outlier_detection_is_read() {
        let least = OutlierConfig {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 10,
            success_rate: None,
            failure_percentage: None,
            consecutive_failures: None,
        };
        let read = |fields: &str| balancing(&outlier(fields)).outlier.unwrap();
        assert_eq!(read(""), least);
        assert_eq!(read(r#""baseEjectionTime":"400s","#).max_ejection_time, Duration::from_secs(400));
        assert_eq!(read(r#""interval":"0s","#).interval, Duration::from_millis(100));
        let full = read(
            r#""interval":"1s","baseEjectionTime":"2s","maxEjectionTime":"3s","maxEjectionPercent":50,
               "successRateEjection":{},"failurePercentageEjection":{},"consecutiveFailures":5,"#,
        );
        let expected = OutlierConfig {
            interval: Duration::from_secs(1),
            base_ejection_time: Duration::from_secs(2),
            max_ejection_time: Duration::from_secs(3),
            max_ejection_percent: 50,
            success_rate: Some(SuccessRate {
                stdev_factor: 1900,
                enforcement_percentage: 100,
                minimum_hosts: 5,
                request_volume: 100,
            }),
            failure_percentage: Some(FailurePercentage {
                threshold: 85,
                enforcement_percentage: 100,
                minimum_hosts: 5,
                request_volume: 50,
            }),
            consecutive_failures: Some(5),
        };
        assert_eq!(full, expected);
    }

    #[test]
    fn invalid_outlier_detection_is_refused() {
        for (fields, expected) in [
            (r#""maxEjectionPercent":101,"#, "maxEjectionPercent: 101 is more than 100 per cent"),
            (
                r#""consecutiveFailures":0,"#,
                "consecutiveFailures: must be at least 1; leave it out to not eject by it",
            ),
            (
                r#""successRateEjection":{"enforcementPercentage":101},"#,
                "successRateEjection.enforcementPercentage: 101 is more than 100 per cent",
            ),
            (
                r#""failurePercentageEjection":{"threshold":101},"#,
                "failurePercentageEjection.threshold: 101 is more than 100 per cent",
            ),
        ] {
            refused(&outlier(fields), &format!("[0].outlier_detection_experimental.{expected}"));
        }
        refused(
            r#"{"outlier_detection_experimental":{}}"#,
            "[0].outlier_detection_experimental.childPolicy: is required",
        );
        let nested = outlier("").replace(r#"{"round_robin":{}}"#, &outlier(""));
        refused(
            &nested,
            "[0].outlier_detection_experimental.childPolicy: contains another outlier_detection_experimental; one is enough",
        );
    }

    #[test]
    fn wrappers_nest_in_any_order() {
        let child = r#"[{"unknown":{}},{"round_robin":{"slowStartConfig":{"slowStartWindow":"1s"}}}]"#;
        for (outer, inner, size) in [
            ("outlier_detection_experimental", "random_subsetting_experimental", "subsetSize"),
            ("random_subsetting_experimental", "outlier_detection_experimental", "subset_size"),
        ] {
            // The field of the other wrapper is unknown to it, so both may carry it.
            let read = balancing(&format!(
                r#"{{"{outer}":{{"{size}":3,"childPolicy":[{{"{inner}":{{"{size}":"3","childPolicy":{child}}}}}]}}}}"#
            ));
            assert_eq!((read.subset, read.policy), (Some(3), PolicyConfig::RoundRobin));
            assert!(read.outlier.is_some() && read.slow_start.is_some());
        }
        refused(
            &format!(r#"{{"random_subsetting_experimental":{{"childPolicy":{child}}}}}"#),
            "[0].random_subsetting_experimental.subsetSize: is required",
        );
        refused(
            &format!(r#"{{"random_subsetting_experimental":{{"subsetSize":0,"childPolicy":{child}}}}}"#),
            "[0].random_subsetting_experimental.subsetSize: must be at least 1",
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]{}\",:a-z0-9.\\- ]{0,200}") {
        let _any = ServiceConfig::parse(&text);
    }

    #[test]
    fn no_value_of_a_known_field_makes_it_panic(
        field in "methodConfig|loadBalancingConfig|loadBalancingPolicy|retryThrottling|healthCheckConfig|connectionScaling",
        value in "-?[0-9]{1,22}(\\.[0-9]{1,5})?|\"[a-z_0-9.]{0,9}s?\"|\\[\\{\\}\\]|null|true|\\{\\}",
    ) {
        let _any = ServiceConfig::parse(&format!("{{\"{field}\":{value}}}"));
    }
}
