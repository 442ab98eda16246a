//! What an RPC adds to, as the page shows it.

use highball_core::current::Abandoned;

use super::*;

#[test]
fn an_rpc_is_counted_under_every_vocabulary() {
    let telemetry = Telemetry::new();
    let meter = telemetry.method("shop.v1.Orders/Get");
    meter.begin();
    assert!(telemetry.render().contains("grpc_active_requests{method=\"shop.v1.Orders/Get\"} 1"));
    meter.end(Code::NotFound, Duration::from_millis(7));
    let page = telemetry.render();
    for line in [
        "grpc_active_requests{method=\"shop.v1.Orders/Get\"} 0",
        "grpc_requests_total{method=\"shop.v1.Orders/Get\",code=\"NOT_FOUND\"} 1",
        "grpc_request_duration_seconds_bucket{le=\"0.01\",method=\"shop.v1.Orders/Get\"} 1",
        "grpc_request_duration_seconds_bucket{le=\"0.005\",method=\"shop.v1.Orders/Get\"} 0",
        "rpc_server_call_duration_seconds_count{rpc_system_name=\"grpc\",rpc_method=\"shop.v1.Orders/Get\",rpc_response_status_code=\"NOT_FOUND\"} 1",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
}

#[test]
fn time_spent_for_nobody_is_metered_by_method_and_reason() {
    let telemetry = Telemetry::new();
    let meter = telemetry.method("shop.v1.Orders/Get");
    for (after, millis) in [(Abandoned::Deadline, 2), (Abandoned::Deadline, 20), (Abandoned::Cancellation, 5)]
    {
        meter.wasted(Waste { after, time: Duration::from_millis(millis) });
    }
    let page = telemetry.render();
    for line in [
        "grpc_wasted_work_seconds_sum{method=\"shop.v1.Orders/Get\",after=\"deadline\"} 0.022",
        "grpc_wasted_work_seconds_count{method=\"shop.v1.Orders/Get\",after=\"deadline\"} 2",
        "grpc_wasted_work_seconds_count{method=\"shop.v1.Orders/Get\",after=\"cancellation\"} 1",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
}

#[test]
fn durations_fall_into_the_buckets_of_both_vocabularies() {
    let telemetry = Telemetry::new();
    let meter = telemetry.method("shop.v1.Orders/Get");
    // On a bound, between two that only one vocabulary has, and beyond the last.
    for (code, millis) in [(Code::Ok, 5), (Code::Ok, 60), (Code::Internal, 80), (Code::Ok, 11_000)] {
        meter.begin();
        meter.end(code, Duration::from_millis(millis));
    }
    meter.begin();
    assert_eq!(meter.active(), 1);
    let page = telemetry.render();
    let by_code = |code: &str| {
        format!(
            "rpc_system_name=\"grpc\",rpc_method=\"shop.v1.Orders/Get\",rpc_response_status_code=\"{code}\"}}"
        )
    };
    for line in [
        "grpc_request_duration_seconds_bucket{le=\"0.005\",method=\"shop.v1.Orders/Get\"} 1".to_owned(),
        "grpc_request_duration_seconds_bucket{le=\"0.05\",method=\"shop.v1.Orders/Get\"} 1".to_owned(),
        "grpc_request_duration_seconds_bucket{le=\"0.1\",method=\"shop.v1.Orders/Get\"} 3".to_owned(),
        "grpc_request_duration_seconds_bucket{le=\"10.0\",method=\"shop.v1.Orders/Get\"} 3".to_owned(),
        "grpc_request_duration_seconds_bucket{le=\"+Inf\",method=\"shop.v1.Orders/Get\"} 4".to_owned(),
        "grpc_request_duration_seconds_count{method=\"shop.v1.Orders/Get\"} 4".to_owned(),
        "grpc_request_duration_seconds_sum{method=\"shop.v1.Orders/Get\"} 11.145".to_owned(),
        "grpc_requests_total{method=\"shop.v1.Orders/Get\",code=\"OK\"} 3".to_owned(),
        format!("rpc_server_call_duration_seconds_bucket{{le=\"0.075\",{} 2", by_code("OK")),
        format!("rpc_server_call_duration_seconds_bucket{{le=\"0.075\",{} 0", by_code("INTERNAL")),
        format!("rpc_server_call_duration_seconds_bucket{{le=\"0.1\",{} 1", by_code("INTERNAL")),
        format!("rpc_server_call_duration_seconds_bucket{{le=\"+Inf\",{} 3", by_code("OK")),
    ] {
        assert!(page.contains(&line), "{line}\n{page}");
    }
    assert!(REQUEST_BUCKETS.iter().all(|bound| CALL_BUCKETS.contains(bound)), "one is made of the other");
}

#[test]
fn a_method_that_is_asked_for_twice_is_metered_once() {
    let telemetry = Telemetry::new();
    let [one, other] = [(); 2].map(|()| telemetry.method("shop.v1.Orders/Get"));
    one.begin();
    other.begin();
    other.end(Code::Ok, Duration::ZERO);
    assert_eq!((one.active(), other.active()), (1, 1));
    let page = telemetry.render();
    let line = "grpc_active_requests{method=\"shop.v1.Orders/Get\"} 1";
    assert_eq!(page.matches(line).count(), 1, "{page}");
}
